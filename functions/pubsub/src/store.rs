//! What a log is, in whichever store.
//!
//! # What every store promises
//!
//! 1. **Durable.** What `append` returned is in the log for the retention.
//! 2. **One order.** Everybody reads the same messages in the same order. If an append begins after another one has
//!    returned, its message comes after that one's.
//! 3. **No skipping.** A reader that was given a cursor was given every retained message between the cursor where it
//!    began and this one, or `missed`.
//! 4. **Once per key.** The same key on one channel appends once while its message is retained.
//! 5. **Progress.** No process that crashes stops another one.
//!
//! Every future may be dropped at any await. What it was doing may have happened or not, and nothing is left behind.

use std::pin::Pin;

use crate::{
    batch::{Batch, Limit},
    channel::Channel,
    cursor::Cursor,
    message::{Draft, Key},
};

/// A store's future answer. It is boxed, so that types that use a store need no type parameter for it.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The logs of all channels.
pub trait Store: Send + Sync + 'static {
    /// Appends a message, and returns its cursor once it is durable. If the future is dropped, the message may be in
    /// the log or not.
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Pending<'a, Appended>;

    /// What is in the log now, possibly nothing. Always has a cursor, and never waits for new messages.
    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Pending<'a, Batch>;

    /// Follows a log from a cursor on. How it learns of new messages is up to the store: memory is notified, DynamoDB
    /// is polled.
    fn tail<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Box<dyn Tail + 'a>;
}

/// A reader that follows one log, and keeps what it has learnt from one look to the next.
pub trait Tail: Send {
    /// The next look: what comes after the last batch, possibly nothing. A look comes at least every 1.5 s. One that fails
    /// is repeated until it succeeds, so a tail that is silent for longer can't reach its log. It fails only with
    /// [`StoreError::Corrupt`].
    ///
    /// May be dropped at any await and asked again.
    fn next(&mut self) -> Pending<'_, Look>;

    /// Tells the tail the least number of channels that one of its holds waits on. A store that has to poll may look
    /// less often when that is large, so that a poll of twenty channels does not cost as much as twenty polls.
    fn pace(&mut self, _channels: usize) {}
}

/// The result of one look.
#[derive(Debug)]
pub struct Look {
    /// What is new, possibly nothing.
    pub batch: Batch,
    /// Whether the look was close: it could not miss anything that was there when it began. Most looks may be less
    /// close, but a close one must come every 20 s, so that each hold of the usual length has seen one.
    pub closely: bool,
}

/// Where an appended message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its cursor.
    pub id: Cursor,
    /// Whether an earlier append with the same key put it there.
    pub repeated: bool,
}

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message retained.
    Earliest,
    /// After the newest message: only what comes from now on.
    Latest,
    /// This many messages before the end.
    Last(Limit),
    /// The newest messages before a position. The batch ends there. It is `missed` only when the position is not of
    /// this log.
    Before(Cursor),
    /// The messages after a position.
    After(Cursor),
}

impl Start {
    /// The cursor that it begins after, if the client was given one.
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
    /// It did not answer. An append may have happened, or there may be no table.
    #[error("the store does not answer")]
    NoAnswer,
    /// The key belongs to a message with another nick or text.
    #[error("the key was used for another message")]
    KeyReused,
    /// A maximum is reached. The message is not in the log.
    #[error("the store has reached its maximum of {0}")]
    Full(&'static str),
    /// The log has an item that this version can't read.
    #[error("the log has an item that can't be read")]
    Corrupt,
}
