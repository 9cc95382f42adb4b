//! The seam: the few operations that the log needs of a table. DynamoDB implements it, and the simulation.

use pubsub::{channel::Channel, message::Key, store::StoreError};

use crate::{
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
};

/// One table. Every operation is one request and is atomic. An error may mean that it landed, or lands later.
pub(crate) trait Table: Send + Sync + 'static {
    /// Counts up the head of a channel and sets its time, if the terms allow that. Otherwise returns the head that is
    /// there.
    fn count_up(&self, channel: &Channel, terms: Terms) -> impl Requested<CountUp>;

    /// Replaces the head `old`, which is recognised by its epoch and `last`. Returns whether it did.
    fn put_head(&self, channel: &Channel, old: Option<Head>, new: Head) -> impl Requested<bool>;

    /// Writes a slot if it is empty. Otherwise returns what it holds.
    fn put_slot(&self, log: &LogName, offset: u64, slot: &Slot, expires: u64) -> impl Requested<Option<Slot>>;

    /// Points a key at a slot if the key is new, or older than `quiet`. Otherwise returns what it points at.
    fn put_key(
        &self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> impl Requested<Option<Pointer>>;

    /// Points a key at another slot, if it points at slot `from`.
    fn move_key(&self, log: &LogName, key: &Key, from: u64, to: Pointer, expires: u64) -> impl Requested<Moved>;

    /// Slots of a log, as many as one request may return.
    fn query(&self, log: &LogName, range: Range, consistency: Consistency, limit: usize) -> impl Requested<Page>;

    /// The head of a channel, as it is now.
    fn head(&self, channel: &Channel) -> impl Requested<Option<Head>>;
}

/// A request under way.
pub(crate) trait Requested<T>: Future<Output = Result<T, TableError>> + Send {}
impl<T, F: Future<Output = Result<T, TableError>> + Send> Requested<T> for F {}

/// The result of counting up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountUp {
    /// The head as it is now.
    Done(Head),
    /// The terms don't allow it for this head, or there is none.
    Refused(Option<Head>),
}

/// The result of moving a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It points at the new slot.
    Done,
    /// It pointed at another slot, and still does.
    Elsewhere(Pointer),
    /// There is no such key.
    Gone,
}

/// Which slots to read, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Above an offset, upward.
    Above(u64),
    /// Below an offset, downward.
    Below(u64),
}

/// The consistency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// It may miss what was written a moment ago. Costs half.
    Eventual,
    /// It misses nothing that was written before it began.
    Strong,
}

/// Slots in the order of the range.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) slots: Vec<(u64, Slot)>,
    /// Whether there may be more beyond the last of them.
    pub(crate) more: bool,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TableError {
    /// The table refused it: too much at once.
    #[error("the table is throttled")]
    Throttled,
    /// There was no answer in time, or none that makes sense.
    #[error("the table does not answer")]
    NoAnswer,
    /// An item that this version can't read.
    #[error("the table has an item that can't be read")]
    Corrupt,
}

impl From<TableError> for StoreError {
    /// When a request is throttled in the end, an earlier try of it may still have landed. So this does not tell
    /// whether the message is in the log.
    fn from(error: TableError) -> Self {
        match error {
            TableError::Throttled | TableError::NoAnswer => Self::NoAnswer,
            TableError::Corrupt => Self::Corrupt,
        }
    }
}
