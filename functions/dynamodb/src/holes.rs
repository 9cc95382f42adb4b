//! Deciding slots that were given out and not written.
//!
//! A hole is decided by a filler, put on the condition that the slot is empty. That is safe at any moment above the
//! base: either the slot holds a filler from then on, or the put brings back the message that was there all along.
//! Being early only costs a slow publisher another round.

use futures_util::{StreamExt, stream};

use crate::{
    DynamoDb,
    head::Head,
    item::{LogName, Slot},
    table::{Table, TableError},
    walk::AGED_MS,
};

/// Holes decided at once.
const DECIDING_MAX: usize = 25;

impl<T: Table> DynamoDb<T> {
    /// Decides holes together. What is returned stands there from now on. `head` was read at `seen`.
    pub(crate) async fn decide(
        &self,
        log: &LogName,
        holes: impl IntoIterator<Item = u64>,
        head: &Head,
        seen: u64,
    ) -> Result<Vec<(u64, Slot)>, TableError> {
        let decided = stream::iter(holes).map(|hole| async move {
            // It looks as old as what makes a hole ripe: what is still undecided below was given out earlier, and whoever
            // sees this filler decides that at once.
            let time = self.clock.unix_ms().saturating_sub(AGED_MS + 1);
            let old = self.put_filler(log, hole, time, head, seen).await?;
            Ok((hole, old.unwrap_or(Slot::Filler { time })))
        });
        let decided: Vec<_> = decided.buffer_unordered(DECIDING_MAX).collect().await;
        decided.into_iter().collect()
    }

    /// Decides a slot: it holds a filler from now on, or what is returned, which was there before. Safe only while the
    /// slot can't be one that has expired and was deleted, so by a view of the log that is still believed.
    pub(crate) async fn put_filler(
        &self,
        log: &LogName,
        offset: u64,
        time: u64,
        head: &Head,
        seen: u64,
    ) -> Result<Option<Slot>, TableError> {
        self.believed(seen)?;
        self.table.put_slot(log, offset, &Slot::Filler { time }, head.expires(time)).await
    }
}
