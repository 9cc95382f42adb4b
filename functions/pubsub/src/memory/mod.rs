//! The store in memory.
//!
//! Its offsets are 1, 2, 3 … without gaps. An epoch is the millisecond in which a channel's log began; none is given
//! twice to one channel, so a cursor from before a restart is seen to be of another log. What is older than the
//! retention is let go when its log is next touched, and in a sweep over all logs once a minute.
//!
//! A full store takes what is new all the same. When it has its maximum of bytes or keys, the largest channels lose
//! their oldest messages, until they are as large as the next: whoever fills the store pays for it, and a quiet channel
//! keeps what it has. When it has its maximum of channels, a new one takes the place of the smallest that has been
//! silent for a minute and that nobody waits on: a stranger makes such channels by the thousand, and locks others out for
//! a minute at most. Whoever had not had such messages is told `missed`.

mod log;
#[cfg(test)]
mod tests;

use std::{
    collections::{BinaryHeap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use crate::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{Clock, millis},
    cursor::Cursor,
    limits::{CHANNEL_QUIET, Limits, SILENCE_MARGIN},
    message::{Draft, Key, Message},
    store::{Appended, Look, Pending, Start, Store, StoreError, Tail},
};
use log::{Entry, Load, Log, read_nothing};

/// All logs are swept so often while messages come.
const SWEEP_EVERY_MS: u64 = 60_000;

/// And at most so often when a maximum is reached, lest those who push against it keep the lock.
const SWEEP_WHEN_FULL_MS: u64 = 1_000;

/// When a maximum is reached, this part of it is made free at once: looking for what may go takes as long as there are
/// channels, and is not done for each message.
const PART_FREED: usize = 256;

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

    /// Whether a channel has a log.
    #[must_use]
    pub fn knows(&self, channel: &Channel) -> bool {
        self.state().logs.contains_key(channel)
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
        if state.is_full_for(channel, load, &self.limits) {
            state.sweep_after(SWEEP_WHEN_FULL_MS, now, horizon);
        }
        state.make_room(channel, load, &self.limits, now)?;
        Ok(state.push(channel, draft, key, load, now))
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
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Pending<'a, Appended> {
        Box::pin(async move { self.append_now(channel, draft, key) })
    }

    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Pending<'a, Batch> {
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
    fn next(&mut self) -> Pending<'_, Look> {
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

    /// Whether one more message of this load would exceed a maximum of the whole store.
    fn is_full_for(&self, channel: &Channel, load: Load, limits: &Limits) -> bool {
        let after = self.load.plus(load);
        let new_channel = !self.logs.contains_key(channel);
        after.bytes > limits.bytes_max
            || after.keys > limits.keys_max
            || (new_channel && self.logs.len() >= limits.channels_max)
    }

    /// Lets go of what must go for one more message of this load. Changes nothing when it can't come at all.
    fn make_room(&mut self, channel: &Channel, load: Load, limits: &Limits, now: u64) -> Result<(), StoreError> {
        if load.bytes > limits.channel_bytes_max.min(limits.bytes_max) {
            return Err(StoreError::Full("bytes in one channel"));
        }
        if !self.logs.contains_key(channel) && self.logs.len() >= limits.channels_max {
            self.forget_smallest(limits.channels_max, now)?;
        }
        if let Some(log) = self.logs.get_mut(channel) {
            self.load = self.load.minus(log.make_room(load, limits));
        }
        let freed = |max: usize, wanted: usize| max - wanted.max(max / PART_FREED);
        if self.load.bytes + load.bytes > limits.bytes_max {
            self.level(|load| load.bytes, freed(limits.bytes_max, load.bytes));
        }
        if self.load.keys + load.keys > limits.keys_max {
            self.level(|load| load.keys, freed(limits.keys_max, load.keys));
        }
        Ok(())
    }

    /// Takes the oldest messages of whichever channel is the largest, until all channels together are down to `target`.
    fn level(&mut self, size: fn(Load) -> usize, target: usize) {
        let sizes = self.logs.iter().map(|(channel, log)| (size(log.load), channel.clone()));
        let mut largest: BinaryHeap<_> = sizes.collect();
        while size(self.load) > target
            && let Some((_, channel)) = largest.pop()
        {
            if let Some(log) = self.logs.get_mut(&channel) {
                self.load = self.load.minus(log.pop());
                largest.push((size(log.load), channel));
            }
        }
    }

    /// Forgets the channels with the fewest messages, of these the longest silent, but none that somebody waits on or that
    /// was spoken in just now.
    fn forget_smallest(&mut self, channels_max: usize, now: u64) -> Result<(), StoreError> {
        let quiet_since = now.saturating_sub(millis(CHANNEL_QUIET));
        let deserted =
            self.logs.iter().filter(|(channel, log)| log.spoken_ms <= quiet_since && !self.bells.contains_key(channel));
        let mut smallest: Vec<_> =
            deserted.map(|(channel, log)| (log.entries.len(), log.spoken_ms, channel.clone())).collect();
        if smallest.is_empty() {
            return Err(StoreError::Full("channels"));
        }
        let count = (channels_max / PART_FREED).clamp(1, smallest.len());
        smallest.select_nth_unstable(count - 1);
        for (_, _, channel) in smallest.into_iter().take(count) {
            if let Some(log) = self.logs.remove(&channel) {
                self.load = self.load.minus(log.load);
                self.forgotten_epoch = self.forgotten_epoch.max(log.epoch);
            }
        }
        Ok(())
    }

    fn push(&mut self, channel: &Channel, draft: Draft, key: Option<Key>, load: Load, now: u64) -> Appended {
        let first_epoch = now.max(self.forgotten_epoch + 1);
        let log = self.logs.entry(channel.clone()).or_insert_with(|| Log::new(first_epoch));
        let id = Cursor::new(log.epoch, log.last() + 1);
        if let Some(key) = &key {
            log.keys.insert(key.clone(), id.offset());
        }
        log.entries.push_back(Entry { message: Arc::new(Message::new(id, channel.clone(), draft, now)), key, load });
        log.load = log.load.plus(load);
        log.spoken_ms = now;
        self.load = self.load.plus(load);
        if let Some(bell) = self.bells.get(channel) {
            bell.send_replace(());
        }
        Appended { id, repeated: false }
    }
}
