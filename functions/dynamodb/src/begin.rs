//! Beginning without a cursor, and history.
//!
//! The end of a log is not the newest offset given out: a message may be on its way to its slot, and be acknowledged a
//! moment later. A reader begins just below the lowest slot that is not decided and can still be acknowledged.

use std::{collections::BTreeMap, sync::Arc};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    cursor::Cursor,
    message::Message,
    store::StoreError,
};

use crate::{
    DynamoDb,
    head::Head,
    item::{LogName, Slot},
    look::{PAGE_SLOTS, PAGES_MAX},
    table::{Consistency, Range, Table, TableError},
    walk::message,
};

/// Below a slot older than this, in milliseconds, nothing is acknowledged any more:
/// [`BELIEVED_MS`](crate::BELIEVED_MS), and 5 s for clocks that differ.
const SETTLED_MS: u64 = 10_000;

/// The size of the first query when only the end is asked for. On a quiet channel there is no other.
const FIRST_PAGE_SLOTS: usize = 10;

/// The size of each further query. A channel at its highest rate has 10,000 slots that are not settled.
const NEXT_PAGE_SLOTS: usize = 1_000;

/// How many old holes a beginning decides, those nearest the end. Their publishers have given up, unless clocks are
/// more than 5 s apart.
const OLD_HOLES_MAX: usize = 100;

/// The upper part of a log.
struct Top {
    slots: BTreeMap<u64, Slot>,
    /// Everything up to here has expired, or was not read.
    bottom: u64,
}

impl<T: Table> DynamoDb<T> {
    /// The end of a channel's log, or the newest `count` messages up to there.
    pub(crate) async fn newest(
        &self,
        channel: &Channel,
        count: Option<Limit>,
        limit: Limit,
    ) -> Result<Batch, StoreError> {
        let seen = self.clock.unix_ms();
        let Some(head) = self.table.head(channel).await? else {
            return Ok(Batch::empty(Cursor::ORIGIN));
        };
        let wanted = count.map_or(0, Limit::get);
        let (end, mut newest) = self.end(channel, &head, seen, wanted).await?;
        newest.reverse();
        let after = newest.first().map_or(end, |oldest| oldest.id().offset() - 1);
        Ok(Batch::new(head.at(after), newest, head.at(end), false, limit))
    }

    /// The newest messages before a cursor.
    pub(crate) async fn history(&self, channel: &Channel, before: Cursor, limit: Limit) -> Result<Batch, StoreError> {
        if before == Cursor::ORIGIN {
            return Ok(Batch::empty(before));
        }
        let seen = self.clock.unix_ms();
        let head = self.table.head(channel).await?;
        let Some(head) = head.filter(|head| head.epoch == before.epoch() && before.offset() <= head.last) else {
            return Ok(Batch::before(before, [], true, limit));
        };
        let log = LogName::new(channel, head.epoch);
        let enough = |top: &Top| top.messages(before.offset()).take(limit.get()).count() == limit.get();
        let top = self.top(&log, head.floor(seen), before.offset(), PAGE_SLOTS, enough).await?;
        let newest = top.newest(channel, &head, before.offset());
        if newest.is_empty() && top.slots.values().any(|slot| matches!(slot, Slot::Unknown { .. })) {
            tracing::error!(channel = channel.as_str(), %before, "an item below can't be read");
            return Err(StoreError::Corrupt);
        }
        Ok(Batch::before(before, newest, false, limit))
    }

    /// The cursor at which a reader begins, and the newest messages up to there, newest first.
    async fn end(
        &self,
        channel: &Channel,
        head: &Head,
        seen: u64,
        wanted: usize,
    ) -> Result<(u64, Vec<Arc<Message>>), StoreError> {
        let log = LogName::new(channel, head.epoch);
        let enough = |top: &Top| {
            let end = top.settled(head, seen).map(|settled| top.end(head, settled));
            end.is_some_and(|end| top.messages(end + 1).take(wanted).count() == wanted)
        };
        let first_page = if wanted == 0 { FIRST_PAGE_SLOTS } else { PAGE_SLOTS };
        let mut top = self.top(&log, head.floor(seen), head.last + 1, first_page, enough).await?;
        let settled = top.settled(head, seen).unwrap_or(top.bottom);
        let end = top.end(head, settled);
        let upper = (top.bottom + 1..=settled).rev().take(NEXT_PAGE_SLOTS);
        let old_holes: Vec<_> = upper.filter(|offset| !top.slots.contains_key(offset)).take(OLD_HOLES_MAX).collect();
        top.slots.extend(self.decide(&log, old_holes, head, seen).await?);
        let mut newest = top.newest(channel, head, end + 1);
        newest.truncate(wanted);
        Ok((end, newest))
    }

    /// Slots downward from `below`, with strong consistency, until there are enough or the others have expired.
    async fn top(
        &self,
        log: &LogName,
        floor: u64,
        mut below: u64,
        first_page: usize,
        enough: impl Fn(&Top) -> bool,
    ) -> Result<Top, TableError> {
        let mut top = Top { slots: BTreeMap::new(), bottom: floor };
        let mut limit = first_page;
        for _ in 0..PAGES_MAX {
            let page = self.table.query(log, Range::Below(below), Consistency::Strong, limit).await?;
            for (offset, slot) in page.slots {
                if offset <= floor || self.times().expired(&slot) {
                    return Ok(Top { bottom: offset.max(floor), ..top });
                }
                below = offset;
                top.slots.insert(offset, slot);
            }
            if !page.more {
                return Ok(Top { bottom: floor, ..top });
            }
            top.bottom = below - 1;
            if enough(&top) {
                break;
            }
            limit = NEXT_PAGE_SLOTS;
        }
        Ok(top)
    }
}

impl Top {
    /// The offset up to which nothing can be acknowledged any more, if these slots reach down to it.
    fn settled(&self, head: &Head, seen: u64) -> Option<u64> {
        let old = |time: u64| seen.saturating_sub(time) > SETTLED_MS;
        if old(head.time) {
            return Some(head.last);
        }
        // A filler may have an earlier time than that of its put, so only messages count.
        let telling = |slot: &Slot| !matches!(slot, Slot::Filler { .. }) && old(slot.time());
        self.slots.iter().rev().find(|(_, slot)| telling(slot)).map(|(offset, _)| *offset)
    }

    /// Just below the lowest hole above what is settled.
    fn end(&self, head: &Head, settled: u64) -> u64 {
        let hole = (settled + 1..=head.last).find(|offset| !self.slots.contains_key(offset));
        hole.map_or(head.last, |hole| hole - 1)
    }

    /// Messages below an offset, newest first. Those below an item that can't be read are left out: otherwise there
    /// would be a gap.
    fn messages(&self, below: u64) -> impl Iterator<Item = (u64, &Slot)> {
        let readable = self.slots.range(..below).rev().take_while(|(_, slot)| !matches!(slot, Slot::Unknown { .. }));
        readable.map(|(offset, slot)| (*offset, slot)).filter(|(_, slot)| matches!(slot, Slot::Message { .. }))
    }

    fn newest(&self, channel: &Channel, head: &Head, below: u64) -> Vec<Arc<Message>> {
        self.messages(below).filter_map(|(offset, slot)| message(channel, head.at(offset), slot)).collect()
    }
}
