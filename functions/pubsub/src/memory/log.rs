//! The log of one channel.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    batch::{Batch, Limit},
    cursor::Cursor,
    limits::{Limits, MESSAGE_OVERHEAD_BYTES},
    message::{Draft, Key, Message},
    store::Start,
};

/// What a log or a message counts for in the maxima of the whole store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) bytes: usize,
    pub(super) keys: usize,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) epoch: u64,
    /// The offset just below the oldest entry.
    pub(super) base: u64,
    pub(super) entries: VecDeque<Entry>,
    /// The offset of each key's message. A key is kept as long as its message.
    pub(super) keys: HashMap<Key, u64>,
    /// The load of all its entries.
    pub(super) load: Load,
    pub(super) spoken_ms: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) key: Option<Key>,
    pub(super) load: Load,
}

impl Log {
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, base: 0, entries: VecDeque::new(), keys: HashMap::new(), load: Load::default(), spoken_ms: 0 }
    }

    /// The last offset given out.
    pub(super) fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn at(&self, offset: u64) -> Cursor {
        Cursor::new(self.epoch, offset)
    }

    /// The message that was appended with a key, while it is retained.
    pub(super) fn with_key(&self, key: &Key) -> Option<&Message> {
        let index = usize::try_from(self.keys.get(key)? - self.base - 1).ok()?;
        self.entries.get(index).map(|entry| &*entry.message)
    }

    /// Removes the oldest entry, and its key.
    pub(super) fn pop(&mut self) -> Load {
        let Some(entry) = self.entries.pop_front() else {
            return Load::default();
        };
        self.base += 1;
        self.load = self.load.minus(entry.load);
        if let Some(key) = &entry.key {
            self.keys.remove(key);
        }
        // A log that was large once does not keep its memory: there can be thousands.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(2 * self.entries.len());
        }
        if self.keys.len() < self.keys.capacity() / 4 {
            self.keys.shrink_to(2 * self.keys.len());
        }
        entry.load
    }

    /// Removes entries that are as old as the horizon, or older.
    pub(super) fn expire(&mut self, horizon: u64) -> Load {
        let mut freed = Load::default();
        while self.entries.front().is_some_and(|oldest| oldest.message.unix_ms() <= horizon) {
            freed = freed.plus(self.pop());
        }
        freed
    }

    /// Removes the oldest entries, as many as needed for one more of this load.
    pub(super) fn make_room(&mut self, load: Load, limits: &Limits) -> Load {
        let mut freed = Load::default();
        while !self.entries.is_empty()
            && (self.entries.len() >= limits.channel_messages_max
                || self.load.bytes + load.bytes > limits.channel_bytes_max)
        {
            freed = freed.plus(self.pop());
        }
        freed
    }

    pub(super) fn read(&self, start: Start, limit: Limit) -> Batch {
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

    /// Whether a cursor was never given out in this log. Offset 0 was: every log begins there.
    fn is_foreign(&self, cursor: Cursor) -> bool {
        cursor != Cursor::ORIGIN && (cursor.epoch() != self.epoch || cursor.offset() > self.last())
    }

    /// What is above offset `from`, which is not below the base, for a reader at `cursor`.
    fn after(&self, cursor: Cursor, from: u64, missed: bool, limit: Limit) -> Batch {
        let skipped = usize::try_from(from - self.base).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(skipped);
        let messages = entries.map(|entry| Arc::clone(&entry.message));
        Batch::new(cursor, messages, self.at(self.last()), missed, limit)
    }
}

/// Reads a channel that has no log: a reader with a cursor of an earlier one has missed messages.
pub(super) fn read_nothing(start: Start) -> Batch {
    let (after, cursor) = match start {
        Start::Before(cursor) => (cursor, cursor),
        Start::After(cursor) => (cursor, Cursor::ORIGIN),
        Start::Earliest | Start::Latest | Start::Last(_) => (Cursor::ORIGIN, Cursor::ORIGIN),
    };
    Batch::new(after, [], cursor, after != Cursor::ORIGIN, Limit::MAX)
}

impl Load {
    pub(super) fn of(draft: &Draft, key: Option<&Key>) -> Self {
        let nick = draft.nick.as_ref().map_or(0, |nick| nick.as_str().len());
        // A key is stored twice: with its message and in the map.
        let key_bytes = key.map_or(0, |key| 2 * key.as_str().len());
        Self {
            bytes: draft.text.as_str().len() + nick + key_bytes + MESSAGE_OVERHEAD_BYTES,
            keys: usize::from(key.is_some()),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, keys: self.keys + other.keys }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self { bytes: self.bytes - other.bytes, keys: self.keys - other.keys }
    }
}
