//! One follower for each channel that somebody waits on: it alone asks the store for news, and shows them to all.
//!
//! A follower is a task that loops over [`Store::next`] and puts each batch into a watch. A watch is level-triggered:
//! a hold looks first and waits then, and what comes between is not lost. Its value is also where the follower stands:
//! at the cursor of the last batch.
//!
//! Who owns what decides what can be left behind. The task owns the sending side, so when it ends, for whatever
//! reason, every hold sees the watch close; holds own receivers, so when all are dropped, at whichever await, the task
//! sees that and ends a second later; the registry owns neither.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    batch::{Batch, Following, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    limits::FOLLOWER_IDLE,
    store::Store,
};

/// A follower says so often that it is awake.
const BEAT: Duration = Duration::from_secs(1);

/// One that has not said so for this long was frozen with its process, or is starved: what it knows is old.
const BEAT_LATE_MS: u64 = 3_000;

/// The followers of one process.
pub struct Followers {
    store: Arc<dyn Store>,
    clock: Clock,
    max: usize,
    registry: Arc<Registry>,
}

#[derive(Default)]
struct Registry(Mutex<HashMap<Channel, Entry>>);

struct Entry {
    follower: Weak<Follower>,
    task: AbortHandle,
}

struct Follower {
    channel: Channel,
    /// The last batch; the follower stands at its cursor.
    news: watch::Sender<Arc<Batch>>,
    /// When the last hold left.
    left: Mutex<Instant>,
    /// When the follower was last awake, in milliseconds since 1970: by the wall clock, because the monotonic one may
    /// stand still while a process is frozen.
    beat: AtomicU64,
}

/// A hold's place with a follower.
pub struct Seat {
    news: watch::Receiver<Arc<Batch>>,
    follower: Weak<Follower>,
}

/// The follower is gone.
pub struct Gone;

/// There are so many followers that one more would be too many.
#[derive(Debug)]
pub struct TooMany(pub usize);

impl Followers {
    /// No followers yet; those to come read this store, and are at most `max`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, max: usize) -> Self {
        Self { store, clock, max, registry: Arc::default() }
    }

    /// Whether a channel has a follower, or can have one.
    ///
    /// # Errors
    /// [`TooMany`] when it can't.
    pub fn admit(&self, channel: &Channel) -> Result<(), TooMany> {
        self.room_for(channel, &self.registry.lock())
    }

    fn room_for(&self, channel: &Channel, entries: &HashMap<Channel, Entry>) -> Result<(), TooMany> {
        let room = entries.len() < self.max || entries.contains_key(channel);
        room.then_some(()).ok_or(TooMany(self.max))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registry.lock().len()
    }

    /// A seat for a hold that has not read: only if a live follower stands at `at`, or passed it with its last batch, and
    /// was awake just now.
    #[must_use]
    pub fn join_unread(&self, channel: &Channel, at: Cursor) -> Option<Seat> {
        let registry = self.registry.lock();
        let follower = registry.get(channel)?.live()?;
        if self.clock.unix_ms().abs_diff(follower.beat.load(Relaxed)) > BEAT_LATE_MS {
            return None;
        }
        let last = Arc::clone(&follower.news.borrow());
        let known = last.cursor() == at || matches!(last.following(at, Limit::MAX), Following::Batch(_));
        known.then(|| Seat::with(&follower))
    }

    /// A seat for a hold that has read up to `at`. A follower of another log gives way to a new one.
    ///
    /// # Errors
    /// [`TooMany`] when the channel has no follower and can't have one.
    pub fn join(&self, channel: &Channel, at: Cursor) -> Result<Seat, TooMany> {
        let mut registry = self.registry.lock();
        self.room_for(channel, &registry)?;
        let live = registry.get(channel).and_then(Entry::live);
        if let Some(follower) = live
            && follower.news.borrow().cursor().epoch() == at.epoch()
        {
            return Ok(Seat::with(&follower));
        }
        let follower = Arc::new(Follower {
            channel: channel.clone(),
            news: watch::Sender::new(Arc::new(Batch::empty(at))),
            left: Mutex::new(clock::now()),
            beat: AtomicU64::new(self.clock.unix_ms()),
        });
        let seat = Seat::with(&follower);
        let entry = Entry {
            follower: Arc::downgrade(&follower),
            task: tokio::spawn(follower.run(Arc::clone(&self.store), self.clock.clone(), Arc::clone(&self.registry)))
                .abort_handle(),
        };
        if let Some(replaced) = registry.insert(channel.clone(), entry) {
            replaced.task.abort();
        }
        Ok(seat)
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Channel, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The follower, unless it has ended or should have: a timer may be late, so whoever joins looks at the clock.
    fn live(&self) -> Option<Arc<Follower>> {
        let follower = self.follower.upgrade()?;
        (clock::now() <= follower.kept_until()).then_some(follower)
    }
}

impl Follower {
    /// Shows news until nobody wants them.
    async fn run(self: Arc<Self>, store: Arc<dyn Store>, clock: Clock, registry: Arc<Registry>) {
        let listed = Listed { follower: &self, registry: &registry };
        let mut next = store.next(&self.channel, self.news.borrow().cursor());
        loop {
            tokio::select! {
                // Looked at first, so that a channel with news at every moment can't keep its follower for ever.
                biased;
                () = self.deserted() => {
                    // Joining takes the same lock, so nobody sits down while the follower leaves.
                    let mut entries = registry.lock();
                    if self.news.receiver_count() == 0 {
                        listed.remove_from(&mut entries);
                        return;
                    }
                }
                news = next.as_mut() => {
                    // At what can't be read a follower ends; each of its holds reads for itself and says so.
                    let Ok(batch) = news else { return };
                    next = store.next(&self.channel, batch.cursor());
                    self.news.send_replace(Arc::new(batch));
                    self.beat.store(clock.unix_ms(), Relaxed);
                }
                () = sleep(BEAT) => {
                    self.beat.store(clock.unix_ms(), Relaxed);
                    self.let_go();
                }
            }
        }
    }

    /// Lets go of the last batch's messages, which would stay in memory for as long as nothing is said. Whoever has not
    /// looked at them yet reads them from the store.
    fn let_go(&self) {
        self.news.send_if_modified(|last| {
            if !last.is_empty() {
                *last = Arc::new(Batch::empty(last.cursor()));
            }
            false
        });
    }

    /// Returns when there has been no hold for a second.
    async fn deserted(&self) {
        loop {
            self.news.closed().await;
            let kept_until = self.kept_until();
            if clock::now() > kept_until {
                return;
            }
            sleep_until(kept_until + Duration::from_millis(1)).await;
        }
    }

    /// Until when the follower goes on, should no hold come.
    fn kept_until(&self) -> Instant {
        let last_hold = match self.news.receiver_count() {
            0 => *self.left.lock().unwrap_or_else(PoisonError::into_inner),
            _ => clock::now(),
        };
        last_hold + FOLLOWER_IDLE
    }
}

/// Takes the follower off the registry, however its task ends.
struct Listed<'a> {
    follower: &'a Arc<Follower>,
    registry: &'a Registry,
}

impl Listed<'_> {
    fn remove_from(&self, entries: &mut HashMap<Channel, Entry>) {
        let own = |entry: &Entry| std::ptr::eq(entry.follower.as_ptr(), &raw const **self.follower);
        if entries.get(&self.follower.channel).is_some_and(own) {
            entries.remove(&self.follower.channel);
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.remove_from(&mut self.registry.lock());
    }
}

impl Seat {
    fn with(follower: &Arc<Follower>) -> Self {
        Self { news: follower.news.subscribe(), follower: Arc::downgrade(follower) }
    }

    /// What the follower has for a hold that stands at `at`.
    pub fn following(&mut self, at: Cursor, limit: Limit) -> Following {
        let last = Arc::clone(&self.news.borrow_and_update());
        last.following(at, limit)
    }

    /// Returns when there is something that `following` has not looked at.
    ///
    /// # Errors
    /// [`Gone`] when nothing more will come.
    pub async fn news(&mut self) -> Result<(), Gone> {
        self.news.changed().await.map_err(|_| Gone)
    }
}

impl Drop for Seat {
    /// Notes the time while the receiver still counts, so that the follower never sees an old one.
    fn drop(&mut self) {
        if let Some(follower) = self.follower.upgrade() {
            let mut left = follower.left.lock().unwrap_or_else(PoisonError::into_inner);
            *left = clock::now();
        }
    }
}
