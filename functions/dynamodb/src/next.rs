//! Waiting for news: the one poller that a channel has in a process.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock,
    cursor::Cursor,
    store::StoreError,
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    ANSWER_MAX, DynamoDb,
    item::{LogName, Slot},
    read::batch,
    table::{Consistency, Range, Table},
    walk::Walk,
};

/// A hole that this reader has seen for so long is decided: about a hundred times what a put takes.
const GRACE: Duration = Duration::from_secs(1);

/// The pause between two queries while there are news, or a hole. What a hold costs is mostly its duration, so asking
/// often is cheap, and asking once a second would save a tenth.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// News make it likely that more come: so long after them the pause stays short.
const LIVELY: Duration = Duration::from_secs(1);

/// The pause on an idle channel.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The pause while the table fails.
const PAUSE_FAILING: Duration = Duration::from_secs(1);

/// Without news, so often the head is looked at: whether this is still the log.
const HEAD_EVERY: Duration = Duration::from_secs(25);

/// What a poller knows beyond its position.
struct View {
    epoch: u64,
    position: u64,
    /// What deciding a hole has shown. A query may be too old to know it.
    decided: BTreeMap<u64, Slot>,
    /// Since when each hole has been seen.
    holes: HashMap<u64, Instant>,
}

impl View {
    fn at(cursor: Cursor) -> Self {
        Self { epoch: cursor.epoch(), position: cursor.offset(), decided: BTreeMap::new(), holes: HashMap::new() }
    }

    fn cursor(&self) -> Cursor {
        Cursor::new(self.epoch, self.position)
    }
}

impl<T: Table> DynamoDb<T> {
    /// Returns when there is something after the cursor. It fails only at what this version can't read.
    pub(crate) async fn next(&self, channel: &Channel, after: Cursor) -> Result<Batch, StoreError> {
        let begun = clock::now();
        let mut view = View::at(after);
        let mut looked = begun;
        let mut pause = PAUSE_MIN;
        let mut failing = false;
        loop {
            let look = failing || view.cursor() == Cursor::ORIGIN || clock::now() - looked >= HEAD_EVERY;
            let found =
                if look { self.look_again(channel, &mut view).await } else { self.glance(channel, &mut view).await };
            failing = match found {
                Ok(found) if !found.is_empty() => {
                    let missed = found.missed();
                    let messages = found.messages().iter().cloned();
                    return Ok(Batch::new(after, messages, found.cursor(), missed, Limit::MAX));
                }
                Ok(_) => {
                    if look {
                        looked = clock::now();
                    }
                    false
                }
                Err(StoreError::Corrupt) => return Err(StoreError::Corrupt),
                Err(_) => true,
            };
            pause = if failing {
                (pause * 2).min(PAUSE_FAILING)
            } else if !view.holes.is_empty() || clock::now() - begun < LIVELY {
                PAUSE_MIN
            } else {
                (pause * 3 / 2).clamp(PAUSE_MIN, PAUSE_MAX)
            };
            sleep(pause).await;
        }
    }

    /// A first look, from where the view stands.
    async fn look_again(&self, channel: &Channel, view: &mut View) -> Result<Batch, StoreError> {
        let at = view.cursor();
        let looked = timeout(ANSWER_MAX, self.look(channel, at, Limit::MAX)).await;
        let looked = looked.unwrap_or(Err(StoreError::NoAnswer))?;
        if looked.cursor() != at {
            *view = View::at(looked.cursor());
        }
        Ok(looked)
    }

    /// One query. Holes that have been there for the grace are decided, all that were seen together.
    async fn glance(&self, channel: &Channel, view: &mut View) -> Result<Batch, StoreError> {
        let after = view.cursor();
        let log = LogName::new(channel, view.epoch);
        let query = self.table.query(&log, Range::Above(view.position), Consistency::Eventual, Limit::MAX.get());
        let page = query.await?;
        let mut slots: BTreeMap<_, _> = page.slots.into_iter().collect();
        slots.extend(view.decided.clone());
        let mut walk = Walk::from(view.position);
        self.walk(&mut walk, channel, view.epoch, &slots);

        let now = clock::now();
        view.holes.retain(|hole, _| walk.holes.contains(hole));
        for hole in &walk.holes {
            view.holes.entry(*hole).or_insert(now);
        }
        let ripe = |hole: &u64| view.holes.get(hole).is_some_and(|since| now - *since >= GRACE);
        let ripe: Vec<_> = walk.holes.iter().copied().filter(ripe).collect();
        if walk.is_empty() && !ripe.is_empty() {
            // A process may have slept for days, and what looks like a hole may have expired and been deleted.
            let head = self.table.head(channel).await?;
            if head.is_none_or(|head| head.epoch != view.epoch || head.base > view.position) {
                return self.look_again(channel, view).await;
            }
            let decided = self.decide(&log, ripe.into_iter()).await?;
            view.decided.extend(decided.iter().cloned());
            slots.extend(decided);
            walk = Walk::from(view.position);
            self.walk(&mut walk, channel, view.epoch, &slots);
        }
        view.position = walk.position;
        view.decided.retain(|offset, _| *offset > walk.position);
        Ok(batch(after, view.epoch, walk, false, Limit::MAX))
    }
}
