//! The simulated table: what DynamoDB does, and everything that can go wrong between it and a process.

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
use tokio::time::{Instant, sleep};

use super::random::Random;
use crate::{
    item::{Head, LogName, Pointer, Slot},
    table::{Consistency, Moved, Page, Range, Table, TableError, Turn},
    wrong::Wrong,
};

/// How often each thing goes wrong, in a thousand requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) request_lost: u64,
    pub(super) response_lost: u64,
    pub(super) late: u64,
    pub(super) slow: u64,
    pub(super) throttled: u64,
    pub(super) stale: u64,
}

/// One table, shared by processes.
#[derive(Clone)]
pub(crate) struct SimulatedTable(Arc<World>);

struct World {
    /// The true time, by which items expire.
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    random: Random,
    faults: Faults,
    wrong: Option<Wrong>,
    items: Items,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Items {
    heads: HashMap<Channel, Head>,
    slots: BTreeMap<(LogName, u64), Stored<Slot>>,
    keys: HashMap<String, Stored<Pointer>>,
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

    /// Whether a replica that lags so much shows it.
    fn shown(&self, lag: Duration) -> bool {
        let then = clock::now() - lag;
        self.written <= then && self.deleted.is_none_or(|deleted| deleted > then)
    }
}

impl SimulatedTable {
    /// An empty table.
    pub(super) fn new(clock: Clock, random: Random, wrong: Option<Wrong>) -> Self {
        let (faults, items, counts) = Default::default();
        let state = Mutex::new(State { random, faults, wrong, items, counts });
        Self(Arc::new(World { clock, state }))
    }

    /// An empty table that nothing ever goes wrong with.
    pub(crate) fn faultless(clock: Clock) -> Self {
        Self::new(clock, Random::new(0), None)
    }

    /// Sets what goes wrong from now on.
    pub(super) fn set_faults(&self, faults: Faults) {
        self.0.state.lock().unwrap().faults = faults;
    }

    /// Counts something that happened.
    pub(super) fn count(&self, what: &'static str) {
        *self.0.state.lock().unwrap().counts.entry(what).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.state.lock().unwrap().counts.clone()
    }

    /// Deletes some of what has expired, in no order.
    pub(super) fn expire(&self) {
        let mut state = self.0.state.lock().unwrap();
        let State { random, items, counts, .. } = &mut *state;
        let seconds = self.0.clock.unix_ms() / 1000;
        let mut delete = |expires: u64, deleted: &mut Option<Instant>| {
            if expires < seconds && deleted.is_none() && random.chance(500) {
                *deleted = Some(clock::now());
                *counts.entry("item expired").or_default() += 1;
            }
        };
        for stored in items.slots.values_mut() {
            delete(stored.expires, &mut stored.deleted);
        }
        let mut keys: Vec<_> = items.keys.iter_mut().collect();
        keys.sort_by(|one, other| one.0.cmp(other.0));
        for (_, stored) in keys {
            delete(stored.expires, &mut stored.deleted);
        }
    }

    /// Somebody deletes the heads.
    pub(super) fn behead(&self) {
        self.0.state.lock().unwrap().items.heads.clear();
        self.count("head deleted");
    }

    /// Somebody makes the table anew.
    pub(super) fn clear(&self) {
        self.0.state.lock().unwrap().items = Items::default();
        self.count("table made anew");
    }

    /// Sends a request as the SDK does, up to three times, each given a second.
    async fn request<R, A>(&self, kind: &'static str, apply: A) -> Result<R, TableError>
    where
        A: Fn(&mut State) -> R + Send + Sync + Clone + 'static,
        R: Send,
    {
        const ATTEMPT: Duration = Duration::from_secs(1);
        let mut error = TableError::NoAnswer;
        self.count(kind);
        for attempt in 0..3 {
            let (fate, there, back) = {
                let mut state = self.0.state.lock().unwrap();
                let faults = state.faults;
                let random = &mut state.random;
                (faults.draw(random), random.duration_ms(1, 10), random.duration_ms(1, 10))
            };
            if attempt > 0 {
                self.count("tried again");
            }
            match fate {
                Fate::Answered => {
                    sleep(there).await;
                    let answer = self.apply(&apply);
                    sleep(back).await;
                    return Ok(answer);
                }
                Fate::Slow => {
                    self.count("slow");
                    sleep(there * 40).await;
                    let answer = self.apply(&apply);
                    sleep(back * 40).await;
                    return Ok(answer);
                }
                Fate::Throttled => {
                    self.count("throttled");
                    sleep(there + back).await;
                    error = TableError::Throttled;
                    continue;
                }
                Fate::RequestLost => self.count("request lost"),
                Fate::ResponseLost => {
                    self.count("response lost");
                    let (table, apply) = (self.clone(), apply.clone());
                    tokio::spawn(async move {
                        sleep(there).await;
                        table.apply(&apply);
                    });
                }
                Fate::Late => {
                    self.count("landed late");
                    let late = self.0.state.lock().unwrap().random.duration_ms(1, 60_000);
                    let (table, apply) = (self.clone(), apply.clone());
                    tokio::spawn(async move {
                        sleep(late).await;
                        table.apply(&apply);
                    });
                }
            }
            sleep(ATTEMPT).await;
            error = TableError::NoAnswer;
        }
        self.count("given up");
        Err(error)
    }

    fn apply<R>(&self, apply: &impl Fn(&mut State) -> R) -> R {
        apply(&mut self.0.state.lock().unwrap())
    }
}

/// What becomes of one try.
enum Fate {
    Answered,
    Slow,
    Throttled,
    RequestLost,
    ResponseLost,
    Late,
}

impl Faults {
    fn draw(self, random: &mut Random) -> Fate {
        let mut drawn = random.below(1000);
        for (likely, fate) in [
            (self.request_lost, Fate::RequestLost),
            (self.response_lost, Fate::ResponseLost),
            (self.late, Fate::Late),
            (self.slow, Fate::Slow),
            (self.throttled, Fate::Throttled),
        ] {
            if drawn < likely {
                return fate;
            }
            drawn -= likely;
        }
        Fate::Answered
    }
}

impl Table for SimulatedTable {
    async fn give_out(&self, channel: &Channel, turn: Turn, now: u64, quiet: u64) -> Result<Option<Head>, TableError> {
        let channel = channel.clone();
        self.request("give out", move |state| {
            let old = state.items.heads.get(&channel).copied();
            let runs_on = old.is_some_and(|head| head.time > quiet);
            let always = state.wrong == Some(Wrong::BaseUnconditionally);
            let head = match turn {
                Turn::RunOn if always => return None,
                Turn::RunOn => old.filter(|_| runs_on).map(|head| Head { last: head.last + 1, time: now, ..head })?,
                Turn::Begin if runs_on && !always => return None,
                Turn::Begin => {
                    let last = old.map_or(0, |head| head.last);
                    Head { epoch: old.map_or(now, |head| head.epoch), last: last + 1, time: now, base: last }
                }
            };
            state.items.heads.insert(channel.clone(), head);
            Some(head)
        })
        .await
    }

    async fn put_slot(
        &self,
        log: &LogName,
        offset: u64,
        slot: &Slot,
        expires: u64,
    ) -> Result<Option<Slot>, TableError> {
        let (place, slot) = ((log.clone(), offset), slot.clone());
        let kind = if matches!(slot, Slot::Filler { .. }) { "put filler" } else { "put message" };
        self.request(kind, move |state| {
            let old = state.items.slots.get(&place).filter(|stored| stored.is_there());
            if let Some(old) = old
                && state.wrong != Some(Wrong::WriteUnconditionally)
            {
                return Some(old.value.clone());
            }
            state.items.slots.insert(place.clone(), Stored::new(slot.clone(), expires));
            None
        })
        .await
    }

    async fn put_key(
        &self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> Result<Option<Pointer>, TableError> {
        let name = log.of_key(key);
        self.request("put key", move |state| {
            let old = state.items.keys.get(&name).filter(|stored| stored.is_there()).map(|stored| stored.value);
            if let Some(old) = old.filter(|old| old.time >= quiet) {
                return Some(old);
            }
            state.items.keys.insert(name.clone(), Stored::new(to, expires));
            None
        })
        .await
    }

    async fn move_key(
        &self,
        log: &LogName,
        key: &Key,
        from: u64,
        to: Pointer,
        expires: u64,
    ) -> Result<Moved, TableError> {
        let name = log.of_key(key);
        self.request("move key", move |state| {
            let old = state.items.keys.get(&name).filter(|stored| stored.is_there()).map(|stored| stored.value);
            match old {
                None => Moved::Gone,
                Some(old) if old.slot != from => Moved::Elsewhere(old),
                Some(_) => {
                    state.items.keys.insert(name.clone(), Stored::new(to, expires));
                    Moved::Done
                }
            }
        })
        .await
    }

    async fn query(
        &self,
        log: &LogName,
        range: Range,
        consistency: Consistency,
        limit: usize,
    ) -> Result<Page, TableError> {
        let log = log.clone();
        self.request("query", move |state| {
            let State { random, faults, items, counts, .. } = state;
            // Each item may come from another replica, so a stale answer is also a partial one, and goes back in time.
            let stale = consistency == Consistency::Eventual && random.chance(faults.stale);
            if stale {
                *counts.entry("stale query").or_default() += 1;
            }
            let mut shown = |stored: &Stored<Slot>| {
                let lag = if stale { random.duration_ms(0, 2_000) } else { Duration::ZERO };
                stored.shown(lag)
            };
            let found: Vec<_> = match range {
                Range::Above(offset) => items
                    .slots
                    .range((log.clone(), offset + 1)..=(log.clone(), u64::MAX))
                    .filter(|(_, stored)| shown(stored))
                    .map(|((_, offset), stored)| (*offset, stored.value.clone()))
                    .take(limit)
                    .collect(),
                Range::Below(offset) => items
                    .slots
                    .range((log.clone(), 0)..(log.clone(), offset))
                    .rev()
                    .filter(|(_, stored)| shown(stored))
                    .map(|((_, offset), stored)| (*offset, stored.value.clone()))
                    .take(limit)
                    .collect(),
            };
            // As DynamoDB does: who got as many as they wanted is not told that these were all.
            let more = found.len() == limit;
            Page { slots: found, more }
        })
        .await
    }

    async fn head(&self, channel: &Channel) -> Result<Option<Head>, TableError> {
        let channel = channel.clone();
        self.request("head", move |state| state.items.heads.get(&channel).copied()).await
    }
}
