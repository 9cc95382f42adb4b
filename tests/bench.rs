//! A service over the memory store, with Tokio's clock paused, that counts the reads of its store.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    limits::Limits,
    memory::Memory,
    message::{Draft, Key, Text},
    service::{Place, Refusal, Service, Stats, Wanted},
    store::{Appended, Look, Pending, Start, Store, StoreError, Tail},
};
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const ANY: Wanted = Wanted::Batch(Limit::MAX);

/// A memory store that counts its reads. On command it fails, its tails learn of nothing or come upon an item that they
/// can't read, and appends take a second, or panic.
pub(crate) struct Counted {
    memory: Mutex<Arc<Memory>>,
    reads: AtomicUsize,
    pub(crate) tails: AtomicUsize,
    pub(crate) failing: AtomicUsize,
    pub(crate) corrupt: AtomicBool,
    /// A channel that can't be read.
    pub(crate) unreadable: Mutex<Option<Channel>>,
    /// How many channels its holds wait on, as each tail was told.
    pub(crate) paces: Mutex<Vec<(Channel, usize)>>,
}

impl Store for Counted {
    fn append<'a>(&'a self, channel: &'a Channel, draft: Draft, key: Option<Key>) -> Pending<'a, Appended> {
        Box::pin(async move {
            match self.failing.load(Relaxed) {
                0 => {}
                1 => sleep(SECOND).await,
                _ => panic!("a fault of the store"),
            }
            self.memory().append(channel, draft, key).await
        })
    }
    fn read<'a>(&'a self, channel: &'a Channel, start: Start, limit: Limit) -> Pending<'a, Batch> {
        self.reads.fetch_add(1, Relaxed);
        if self.failing.load(Relaxed) > 0 || self.unreadable.lock().unwrap().as_ref() == Some(channel) {
            return Box::pin(async { Err(StoreError::NoAnswer) });
        }
        let memory = self.memory();
        Box::pin(async move { memory.read(channel, start, limit).await })
    }
    fn tail<'a>(&'a self, channel: &'a Channel, after: Cursor) -> Box<dyn Tail + 'a> {
        self.tails.fetch_add(1, Relaxed);
        Box::new(CutTail { store: self, memory: self.memory(), channel, at: after })
    }
}

impl Counted {
    fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory.lock().unwrap())
    }
}

/// A tail that learns of nothing while its store fails, nor of a log that comes after its own.
struct CutTail<'a> {
    store: &'a Counted,
    memory: Arc<Memory>,
    channel: &'a Channel,
    at: Cursor,
}

impl Tail for CutTail<'_> {
    fn next(&mut self) -> Pending<'_, Look> {
        Box::pin(async {
            while self.store.failing.load(Relaxed) > 0 {
                sleep(SECOND / 4).await;
            }
            if self.store.corrupt.load(Relaxed) {
                return Err(StoreError::Corrupt);
            }
            let look = self.memory.tail(self.channel, self.at).next().await?;
            self.at = look.batch.cursor();
            Ok(look)
        })
    }

    fn pace(&mut self, channels: usize) {
        self.store.paces.lock().unwrap().push((self.channel.clone(), channels));
    }
}

pub(crate) struct Bench {
    pub(crate) service: Arc<Service>,
    pub(crate) store: Arc<Counted>,
    pub(crate) clock: Clock,
    pub(crate) channel: Channel,
}

pub(crate) fn bench() -> Bench {
    bench_with(Limits::default())
}

pub(crate) fn bench_with(limits: Limits) -> Bench {
    let clock = Clock::starting_at(1_000_000_000_000);
    let memory = Mutex::new(Arc::new(Memory::new(clock.clone(), 86_400 * SECOND, limits.clone())));
    let store = Arc::new(Counted {
        memory,
        reads: 0.into(),
        tails: 0.into(),
        failing: 0.into(),
        corrupt: false.into(),
        unreadable: Mutex::default(),
        paces: Mutex::default(),
    });
    let service = Arc::new(Service::new(Arc::clone(&store) as Arc<dyn Store>, clock.clone(), &limits));
    Bench { service, store, clock, channel: Channel::default() }
}

impl Bench {
    pub(crate) async fn publish(&self, text: &str) -> Cursor {
        self.publish_to(&self.channel, text).await
    }

    pub(crate) async fn publish_to(&self, channel: &Channel, text: &str) -> Cursor {
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        self.service.publish(channel, draft, None).await.unwrap().id
    }

    pub(crate) fn hold(
        &self,
        start: Start,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Arc<Batch>, Refusal>> + use<> {
        let (service, channel) = (Arc::clone(&self.service), self.channel.clone());
        async move { one(&service, &channel, start, wanted, clock::now() + 25 * SECOND).await }
    }

    /// Puts a message into the log, of which nobody learns before the next await.
    pub(crate) async fn append(&self, channel: &str, text: &str) -> Cursor {
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        self.store.memory().append(&Channel::parse(channel).unwrap(), draft, None).await.unwrap().id
    }

    /// Polls one channel.
    pub(crate) async fn subscribe(
        &self,
        channel: &Channel,
        start: Start,
        wanted: Wanted,
        until: Instant,
    ) -> Result<Arc<Batch>, Refusal> {
        one(&self.service, channel, start, wanted, until).await
    }

    /// Starts so many holds, and returns when all wait.
    pub(crate) async fn holds(
        &self,
        count: usize,
        start: Start,
    ) -> Vec<tokio::task::JoinHandle<Result<Arc<Batch>, Refusal>>> {
        let holds = (0..count).map(|_| tokio::spawn(self.hold(start, ANY))).collect();
        settle().await;
        holds
    }

    /// Loses the log, as when a table is made anew.
    pub(crate) fn lose(&self) {
        let memory = Memory::new(self.clock.clone(), 86_400 * SECOND, Limits::default());
        *self.store.memory.lock().unwrap() = Arc::new(memory);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.service.stats()
    }

    pub(crate) fn reads(&self) -> usize {
        self.store.reads.swap(0, Relaxed)
    }
}

/// Lets every task do what it can without time passing.
pub(crate) async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

pub(crate) fn texts(batch: &Batch) -> Vec<&str> {
    batch.messages().iter().map(|message| message.text().as_str()).collect()
}

async fn one(
    service: &Service,
    channel: &Channel,
    start: Start,
    wanted: Wanted,
    until: Instant,
) -> Result<Arc<Batch>, Refusal> {
    let place = Place { channel: channel.clone(), start };
    Ok(service.subscribe(&[place], wanted, until).await?.remove(0))
}
