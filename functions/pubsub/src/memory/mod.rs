//! The memory store.
//!
//! Offsets are 1, 2, 3 … without gaps. An epoch is the millisecond in which a channel's log began. No channel gets the
//! same epoch twice, so a cursor from before a restart is recognised as one of another log. Messages older than the
//! retention are dropped when their log is next used, and in a sweep over all logs once a minute.
//!
//! A full store still takes messages. At its maximum of bytes or keys, the largest channels lose their oldest messages,
//! until they are as large as the next: whoever fills the store pays for it, and a quiet channel keeps its messages. At
//! its maximum of channels, the smallest are forgotten: of those that were silent for a minute and that nobody waits on.
//! A stranger who makes channels by the thousand locks others out for a minute at most. Clients that had not received a
//! dropped message are told `missed`.

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

/// How often all logs are swept while messages come.
const SWEEP_EVERY_MS: u64 = 60_000;

/// When the store is full, it is swept at most this often, so that refused publishers can't monopolise the lock.
const SWEEP_WHEN_FULL_MS: u64 = 1_000;

/// When a maximum is reached, this part of it is freed at once: to find what may go takes time in proportion to the
/// channels, so it is not done for each message.
const PART_FREED: usize = 256;

/// A tail looks this often even without a notification, to show that it is alive.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Logs that last as long as the process.
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
    /// One for each channel that a tail waits on, whether or not it has a log yet.
    bells: HashMap<Channel, watch::Sender<()>>,
    /// The load of all logs.
    load: Load,
    /// The highest epoch of a forgotten log. If its channel is used again, the new log needs another one.
    forgotten_epoch: u64,
    swept_ms: u64,
}

impl Memory {
    /// An empty store that keeps messages for `retention`, within `limits`.
    #[must_use]
    pub fn new(clock: Clock, retention: Duration, limits: Limits) -> Self {
        Self { clock, retention_ms: millis(retention), limits, state: Mutex::default() }
    }

    /// While this lock is held, nothing waits, and no code of a caller runs.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, and the horizon: messages of that time or older have expired.
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

    fn read_now(&self, channel: &Channel, start: Start, limit: Limit) -> Batch {
        let (_, horizon) = self.now_and_horizon();
        let mut state = self.state();
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
        Box::pin(async move { Ok(self.read_now(channel, start, limit)) })
    }

    fn tail<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Box<dyn Tail + 'a> {
        let bell = self.state().bells.entry(channel.clone()).or_default().subscribe();
        Box::new(Waiter { memory: self, channel, at: after, bell: Some(bell) })
    }
}

/// A tail of a channel. The channel's bell exists as long as a tail does.
struct Waiter<'a> {
    memory: &'a Memory,
    channel: &'a Channel,
    at: Cursor,
    bell: Option<watch::Receiver<()>>,
}

impl Waiter<'_> {
    fn look(&mut self) -> Look {
        let batch = self.memory.read_now(self.channel, Start::After(self.at), Limit::MAX);
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
    /// Drops the expired messages of one log.
    fn expire(&mut self, channel: &Channel, horizon: u64) {
        if let Some(log) = self.logs.get_mut(channel) {
            self.load = self.load.minus(log.expire(horizon));
        }
    }

    /// Drops all expired messages, and logs that are silent and that nobody waits on, if the last sweep was long enough
    /// ago.
    fn sweep_after(&mut self, interval_ms: u64, now: u64, horizon: u64) {
        // Also when the clock was set back.
        if now.abs_diff(self.swept_ms) < interval_ms {
            return;
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
    }

    /// The message that was appended with this key, if there is one.
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
        after.bytes > limits.bytes_max
            || after.keys > limits.keys_max
            || (self.logs.len() >= limits.channels_max && !self.logs.contains_key(channel))
    }

    /// Drops what must go for one more message of this load. Drops nothing when that would not be enough.
    fn make_room(&mut self, channel: &Channel, load: Load, limits: &Limits, now: u64) -> Result<(), StoreError> {
        if load.bytes > limits.channel_bytes_max.min(limits.bytes_max) {
            return Err(StoreError::Full("bytes in one channel"));
        }
        if self.logs.len() >= limits.channels_max && !self.logs.contains_key(channel) {
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

    /// Drops the oldest messages of whichever channel is the largest, until all channels together are down to `target`.
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

    /// Forgets the channels with the fewest messages, and of these the longest silent ones; but none that somebody
    /// waits on or published to just now.
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
