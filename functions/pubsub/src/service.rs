//! What a client can ask for: publish, subscribe (which is the hold), and the process's own: close.

use std::{
    panic::resume_unwind,
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
    published: Arc<AtomicU64>,
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

/// A poll that waits.
struct Hold<'a> {
    channel: &'a Channel,
    /// Where it stands. Only a hold for a message moves on without answering, past what was missed.
    at: Cursor,
    seat: Seat,
    wanted: Wanted,
    /// Whether it has read for itself.
    looked: bool,
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
            published: Arc::default(),
            delivered: AtomicU64::new(0),
        }
    }

    /// Publishes one message, durably, and says where it stands.
    ///
    /// # Errors
    /// [`Refusal::Stopping`], or what the store says.
    pub async fn publish(&self, channel: &Channel, draft: Draft, key: Option<Key>) -> Result<Appended, Refusal> {
        self.open()?;
        let (store, published, channel) = (Arc::clone(&self.store), Arc::clone(&self.published), channel.clone());
        let append = async move {
            let appended = store.append(&channel, draft, key).await?;
            published.fetch_add(u64::from(!appended.repeated), Relaxed);
            Ok(appended)
        };
        // On a task of its own: a client that leaves must not stop an append midway, since others would have to wait
        // until its slot is decided.
        match tokio::spawn(append).await {
            Ok(appended) => appended,
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => Err(StoreError::NoAnswer.into()),
        }
    }

    /// What stands there, holding until `until` when that is nothing. Who may hold is let in before anything is read for
    /// them, so that being refused costs nothing; who only looks needs no leave. An empty batch when the hold ran out, or
    /// when the process stops: it ends where it began, since nothing is claimed that was not read.
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
        let begun = clock::now();
        if begun >= until {
            let batch = self.store.read(channel, start, wanted.limit()).await?;
            return Ok(self.deliver(Arc::new(batch)));
        }
        let _held = self.holds.try_acquire().map_err(|_| Refusal::TooManyHolds(self.holds_max))?;
        self.followers.admit(channel)?;
        let seat = match start {
            Start::After(at) => self.followers.join_unread(channel, at).map(|seat| (at, seat)),
            _ => None,
        };
        let mut hold = match seat {
            Some((at, seat)) => Hold { channel, at, seat, wanted, looked: false },
            None => {
                let batch = self.store.read(channel, start, wanted.limit()).await?;
                if wanted.is_met_by(&batch) || clock::now() >= until {
                    return Ok(self.deliver(Arc::new(batch)));
                }
                let at = batch.cursor();
                Hold { channel, at, seat: self.followers.join(channel, at)?, wanted, looked: true }
            }
        };
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            batch = self.hold(&mut hold) => return Ok(self.deliver(batch?)),
            () = sleep_until(until) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        if hold.looked || hold.seat.looked_since(begun) {
            return Ok(Arc::new(Batch::empty(hold.at)));
        }
        // Nobody has looked closely since it began. What was published before that must be in the answer, or there is none.
        let batch = self.store.read(channel, Start::After(hold.at), wanted.limit()).await?;
        Ok(self.deliver(Arc::new(batch)))
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

    /// Returns when there is what is wanted. It outlives an outage of the store.
    async fn hold(&self, hold: &mut Hold<'_>) -> Result<Arc<Batch>, StoreError> {
        let (limit, mut pause) = (hold.wanted.limit(), Duration::ZERO);
        loop {
            if let Ok(batch) = hold.seat.batch().await {
                match batch.following(hold.at, limit) {
                    Following::Batch(batch) if hold.wanted.is_met_by(&batch) => return Ok(batch),
                    Following::Batch(batch) => {
                        hold.at = batch.cursor();
                        continue;
                    }
                    Following::NothingYet => continue,
                    Following::Unknown => {}
                }
            }
            // The follower is gone, or has passed this hold. Pauses grow, so that no fault makes this loop spin.
            sleep(pause).await;
            pause = (pause * 2).clamp(Duration::from_millis(50), PAUSE_MAX);
            let batch = match self.store.read(hold.channel, Start::After(hold.at), limit).await {
                Ok(batch) => batch,
                Err(StoreError::Busy | StoreError::NoAnswer) => continue,
                Err(error) => return Err(error),
            };
            hold.looked = true;
            if hold.wanted.is_met_by(&batch) {
                return Ok(Arc::new(batch));
            }
            hold.at = batch.cursor();
            // Where there are too many followers, it goes on reading for itself.
            if let Ok(joined) = self.followers.join(hold.channel, hold.at) {
                hold.seat = joined;
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
