//! Publishing.
//!
//! One rule keeps a message from standing twice: **never move on from a slot that is not decided.** A put that was not
//! answered may still land. So a publisher asks the same slot again, or gives up; it takes another offset only when it
//! has seen a filler, or a stranger, in its own. A key is moved only from a slot that was seen to hold a filler.

use pubsub::{
    channel::Channel,
    cursor::Cursor,
    message::{Draft, Key},
    store::{Appended, StoreError},
};

use crate::{
    DynamoDb,
    item::{Head, LogName, Pointer, Slot},
    table::{Moved, Table, TableError, Turn},
};

/// How often a publisher that readers have overtaken takes another offset before it gives up.
const ROUNDS_MAX: usize = 5;

/// A slot that was given out, and when. The time is the message's.
#[derive(Clone, Copy, Debug)]
struct Place {
    epoch: u64,
    offset: u64,
    time: u64,
}

impl Place {
    fn id(self) -> Cursor {
        Cursor::new(self.epoch, self.offset)
    }

    fn pointer(self) -> Pointer {
        Pointer { slot: self.offset, time: self.time }
    }
}

/// Where a publisher goes on that found its key in use.
enum Followed {
    /// The message is there.
    Repeated(Appended),
    /// The key points here now.
    Moved(Place),
}

impl<T: Table> DynamoDb<T> {
    pub(crate) async fn append(
        &self,
        channel: &Channel,
        draft: &Draft,
        key: Option<&Key>,
    ) -> Result<Appended, StoreError> {
        let mut place = self.give_out(channel).await?;
        let log = LogName::new(channel, place.epoch);
        if let Some(key) = key {
            let expires = self.expires(place.time);
            let old = self.table.put_key(&log, key, place.pointer(), self.quiet(), expires).await?;
            // Its own slot in the old item means that an earlier try of this very request had landed.
            if let Some(old) = old.filter(|old| old.slot != place.offset) {
                match self.follow(&log, key, old.slot, place, draft).await? {
                    Followed::Repeated(appended) => return Ok(appended),
                    Followed::Moved(moved) => place = moved,
                }
            }
        }
        for round in 1.. {
            let slot = Slot::Message { time: place.time, draft: draft.clone(), key: key.cloned() };
            let put = self.table.put_slot(&log, place.offset, &slot, self.expires(place.time)).await;
            if wrongly!(self, TakeAnotherUndecided) && put.is_err() && round < ROUNDS_MAX {
                place = self.take_another(channel, &log, key, place).await?;
                continue;
            }
            match put? {
                None => return Ok(Appended { id: place.id(), repeated: false }),
                Some(Slot::Message { draft: said, key: Some(theirs), .. }) if Some(&theirs) == key => {
                    return if said == *draft {
                        Ok(Appended { id: place.id(), repeated: true })
                    } else {
                        Err(StoreError::KeyReused)
                    };
                }
                // An earlier try of this request had landed.
                Some(old) if key.is_none() && old == slot => {
                    return Ok(Appended { id: place.id(), repeated: false });
                }
                Some(_) if round == ROUNDS_MAX => break,
                Some(_) => place = self.take_another(channel, &log, key, place).await?,
            }
        }
        Err(StoreError::Busy)
    }

    /// Takes the next offset of a channel.
    async fn give_out(&self, channel: &Channel) -> Result<Place, StoreError> {
        let now = self.clock.unix_ms();
        for turn in [Turn::RunOn, Turn::Begin, Turn::RunOn] {
            let head = self.table.give_out(channel, turn, now, self.quiet()).await.map_err(|error| match error {
                // Nothing was written for this message yet.
                TableError::Throttled => StoreError::Busy,
                error => error.into(),
            })?;
            if let Some(Head { epoch, last, .. }) = head {
                return Ok(Place { epoch, offset: last, time: now });
            }
        }
        Err(StoreError::Busy)
    }

    /// The slot of `place` was decided without its message: takes another one, and the key with it.
    async fn take_another(
        &self,
        channel: &Channel,
        log: &LogName,
        key: Option<&Key>,
        place: Place,
    ) -> Result<Place, StoreError> {
        let other = self.give_out(channel).await?;
        if other.epoch != place.epoch {
            // Another log has begun, and this one is lost.
            return Err(StoreError::NoAnswer);
        }
        match key {
            None => Ok(other),
            Some(key) => self.move_key(log, key, place.offset, other).await,
        }
    }

    /// Another attempt with this key was given `slot`. Decides whether it was written.
    async fn follow(
        &self,
        log: &LogName,
        key: &Key,
        slot: u64,
        place: Place,
        draft: &Draft,
    ) -> Result<Followed, StoreError> {
        if wrongly!(self, MoveKeyUndecided) {
            return self.move_key(log, key, slot, place).await.map(Followed::Moved);
        }
        match self.put_filler(log, slot).await? {
            Some(Slot::Message { draft: said, .. }) => {
                self.give_up(log, place.offset).await;
                if said == *draft {
                    let id = Cursor::new(place.epoch, slot);
                    Ok(Followed::Repeated(Appended { id, repeated: true }))
                } else {
                    Err(StoreError::KeyReused)
                }
            }
            None | Some(Slot::Filler { .. }) => self.move_key(log, key, slot, place).await.map(Followed::Moved),
        }
    }

    /// Points a key from a slot that was seen to hold a filler to `place`; says where its message is to be written.
    async fn move_key(&self, log: &LogName, key: &Key, from: u64, place: Place) -> Result<Place, StoreError> {
        let expires = self.expires(place.time);
        match self.table.move_key(log, key, from, place.pointer(), expires).await? {
            Moved::Done => Ok(place),
            Moved::Elsewhere(old) if old.slot == place.offset => Ok(place),
            Moved::Elsewhere(old) => {
                // Another attempt moved it just now, and its slot is the one.
                self.give_up(log, place.offset).await;
                Ok(Place { offset: old.slot, time: old.time, ..place })
            }
            // It expired meanwhile.
            Moved::Gone => Err(StoreError::NoAnswer),
        }
    }

    /// Spares readers the wait for an offset that nobody will write. If it fails, they decide it themselves.
    async fn give_up(&self, log: &LogName, offset: u64) {
        let _ = self.put_filler(log, offset).await;
    }

    /// Decides a slot: it holds a filler from now on, or what is returned, which was there before. Always safe.
    pub(crate) async fn put_filler(&self, log: &LogName, offset: u64) -> Result<Option<Slot>, TableError> {
        let time = self.clock.unix_ms();
        self.table.put_slot(log, offset, &Slot::Filler { time }, self.expires(time)).await
    }
}
