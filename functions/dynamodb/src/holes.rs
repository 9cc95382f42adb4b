//! Deciding slots whose offset was given out but that were not written.
//!
//! A filler decides a hole. It is put on the condition that the slot is empty. Above the base that is safe at any
//! moment: either the slot holds a filler from then on, or the put returns the message that is there. If it comes too
//! early, a slow publisher only has to take another offset.

use futures_util::{StreamExt, stream};

use crate::{
    DynamoDb,
    head::Head,
    item::{LogName, Slot},
    table::{Table, TableError},
    walk::AGED_MS,
};

/// Holes that are decided together.
const DECIDING_MAX: usize = 25;

impl<T: Table> DynamoDb<T> {
    /// Decides holes together. The returned slots are what they hold from now on. `head` was read at `seen`.
    pub(crate) async fn decide(
        &self,
        log: &LogName,
        holes: impl IntoIterator<Item = u64>,
        head: &Head,
        seen: u64,
    ) -> Result<Vec<(u64, Slot)>, TableError> {
        let decided = stream::iter(holes).map(|hole| async move {
            // The filler gets the age that makes a hole ripe. Undecided slots below it were given out earlier, so a
            // reader that sees this filler decides them at once.
            let time = self.clock.unix_ms().saturating_sub(AGED_MS + 1);
            let old = self.put_filler(log, hole, time, head, seen).await?;
            Ok((hole, old.unwrap_or(Slot::Filler { time })))
        });
        let decided: Vec<_> = decided.buffer_unordered(DECIDING_MAX).collect().await;
        decided.into_iter().collect()
    }

    /// Decides a slot: from now on it holds a filler, or the returned slot, which was there before. Safe only if the
    /// slot can't be one that expired and was deleted, so only with a head that was read a moment ago.
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
