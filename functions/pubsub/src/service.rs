//! The operations of clients: publish and subscribe (with its hold); and that of the process: close.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::future::poll_immediate;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

pub use crate::hold::{Each, Place, Wanted};
use crate::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    follow::{Followers, TooMany},
    hold::{Hold, Reader, Told},
    limits::Limits,
    message::{Draft, Key},
    share::share,
    store::{Appended, Start, Store, StoreError},
};

/// The service of one process. Any process can answer any request.
pub struct Service {
    store: Arc<dyn Store>,
    followers: Followers,
    holds: Semaphore,
    places: Semaphore,
    limits: Limits,
    /// Becomes true when the process stops.
    closing: watch::Sender<bool>,
    published: Arc<AtomicU64>,
    delivered: AtomicU64,
}

/// Why the service refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The process is stopping; another one may be there.
    #[error("this server is stopping")]
    Stopping,
    /// Too many polls are held.
    #[error("{0} polls are held, and no more can be")]
    TooManyHolds(usize),
    /// Held polls wait on too many channels in all.
    #[error("held polls wait on {0} channels in all, and on no more")]
    TooManyPlaces(usize),
    /// Too many channels have followers.
    #[error("{0} channels are followed, and no more can be")]
    TooManyFollowers(usize),
    /// The store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counters and gauges of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Polls held now.
    pub holds: usize,
    /// Channels of all polls held now, each counted for each poll.
    pub places: usize,
    /// Followers now.
    pub followers: usize,
    /// Messages appended; repeats are not counted.
    pub published: u64,
    /// Messages in answers.
    pub delivered: u64,
}

impl Service {
    /// A service over a store, with at most this many holds and followers.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, limits: &Limits) -> Self {
        Self {
            followers: Followers::new(Arc::clone(&store), clock, limits.followers_max),
            store,
            holds: Semaphore::new(limits.holds_max),
            places: Semaphore::new(limits.places_max),
            limits: limits.clone(),
            closing: watch::Sender::new(false),
            published: Arc::default(),
            delivered: AtomicU64::new(0),
        }
    }

    /// Publishes one message, and returns its cursor once it is durable.
    ///
    /// # Errors
    /// [`Refusal::Stopping`], or what the store says.
    pub async fn publish(&self, channel: &Channel, draft: Draft, key: Option<Key>) -> Result<Appended, Refusal> {
        self.open()?;
        let (store, published, channel) = (Arc::clone(&self.store), Arc::clone(&self.published), channel.clone());
        let mut append = Box::pin(async move {
            let appended = store.append(&channel, draft, key).await?;
            published.fetch_add(u64::from(!appended.repeated), Relaxed);
            Ok(appended)
        });
        if let Some(appended) = poll_immediate(&mut append).await {
            return appended;
        }
        // On a task of its own: if the client leaves, the append must still be completed. Otherwise readers would have
        // to wait until its slot is decided.
        match tokio::spawn(append).await {
            Ok(appended) => appended,
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => Err(StoreError::NoAnswer.into()),
        }
    }

    /// What there is at each place, in their order. If that is nothing, holds until the first of them has something, or
    /// until `until`. A poll that may be held is admitted before anything is read for it, so that a refused one costs
    /// nothing; one that only looks needs no admission. When the time is over, or the process stops, each place is
    /// answered as far as it was read. A place that nobody has looked at closely since the poll began is read once more.
    /// All messages together have at most 512 KiB.
    ///
    /// # Errors
    /// [`Refusal`] when it can't even look. A place with a cursor that can't be read is left out while others have
    /// something, and keeps its position.
    pub async fn subscribe(
        &self,
        places: &[Place],
        wanted: Wanted,
        until: Instant,
    ) -> Result<Each<Arc<Batch>>, Refusal> {
        self.open()?;
        let begun = clock::now();
        let reader = Reader { store: &*self.store, followers: &self.followers, wanted, among: places.len() };
        if begun >= until {
            return self.answer(places, wanted, reader.look(places).await);
        }
        let _held = self.admit(places)?;
        let mut closing = self.closing.subscribe();
        let mut hold = Hold::new(&reader, places, begun);
        hold.look_first(places).await;
        let news = tokio::select! {
            biased;
            told = hold.news() => Some(told),
            () = sleep_until(until) => None,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        let told = match news {
            Some(told) => told,
            None => hold.end().await,
        };
        self.answer(places, wanted, told)
    }

    /// The newest messages before a position. Never holds.
    ///
    /// # Errors
    /// [`Refusal::Stopping`], or what the store says.
    pub async fn history(&self, channel: &Channel, before: Cursor, limit: Limit) -> Result<Arc<Batch>, Refusal> {
        self.open()?;
        let batch = self.store.read(channel, Start::Before(before), limit).await?;
        self.delivered.fetch_add(batch.messages().len() as u64, Relaxed);
        Ok(Arc::new(batch))
    }

    /// Ends all holds, as if their time were over, and refuses all later requests.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            holds: self.limits.holds_max - self.holds.available_permits(),
            places: self.limits.places_max - self.places.available_permits(),
            followers: self.followers.count(),
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
        }
    }

    fn open(&self) -> Result<(), Refusal> {
        if *self.closing.borrow() { Err(Refusal::Stopping) } else { Ok(()) }
    }

    /// Admits a poll that may be held, and counts it until it is answered.
    fn admit(&self, places: &[Place]) -> Result<[SemaphorePermit<'_>; 2], Refusal> {
        let held = self.holds.try_acquire().map_err(|_| Refusal::TooManyHolds(self.limits.holds_max))?;
        let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let taken = self.places.try_acquire_many(count).map_err(|_| Refusal::TooManyPlaces(self.limits.places_max))?;
        self.followers.admit(places.iter().map(|place| &place.channel))?;
        Ok([held, taken])
    }

    fn answer(&self, places: &[Place], wanted: Wanted, told: Each<Told>) -> Result<Each<Arc<Batch>>, Refusal> {
        let something = told.iter().flatten().any(|batch| wanted.is_met_by(batch));
        let batches = places.iter().zip(told).map(|(place, told)| match (told, place.start.cursor()) {
            (Err(_), Some(at)) if something => Ok(Arc::new(Batch::empty(at))),
            (told, _) => told,
        });
        let batches = share(batches.collect::<Result<_, _>>()?);
        let messages = batches.iter().map(|batch| batch.messages().len() as u64).sum();
        self.delivered.fetch_add(messages, Relaxed);
        Ok(batches)
    }
}

impl From<TooMany> for Refusal {
    fn from(TooMany(max): TooMany) -> Self {
        Self::TooManyFollowers(max)
    }
}
