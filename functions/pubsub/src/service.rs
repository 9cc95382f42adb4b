//! What a client can ask for: publish, subscribe (which is the hold), and the process's own: close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    batch::{Batch, Following, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    follow::{Followers, Seat, TooMany},
    limits::{Limits, PAUSE_MAX},
    message::{Draft, Key},
    store::{Appended, Start, Store, StoreError},
};

/// One process's share of the work. Any process can answer any request.
pub struct Service {
    store: Arc<dyn Store>,
    followers: Followers,
    holds: Semaphore,
    holds_max: usize,
    /// Becomes true once, when the process stops.
    closing: watch::Sender<bool>,
    published: AtomicU64,
    delivered: AtomicU64,
}

/// What a hold waits for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Up to so many messages, or that some were missed.
    Batch(Limit),
    /// The next message, whatever was missed.
    Message,
}

/// Why the service did not do as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The process is stopping; another one may be there.
    #[error("this server is stopping")]
    Stopping,
    /// So many polls are held that one more would be too many.
    #[error("{0} polls are held, and no more can be")]
    TooManyHolds(usize),
    /// So many channels are followed that one more would be too many.
    #[error("{0} channels are followed, and no more can be")]
    TooManyFollowers(usize),
    /// The store's own reason.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a process has done and is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Polls held now.
    pub holds: usize,
    /// Followers now.
    pub followers: usize,
    /// Messages appended; repeats are not counted.
    pub published: u64,
    /// Messages in answers.
    pub delivered: u64,
}

impl Service {
    /// A service over a store, with at most so many holds and followers at once.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, limits: &Limits) -> Self {
        Self {
            followers: Followers::new(Arc::clone(&store), clock, limits.followers_max),
            store,
            holds: Semaphore::new(limits.holds_max),
            holds_max: limits.holds_max,
            closing: watch::Sender::new(false),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    /// Publishes one message, durably, and says where it stands.
    ///
    /// # Errors
    /// [`Refusal::Stopping`], or what the store says.
    pub async fn publish(&self, channel: &Channel, draft: Draft, key: Option<Key>) -> Result<Appended, Refusal> {
        self.open()?;
        let appended = self.store.append(channel, draft, key).await?;
        self.published.fetch_add(u64::from(!appended.repeated), Relaxed);
        Ok(appended)
    }

    /// What stands there, holding until `until` when that is nothing. Who may hold is let in before anything is read
    /// for them, so that being refused costs nothing; who only looks needs no leave. An empty batch when the hold ran out, or when
    /// the process stops: it ends where it began, since nothing is claimed that was not read.
    ///
    /// # Errors
    /// [`Refusal`] when it can't even look.
    pub async fn subscribe(
        &self,
        channel: &Channel,
        start: Start,
        wanted: Wanted,
        until: Instant,
    ) -> Result<Arc<Batch>, Refusal> {
        self.open()?;
        if clock::now() >= until {
            let batch = self.store.read(channel, start, wanted.limit()).await?;
            return Ok(self.deliver(Arc::new(batch)));
        }
        let _held = self.holds.try_acquire().map_err(|_| Refusal::TooManyHolds(self.holds_max))?;
        self.followers.admit(channel)?;
        let seat = match start {
            Start::After(at) => self.followers.join_unread(channel, at).map(|seat| (at, seat)),
            _ => None,
        };
        let (at, seat) = match seat {
            Some(seat) => seat,
            None => {
                let batch = self.store.read(channel, start, wanted.limit()).await?;
                if wanted.is_met_by(&batch) || clock::now() >= until {
                    return Ok(self.deliver(Arc::new(batch)));
                }
                (batch.cursor(), self.followers.join(channel, batch.cursor())?)
            }
        };
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            batch = self.hold(channel, at, seat, wanted) => Ok(self.deliver(batch?)),
            () = sleep_until(until) => Ok(Arc::new(Batch::empty(at))),
            _ = closing.wait_for(|closing| *closing) => Ok(Arc::new(Batch::empty(at))),
        }
    }

    /// The newest messages before a position. Never holds.
    ///
    /// # Errors
    /// [`Refusal::Stopping`], or what the store says.
    pub async fn history(&self, channel: &Channel, before: Cursor, limit: Limit) -> Result<Arc<Batch>, Refusal> {
        let start = Start::Before(before);
        self.subscribe(channel, start, Wanted::Batch(limit), clock::now()).await
    }

    /// Ends all holds, as if their time were over, and refuses what comes from now on.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            holds: self.holds_max - self.holds.available_permits(),
            followers: self.followers.count(),
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
        }
    }

    fn open(&self) -> Result<(), Refusal> {
        if *self.closing.borrow() { Err(Refusal::Stopping) } else { Ok(()) }
    }

    /// Returns when there is what is wanted after `at`. It outlives an outage of the store.
    async fn hold(
        &self,
        channel: &Channel,
        mut at: Cursor,
        mut seat: Seat,
        wanted: Wanted,
    ) -> Result<Arc<Batch>, StoreError> {
        let mut pause = Duration::ZERO;
        loop {
            match seat.following(at, wanted.limit()) {
                Following::Batch(batch) if wanted.is_met_by(&batch) => return Ok(batch),
                Following::Batch(batch) => {
                    at = batch.cursor();
                    continue;
                }
                Following::NothingYet if seat.news().await.is_ok() => continue,
                Following::NothingYet | Following::Unknown => {}
            }
            // The follower is gone, or has passed this hold. Pauses grow, so that no fault makes this loop spin.
            sleep(pause).await;
            pause = (pause * 2).clamp(Duration::from_millis(50), PAUSE_MAX);
            let batch = match self.store.read(channel, Start::After(at), wanted.limit()).await {
                Ok(batch) => batch,
                Err(StoreError::Busy | StoreError::NoAnswer) => continue,
                Err(error) => return Err(error),
            };
            if wanted.is_met_by(&batch) {
                return Ok(Arc::new(batch));
            }
            at = batch.cursor();
            // Where there are too many followers, it goes on reading for itself.
            if let Ok(joined) = self.followers.join(channel, at) {
                seat = joined;
            }
        }
    }

    fn deliver(&self, batch: Arc<Batch>) -> Arc<Batch> {
        self.delivered.fetch_add(batch.messages().len() as u64, Relaxed);
        batch
    }
}

impl From<TooMany> for Refusal {
    fn from(TooMany(max): TooMany) -> Self {
        Self::TooManyFollowers(max)
    }
}

impl Wanted {
    fn limit(self) -> Limit {
        match self {
            Self::Batch(limit) => limit,
            Self::Message => Limit::ONE,
        }
    }

    fn is_met_by(self, batch: &Batch) -> bool {
        match self {
            Self::Batch(_) => !batch.is_empty(),
            Self::Message => !batch.messages().is_empty(),
        }
    }
}
