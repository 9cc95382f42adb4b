//! One follower for each channel with holds: it alone asks the store for new messages, and broadcasts them.
//!
//! A follower is a task that follows a [`Tail`](crate::store::Tail) and broadcasts each batch. A hold that takes a seat
//! is given the last batch first, then each new one, so no message is missed between reading and waiting. A hold that
//! falls further behind than the batches that the broadcast keeps notices it, and reads the store.
//!
//! Ownership decides what can be left behind. The task owns the sending side: however it ends, every hold sees the
//! broadcast close. Holds own receivers: when all are dropped, at whichever await, the task sees that and ends a second
//! later. The registry owns neither.

use std::{
    collections::HashMap,
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    batch::{Batch, Following, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    limits::{FOLLOWER_BATCHES, FOLLOWER_IDLE, POLL_CHANNELS_MAX},
    store::{Look, Store},
};

/// A follower whose last look is older was frozen with its process, gets no processor time, or can't reach its log. No
/// hold joins it without reading.
const LOOK_LATE_MS: u64 = 3_000;

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
    news: broadcast::Sender<Arc<Batch>>,
    state: Mutex<State>,
    /// Notified when a hold comes that waits on fewer channels than all others.
    hurried: Notify,
}

struct State {
    /// The last batch. The follower's position is its cursor.
    last: Arc<Batch>,
    /// When it was broadcast.
    shown: Instant,
    /// When the last successful look began, in milliseconds since 1970: the wall clock goes on while a process is
    /// frozen.
    looked_ms: u64,
    /// When the last successful close look began; nothing before the first.
    looked_closely: Option<Instant>,
    /// When the last hold left.
    last_left: Instant,
    holds: Holds,
}

/// The holds with a seat, by the number of channels that each waits on.
struct Holds {
    counts: [u32; POLL_CHANNELS_MAX + 1],
    /// The least number of channels of a hold here, or of the last one that there was.
    fewest: usize,
}

/// A hold's subscription to a follower.
pub struct Seat {
    /// The follower's last batch when the hold came.
    last: Option<Arc<Batch>>,
    news: broadcast::Receiver<Arc<Batch>>,
    follower: Weak<Follower>,
    /// How many channels its hold waits on.
    among: usize,
}

/// The follower has ended, or this hold fell too far behind.
pub struct Gone;

/// There are too many followers for one more.
#[derive(Debug)]
pub struct TooMany(pub usize);

impl Followers {
    /// A registry without followers. They will read this store, and be at most `max`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, max: usize) -> Self {
        Self { store, clock, max, registry: Arc::default() }
    }

    /// Whether these channels have followers, or can have some.
    ///
    /// # Errors
    /// [`TooMany`] when they can't.
    pub fn admit<'a>(&self, channels: impl Iterator<Item = &'a Channel>) -> Result<(), TooMany> {
        self.room_for(&self.registry.lock(), channels)
    }

    fn room_for<'a>(
        &self,
        followed: &HashMap<Channel, Entry>,
        channels: impl Iterator<Item = &'a Channel>,
    ) -> Result<(), TooMany> {
        let new = channels.filter(|channel| !followed.contains_key(channel)).count();
        if new == 0 || followed.len() + new <= self.max { Ok(()) } else { Err(TooMany(self.max)) }
    }

    /// The number of followers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registry.lock().len()
    }

    /// A seat for a hold that has not read: only with a live follower that is at `at`, or passed it with its last
    /// batch, and that looked just now. The hold waits on `among` channels.
    #[must_use]
    pub fn join_unread(&self, channel: &Channel, at: Cursor, among: usize) -> Option<Seat> {
        let registry = self.registry.lock();
        let follower = registry.get(channel)?.live()?;
        let state = follower.state();
        let known = state.last.cursor() == at || matches!(state.last.following(at, Limit::MAX), Following::Batch(_));
        let fresh = self.clock.unix_ms().abs_diff(state.looked_ms) <= LOOK_LATE_MS;
        drop(state);
        (known && fresh).then(|| Seat::with(&follower, among))
    }

    /// A seat for a hold that waits on `among` channels and has read this one up to `at`. A follower of another log is
    /// replaced by a new one.
    ///
    /// # Errors
    /// [`TooMany`] when the channel has no follower and can't have one.
    pub fn join(&self, channel: &Channel, at: Cursor, among: usize) -> Result<Seat, TooMany> {
        let mut registry = self.registry.lock();
        self.room_for(&registry, iter::once(channel))?;
        let live = registry.get(channel).and_then(Entry::live);
        if let Some(follower) = live.filter(|follower| follower.state().last.cursor().epoch() == at.epoch()) {
            return Ok(Seat::with(&follower, among));
        }
        let state = State {
            last: Arc::new(Batch::empty(at)),
            shown: clock::now(),
            looked_ms: self.clock.unix_ms(),
            looked_closely: None,
            last_left: clock::now(),
            holds: Holds { counts: [0; POLL_CHANNELS_MAX + 1], fewest: among },
        };
        let news = broadcast::Sender::new(FOLLOWER_BATCHES);
        let follower = Follower { channel: channel.clone(), news, state: Mutex::new(state), hurried: Notify::new() };
        let follower = Arc::new(follower);
        let seat = Seat::with(&follower, among);
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
    /// The follower, unless it has ended or its time is over: its timer may be late, so this compares the clock.
    fn live(&self) -> Option<Arc<Follower>> {
        let follower = self.follower.upgrade()?;
        follower.ends_at().is_none_or(|end| clock::now() <= end).then_some(follower)
    }
}

impl Follower {
    /// Locked for a moment only, never over an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Broadcasts new messages until nobody wants them.
    async fn run(self: Arc<Self>, store: Arc<dyn Store>, clock: Clock, registry: Arc<Registry>) {
        let listed = Listed { follower: &self, registry: &registry };
        let stands = self.state().last.cursor();
        let mut tail = store.tail(&self.channel, stands);
        loop {
            let (begun, begun_ms) = (clock::now(), clock.unix_ms());
            tail.pace(self.state().holds.fewest);
            let look = tokio::select! {
                // Checked first, so that a channel that always has new messages can't keep its follower for ever.
                biased;
                () = self.deserted() => {
                    // Joining takes the same lock, so no hold joins while the follower ends.
                    let mut entries = registry.lock();
                    if self.news.receiver_count() > 0 {
                        continue;
                    }
                    return listed.remove_from(&mut entries);
                }
                () = self.hurried.notified() => continue,
                look = tail.next() => look,
            };
            // A follower ends at an item that it can't read. Each of its holds reads for itself and reports it.
            let Ok(look) = look else { return };
            self.show(look, begun, begun_ms);
        }
    }

    /// Gives the result of a look to all holds, and stores when the look began.
    fn show(&self, Look { batch, closely }: Look, begun: Instant, begun_ms: u64) {
        let mut state = self.state();
        state.looked_ms = begun_ms;
        if closely {
            state.looked_closely = Some(begun);
        }
        if !batch.is_empty() {
            let batch = Arc::new(batch);
            (state.last, state.shown) = (Arc::clone(&batch), clock::now());
            // It fails if there is no hold.
            let _ = self.news.send(batch);
        } else if !state.last.is_empty() && clock::now() - state.shown > FOLLOWER_IDLE {
            // Otherwise its messages would stay in memory while nothing is published. Holds that come later read the
            // store.
            state.last = Arc::new(Batch::empty(state.last.cursor()));
        }
    }

    /// Returns when there has been no hold for a second.
    async fn deserted(&self) {
        loop {
            self.news.closed().await;
            match self.ends_at() {
                Some(end) if clock::now() > end => return,
                Some(end) => sleep_until(end + Duration::from_millis(1)).await,
                None => {}
            }
        }
    }

    /// When it ends if no hold comes. None while it has holds.
    fn ends_at(&self) -> Option<Instant> {
        (self.news.receiver_count() == 0).then(|| self.state().last_left + FOLLOWER_IDLE)
    }
}

impl Holds {
    /// Counts a hold that waits on so many channels. Returns whether these are fewer than before.
    fn come(&mut self, among: usize) -> bool {
        let before = self.fewest;
        self.count(among, |count| count + 1);
        self.fewest < before
    }

    fn leave(&mut self, among: usize) {
        self.count(among, |count| count - 1);
    }

    fn count(&mut self, among: usize, change: impl Fn(u32) -> u32) {
        if let Some(count) = self.counts.get_mut(among) {
            *count = change(*count);
        }
        if let Some(fewest) = self.counts.iter().position(|count| *count > 0) {
            self.fewest = fewest;
        }
    }
}

/// Removes the follower from the registry, however its task ends.
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
    fn with(follower: &Arc<Follower>, among: usize) -> Self {
        // Under the lock of the broadcast, so each batch is seen once: as the last one, or as a new one.
        let mut state = follower.state();
        if state.holds.come(among) {
            follower.hurried.notify_one();
        }
        let last = Some(Arc::clone(&state.last));
        Self { last, news: follower.news.subscribe(), follower: Arc::downgrade(follower), among }
    }

    /// The follower's last batch at first, then each new one.
    ///
    /// # Errors
    /// [`Gone`] when the next one will not come.
    pub async fn batch(&mut self) -> Result<Arc<Batch>, Gone> {
        match self.last.take() {
            Some(last) => Ok(last),
            None => self.news.recv().await.map_err(|_| Gone),
        }
    }

    /// Whether a close look has succeeded that began at `moment` or later.
    #[must_use]
    pub fn looked_since(&self, moment: Instant) -> bool {
        self.follower.upgrade().is_some_and(|follower| follower.state().looked_closely >= Some(moment))
    }
}

impl Drop for Seat {
    /// Stores the time before the receiver is dropped, so that the follower never sees an old one.
    fn drop(&mut self) {
        if let Some(follower) = self.follower.upgrade() {
            let mut state = follower.state();
            state.last_left = clock::now();
            state.holds.leave(self.among);
        }
    }
}
