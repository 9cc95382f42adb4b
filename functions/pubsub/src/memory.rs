//! The store in memory.
//!
//! Its offsets are 1, 2, 3 … without gaps. An epoch is the millisecond in which a channel's log began; none is given
//! twice to one channel, so a cursor from before a restart is seen to be of another log. What is older than the
//! retention is let go when its log is next touched, and in a sweep over all logs once a minute.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use crate::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{Clock, millis},
    cursor::Cursor,
    limits::{Limits, MESSAGE_OVERHEAD_BYTES, SILENCE_MARGIN},
    message::{Draft, Key, Message},
    store::{Appended, Look, Reply, Start, Store, StoreError, Tail},
};

/// All logs are swept so often while messages come.
const SWEEP_EVERY_MS: u64 = 60_000;

/// And at most so often when a maximum is reached, lest those who push against it keep the lock.
const SWEEP_WHEN_FULL_MS: u64 = 1_000;

/// A tail looks so often though nobody rang, and so says that it is alive.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Logs that live as long as the process.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    retention_ms: u64,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: HashMap<Channel, Log>,
    /// One for each channel that somebody waits on, whether or not it has a log yet.
    bells: HashMap<Channel, watch::Sender<()>>,
    /// What all logs together weigh.
    load: Load,
    /// The highest epoch of a forgotten log: a channel that begins anew must get another one.
    forgotten_epoch: u64,
    swept_ms: u64,
}

/// What counts against the maxima of the whole store.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    bytes: usize,
    keys: usize,
}

#[derive(Debug)]
struct Log {
    epoch: u64,
    /// The offset just below the oldest entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// Where the message of a key stands. A key lives as long as its message.
    keys: HashMap<Key, u64>,
    bytes: usize,
    spoken_ms: u64,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    key: Option<Key>,
    load: Load,
}

impl Memory {
    /// An empty store that keeps messages for `retention`, within `limits`.
    #[must_use]
    pub fn new(clock: Clock, retention: Duration, limits: Limits) -> Self {
        Self { clock, retention_ms: millis(retention), limits, state: Mutex::default() }
    }

    /// Nothing under this lock waits or runs a caller's code.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, and the time up to which messages have expired.
    fn now_and_horizon(&self) -> (u64, u64) {
        let now = self.clock.unix_ms();
        (now, now.saturating_sub(self.retention_ms))
    }

    fn append_now(&self, channel: &Channel, draft: Draft, key: Option<Key>) -> Result<Appended, StoreError> {
        let (now, horizon) = self.now_and_horizon();
        let mut state = self.state();
        state.sweep_after(SWEEP_EVERY_MS, now, horizon);
        state.expire(channel, horizon);
        if let Some(appended) = state.repeated(channel, &draft, key.as_ref())? {
            return Ok(appended);
        }
        let load = Load::of(&draft, key.as_ref());
        let excess = match state.excess(channel, load, &self.limits) {
            Err(StoreError::Full(_)) if state.sweep_after(SWEEP_WHEN_FULL_MS, now, horizon) => {
                state.excess(channel, load, &self.limits)?
            }
            excess => excess?,
        };
        Ok(state.push(channel, draft, key, load, excess, now))
    }

    fn read_now(&self, state: &mut State, channel: &Channel, start: Start, limit: Limit) -> Batch {
        let (_, horizon) = self.now_and_horizon();
        state.expire(channel, horizon);
        match state.logs.get(channel) {
            Some(log) => log.read(start, limit),
            None => read_nothing(start),
        }
    }
}

impl Store for Memory {
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Reply<'a, Appended> {
        Box::pin(async move { self.append_now(channel, draft, key) })
    }

    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Reply<'a, Batch> {
        Box::pin(async move { Ok(self.read_now(&mut self.state(), channel, start, limit)) })
    }

    fn tail<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Box<dyn Tail + 'a> {
        let bell = self.state().bells.entry(channel.clone()).or_default().subscribe();
        Box::new(Waiter { memory: self, channel, at: after, bell: Some(bell) })
    }
}

/// Somebody who waits on a channel. Its bell is there as long as one of them is.
struct Waiter<'a> {
    memory: &'a Memory,
    channel: &'a Channel,
    at: Cursor,
    bell: Option<watch::Receiver<()>>,
}

impl Waiter<'_> {
    fn look(&mut self) -> Look {
        let batch = self.memory.read_now(&mut self.memory.state(), self.channel, Start::After(self.at), Limit::MAX);
        self.at = batch.cursor();
        Look { batch, closely: true }
    }
}

impl Tail for Waiter<'_> {
    fn next(&mut self) -> Reply<'_, Look> {
        Box::pin(async {
            let look = self.look();
            if !look.batch.is_empty() {
                return Ok(look);
            }
            if let Some(bell) = &mut self.bell {
                let _ = timeout(LOOK_EVERY, bell.changed()).await;
            }
            Ok(self.look())
        })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        self.bell = None;
        let deserted = |bell: &watch::Sender<()>| bell.receiver_count() == 0;
        if state.bells.get(self.channel).is_some_and(deserted) {
            state.bells.remove(self.channel);
        }
    }
}

impl State {
    /// Lets go of what has expired in one log.
    fn expire(&mut self, channel: &Channel, horizon: u64) {
        if let Some(log) = self.logs.get_mut(channel) {
            self.load = self.load.minus(log.expire(horizon));
        }
    }

    /// Lets go of all that has expired, and of logs that nobody speaks in or waits on, if the last sweep is so long
    /// ago. Says whether it did.
    fn sweep_after(&mut self, interval_ms: u64, now: u64, horizon: u64) -> bool {
        // Also when the clock was set back.
        if now.abs_diff(self.swept_ms) < interval_ms {
            return false;
        }
        self.swept_ms = now;
        let silent_since = horizon.saturating_sub(millis(SILENCE_MARGIN));
        self.logs.retain(|channel, log| {
            self.load = self.load.minus(log.expire(horizon));
            let kept = log.spoken_ms > silent_since || self.bells.contains_key(channel);
            if !kept {
                self.forgotten_epoch = self.forgotten_epoch.max(log.epoch);
            }
            kept
        });
        true
    }

    /// Where the message of this key stands, if it was appended before.
    fn repeated(&self, channel: &Channel, draft: &Draft, key: Option<&Key>) -> Result<Option<Appended>, StoreError> {
        let Some(message) = self.logs.get(channel).and_then(|log| log.with_key(key?)) else {
            return Ok(None);
        };
        if !message.says(draft) {
            return Err(StoreError::KeyReused);
        }
        Ok(Some(Appended { id: message.id(), repeated: true }))
    }

    /// How many of the log's oldest entries must go for one more of this load, if it may come at all.
    fn excess(&self, channel: &Channel, load: Load, limits: &Limits) -> Result<usize, StoreError> {
        if load.bytes > limits.channel_bytes_max {
            return Err(StoreError::Full("bytes in one channel"));
        }
        let log = self.logs.get(channel);
        if log.is_none() && self.logs.len() >= limits.channels_max {
            return Err(StoreError::Full("channels"));
        }
        let (count, freed) = log.map_or_else(Default::default, |log| log.excess(load, limits));
        let after = self.load.plus(load).minus(freed);
        if after.bytes > limits.bytes_max {
            Err(StoreError::Full("bytes in all channels"))
        } else if after.keys > limits.keys_max {
            Err(StoreError::Full("keys"))
        } else {
            Ok(count)
        }
    }

    fn push(
        &mut self,
        channel: &Channel,
        draft: Draft,
        key: Option<Key>,
        load: Load,
        excess: usize,
        now: u64,
    ) -> Appended {
        let first_epoch = now.max(self.forgotten_epoch + 1);
        let log = self.logs.entry(channel.clone()).or_insert_with(|| Log::new(first_epoch));
        for _ in 0..excess {
            self.load = self.load.minus(log.pop());
        }
        let id = Cursor::new(log.epoch, log.last() + 1);
        if let Some(key) = &key {
            log.keys.insert(key.clone(), id.offset());
        }
        log.entries.push_back(Entry { message: Arc::new(Message::new(id, channel.clone(), draft, now)), key, load });
        log.bytes += load.bytes;
        log.spoken_ms = now;
        self.load = self.load.plus(load);
        if let Some(bell) = self.bells.get(channel) {
            bell.send_replace(());
        }
        Appended { id, repeated: false }
    }
}

impl Log {
    fn new(epoch: u64) -> Self {
        Self { epoch, base: 0, entries: VecDeque::new(), keys: HashMap::new(), bytes: 0, spoken_ms: 0 }
    }

    /// The newest offset given out.
    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn at(&self, offset: u64) -> Cursor {
        Cursor::new(self.epoch, offset)
    }

    /// The message that was appended with a key, while it is retained.
    fn with_key(&self, key: &Key) -> Option<&Message> {
        let index = usize::try_from(self.keys.get(key)? - self.base - 1).ok()?;
        self.entries.get(index).map(|entry| &*entry.message)
    }

    /// Removes the oldest entry, and its key.
    fn pop(&mut self) -> Load {
        let Some(entry) = self.entries.pop_front() else {
            return Load::default();
        };
        self.base += 1;
        self.bytes -= entry.load.bytes;
        if let Some(key) = &entry.key {
            self.keys.remove(key);
        }
        entry.load
    }

    /// Removes what is as old as the horizon, or older.
    fn expire(&mut self, horizon: u64) -> Load {
        let mut freed = Load::default();
        while self.entries.front().is_some_and(|oldest| oldest.message.unix_ms() <= horizon) {
            freed = freed.plus(self.pop());
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
            self.keys.shrink_to_fit();
        }
        freed
    }

    /// How many of the oldest entries must go for one more of this load, and what that frees.
    fn excess(&self, load: Load, limits: &Limits) -> (usize, Load) {
        let mut freed = Load::default();
        for (count, entry) in self.entries.iter().enumerate() {
            let room = self.entries.len() - count < limits.channel_messages_max
                && self.bytes - freed.bytes + load.bytes <= limits.channel_bytes_max;
            if room {
                return (count, freed);
            }
            freed = freed.plus(entry.load);
        }
        (self.entries.len(), freed)
    }

    fn read(&self, start: Start, limit: Limit) -> Batch {
        let last = self.last();
        match start {
            Start::Earliest => self.after(self.at(self.base), self.base, false, limit),
            Start::Latest => Batch::empty(self.at(last)),
            Start::Last(count) => {
                let from = last.saturating_sub(count.get() as u64).max(self.base);
                self.after(self.at(from), from, false, limit)
            }
            Start::After(cursor) => {
                let foreign = self.is_foreign(cursor);
                let from = if foreign { 0 } else { cursor.offset() };
                let missed = foreign || from < self.base;
                self.after(cursor, from.max(self.base), missed, limit)
            }
            Start::Before(cursor) => {
                let foreign = self.is_foreign(cursor);
                let below = if foreign { 0 } else { cursor.offset().saturating_sub(1) };
                let count = usize::try_from(below.saturating_sub(self.base)).unwrap_or(usize::MAX);
                let oldest_first = self.entries.iter().take(count);
                let newest_first = oldest_first.rev().map(|entry| Arc::clone(&entry.message));
                Batch::before(cursor, newest_first, foreign, limit)
            }
        }
    }

    /// Whether a cursor was never given out in this log. Every log begins at the origin.
    fn is_foreign(&self, cursor: Cursor) -> bool {
        cursor != Cursor::ORIGIN && (cursor.epoch() != self.epoch || cursor.offset() > self.last())
    }

    /// What stands above offset `from`, which is not below the base, for somebody who stood at `cursor`.
    fn after(&self, cursor: Cursor, from: u64, missed: bool, limit: Limit) -> Batch {
        let skipped = usize::try_from(from - self.base).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(skipped);
        let messages = entries.map(|entry| Arc::clone(&entry.message));
        Batch::new(cursor, messages, self.at(self.last()), missed, limit)
    }
}

/// Reads a channel that has no log: whoever stood in one has lost it.
fn read_nothing(start: Start) -> Batch {
    let (after, cursor) = match start {
        Start::Before(cursor) => (cursor, cursor),
        Start::After(cursor) => (cursor, Cursor::ORIGIN),
        Start::Earliest | Start::Latest | Start::Last(_) => (Cursor::ORIGIN, Cursor::ORIGIN),
    };
    Batch::new(after, [], cursor, after != Cursor::ORIGIN, Limit::MAX)
}

impl Load {
    fn of(draft: &Draft, key: Option<&Key>) -> Self {
        let nick = draft.nick.as_ref().map_or(0, |nick| nick.as_str().len());
        // A key stands twice: with its message and in the map.
        let key_bytes = key.map_or(0, |key| 2 * key.as_str().len());
        Self {
            bytes: draft.text.as_str().len() + nick + key_bytes + MESSAGE_OVERHEAD_BYTES,
            keys: usize::from(key.is_some()),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, keys: self.keys + other.keys }
    }

    fn minus(self, other: Self) -> Self {
        Self { bytes: self.bytes - other.bytes, keys: self.keys - other.keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Text;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Bench {
        memory: Memory,
        clock: Clock,
    }

    fn bench(limits: Limits) -> Bench {
        let clock = Clock::starting_at(1_000_000_000_000);
        Bench { memory: Memory::new(clock.clone(), 24 * HOUR, limits), clock }
    }

    impl Bench {
        fn append(&self, channel: &str, text: &str, key: Option<&str>) -> Result<Cursor, StoreError> {
            let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
            let key = key.map(|key| Key::parse(key.as_bytes()).unwrap());
            let channel = Channel::parse(channel).unwrap();
            self.memory.append_now(&channel, draft, key).map(|appended| appended.id)
        }

        fn read(&self, channel: &str, start: Start) -> Batch {
            let channel = Channel::parse(channel).unwrap();
            self.memory.read_now(&mut self.memory.state(), &channel, start, Limit::MAX)
        }

        fn texts(&self, channel: &str) -> Vec<String> {
            let batch = self.read(channel, Start::Earliest);
            batch.messages().iter().map(|message| message.text().as_str().to_owned()).collect()
        }

        /// What is counted, counted anew.
        fn check_load(&self) {
            let state = self.memory.state();
            let entries = || state.logs.values().flat_map(|log| &log.entries);
            assert_eq!(state.load.bytes, entries().map(|entry| entry.load.bytes).sum::<usize>());
            assert_eq!(state.load.keys, entries().filter(|entry| entry.key.is_some()).count());
            assert_eq!(state.load.keys, state.logs.values().map(|log| log.keys.len()).sum::<usize>());
        }
    }

    #[tokio::test]
    async fn the_oldest_go_when_a_channel_is_full_and_that_shows_as_missed() {
        let bench = bench(Limits { channel_messages_max: 3, ..Limits::default() });
        let ids: Vec<_> = ["a", "b", "c", "d"].map(|text| bench.append("x", text, Some(text)).unwrap()).into();
        assert_eq!(bench.texts("x"), ["b", "c", "d"]);
        assert!(bench.read("x", Start::After(Cursor::new(ids[0].epoch(), 0))).missed());
        assert!(!bench.read("x", Start::After(ids[0])).missed());
        bench.check_load();
    }

    #[tokio::test]
    async fn a_channel_has_at_most_so_many_bytes() {
        let room_for_two = 2 * (MESSAGE_OVERHEAD_BYTES + 10);
        let bench = bench(Limits { channel_bytes_max: room_for_two, ..Limits::default() });
        for text in ["0123456789", "abcdefghij", "ABCDEFGHIJ"] {
            bench.append("x", text, None).unwrap();
        }
        assert_eq!(bench.texts("x"), ["abcdefghij", "ABCDEFGHIJ"]);
        bench.append("x", "as long as the two before it", None).unwrap();
        assert_eq!(bench.texts("x").len(), 1);
        let too_large = bench.append("x", &"x".repeat(room_for_two), None);
        assert_eq!(too_large, Err(StoreError::Full("bytes in one channel")));
        assert_eq!(bench.texts("x").len(), 1, "what is refused changes nothing");
        bench.check_load();
    }

    #[tokio::test]
    async fn a_full_store_refuses_and_nobody_elses_messages_go() {
        let limits = Limits { bytes_max: 3 * (MESSAGE_OVERHEAD_BYTES + 1), channels_max: 2, ..Limits::default() };
        let bench = bench(limits);
        bench.append("x", "a", None).unwrap();
        bench.append("y", "b", None).unwrap();
        assert_eq!(bench.append("z", "c", None), Err(StoreError::Full("channels")));
        bench.append("y", "c", None).unwrap();
        assert_eq!(bench.append("y", "d", None), Err(StoreError::Full("bytes in all channels")));
        assert_eq!((bench.texts("x"), bench.texts("y")), (vec!["a".into()], vec!["b".into(), "c".into()]));
        bench.clock.advance(24 * HOUR);
        bench.append("y", "d", None).expect("what has expired in other channels makes room");
        bench.check_load();
    }

    #[tokio::test]
    async fn keys_have_a_maximum_and_go_with_their_messages() {
        let bench = bench(Limits { keys_max: 2, ..Limits::default() });
        let first = bench.append("x", "a", Some("k1")).unwrap();
        bench.append("y", "b", Some("k1")).expect("a key belongs to its channel");
        assert_eq!(bench.append("x", "c", Some("k2")), Err(StoreError::Full("keys")));
        assert_eq!(bench.append("x", "a", Some("k1")), Ok(first));
        assert_eq!(bench.append("x", "b", Some("k1")), Err(StoreError::KeyReused));
        bench.clock.advance(24 * HOUR);
        let again = bench.append("x", "a", Some("k1")).unwrap();
        assert_ne!(again, first, "its message has expired");
        bench.check_load();
    }

    #[tokio::test]
    async fn a_silent_channel_is_forgotten_and_begins_another_log() {
        let bench = bench(Limits { channels_max: 1, ..Limits::default() });
        let first = bench.append("x", "a", None).unwrap();
        bench.clock.advance(25 * HOUR);
        bench.append("y", "b", None).expect("x has made room");
        let lost = bench.read("x", Start::After(first));
        assert!(lost.missed() && lost.cursor() == Cursor::ORIGIN);
        let Clock::Virtual { unix_ms, .. } = &bench.clock else { unreachable!() };
        unix_ms.fetch_sub(25 * 3_600_000, std::sync::atomic::Ordering::Relaxed);
        bench.memory.state().logs.clear();
        let second = bench.append("x", "c", None).unwrap();
        assert!(second.epoch() > first.epoch(), "also with the clock set back, no epoch comes twice");
    }

    #[tokio::test]
    async fn a_channel_that_somebody_waits_on_is_not_forgotten() {
        let bench = bench(Limits::default());
        let channel = Channel::parse("x").unwrap();
        let first = bench.append("x", "a", None).unwrap();
        let mut waiting = bench.memory.tail(&channel, first);
        let polled = timeout(Duration::from_millis(1), waiting.next()).await;
        assert!(polled.is_err(), "nothing has come");
        bench.clock.advance(26 * HOUR);
        bench.append("y", "b", None).unwrap();
        let second = bench.append("x", "c", None).unwrap();
        assert_eq!(second.epoch(), first.epoch());
        let batch = waiting.next().await.unwrap().batch;
        drop(waiting);
        assert!(!batch.missed() && batch.cursor() == second);
        assert!(bench.memory.state().bells.is_empty(), "the last waiter has taken its bell");
    }
}
