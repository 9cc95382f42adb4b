//! The log over one DynamoDB table, as `docs/LOG.md` describes it.
//!
//! A shared log like CORFU (Balakrishnan et al., NSDI 2012): a sequencer gives out offsets, a slot is written once, and
//! readers decide the slots of publishers that failed. `table` is the seam: below it is DynamoDB or its simulation, and
//! above it is no type of an SDK.

#![cfg_attr(test, expect(clippy::print_stdout, reason = "a simulation says what happened in it"))]
#![expect(private_bounds, reason = "the seam is this crate's own: others name the store with its client")]

mod append;
mod attributes;
mod begin;
mod client;
mod head;
mod holes;
mod item;
mod look;
mod requests;
mod table;
mod tail;
mod upkeep;
mod walk;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod suite;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{Clock, millis},
    cursor::Cursor,
    message::{Draft, Key},
    store::{Appended, Pending, Start, Store, StoreError, Tail},
};
use tokio::time::timeout;

pub use self::client::{Client, Roots, Settings};
use self::{
    head::Head,
    table::{Table, TableError},
    tail::LogTail,
};

/// The longest time for a whole append, or a whole look, by the monotonic clock.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// And the longest by the wall clock, which goes on while a process is frozen. After that, an append is not
/// acknowledged, and a head is not used to decide anything. A beginning assumes that no slot given out 10 s ago
/// ([`begin`]'s `SETTLED_MS`) is still acknowledged, so clocks may be 5 s apart.
const BELIEVED_MS: u64 = 5_000;

/// The store over a table.
pub struct DynamoDb<T = Client> {
    table: T,
    clock: Clock,
    retention_ms: u64,
    /// Whether it was logged that the table has another retention.
    told_of_retention: AtomicBool,
}

impl<T> DynamoDb<T> {
    /// A store that keeps messages for `retention`.
    #[must_use]
    pub fn new(table: T, clock: Clock, retention: Duration) -> Self {
        Self { table, clock, retention_ms: millis(retention), told_of_retention: AtomicBool::new(false) }
    }

    /// Messages of this time or older have expired.
    fn horizon(&self) -> u64 {
        self.clock.unix_ms().saturating_sub(self.retention_ms)
    }

    /// An error if what began at `begun`, in milliseconds since 1970, took too long to be relied on.
    fn believed(&self, begun: u64) -> Result<(), TableError> {
        let late = self.clock.unix_ms().abs_diff(begun) > BELIEVED_MS;
        if late { Err(TableError::NoAnswer) } else { Ok(()) }
    }

    /// Gives up what takes too long, and rejects what was interrupted while the process was frozen.
    async fn in_time<V>(&self, work: impl Future<Output = Result<V, StoreError>>) -> Result<V, StoreError> {
        let begun = self.clock.unix_ms();
        let answer = timeout(ANSWER_MAX, work).await.unwrap_or(Err(StoreError::NoAnswer))?;
        self.believed(begun)?;
        Ok(answer)
    }

    /// Logs once that this process and the publishers have different retentions.
    fn compare_retention(&self, head: &Head) {
        if head.retention != self.retention_ms && !self.told_of_retention.swap(true, Relaxed) {
            tracing::warn!(here_ms = self.retention_ms, table_ms = head.retention, "the table has another retention");
        }
    }
}

impl<T: Table> Store for DynamoDb<T> {
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Pending<'a, Appended> {
        Box::pin(async move { self.in_time(self.publish(channel, &draft, key.as_ref())).await })
    }

    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Pending<'a, Batch> {
        Box::pin(self.in_time(self.read_from(channel, start, limit)))
    }

    fn tail<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Box<dyn Tail + 'a> {
        Box::new(LogTail::new(self, channel, after))
    }
}
