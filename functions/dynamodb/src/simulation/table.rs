//! The simulated table: what DynamoDB does with each request that reaches it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub::{
    channel::Channel,
    clock::{self, Clock},
    message::Key,
};
use tokio::time::Instant;

use super::random::Random;
use crate::{
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
    table::{Consistency, CountUp, Moved, Page, Range, Table, TableError},
};

/// One table, shared by processes.
#[derive(Clone)]
pub(crate) struct SimulatedTable(Arc<World>);

struct World {
    /// The true time, by which items expire and signatures are checked.
    clock: Clock,
    begun_ms: u64,
    state: Mutex<State>,
}

/// Its items.
pub(super) struct State {
    pub(super) random: Random,
    /// How many of a thousand eventually consistent queries are stale.
    pub(super) stale: u64,
    /// The most slots in one query: what 1 MB holds.
    pub(super) page_max: usize,
    heads: HashMap<Channel, Head>,
    slots: BTreeMap<(LogName, u64), Stored<Slot>>,
    keys: BTreeMap<String, Stored<Pointer>>,
    /// When each slot was written, by log and offset, in the time since the beginning.
    written: BTreeMap<(String, u64), Duration>,
    counts: BTreeMap<&'static str, u64>,
}

struct Stored<T> {
    value: T,
    expires: u64,
    written: Instant,
    deleted: Option<Instant>,
}

impl<T> Stored<T> {
    fn new(value: T, expires: u64) -> Self {
        Self { value, expires, written: clock::now(), deleted: None }
    }

    fn is_there(&self) -> bool {
        self.deleted.is_none()
    }

    /// Whether a replica with this lag has it.
    fn shown(&self, lag: Duration) -> bool {
        let then = clock::now() - lag;
        self.written <= then && self.deleted.is_none_or(|deleted| deleted > then)
    }
}

impl SimulatedTable {
    /// An empty table.
    pub(super) fn new(clock: Clock, random: Random) -> Self {
        let (heads, slots, keys, written, counts) = Default::default();
        let state = State { random, stale: 0, page_max: usize::MAX, heads, slots, keys, written, counts };
        Self(Arc::new(World { begun_ms: clock.unix_ms(), clock, state: Mutex::new(state) }))
    }

    /// An empty table that nothing ever goes wrong with.
    pub(crate) fn faultless(clock: Clock) -> Self {
        Self::new(clock, Random::new(0))
    }

    /// Does something to the table.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.0.state.lock().unwrap())
    }

    /// The true time, in milliseconds since 1970.
    pub(super) fn unix_ms(&self) -> u64 {
        self.0.clock.unix_ms()
    }

    /// The true time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_millis(self.unix_ms() - self.0.begun_ms)
    }

    /// Counts an event.
    pub(super) fn count(&self, what: &'static str) {
        self.with(|state| *state.counts.entry(what).or_default() += 1);
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.with(|state| state.counts.clone())
    }

    /// How many slots and keys there are.
    pub(crate) fn items(&self) -> usize {
        self.with(|state| {
            let slots = state.slots.values().filter(|stored| stored.is_there()).count();
            slots + state.keys.values().filter(|stored| stored.is_there()).count()
        })
    }

    /// How often an event has happened since the last call.
    pub(crate) fn take_count(&self, what: &'static str) -> u64 {
        self.with(|state| state.counts.remove(what).unwrap_or_default())
    }

    /// When each slot of a channel was written, by epoch and offset.
    pub(super) fn written(&self, channel: &Channel) -> BTreeMap<(u64, u64), Duration> {
        let of_channel = |((log, offset), written): (&(String, u64), &Duration)| {
            let epoch = log.strip_prefix(channel.as_str())?.strip_prefix('@')?.parse().ok()?;
            Some(((epoch, *offset), *written))
        };
        self.with(|state| state.written.iter().filter_map(of_channel).collect())
    }

    /// Deletes some expired items, in no order.
    pub(crate) fn expire(&self) {
        let seconds = self.unix_ms() / 1000;
        let deleted = self.with(|state| {
            let State { random, slots, keys, .. } = state;
            let mut expired = 0;
            let mut delete = |expires: u64, deleted: &mut Option<Instant>| {
                if expires < seconds && deleted.is_none() && random.chance(500) {
                    *deleted = Some(clock::now());
                    expired += 1;
                }
            };
            slots.values_mut().for_each(|stored| delete(stored.expires, &mut stored.deleted));
            keys.values_mut().for_each(|stored| delete(stored.expires, &mut stored.deleted));
            expired
        });
        (0..deleted).for_each(|_| self.count("item expired"));
    }

    /// Deletes the heads.
    pub(crate) fn behead(&self) {
        self.with(|state| state.heads.clear());
        self.count("head deleted");
    }

    /// Makes the table anew.
    pub(crate) fn clear(&self) {
        self.with(|state| {
            state.heads.clear();
            state.slots.clear();
            state.keys.clear();
        });
        self.count("table made anew");
    }

    pub(crate) fn put_slot_now(&self, log: &LogName, offset: u64, slot: &Slot, expires: u64) -> Option<Slot> {
        let (place, elapsed) = ((log.clone(), offset), self.elapsed());
        self.with(|state| {
            if let Some(old) = state.slots.get(&place).filter(|stored| stored.is_there()) {
                return Some(old.value.clone());
            }
            state.overwrite(log, offset, slot, expires, elapsed);
            None
        })
    }
}

impl State {
    /// Writes a slot whatever it holds.
    pub(super) fn overwrite(&mut self, log: &LogName, offset: u64, slot: &Slot, expires: u64, elapsed: Duration) {
        self.slots.insert((log.clone(), offset), Stored::new(slot.clone(), expires));
        self.written.entry((log.as_str().to_owned(), offset)).or_insert(elapsed);
    }

    pub(super) fn count_up(&mut self, channel: &Channel, terms: Terms) -> CountUp {
        let old = self.heads.get(channel).copied();
        match old.filter(|head| terms.allow(head)) {
            None => CountUp::Refused(old),
            Some(head) => {
                let head = Head { last: head.last + 1, time: terms.now, ..head };
                self.heads.insert(channel.clone(), head);
                CountUp::Done(head)
            }
        }
    }

    pub(super) fn put_head(&mut self, channel: &Channel, old: Option<Head>, new: Head) -> bool {
        let known = |head: Head| (head.epoch, head.last);
        let free = self.heads.get(channel).copied().map(known) == old.map(known);
        if free {
            self.heads.insert(channel.clone(), new);
        }
        free
    }

    pub(super) fn put_key(
        &mut self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> Option<Pointer> {
        let name = log.of_key(key);
        let old = self.keys.get(&name).filter(|stored| stored.is_there()).map(|stored| stored.value);
        if let Some(old) = old.filter(|old| old.time >= quiet) {
            return Some(old);
        }
        self.keys.insert(name, Stored::new(to, expires));
        None
    }

    pub(super) fn move_key(&mut self, log: &LogName, key: &Key, from: u64, to: Pointer, expires: u64) -> Moved {
        let name = log.of_key(key);
        let old = self.keys.get(&name).filter(|stored| stored.is_there()).map(|stored| stored.value);
        match old {
            None => Moved::Gone,
            Some(old) if old.slot != from => Moved::Elsewhere(old),
            Some(_) => {
                self.keys.insert(name, Stored::new(to, expires));
                Moved::Done
            }
        }
    }

    /// Each item may come from another replica, so a stale answer is also a partial one, and goes back in time.
    pub(super) fn query(&mut self, log: &LogName, range: Range, limit: usize, stale: bool) -> Page {
        let Self { random, slots, page_max, .. } = self;
        let mut shown = |stored: &Stored<Slot>| {
            let lag = if stale { random.duration_ms(0, 2_000) } else { Duration::ZERO };
            stored.shown(lag)
        };
        let limit = limit.min(*page_max);
        let (from, to) = match range {
            Range::Above(offset) => (offset + 1, u64::MAX),
            Range::Below(offset) => (0, offset.saturating_sub(1)),
        };
        let found = slots.range((log.clone(), from)..=(log.clone(), to));
        let slot = |((_, offset), stored): (&(LogName, u64), &Stored<Slot>)| (*offset, stored.value.clone());
        let slots: Vec<_> = match range {
            Range::Above(_) => found.filter(|(_, stored)| shown(stored)).map(slot).take(limit).collect(),
            Range::Below(_) => found.rev().filter(|(_, stored)| shown(stored)).map(slot).take(limit).collect(),
        };
        // As DynamoDB does: a full page does not say that it was the last one.
        let more = slots.len() == limit;
        Page { slots, more }
    }

    pub(super) fn head(&self, channel: &Channel) -> Option<Head> {
        self.heads.get(channel).copied()
    }
}

impl Terms {
    /// The condition that DynamoDB evaluates.
    pub(crate) fn allow(&self, head: &Head) -> bool {
        let raised = head.retention >= self.retention || head.kept < head.retention;
        head.time > self.quiet && head.time < self.ahead && head.due > self.now && raised
    }
}

/// Without a line, every request is answered at once.
impl Table for SimulatedTable {
    async fn count_up(&self, channel: &Channel, terms: Terms) -> Result<CountUp, TableError> {
        Ok(self.with(|state| state.count_up(channel, terms)))
    }

    async fn put_head(&self, channel: &Channel, old: Option<Head>, new: Head) -> Result<bool, TableError> {
        Ok(self.with(|state| state.put_head(channel, old, new)))
    }

    async fn put_slot(
        &self,
        log: &LogName,
        offset: u64,
        slot: &Slot,
        expires: u64,
    ) -> Result<Option<Slot>, TableError> {
        Ok(self.put_slot_now(log, offset, slot, expires))
    }

    async fn put_key(
        &self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> Result<Option<Pointer>, TableError> {
        Ok(self.with(|state| state.put_key(log, key, to, quiet, expires)))
    }

    async fn move_key(
        &self,
        log: &LogName,
        key: &Key,
        from: u64,
        to: Pointer,
        expires: u64,
    ) -> Result<Moved, TableError> {
        Ok(self.with(|state| state.move_key(log, key, from, to, expires)))
    }

    async fn query(&self, log: &LogName, range: Range, _: Consistency, limit: usize) -> Result<Page, TableError> {
        Ok(self.with(|state| state.query(log, range, limit, false)))
    }

    async fn head(&self, channel: &Channel) -> Result<Option<Head>, TableError> {
        Ok(self.with(|state| state.head(channel)))
    }
}
