//! One look: what comes after a cursor now.

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    cursor::Cursor,
    store::{Start, StoreError},
};

use crate::{
    DynamoDb,
    head::Head,
    item::LogName,
    table::{Consistency, Range, Table, TableError},
    walk::{Times, Walk},
};

/// Slots in one query. With fewer, a query even for one message could return nothing but fillers.
pub(crate) const PAGE_SLOTS: usize = 100;

/// Queries in one look. After that, the caller asks again from the cursor that it got.
pub(crate) const PAGES_MAX: usize = 50;

impl<T: Table> DynamoDb<T> {
    pub(crate) async fn read_from(&self, channel: &Channel, start: Start, limit: Limit) -> Result<Batch, StoreError> {
        match start {
            Start::After(cursor) => self.look(channel, cursor, limit).await,
            Start::Earliest => self.earliest(channel, limit).await,
            Start::Latest => self.newest(channel, None, limit).await,
            Start::Last(count) => self.newest(channel, Some(count), limit).await,
            Start::Before(cursor) => self.history(channel, cursor, limit).await,
        }
    }

    /// What comes after a cursor, with as few requests as possible.
    async fn look(&self, channel: &Channel, after: Cursor, limit: Limit) -> Result<Batch, StoreError> {
        if after != Cursor::ORIGIN {
            let (walk, _) = self.glance(channel, after).await?;
            if !walk.messages.is_empty() && !walk.missed {
                return Ok(batch(after, after.epoch(), walk, limit));
            }
        }
        self.look_closely(channel, after, limit, |_| false).await
    }

    /// One eventually consistent query. It can find messages, but never that some were missed, and it decides no holes:
    /// what looks like a hole may have expired and been deleted. Also returns the offset up to which there may be more
    /// than it found.
    pub(crate) async fn glance(&self, channel: &Channel, at: Cursor) -> Result<(Walk, Option<u64>), TableError> {
        let log = LogName::new(channel, at.epoch());
        let page = self.table.query(&log, Range::Above(at.offset()), Consistency::Eventual, PAGE_SLOTS).await?;
        let more_above = page.slots.last().map(|(offset, _)| *offset).filter(|_| page.more);
        let mut walk = Walk::from(at.offset());
        walk.over(channel, at.epoch(), &page.slots.into_iter().collect(), self.times());
        Ok((walk, more_above))
    }

    /// What comes after a cursor, by the head and strongly consistent reads. Only these can tell that messages were
    /// missed, and decide holes: those with an old slot above them, and those that are `ripe`.
    pub(crate) async fn look_closely(
        &self,
        channel: &Channel,
        after: Cursor,
        limit: Limit,
        ripe: impl Fn(u64) -> bool,
    ) -> Result<Batch, StoreError> {
        let seen = self.clock.unix_ms();
        let Some(head) = self.table.head(channel).await? else {
            return Ok(Batch::new(after, [], Cursor::ORIGIN, after != Cursor::ORIGIN, limit));
        };
        self.compare_retention(&head);
        let floor = head.floor(seen);
        let another_log = after != Cursor::ORIGIN && (head.epoch != after.epoch() || after.offset() > head.last);
        let from = if another_log { floor } else { after.offset().max(floor) };
        let mut walk = Walk { missed: another_log || after.offset() < floor, ..Walk::from(from) };
        if from < head.last {
            self.gather(&mut walk, channel, &head, seen, ripe).await?;
        }
        if walk.barred && walk.is_empty() {
            tracing::error!(channel = channel.as_str(), below = %head.at(walk.position), "the item above can't be read");
            return Err(StoreError::Corrupt);
        }
        Ok(batch(after, head.epoch, walk, limit))
    }

    /// From the oldest retained message. A reader that begins has missed nothing.
    async fn earliest(&self, channel: &Channel, limit: Limit) -> Result<Batch, StoreError> {
        let seen = self.clock.unix_ms();
        let Some(head) = self.table.head(channel).await? else {
            return Ok(Batch::empty(Cursor::ORIGIN));
        };
        let floor = head.floor(seen);
        let mut walk = Walk::from(floor);
        if floor < head.last {
            self.gather(&mut walk, channel, &head, seen, |_| false).await?;
        }
        walk.missed = false;
        Ok(batch(head.at(floor), head.epoch, walk, limit))
    }

    /// Reads on until there is a message to deliver, or nothing more. `head` was read at `seen`.
    async fn gather(
        &self,
        walk: &mut Walk,
        channel: &Channel,
        head: &Head,
        seen: u64,
        ripe: impl Fn(u64) -> bool,
    ) -> Result<(), TableError> {
        let log = LogName::new(channel, head.epoch);
        for _ in 0..PAGES_MAX {
            let above = Range::Above(walk.position);
            let page = self.table.query(&log, above, Consistency::Strong, PAGE_SLOTS).await?;
            if let Some((last, slot)) = page.slots.last()
                && page.more
                && self.times().expired(slot)
            {
                walk.position = self.expired_up_to(&log, *last, head.last).await?;
                walk.missed = true;
                continue;
            }
            let mut slots = page.slots.into_iter().collect();
            walk.over(channel, head.epoch, &slots, self.times());
            if walk.messages.is_empty() {
                let aged = walk.holes.iter().take(walk.aged);
                let ripe = walk.holes.iter().skip(walk.aged).filter(|hole| ripe(**hole));
                let decidable: Vec<_> = aged.chain(ripe).copied().collect();
                if !decidable.is_empty() {
                    slots.extend(self.decide(&log, decidable, head, seen).await?);
                    *walk = Walk { missed: walk.missed, ..Walk::from(walk.position) };
                    walk.over(channel, head.epoch, &slots, self.times());
                }
            }
            if !walk.messages.is_empty() || !walk.holes.is_empty() || walk.barred || !page.more {
                break;
            }
        }
        Ok(())
    }

    /// The offset up to which everything has expired, to within a page: `low` has expired, and what is above `last` has
    /// not. DynamoDB may keep expired slots for days, and a binary search skips them in about twenty queries.
    async fn expired_up_to(&self, log: &LogName, mut low: u64, last: u64) -> Result<u64, TableError> {
        let mut high = last + 1;
        while high.saturating_sub(low) > PAGE_SLOTS as u64 {
            let middle = low + (high - low) / 2;
            let page = self.table.query(log, Range::Above(middle), Consistency::Eventual, 1).await?;
            match page.slots.first() {
                Some((offset, slot)) if *offset < high && self.times().expired(slot) => low = *offset,
                _ => high = middle + 1,
            }
        }
        Ok(low)
    }

    pub(crate) fn times(&self) -> Times {
        Times { now: self.clock.unix_ms(), horizon: self.horizon() }
    }
}

/// The batch that a walk found for a reader at `after`.
pub(crate) fn batch(after: Cursor, epoch: u64, walk: Walk, limit: Limit) -> Batch {
    Batch::new(after, walk.messages, Cursor::new(epoch, walk.position), walk.missed, limit)
}
