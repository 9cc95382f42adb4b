//! Following a log: the one poller that a channel has in a process.

use std::{collections::BTreeMap, time::Duration};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock,
    cursor::Cursor,
    store::{Look, Pending, StoreError, Tail},
};
use tokio::time::{Instant, sleep};

use crate::{
    DynamoDb,
    item::LogName,
    look::{PAGE_SLOTS, batch},
    table::{Consistency, Range, Table, TableError},
    walk::HOLES_MAX,
};

/// A hole that this reader has seen for this long is decided: about a hundred times what a put takes.
const GRACE: Duration = Duration::from_millis(750);

/// Each reader waits up to this much longer, at random. Otherwise fifty readers that see a hole at the same time would
/// all decide it; now most of them find it decided.
const GRACE_JITTER_MS: u64 = 250;

/// The pause between two queries while there are new messages, or a hole. Most of the cost of a hold is its duration:
/// asking often is cheap, and asking only once a second would save a tenth.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// After new messages, more are likely: for this long the pause stays short.
const LIVELY: Duration = Duration::from_secs(1);

/// The pause on an idle channel.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The least pauses for each channel of a poll, if all holds wait on that many: while there are messages, and on an idle
/// channel. With 20 channels the latter is 1.5 s, so that a hold on them costs less than five holds on one.
const PAUSE_MIN_EACH: Duration = Duration::from_millis(15);
const PAUSE_MAX_EACH: Duration = Duration::from_millis(75);

/// The pause while the table fails.
const PAUSE_FAILING: Duration = Duration::from_secs(1);

/// How often the log is looked at closely while there are no new messages: to see whether it is still the same log, and
/// whether an eventually consistent query missed something. A hold may end empty only if this has happened since it
/// began, so it must be less than the 25 s of a hold.
const CLOSELY_EVERY: Duration = Duration::from_secs(20);

/// While a hole stops a reader, how often it looks at the pages above, so that all holes there become ripe together and
/// not one after the other.
const ABOVE_EVERY: Duration = Duration::from_millis(200);

/// How many pages: two seconds of messages, at 1,000 a second.
const PAGES_ABOVE: usize = 20;

/// Follows one log by queries.
pub(crate) struct LogTail<'a, T> {
    store: &'a DynamoDb<T>,
    channel: &'a Channel,
    at: Cursor,
    /// The end of the last batch that had something. The next one begins there, for holds that have that batch.
    told: Cursor,
    /// When each hole above the position becomes ripe. Kept from one batch to the next: when a message below it is
    /// delivered, a hole stays as old as it is.
    ripens: BTreeMap<u64, Instant>,
    pause: Duration,
    /// The least number of channels that a hold here waits on.
    channels: usize,
    failing: bool,
    lively_until: Instant,
    closely_at: Instant,
    above_at: Instant,
    /// When the last look ended, in milliseconds since 1970. The wall clock shows whether this process was frozen
    /// since.
    looked_ms: u64,
}

impl<T: Table> Tail for LogTail<'_, T> {
    fn next(&mut self) -> Pending<'_, Look> {
        Box::pin(async {
            loop {
                let longest = if self.failing { PAUSE_FAILING } else { self.pauses().1 };
                sleep(self.pause.min(longest)).await;
                let store = self.store;
                match store.in_time(self.look()).await {
                    Err(StoreError::Corrupt) => return Err(StoreError::Corrupt),
                    Err(_) => self.failed(),
                    Ok((found, closely)) => return Ok(Look { batch: self.came(&found), closely }),
                }
            }
        })
    }

    fn pace(&mut self, channels: usize) {
        self.channels = channels;
    }
}

impl<'a, T: Table> LogTail<'a, T> {
    pub(crate) fn new(store: &'a DynamoDb<T>, channel: &'a Channel, after: Cursor) -> Self {
        let now = clock::now();
        Self {
            store,
            channel,
            at: after,
            told: after,
            ripens: BTreeMap::new(),
            pause: Duration::ZERO,
            channels: 1,
            failing: false,
            lively_until: now + LIVELY,
            closely_at: now + CLOSELY_EVERY,
            above_at: now,
            looked_ms: store.clock.unix_ms(),
        }
    }

    /// One look, mostly one query. Also returns whether it was a close one.
    async fn look(&mut self) -> Result<(Batch, bool), StoreError> {
        let now = clock::now();
        let slept = self.store.believed(self.looked_ms).is_err();
        if self.failing || slept || self.at == Cursor::ORIGIN || now >= self.closely_at {
            return Ok((self.look_closely(now).await?, true));
        }
        let (walk, more_above) = self.store.glance(self.channel, self.at).await?;
        self.note(&walk.holes);
        if let Some(above) = more_above
            && !walk.holes.is_empty()
            && now >= self.above_at
        {
            self.note_above(above).await?;
        }
        let ripe = walk.aged > 0 || walk.holes.iter().any(|hole| self.is_ripe(*hole, now));
        if walk.missed || walk.barred || (walk.messages.is_empty() && ripe) {
            return Ok((self.look_closely(now).await?, true));
        }
        Ok((batch(self.at, self.at.epoch(), walk, Limit::MAX), false))
    }

    /// The head is read before any hole is decided: this process may have been frozen for days, and what looks like a
    /// hole may have expired and been deleted.
    async fn look_closely(&mut self, now: Instant) -> Result<Batch, StoreError> {
        let found = self.store.look_closely(self.channel, self.at, Limit::MAX, |hole| self.is_ripe(hole, now)).await?;
        self.closely_at = now + CLOSELY_EVERY;
        Ok(found)
    }

    /// Records the holes in the pages above an offset.
    async fn note_above(&mut self, mut above: u64) -> Result<(), TableError> {
        self.above_at = clock::now() + ABOVE_EVERY;
        let log = LogName::new(self.channel, self.at.epoch());
        for _ in 0..PAGES_ABOVE {
            let range = Range::Above(above);
            let page = self.store.table.query(&log, range, Consistency::Eventual, PAGE_SLOTS).await?;
            for (offset, _) in &page.slots {
                self.note(&(above + 1..*offset).take(HOLES_MAX).collect::<Vec<_>>());
                above = *offset;
            }
            if !page.more {
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, holes: &[u64]) {
        let (now, unix_ms) = (clock::now(), self.store.clock.unix_ms());
        for hole in holes {
            if self.ripens.len() >= HOLES_MAX {
                return;
            }
            // Readers see a hole at different moments, so that moment is random enough.
            let jitter = unix_ms.wrapping_add(*hole).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            self.ripens.entry(*hole).or_insert(now + GRACE + Duration::from_millis(jitter % GRACE_JITTER_MS));
        }
    }

    fn is_ripe(&self, hole: u64, now: Instant) -> bool {
        self.ripens.get(&hole).is_some_and(|ripens| *ripens <= now)
    }

    /// The shortest and the longest pause for these holds.
    fn pauses(&self) -> (Duration, Duration) {
        let channels = u32::try_from(self.channels).unwrap_or(u32::MAX);
        (PAUSE_MIN.max(PAUSE_MIN_EACH * channels), PAUSE_MAX.max(PAUSE_MAX_EACH * channels))
    }

    fn failed(&mut self) {
        self.failing = true;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_FAILING);
    }

    /// Moves on by what a look has found. Returns what there is to deliver.
    fn came(&mut self, found: &Batch) -> Batch {
        let now = clock::now();
        self.failing = false;
        self.looked_ms = self.store.clock.unix_ms();
        if found.cursor().epoch() == self.at.epoch() {
            self.ripens = self.ripens.split_off(&(found.cursor().offset() + 1));
        } else {
            self.ripens.clear();
        }
        self.at = found.cursor();
        let after = self.told;
        if !found.is_empty() {
            self.told = found.cursor();
            self.lively_until = now + LIVELY;
            self.closely_at = now + CLOSELY_EVERY;
        }
        let (shortest, longest) = self.pauses();
        self.pause = if !self.ripens.is_empty() || now < self.lively_until {
            shortest
        } else {
            (self.pause * 3 / 2).clamp(shortest, longest)
        };
        Batch::new(after, found.messages().iter().cloned(), self.told, found.missed(), Limit::MAX)
    }
}
