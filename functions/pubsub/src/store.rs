//! What a log is, whoever keeps it.
//!
//! # What every store promises
//!
//! 1. **Durable.** What `append` returned is in the log for the retention.
//! 2. **One order.** Everybody reads the same messages in the same order. An append that begins after another one
//!    returned stands after it.
//! 3. **No skipping.** Whoever was given a cursor was given every retained message between it and the cursor that
//!    they began with, or `missed`.
//! 4. **Once per key.** The same key on one channel appends once while its message is retained.
//! 5. **Progress.** Nobody's crash stops anybody else.
//!
//! Every future may be dropped at any await: what it waited for may have happened or not, and nothing stays behind.

use std::pin::Pin;

use crate::{
    batch::{Batch, Limit},
    channel::Channel,
    cursor::Cursor,
    message::{Draft, Key},
};

/// A store's answer to come. Boxed, so that whoever uses a store is a plain type and can't name it.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The logs of all channels.
pub trait Store: Send + Sync + 'static {
    /// Appends, and says where once it is durable. Dropped midway, the message may or may not be in the log.
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Pending<'a, Appended>;

    /// What is there now, possibly nothing; always carries a cursor; never waits for news.
    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Pending<'a, Batch>;

    /// Goes along a log from a cursor on. How it hears of news is the store's own affair: memory is told, DynamoDB is
    /// asked.
    fn tail<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Box<dyn Tail + 'a>;
}

/// A reader that stays with one log and keeps what it has learnt from one look to the next.
pub trait Tail: Send {
    /// What stands after the last batch: as soon as there is something (messages, or `missed`), or nothing, after a
    /// second or so in which the log was looked at. A look that fails is tried again until one succeeds, so a tail that
    /// is silent for longer is cut off from its log. It fails only with [`StoreError::Corrupt`].
    ///
    /// May be dropped at any await and asked again.
    fn next(&mut self) -> Pending<'_, Look>;

    /// Everybody who waits here waits on so many channels at least. A store that has to ask may ask each of many less
    /// often, so that a poll of twenty channels does not cost as much as twenty polls.
    fn pace(&mut self, _channels: usize) {}
}

/// What one look has shown.
#[derive(Debug)]
pub struct Look {
    /// What is new, possibly nothing.
    pub batch: Batch,
    /// Whether the look could not miss anything that was there when it began. A store may look less closely most of the
    /// time, but must look closely often enough that each hold of the usual length sees it once: every 20 s.
    pub closely: bool,
}

/// Where a message stands that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub id: Cursor,
    /// Whether an earlier append with the same key had put it there.
    pub repeated: bool,
}

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message retained.
    Earliest,
    /// After the newest: only what comes from now on.
    Latest,
    /// So many messages before the end.
    Last(Limit),
    /// What stands before a position, the newest of it. The batch ends there; it is `missed` only when the position
    /// is none of this log's.
    Before(Cursor),
    /// What stands after a position.
    After(Cursor),
}

impl Start {
    /// The cursor that it is after, if it is one that the client was given.
    #[must_use]
    pub fn cursor(self) -> Option<Cursor> {
        match self {
            Self::After(cursor) => Some(cursor),
            _ => None,
        }
    }
}

/// Why a store did not do as asked, and what the caller may assume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is too busy. The message is not in the log.
    #[error("the store is busy")]
    Busy,
    /// It did not answer. An append may have landed, or there may be no table.
    #[error("the store does not answer")]
    NoAnswer,
    /// The key belongs to a message with another nick or text.
    #[error("the key was used for another message")]
    KeyReused,
    /// Something has reached its maximum. The message is not in the log.
    #[error("the store has reached its maximum of {0}")]
    Full(&'static str),
    /// There is something in the log that this version can't read.
    #[error("the log has an item that can't be read")]
    Corrupt,
}
