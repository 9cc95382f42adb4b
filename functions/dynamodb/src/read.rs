//! Looking once: what is there now.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, stream};
use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    cursor::Cursor,
    message::Message,
    store::{Start, StoreError},
};

use crate::{
    DynamoDb,
    item::{Head, LogName, Slot},
    table::{Consistency, Range, Table, TableError},
    walk::{Times, Walk, message},
};

/// Slots asked for in one query.
const PAGE_SLOTS: usize = 100;

/// Queries of one look. Beyond it, whoever asked goes on from where it came: 5,000 expired slots further.
const PAGES_MAX: usize = 50;

/// Holes decided at once.
const DECIDING_MAX: usize = 25;

impl<T: Table> DynamoDb<T> {
    pub(crate) async fn read(&self, channel: &Channel, start: Start, limit: Limit) -> Result<Batch, StoreError> {
        if let Start::After(cursor) = start {
            return self.look(channel, cursor, limit).await;
        }
        let head = self.table.head(channel).await?;
        let Some(head) = head else {
            let at = if let Start::Before(cursor) = start { cursor } else { Cursor::ORIGIN };
            return Ok(Batch::new(at, [], at, at != Cursor::ORIGIN, limit));
        };
        let silent = head.time <= self.quiet();
        match start {
            Start::Before(cursor) => self.history(channel, &head, cursor, limit).await,
            Start::Last(count) if !silent => {
                let newest = self.newest(channel, &head, head.last + 1, count).await?;
                let from = newest.last().map_or(head.last, |oldest| oldest.id().offset() - 1);
                self.begin(channel, &head, from, limit).await
            }
            Start::Earliest if !silent => self.begin(channel, &head, head.base, limit).await,
            _ => Ok(Batch::empty(head.at(head.last))),
        }
    }

    /// What stands after a cursor, by as few requests as can tell. Only a strongly consistent read says `missed`, or an
    /// item that was seen to have expired.
    pub(crate) async fn look(&self, channel: &Channel, after: Cursor, limit: Limit) -> Result<Batch, StoreError> {
        let mut offset = after.offset();
        if after != Cursor::ORIGIN {
            let walk = self.gather(channel, after.epoch(), offset, Consistency::Eventual).await?;
            if !walk.is_empty() {
                return Ok(batch(after, after.epoch(), walk, false, limit));
            }
            offset = walk.position;
        }
        let head = self.table.head(channel).await?;
        #[cfg(test)]
        let head = self.perhaps_stale(channel, head);
        let Some(head) = head else {
            return Ok(Batch::new(after, [], Cursor::ORIGIN, after != Cursor::ORIGIN, limit));
        };
        let mut missed = false;
        if after != Cursor::ORIGIN && (head.epoch != after.epoch() || offset > head.last) {
            missed = true;
            offset = head.base;
        }
        if head.time <= self.quiet() {
            missed |= offset < head.last;
            return Ok(Batch::new(after, [], head.at(head.last), missed, limit));
        }
        if offset < head.base {
            missed = true;
            offset = head.base;
        }
        let mut walk = Walk::from(offset);
        if offset < head.last {
            walk = self.gather(channel, head.epoch, offset, Consistency::Strong).await?;
        }
        if wrongly!(self, AdvanceOnNothing) && walk.is_empty() {
            walk.position = head.last;
        }
        Ok(batch(after, head.epoch, walk, missed, limit))
    }

    /// From a beginning that nobody stood at before: nothing was missed.
    async fn begin(&self, channel: &Channel, head: &Head, from: u64, limit: Limit) -> Result<Batch, StoreError> {
        let mut walk = self.gather(channel, head.epoch, from, Consistency::Strong).await?;
        walk.missed = false;
        Ok(batch(head.at(from), head.epoch, walk, false, limit))
    }

    async fn history(&self, channel: &Channel, head: &Head, before: Cursor, limit: Limit) -> Result<Batch, StoreError> {
        if before == Cursor::ORIGIN {
            return Ok(Batch::empty(before));
        }
        if before.epoch() != head.epoch || before.offset() > head.last {
            return Ok(Batch::before(before, [], true, limit));
        }
        let newest = self.newest(channel, head, before.offset(), limit).await?;
        Ok(Batch::before(before, newest, false, limit))
    }

    /// The newest retained messages below an offset, newest first.
    async fn newest(
        &self,
        channel: &Channel,
        head: &Head,
        mut below: u64,
        limit: Limit,
    ) -> Result<Vec<Arc<Message>>, StoreError> {
        let log = LogName::new(channel, head.epoch);
        let horizon = self.horizon();
        let mut newest = Vec::new();
        for _ in 0..PAGES_MAX {
            let wanted = limit.get() - newest.len();
            let page = self.table.query(&log, Range::Below(below), Consistency::Strong, wanted).await?;
            for (offset, slot) in &page.slots {
                if slot.time() <= horizon || *offset <= head.base {
                    return Ok(newest);
                }
                newest.extend(message(channel, head.at(*offset), slot));
                below = *offset;
            }
            if !page.more || newest.len() >= limit.get() {
                break;
            }
        }
        Ok(newest)
    }

    /// Walks from an offset until there is something to tell, or nothing more. A strongly consistent walk decides holes
    /// that nobody can be about to fill, where nothing else was found. An eventually consistent one does not: it comes
    /// before the head is known, and what looks like a hole may be a message that has expired and was deleted.
    async fn gather(
        &self,
        channel: &Channel,
        epoch: u64,
        from: u64,
        consistency: Consistency,
    ) -> Result<Walk, TableError> {
        let log = LogName::new(channel, epoch);
        let mut walk = Walk::from(from);
        for _ in 0..PAGES_MAX {
            let range = Range::Above(walk.position);
            let page = self.table.query(&log, range, consistency, PAGE_SLOTS).await?;
            let mut slots: BTreeMap<_, _> = page.slots.into_iter().collect();
            self.walk(&mut walk, channel, epoch, &slots);
            if walk.is_empty() && walk.aged > 0 && consistency == Consistency::Strong {
                let aged = walk.holes.into_iter().take(walk.aged);
                slots.extend(self.decide(&log, aged).await?);
                walk = Walk::from(walk.position);
                self.walk(&mut walk, channel, epoch, &slots);
            }
            if !walk.messages.is_empty() || !walk.holes.is_empty() || !page.more {
                break;
            }
        }
        Ok(walk)
    }

    /// Goes on over slots, by this moment's times.
    pub(crate) fn walk(&self, walk: &mut Walk, channel: &Channel, epoch: u64, slots: &BTreeMap<u64, Slot>) {
        let times = Times { now: self.clock.unix_ms(), horizon: self.horizon() };
        #[cfg(test)]
        let slots = &self.perhaps_without_holes(walk.position, slots);
        let above = slots.range(walk.position + 1..);
        walk.over(channel, epoch, above.map(|(offset, slot)| (*offset, slot)), times);
    }

    /// Decides holes together. What is returned stands there from now on.
    pub(crate) async fn decide(
        &self,
        log: &LogName,
        holes: impl Iterator<Item = u64>,
    ) -> Result<Vec<(u64, Slot)>, TableError> {
        let decided = stream::iter(holes).map(|hole| async move {
            let time = self.clock.unix_ms();
            let old = self.put_filler(log, hole).await?;
            let old = if wrongly!(self, IgnoreWhatTheFillerGot) { None } else { old };
            Ok((hole, old.unwrap_or(Slot::Filler { time })))
        });
        let decided: Vec<_> = decided.buffer_unordered(DECIDING_MAX).collect().await;
        decided.into_iter().collect()
    }
}

/// What a walk brought somebody who stood at `after`.
pub(crate) fn batch(after: Cursor, epoch: u64, walk: Walk, missed: bool, limit: Limit) -> Batch {
    Batch::new(after, walk.messages, Cursor::new(epoch, walk.position), missed || walk.missed, limit)
}
