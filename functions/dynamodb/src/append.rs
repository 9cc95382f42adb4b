//! Publishing.
//!
//! One rule keeps a message from being in the log twice: **never leave a slot that is not decided.** A put without an
//! answer may still land. So a publisher tries the same slot again, or gives up. It takes another offset only when its
//! slot is known to hold a filler, or another message. A key is moved only from a slot that is known to hold a filler.
//!
//! Another rule keeps a message from being acknowledged below what readers have already passed: a slot that was given
//! out longer ago than [`BELIEVED_MS`](crate::BELIEVED_MS) is not acknowledged, whatever its put returned.

use std::time::Duration;

use pubsub::{
    channel::Channel,
    cursor::Cursor,
    message::{Draft, Key},
    store::{Appended, StoreError},
};
use tokio::time::timeout;

use crate::{
    DynamoDb,
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
    table::{CountUp, Moved, Table, TableError},
};

/// How many offsets a publisher takes while readers fill its slots, before it gives up.
const ROUNDS_MAX: usize = 5;

/// How often a publisher tries to count up a head that others change at the same time.
const TURNS_MAX: usize = 3;

/// The longest wait for a filler that only spares readers a wait.
const GIVE_UP_MAX: Duration = Duration::from_millis(250);

/// An offset that was taken, and when. That is also the time of its message.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// The head at that time, or a little later.
    head: Head,
    offset: u64,
    time: u64,
}

impl Taken {
    fn id(self) -> Cursor {
        self.head.at(self.offset)
    }

    fn pointer(self) -> Pointer {
        Pointer { slot: self.offset, time: self.time }
    }

    fn expires(self) -> u64 {
        self.head.expires(self.time)
    }
}

/// One message on its way into one log.
struct Append<'a, T> {
    store: &'a DynamoDb<T>,
    log: LogName,
    draft: &'a Draft,
    key: Option<&'a Key>,
}

impl<T: Table> DynamoDb<T> {
    pub(crate) async fn publish(
        &self,
        channel: &Channel,
        draft: &Draft,
        key: Option<&Key>,
    ) -> Result<Appended, StoreError> {
        let mut taken = self.give_out(channel).await?;
        let append = Append { store: self, log: LogName::new(channel, taken.head.epoch), draft, key };
        if let Some(key) = key {
            match append.point(key, taken).await? {
                Ok(pointed) => taken = pointed,
                Err(appended) => return Ok(appended),
            }
        }
        for round in 1.. {
            if let Some(appended) = append.write(taken).await? {
                return Ok(appended);
            }
            if round == ROUNDS_MAX {
                break;
            }
            // The slot was decided without this message.
            let other = self.give_out(channel).await?;
            if other.head.epoch != taken.head.epoch {
                // Another log has begun, and this one is lost.
                return Err(StoreError::NoAnswer);
            }
            taken = match key {
                None => other,
                Some(key) => append.move_key(key, taken.offset, other).await?,
            };
        }
        Err(StoreError::Busy)
    }

    /// Takes the next offset of a channel. Nothing of this message is written yet. So if the table refuses, the error
    /// is that it is busy.
    async fn give_out(&self, channel: &Channel) -> Result<Taken, StoreError> {
        let terms = Terms::new(self.clock.unix_ms(), self.retention_ms);
        let given = |head: Head| Ok(Taken { head, offset: head.last, time: terms.now });
        let busy = |error: TableError| if error == TableError::Throttled { StoreError::Busy } else { error.into() };
        for _ in 0..TURNS_MAX {
            let old = match self.table.count_up(channel, terms).await.map_err(busy)? {
                CountUp::Done(head) => return given(head),
                CountUp::Refused(old) => old,
            };
            let Some(new) = old.map_or(Some(Head::first(terms)), |old| old.next(terms)) else {
                tracing::warn!(channel = channel.as_str(), now_ms = terms.now, ?old, "the clock is behind the log");
                return Err(StoreError::Busy);
            };
            if self.table.put_head(channel, old, new).await.map_err(busy)? {
                return given(new);
            }
        }
        Err(StoreError::Busy)
    }
}

impl<T: Table> Append<'_, T> {
    /// Points the key at the slot that was taken. Returns the slot to write to, or that the message is there already.
    async fn point(&self, key: &Key, taken: Taken) -> Result<Result<Taken, Appended>, StoreError> {
        let quiet = taken.time.saturating_sub(taken.head.silence());
        let old = self.store.table.put_key(&self.log, key, taken.pointer(), quiet, taken.expires()).await?;
        // If the old item points at this slot, an earlier try of this request had landed.
        let Some(Pointer { slot, .. }) = old.filter(|old| old.slot != taken.offset) else {
            return Ok(Ok(taken));
        };
        // Another attempt with this key was given that slot. Try to fill it: that shows whether its message was
        // written.
        match self.store.put_filler(&self.log, slot, taken.time, &taken.head, taken.time).await? {
            Some(Slot::Message { draft, .. }) => {
                self.give_up(taken).await;
                self.repeated(taken.head.at(slot), &draft).map(Err)
            }
            Some(Slot::Unknown { .. }) => Err(StoreError::Corrupt),
            None | Some(Slot::Filler { .. }) => self.move_key(key, slot, taken).await.map(Ok),
        }
    }

    /// Points the key from a slot that is known to hold a filler to the one that was taken. Returns the slot to write
    /// the message to.
    async fn move_key(&self, key: &Key, from: u64, taken: Taken) -> Result<Taken, StoreError> {
        match self.store.table.move_key(&self.log, key, from, taken.pointer(), taken.expires()).await? {
            Moved::Done => Ok(taken),
            Moved::Elsewhere(now) if now.slot == taken.offset => Ok(taken),
            Moved::Elsewhere(now) => {
                // A concurrent attempt moved the key: write into its slot.
                self.give_up(taken).await;
                Ok(Taken { offset: now.slot, time: now.time, ..taken })
            }
            // The key has expired meanwhile.
            Moved::Gone => Err(StoreError::NoAnswer),
        }
    }

    /// Puts the message into its slot. Returns nothing if the slot was decided without it.
    async fn write(&self, taken: Taken) -> Result<Option<Appended>, StoreError> {
        let slot = Slot::Message { time: taken.time, draft: self.draft.clone(), key: self.key.cloned() };
        let old = self.store.table.put_slot(&self.log, taken.offset, &slot, taken.expires()).await?;
        self.store.believed(taken.time)?;
        match old {
            None => Ok(Some(Appended { id: taken.id(), repeated: false })),
            Some(Slot::Message { draft, key: Some(key), .. }) if Some(&key) == self.key => {
                self.repeated(taken.id(), &draft).map(Some)
            }
            // An earlier try of this request had landed.
            Some(old) if self.key.is_none() && old == slot => Ok(Some(Appended { id: taken.id(), repeated: false })),
            Some(_) => Ok(None),
        }
    }

    /// The answer when the message of this key was written by an earlier attempt.
    fn repeated(&self, id: Cursor, said: &Draft) -> Result<Appended, StoreError> {
        if said == self.draft { Ok(Appended { id, repeated: true }) } else { Err(StoreError::KeyReused) }
    }

    /// Fills an offset that nobody will write, so that readers do not wait for it. If that fails, they decide it
    /// themselves.
    async fn give_up(&self, taken: Taken) {
        let filled = self.store.put_filler(&self.log, taken.offset, taken.time, &taken.head, taken.time);
        let _ = timeout(GIVE_UP_MAX, filled).await;
    }
}
