//! A poll that waits, on one channel or on several.
//!
//! Each place waits as if it were alone. The poll is answered when the first place has something, with all that the
//! others have by then. A batch that is no answer is passed over and not kept: a follower shows each batch once.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::join_all;
use smallvec::{SmallVec, smallvec};
use tokio::time::{Instant, sleep};

use crate::{
    batch::{Batch, Following, Limit},
    channel::Channel,
    cursor::Cursor,
    follow::{Followers, Seat},
    limits::READ_PAUSE_MAX,
    store::{Start, Store, StoreError},
};

/// A channel, and where to begin in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The channel.
    pub channel: Channel,
    /// The beginning.
    pub start: Start,
}

/// One for each channel of a poll. The only one of most polls needs no memory of its own.
pub type Each<T> = SmallVec<[T; 1]>;

/// What a poll is answered with.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Up to this many messages, or that some were missed.
    Batch(Limit),
    /// The next message, even if others were missed.
    Message,
}

/// The result at one place.
pub(crate) type Told = Result<Arc<Batch>, StoreError>;

/// How a poll reads, held or not.
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) followers: &'a Followers,
    pub(crate) wanted: Wanted,
    /// The number of channels of the poll.
    pub(crate) among: usize,
}

/// A poll that waits.
pub(crate) struct Hold<'a> {
    reader: &'a Reader<'a>,
    begun: Instant,
    waits: Each<Wait<'a>>,
}

/// One of its channels.
struct Wait<'a> {
    channel: &'a Channel,
    /// Its position. It moves without an answer past offsets that have no message, and in a hold for a single message also
    /// past what was missed.
    at: Cursor,
    /// Its seat. None if the channel could not be read, or there are too many followers: then it reads for itself.
    seat: Option<Seat>,
    /// What its first look found, if that is an answer.
    found: Option<Told>,
    /// Whether it has read the store itself.
    looked: bool,
}

impl Reader<'_> {
    /// What there is at each place now.
    pub(crate) async fn look(&self, places: &[Place]) -> Each<Told> {
        join_all(places.iter().map(|place| self.read(&place.channel, place.start))).await.into()
    }

    async fn read(&self, channel: &Channel, start: Start) -> Told {
        self.store.read(channel, start, self.wanted.limit()).await.map(Arc::new)
    }

    /// A wait at this place. It has a seat if the channel has a follower at the same position.
    fn sit<'w>(&self, Place { channel, start }: &'w Place) -> Wait<'w> {
        let at = start.cursor().unwrap_or(Cursor::ORIGIN);
        let seat = start.cursor().and_then(|at| self.followers.join_unread(channel, at, self.among));
        Wait { channel, at, seat, found: None, looked: false }
    }

    /// Reads a place without a seat, and takes a seat if nothing was found.
    async fn look_first(&self, wait: &mut Wait<'_>, start: Start) {
        wait.found = match self.read(wait.channel, start).await {
            Ok(batch) => wait.take(batch, self.wanted).map(Ok),
            Err(error) => Some(Err(error)),
        };
        if wait.found.is_none() {
            wait.looked = true;
            wait.seat = self.followers.join(wait.channel, wait.at, self.among).ok();
        }
    }

    /// Returns when there is an answer. It goes on through an outage of the store.
    async fn news(&self, wait: &mut Wait<'_>) -> Told {
        if let Some(found) = wait.found.take() {
            return found;
        }
        let (limit, mut pause) = (self.wanted.limit(), Duration::ZERO);
        loop {
            if let Some(seat) = &mut wait.seat
                && let Ok(batch) = seat.batch().await
            {
                match batch.following(wait.at, limit) {
                    Following::Batch(batch) => match wait.take(batch, self.wanted) {
                        Some(batch) => return Ok(batch),
                        None => continue,
                    },
                    Following::NothingYet => continue,
                    Following::Unknown => {}
                }
            }
            // The follower has ended, or is further than this hold. The pauses grow, so that no fault makes this loop spin.
            sleep(pause).await;
            pause = (pause * 2).clamp(Duration::from_millis(50), READ_PAUSE_MAX);
            let batch = match self.read(wait.channel, Start::After(wait.at)).await {
                Ok(batch) => batch,
                Err(StoreError::Busy | StoreError::NoAnswer) => continue,
                Err(error) => return Err(error),
            };
            wait.looked = true;
            if let Some(batch) = wait.take(batch, self.wanted) {
                return Ok(batch);
            }
            if let Ok(seat) = self.followers.join(wait.channel, wait.at, self.among) {
                wait.seat = Some(seat);
            }
        }
    }

    /// The answer when the time is over. An empty one claims that nothing was there when the hold began, so somebody
    /// must have looked closely since.
    async fn last_look(&self, wait: Wait<'_>, begun: Instant) -> Told {
        if wait.looked || wait.seat.is_some_and(|seat| seat.looked_since(begun)) {
            Ok(Arc::new(Batch::empty(wait.at)))
        } else {
            self.read(wait.channel, Start::After(wait.at)).await
        }
    }
}

impl<'a> Hold<'a> {
    /// Takes a seat where a follower is at the place already. Call `look_first` next.
    pub(crate) fn new(reader: &'a Reader<'a>, places: &'a [Place], begun: Instant) -> Self {
        Self { reader, begun, waits: places.iter().map(|place| reader.sit(place)).collect() }
    }

    /// Takes a first look at all places without a seat before any is answered. Otherwise a place that always has
    /// something would keep the others from ever being looked at.
    pub(crate) async fn look_first(&mut self, places: &[Place]) {
        let Self { reader, waits, .. } = self;
        let looks = waits.iter_mut().zip(places).filter(|(wait, _)| wait.seat.is_none());
        join_all(looks.map(|(wait, place)| reader.look_first(wait, place.start))).await;
        if waits.iter().any(|wait| !wait.has_failed()) {
            // If a place can't be read, the poll still waits for the others. But a place without a cursor can't wait:
            // its failure is the answer.
            for (wait, place) in waits.iter_mut().zip(places) {
                if wait.has_failed() && place.start.cursor().is_some() {
                    wait.found = None;
                }
            }
        }
    }

    /// Returns when the first place has an answer, with what each has by then.
    pub(crate) async fn news(&mut self) -> Each<Told> {
        let reader = self.reader;
        if let [wait] = &mut self.waits[..] {
            return smallvec![reader.news(wait).await];
        }
        let mut news: Vec<_> = self.waits.iter_mut().map(|wait| Box::pin(reader.news(wait))).collect();
        let told = poll_fn(|context| told_by_now(&mut news, context)).await;
        drop(news);
        let nothing = |wait: &Wait<'_>| Ok(Arc::new(Batch::empty(wait.at)));
        self.waits.iter().zip(told).map(|(wait, told)| told.unwrap_or_else(|| nothing(wait))).collect()
    }

    /// The answer of each place when the time is over.
    pub(crate) async fn end(self) -> Each<Told> {
        join_all(self.waits.into_iter().map(|wait| self.reader.last_look(wait, self.begun))).await.into()
    }
}

/// The answer of each place that is ready. Pending while none is.
fn told_by_now(
    news: &mut [Pin<Box<impl Future<Output = Told>>>],
    context: &mut Context<'_>,
) -> Poll<Vec<Option<Told>>> {
    let told = news.iter_mut().map(|news| match news.as_mut().poll(context) {
        Poll::Ready(told) => Some(told),
        Poll::Pending => None,
    });
    let told: Vec<_> = told.collect();
    if told.iter().any(Option::is_some) { Poll::Ready(told) } else { Poll::Pending }
}

impl Wait<'_> {
    /// Goes on behind a batch, and returns it if it is an answer.
    fn take(&mut self, batch: Arc<Batch>, wanted: Wanted) -> Option<Arc<Batch>> {
        self.at = batch.cursor();
        wanted.is_met_by(&batch).then_some(batch)
    }

    /// Whether the first look failed because the store did not answer. An item that can't be read is another failure.
    fn has_failed(&self) -> bool {
        matches!(self.found, Some(Err(StoreError::Busy | StoreError::NoAnswer)))
    }
}

impl Wanted {
    pub(crate) fn limit(self) -> Limit {
        match self {
            Self::Batch(limit) => limit,
            Self::Message => Limit::ONE,
        }
    }

    pub(crate) fn is_met_by(self, batch: &Batch) -> bool {
        match self {
            Self::Batch(_) => !batch.is_empty(),
            Self::Message => !batch.messages().is_empty(),
        }
    }
}
