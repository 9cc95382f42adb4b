//! The log over one DynamoDB table, as `docs/LOG.md` describes it.
//!
//! A shared log after CORFU (Balakrishnan et al., NSDI 2012): a sequencer gives out offsets, a slot is written once,
//! and readers decide the slots of writers who vanished. `table` is the seam: below it stands DynamoDB or its
//! simulation, above it no type of an SDK.

#![cfg_attr(test, expect(clippy::print_stdout, reason = "a simulation says what happened in it"))]
#![expect(private_bounds, reason = "the seam is this crate's own: others name the store with its client")]

/// Whether this store is a wrong variant, which only a test can make.
macro_rules! wrongly {
    ($store:expr, $variant:ident) => {{
        #[cfg(test)]
        let wrong = $store.wrong == Some(crate::wrong::Wrong::$variant);
        #[cfg(not(test))]
        let wrong = false;
        wrong
    }};
}

mod append;
mod client;
mod item;
mod next;
mod read;
mod requests;
mod table;
mod walk;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod wrong;

use std::time::Duration;

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{Clock, millis},
    cursor::Cursor,
    limits::SILENCE_MARGIN,
    message::{Draft, Key},
    store::{Appended, Reply, Start, Store, StoreError},
};
use tokio::time::timeout;

pub use self::client::{Client, Roots, Settings};
use self::table::Table;

/// A whole append, and a whole first look, takes at most this long.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The store over a table.
pub struct DynamoDb<T = Client> {
    table: T,
    clock: Clock,
    retention_ms: u64,
    #[cfg(test)]
    wrong: Option<wrong::Wrong>,
    #[cfg(test)]
    earlier_heads: std::sync::Mutex<std::collections::HashMap<Channel, Option<item::Head>>>,
}

impl<T> DynamoDb<T> {
    /// A store that keeps messages for `retention`. All processes over one table must keep them for the same time.
    #[must_use]
    pub fn new(table: T, clock: Clock, retention: Duration) -> Self {
        Self {
            table,
            clock,
            retention_ms: millis(retention),
            #[cfg(test)]
            wrong: None,
            #[cfg(test)]
            earlier_heads: std::sync::Mutex::default(),
        }
    }

    /// What was published at or before this has expired.
    fn horizon(&self) -> u64 {
        self.clock.unix_ms().saturating_sub(self.retention_ms)
    }

    /// A channel that last spoke at or before this has nothing left, and no request of that time can still land: the
    /// margin is longer than a signature lives (15 minutes) and two clocks may err.
    fn quiet(&self) -> u64 {
        self.horizon().saturating_sub(millis(SILENCE_MARGIN))
    }

    /// When the table may delete an item of this time, in seconds since 1970. Three times the silence after which a
    /// new run begins: between a slot deleted and one retained there is always one that is expired and still there.
    fn expires(&self, unix_ms: u64) -> u64 {
        (unix_ms + 3 * (self.retention_ms + millis(SILENCE_MARGIN))) / 1000
    }
}

impl<T: Table> Store for DynamoDb<T> {
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Reply<'a, Appended> {
        Box::pin(async move {
            let appended = timeout(ANSWER_MAX, self.append(channel, &draft, key.as_ref()));
            appended.await.unwrap_or(Err(StoreError::NoAnswer))
        })
    }

    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Reply<'a, Batch> {
        Box::pin(async move {
            let read = timeout(ANSWER_MAX, self.read(channel, start, limit));
            read.await.unwrap_or(Err(StoreError::NoAnswer))
        })
    }

    fn next<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Reply<'a, Batch> {
        Box::pin(self.next(channel, after))
    }
}
