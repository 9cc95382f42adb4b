//! Tables that lie: each breaks one thing that the protocol depends on, and the simulation must notice it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use pubsub::{channel::Channel, message::Key};

use super::line::Line;
use crate::{
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
    table::{Consistency, CountUp, Moved, Page, Range, Table, TableError},
};

/// One lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// A query shows a filler in each hole.
    HolesAreFillers,
    /// The same for queries downward, so that the end of a log is the last offset given out.
    TheEndIsDecided,
    /// A slot is written whatever it holds.
    SlotsAreOverwritten,
    /// A put never returns what the slot holds: each is said to have succeeded.
    EveryPutSucceeds,
    /// A message whose put was not answered is said to have met a filler.
    NoAnswerIsAFiller,
    /// A filler is said to be written, and is not.
    FillersAreNotWritten,
    /// A filler is said to be written whatever the slot holds.
    FillersAlwaysSucceed,
    /// A head is shown as it was when it was last read.
    HeadsAreStale,
    /// A head is shown as it was when it was first read.
    HeadsNeverChange,
    /// A head is shown as if nothing had ever expired.
    NothingExpired,
    /// Each offset given out makes everything below it expire.
    EverythingExpired,
    /// Strongly consistent queries are eventually consistent.
    NothingIsStrong,
    /// A strongly consistent query that finds nothing shows a filler at the end.
    NothingIsTheEnd,
    /// A key is new each time.
    KeysAreForgotten,
    /// A key is moved whatever it points at.
    KeysAreMovedBlindly,
    /// Slots are deleted as soon as they expire.
    SlotsDieYoung,
    /// Fillers are deleted at once.
    FillersDieAtOnce,
    /// An offset is given out by any clock.
    AnyClockIsRight,
}

impl Lie {
    pub(super) const ALL: [Self; 18] = [
        Self::HolesAreFillers,
        Self::TheEndIsDecided,
        Self::SlotsAreOverwritten,
        Self::EveryPutSucceeds,
        Self::NoAnswerIsAFiller,
        Self::FillersAreNotWritten,
        Self::FillersAlwaysSucceed,
        Self::HeadsAreStale,
        Self::HeadsNeverChange,
        Self::NothingExpired,
        Self::EverythingExpired,
        Self::NothingIsStrong,
        Self::NothingIsTheEnd,
        Self::KeysAreForgotten,
        Self::KeysAreMovedBlindly,
        Self::SlotsDieYoung,
        Self::FillersDieAtOnce,
        Self::AnyClockIsRight,
    ];
}

/// A line that may lie.
#[derive(Clone)]
pub(super) struct Liar {
    line: Line,
    lie: Option<Lie>,
    /// Heads that it has returned.
    heads: Arc<Mutex<HashMap<Channel, Option<Head>>>>,
}

impl Liar {
    pub(super) fn new(line: Line, lie: Option<Lie>) -> Self {
        Self { line, lie, heads: Arc::default() }
    }

    fn tells(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    /// These slots with a filler in each hole below the last and above `from`.
    fn without_holes(mut page: Page, from: u64, to: u64) -> Page {
        let slots: BTreeMap<_, _> = page.slots.into_iter().collect();
        let time = slots.last_key_value().map_or(0, |(_, slot)| slot.time());
        let filled =
            (from + 1..=to).map(|offset| (offset, slots.get(&offset).cloned().unwrap_or(Slot::Filler { time })));
        page.slots = filled.collect();
        page
    }
}

impl Table for Liar {
    async fn count_up(&self, channel: &Channel, mut terms: Terms) -> Result<CountUp, TableError> {
        if self.tells(Lie::AnyClockIsRight) {
            terms.ahead = u64::MAX / 4;
        }
        if self.tells(Lie::EverythingExpired) {
            return Ok(CountUp::Refused(self.line.head(channel).await?));
        }
        self.line.count_up(channel, terms).await
    }

    async fn put_head(&self, channel: &Channel, old: Option<Head>, mut new: Head) -> Result<bool, TableError> {
        if self.tells(Lie::EverythingExpired) {
            new.base = new.last - 1;
        }
        self.line.put_head(channel, old, new).await
    }

    async fn put_slot(
        &self,
        log: &LogName,
        offset: u64,
        slot: &Slot,
        mut expires: u64,
    ) -> Result<Option<Slot>, TableError> {
        let filler = matches!(slot, Slot::Filler { .. });
        if self.tells(Lie::SlotsDieYoung) {
            // After the retention, instead of more than five times that.
            expires = slot.time() / 1000 + (expires - slot.time() / 1000) / 5 - 3_600;
        } else if filler && self.tells(Lie::FillersDieAtOnce) {
            expires = 0;
        } else if filler && self.tells(Lie::FillersAreNotWritten) {
            return Ok(None);
        }
        let put = self.line.put_slot(log, offset, slot, expires).await;
        match self.lie {
            Some(Lie::NoAnswerIsAFiller) if !filler && put.is_err() => Ok(Some(Slot::Filler { time: slot.time() })),
            Some(Lie::EveryPutSucceeds) => put.map(|_| None),
            Some(Lie::FillersAlwaysSucceed) if filler => put.map(|_| None),
            Some(Lie::SlotsAreOverwritten) if matches!(put, Ok(Some(_))) => {
                let table = self.line.table();
                let elapsed = table.elapsed();
                table.with(|state| state.overwrite(log, offset, slot, expires, elapsed));
                Ok(None)
            }
            _ => put,
        }
    }

    async fn put_key(
        &self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> Result<Option<Pointer>, TableError> {
        let put = self.line.put_key(log, key, to, quiet, expires).await;
        if self.tells(Lie::KeysAreForgotten) { put.map(|_| None) } else { put }
    }

    async fn move_key(
        &self,
        log: &LogName,
        key: &Key,
        from: u64,
        to: Pointer,
        expires: u64,
    ) -> Result<Moved, TableError> {
        let moved = self.line.move_key(log, key, from, to, expires).await;
        if self.tells(Lie::KeysAreMovedBlindly) { moved.map(|_| Moved::Done) } else { moved }
    }

    async fn query(
        &self,
        log: &LogName,
        range: Range,
        consistency: Consistency,
        limit: usize,
    ) -> Result<Page, TableError> {
        let weak = self.tells(Lie::NothingIsStrong);
        let consistency = if weak { Consistency::Eventual } else { consistency };
        let mut page = self.line.query(log, range, consistency, limit).await?;
        match (self.lie, range) {
            (Some(Lie::HolesAreFillers), Range::Above(from)) => {
                let to = page.slots.last().map_or(from, |(last, _)| *last);
                page = Self::without_holes(page, from, to);
            }
            (Some(Lie::TheEndIsDecided), Range::Below(to)) => {
                let from = page.slots.last().map_or(0, |(first, _)| first - 1);
                page = Self::without_holes(page, from, to.saturating_sub(1));
                page.slots.reverse();
            }
            (Some(Lie::NothingIsTheEnd), Range::Above(_))
                if consistency == Consistency::Strong && page.slots.is_empty() =>
            {
                let name = log.as_str().split('@').next().unwrap();
                let head = self.line.table().with(|state| state.head(&Channel::parse(name).unwrap()));
                let last = head.map(|head| head.last);
                let time = self.line.table().unix_ms();
                page.slots.extend(last.map(|last| (last, Slot::Filler { time })));
            }
            _ => {}
        }
        Ok(page)
    }

    async fn head(&self, channel: &Channel) -> Result<Option<Head>, TableError> {
        let head = self.line.head(channel).await?;
        let mut shown = self.heads.lock().unwrap();
        Ok(match self.lie {
            Some(Lie::HeadsAreStale) => shown.insert(channel.clone(), head).unwrap_or(head),
            Some(Lie::HeadsNeverChange) => *shown.entry(channel.clone()).or_insert(head),
            Some(Lie::NothingExpired) => {
                head.map(|head| Head { base: 0, mark: 0, due: u64::MAX / 4, time: u64::MAX / 4, ..head })
            }
            _ => head,
        })
    }
}
