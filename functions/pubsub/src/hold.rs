//! A poll that waits, on one channel or on several.
//!
//! Each of its places waits by itself, as if it were alone. The poll is answered when the first of them has something,
//! with all that the others have by then.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    batch::{Batch, Following, Limit},
    channel::Channel,
    cursor::Cursor,
    follow::{Followers, Seat},
    limits::READ_PAUSE_MAX,
    store::{Start, Store, StoreError},
};

/// A channel, and where somebody begins to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The channel.
    pub channel: Channel,
    /// Where.
    pub start: Start,
}

/// What a poll wants of each of its channels.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Up to so many messages, or that some were missed.
    Batch(Limit),
    /// The next message, whatever was missed.
    Message,
}

/// What one place has to tell.
pub(crate) type Told = Result<Arc<Batch>, StoreError>;

/// How a poll reads, whether it waits or not.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) followers: &'a Followers,
    pub(crate) wanted: Wanted,
    /// How many channels the poll is about.
    pub(crate) among: usize,
}

/// A poll that waits.
pub(crate) struct Hold<'a> {
    reader: Reader<'a>,
    begun: Instant,
    waits: Vec<Wait<'a>>,
}

/// One of its places.
struct Wait<'a> {
    channel: &'a Channel,
    /// Where it stands. Only a hold for a message moves on without answering, past what was missed.
    at: Cursor,
    /// None where it could not read, or where there are too many followers: then it reads for itself.
    seat: Option<Seat>,
    /// What its first look has brought, if that is to be told.
    found: Option<Told>,
    /// Whether it has read for itself.
    looked: bool,
}

impl<'a> Reader<'a> {
    /// What stands at each place now.
    pub(crate) async fn look(self, places: &[Place]) -> Vec<Told> {
        join_all(places.iter().map(|place| self.read(&place.channel, place.start))).await
    }

    async fn read(self, channel: &Channel, start: Start) -> Told {
        self.store.read(channel, start, self.wanted.limit()).await.map(Arc::new)
    }

    /// Takes a seat with the channel's follower. Reads first, unless the follower stands just there.
    async fn sit(self, place: &'a Place) -> Wait<'a> {
        let Place { channel, start } = place;
        let wait =
            Wait { channel, at: start.cursor().unwrap_or(Cursor::ORIGIN), seat: None, found: None, looked: false };
        let seat = start.cursor().and_then(|at| self.followers.join_unread(channel, at, self.among));
        if seat.is_some() {
            return Wait { seat, ..wait };
        }
        match self.read(channel, *start).await {
            Ok(batch) if self.wanted.is_met_by(&batch) => Wait { found: Some(Ok(batch)), ..wait },
            Ok(batch) => {
                let at = batch.cursor();
                Wait { at, seat: self.followers.join(channel, at, self.among).ok(), looked: true, ..wait }
            }
            Err(error) => Wait { found: Some(Err(error)), ..wait },
        }
    }

    /// Returns when there is what is wanted. It outlives an outage of the store.
    async fn news(self, wait: &mut Wait<'_>) -> Told {
        if let Some(found) = wait.found.take() {
            return found;
        }
        let (limit, mut pause) = (self.wanted.limit(), Duration::ZERO);
        loop {
            if let Some(seat) = &mut wait.seat
                && let Ok(batch) = seat.batch().await
            {
                match batch.following(wait.at, limit) {
                    Following::Batch(batch) if self.wanted.is_met_by(&batch) => return Ok(batch),
                    Following::Batch(batch) => {
                        wait.at = batch.cursor();
                        continue;
                    }
                    Following::NothingYet => continue,
                    Following::Unknown => {}
                }
            }
            // The follower is gone, or has passed this hold. Pauses grow, so that no fault makes this loop spin.
            sleep(pause).await;
            pause = (pause * 2).clamp(Duration::from_millis(50), READ_PAUSE_MAX);
            let batch = match self.read(wait.channel, Start::After(wait.at)).await {
                Ok(batch) => batch,
                Err(StoreError::Busy | StoreError::NoAnswer) => continue,
                Err(error) => return Err(error),
            };
            wait.looked = true;
            if self.wanted.is_met_by(&batch) {
                return Ok(batch);
            }
            wait.at = batch.cursor();
            if let Ok(seat) = self.followers.join(wait.channel, wait.at, self.among) {
                wait.seat = Some(seat);
            }
        }
    }

    /// What there is to tell when the time is over. An empty answer says that nothing was there when the hold began, so
    /// somebody must have looked closely since.
    async fn last_look(self, wait: Wait<'_>, begun: Instant) -> Told {
        if wait.looked || wait.seat.is_some_and(|seat| seat.looked_since(begun)) {
            Ok(Arc::new(Batch::empty(wait.at)))
        } else {
            self.read(wait.channel, Start::After(wait.at)).await
        }
    }
}

impl<'a> Hold<'a> {
    /// Has a first look at all places. None is answered before: one that always has something would else keep the others
    /// from ever being looked at.
    pub(crate) async fn begin(reader: Reader<'a>, places: &'a [Place], begun: Instant) -> Self {
        let mut waits = match places {
            // As below, without what several cost.
            [place] => vec![reader.sit(place).await],
            places => join_all(places.iter().map(|place| reader.sit(place))).await,
        };
        if waits.iter().any(|wait| !wait.has_failed()) {
            // One that could not be read keeps nobody from waiting for the others. Without a cursor it can't wait itself.
            for (wait, place) in waits.iter_mut().zip(places) {
                if wait.has_failed() && place.start.cursor().is_some() {
                    wait.found = None;
                }
            }
        }
        Self { reader, begun, waits }
    }

    /// Returns when the first place has what is wanted: what each has by then.
    pub(crate) async fn news(&mut self) -> Vec<Told> {
        let reader = self.reader;
        if let [wait] = &mut self.waits[..] {
            return vec![reader.news(wait).await];
        }
        let mut news: Vec<_> = self.waits.iter_mut().map(|wait| Box::pin(reader.news(wait))).collect();
        let told = poll_fn(|context| told_by_now(&mut news, context)).await;
        drop(news);
        let nothing = |wait: &Wait<'_>| Ok(Arc::new(Batch::empty(wait.at)));
        self.waits.iter().zip(told).map(|(wait, told)| told.unwrap_or_else(|| nothing(wait))).collect()
    }

    /// What each place has when the time is over.
    pub(crate) async fn end(self) -> Vec<Told> {
        join_all(self.waits.into_iter().map(|wait| self.reader.last_look(wait, self.begun))).await
    }
}

/// What each has that is ready. Pending while none is.
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
    /// Whether the store did not answer its first look. What can't be read at all is no such failure.
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
