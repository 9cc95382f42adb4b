//! The connection between one process and the table, and everything that can go wrong there.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub::{
    channel::Channel,
    clock::{self, Clock},
    message::Key,
};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    random::Random,
    table::{SimulatedTable, State},
};
use crate::{
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
    table::{Consistency, CountUp, Moved, Page, Range, Table, TableError},
};

/// The timeout of one try.
const ATTEMPT: Duration = Duration::from_secs(1);

/// DynamoDB refuses a signature whose time is further off than this.
const SIGNATURE_MS: u64 = 15 * 60 * 1000;

/// How often each thing goes wrong, in a thousand requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) request_lost: u64,
    pub(super) response_lost: u64,
    pub(super) late: u64,
    pub(super) slow: u64,
    pub(super) throttled: u64,
}

/// The connection of one process.
#[derive(Clone)]
pub(crate) struct Line(Arc<Ends>);

struct Ends {
    table: SimulatedTable,
    clock: Clock,
    state: Mutex<Condition>,
}

#[derive(Default)]
struct Condition {
    faults: Faults,
    /// Until then nothing gets through.
    cut_until: Option<Instant>,
    /// Until then the process is frozen: it neither sends nor receives.
    frozen_until: Option<Instant>,
    /// The spans in which something went wrong, in time since the beginning. One that goes on has no end yet.
    trouble: Vec<(Duration, Duration)>,
}

impl Line {
    /// A line of a process with this clock.
    pub(crate) fn new(table: SimulatedTable, clock: Clock) -> Self {
        Self(Arc::new(Ends { table, clock, state: Mutex::default() }))
    }

    fn condition<R>(&self, act: impl FnOnce(&mut Condition) -> R) -> R {
        act(&mut self.0.state.lock().unwrap())
    }

    /// The table at its other end.
    pub(super) fn table(&self) -> &SimulatedTable {
        &self.0.table
    }

    /// Sets what goes wrong from now on.
    pub(super) fn set_faults(&self, faults: Faults) {
        self.condition(|condition| condition.faults = faults);
    }

    /// Cuts the process off for so long.
    pub(crate) fn cut(&self, span: Duration) {
        self.table().count("cut off");
        self.condition(|condition| condition.cut_until = Some(clock::now() + span));
    }

    /// Freezes the process for so long, by its own clock.
    pub(crate) fn freeze(&self, span: Duration) {
        self.table().count("frozen");
        self.condition(|condition| condition.frozen_until = Some(clock::now() + span));
    }

    /// Records that something went wrong from then until now.
    pub(super) fn trouble_since(&self, from: Duration) {
        let to = self.table().elapsed();
        self.condition(|condition| condition.trouble.push((from, to)));
    }

    /// Waits while something is wrong.
    async fn trouble_until(&self, end: Instant) {
        let begun = self.table().elapsed();
        let number = self.condition(|condition| {
            condition.trouble.push((begun, Duration::MAX));
            condition.trouble.len() - 1
        });
        let ended = Ended { line: self, number };
        sleep_until(end).await;
        drop(ended);
    }

    /// How long something went wrong within a span.
    pub(super) fn trouble_within(&self, from: Duration, to: Duration) -> Duration {
        let overlap = |(begun, ended): &(Duration, Duration)| (*ended).min(to).saturating_sub((*begun).max(from));
        self.condition(|condition| condition.trouble.iter().map(overlap).sum())
    }

    /// Sends a request as the SDK does, up to three times, each given a second and signed anew.
    async fn request<R, A>(&self, kind: &'static str, apply: A) -> Result<R, TableError>
    where
        A: Fn(&SimulatedTable) -> R + Send + Sync + Clone + 'static,
        R: Send,
    {
        let table = self.table();
        let mut error = TableError::NoAnswer;
        table.count(kind);
        for _ in 0..3 {
            self.awake().await;
            let begun = table.elapsed();
            let (faults, cut) = self.condition(|condition| (condition.faults, condition.cut_until));
            let (fate, there, back) = table.with(|state| {
                let random = &mut state.random;
                (faults.draw(random), random.duration_ms(1, 10), random.duration_ms(1, 10))
            });
            let fate = if cut.is_some_and(|until| clock::now() < until) { Fate::RequestLost } else { fate };
            let lands = Lands { table: table.clone(), apply: apply.clone(), signed: self.0.clock.unix_ms() };
            match fate {
                Fate::Answered | Fate::Slow => {
                    let times = if matches!(fate, Fate::Slow) { 40 } else { 1 };
                    sleep(there * times).await;
                    let answer = lands.now();
                    sleep(back * times).await;
                    self.awake().await;
                    if times > 1 || answer.is_none() {
                        table.count(if answer.is_none() { "clock refused" } else { "slow" });
                        self.trouble_since(begun);
                    }
                    return answer.ok_or(TableError::NoAnswer);
                }
                Fate::Throttled => {
                    table.count("throttled");
                    sleep(there + back).await;
                    self.trouble_since(begun);
                    error = TableError::Throttled;
                    continue;
                }
                Fate::RequestLost => table.count("request lost"),
                Fate::ResponseLost => {
                    table.count("response lost");
                    lands.after(there);
                }
                Fate::Late => {
                    table.count("landed late");
                    lands.after(table.with(|state| state.random.duration_ms(1, 60_000)));
                }
            }
            self.trouble_until(clock::now() + ATTEMPT).await;
            error = TableError::NoAnswer;
        }
        table.count("given up");
        // The caller pauses before it asks again.
        let now = table.elapsed();
        self.condition(|condition| condition.trouble.push((now, now + ATTEMPT)));
        Err(error)
    }

    /// Returns when the process is not frozen.
    async fn awake(&self) {
        while let Some(until) = self.condition(|condition| condition.frozen_until)
            && clock::now() < until
        {
            self.trouble_until(until).await;
        }
    }
}

/// Records the end of a fault, also when the request was dropped.
struct Ended<'a> {
    line: &'a Line,
    number: usize,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let now = self.line.table().elapsed();
        self.line.condition(|condition| condition.trouble[self.number].1 = now);
    }
}

/// A try under way.
struct Lands<A> {
    table: SimulatedTable,
    apply: A,
    signed: u64,
}

impl<A> Lands<A> {
    /// Performs it on the table, unless the signature is refused.
    fn now<R>(&self) -> Option<R>
    where
        A: Fn(&SimulatedTable) -> R,
    {
        let fresh = self.table.unix_ms().abs_diff(self.signed) <= SIGNATURE_MS;
        fresh.then(|| (self.apply)(&self.table))
    }

    fn after<R>(self, delay: Duration)
    where
        A: Fn(&SimulatedTable) -> R + Send + 'static,
    {
        tokio::spawn(async move {
            sleep(delay).await;
            self.now();
        });
    }
}

/// The fate of one try.
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

impl Table for Line {
    async fn count_up(&self, channel: &Channel, terms: Terms) -> Result<CountUp, TableError> {
        let channel = channel.clone();
        self.request("count up", move |table| table.with(|state| state.count_up(&channel, terms))).await
    }

    async fn put_head(&self, channel: &Channel, old: Option<Head>, new: Head) -> Result<bool, TableError> {
        let channel = channel.clone();
        self.request("put head", move |table| table.with(|state| state.put_head(&channel, old, new))).await
    }

    async fn put_slot(
        &self,
        log: &LogName,
        offset: u64,
        slot: &Slot,
        expires: u64,
    ) -> Result<Option<Slot>, TableError> {
        let (log, slot) = (log.clone(), slot.clone());
        let kind = if matches!(slot, Slot::Filler { .. }) { "put filler" } else { "put message" };
        self.request(kind, move |table| table.put_slot_now(&log, offset, &slot, expires)).await
    }

    async fn put_key(
        &self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> Result<Option<Pointer>, TableError> {
        let (log, key) = (log.clone(), key.clone());
        let put = move |state: &mut State| state.put_key(&log, &key, to, quiet, expires);
        self.request("put key", move |table| table.with(&put)).await
    }

    async fn move_key(
        &self,
        log: &LogName,
        key: &Key,
        from: u64,
        to: Pointer,
        expires: u64,
    ) -> Result<Moved, TableError> {
        let (log, key) = (log.clone(), key.clone());
        let moved = move |state: &mut State| state.move_key(&log, &key, from, to, expires);
        self.request("move key", move |table| table.with(&moved)).await
    }

    async fn query(
        &self,
        log: &LogName,
        range: Range,
        consistency: Consistency,
        limit: usize,
    ) -> Result<Page, TableError> {
        let (log, begun) = (log.clone(), self.table().elapsed());
        let query = move |state: &mut State| {
            let stale = consistency == Consistency::Eventual && state.stale > 0;
            let stale = stale && state.random.below(1000) < state.stale;
            (state.query(&log, range, limit, stale), stale)
        };
        let (page, stale) = self.request("query", move |table| table.with(&query)).await?;
        if stale {
            self.table().count("stale query");
            // The caller sees new messages only when it asks again.
            self.trouble_since(begun.saturating_sub(Duration::from_millis(300)));
        }
        if page.more && page.slots.len() < limit {
            self.table().count("page cut short");
        }
        Ok(page)
    }

    async fn head(&self, channel: &Channel) -> Result<Option<Head>, TableError> {
        let channel = channel.clone();
        self.request("head", move |table| table.with(|state| state.head(&channel))).await
    }
}
