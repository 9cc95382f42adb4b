//! Single faults that a simulation would rarely meet, and faults that change what the log costs.

mod publishing;
mod reading;

use std::{sync::Arc, time::Duration};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    message::{Draft, Key, Text},
    store::{Appended, Start, Store, StoreError},
};
use tokio::time::sleep;

use crate::{
    DynamoDb,
    head::Terms,
    item::{LogName, Slot},
    simulation::{line::Line, table::SimulatedTable},
    table::{CountUp, Table},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// One simulated table, and the true time.
struct World {
    clock: Clock,
    table: SimulatedTable,
}

/// A process over the table, with its own clock and line.
struct Process {
    line: Line,
    clock: Clock,
    store: Arc<DynamoDb<Line>>,
}

fn world() -> World {
    let clock = Clock::starting_at(1_000_000_000_000);
    World { table: SimulatedTable::faultless(clock.clone()), clock }
}

impl World {
    fn process(&self, retention: Duration) -> Process {
        self.process_with(self.clock.clone(), retention)
    }

    fn process_with(&self, clock: Clock, retention: Duration) -> Process {
        let line = Line::new(self.table.clone(), clock.clone());
        Process { store: Arc::new(DynamoDb::new(line.clone(), clock.clone(), retention)), line, clock }
    }

    /// Requests of a kind since the last call.
    fn requests(&self, kind: &'static str) -> u64 {
        self.table.take_count(kind)
    }

    /// Moves time on, and deletes all that has expired.
    fn pass(&self, by: Duration) {
        self.clock.advance(by);
        for _ in 0..20 {
            self.table.expire();
        }
    }
}

impl Process {
    async fn append(&self, text: &str, key: Option<&str>) -> Result<Appended, StoreError> {
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        let key = key.map(|key| Key::parse(key.as_bytes()).unwrap());
        Store::append(&*self.store, &Channel::default(), draft, key).await
    }

    async fn say(&self, text: &str) -> Cursor {
        self.append(text, None).await.unwrap().id
    }

    async fn read(&self, start: Start) -> Batch {
        Store::read(&*self.store, &Channel::default(), start, Limit::MAX).await.unwrap()
    }

    /// Takes an offset, and dies.
    async fn die(&self) -> u64 {
        let terms = Terms::new(self.clock.unix_ms(), self.store.retention_ms);
        match self.line.count_up(&Channel::default(), terms).await.unwrap() {
            CountUp::Done(head) => head.last,
            CountUp::Refused(Some(head)) => {
                let next = head.next(terms).unwrap();
                assert!(self.line.put_head(&Channel::default(), Some(head), next).await.unwrap());
                next.last
            }
            CountUp::Refused(None) => panic!("there is no log"),
        }
    }
}

fn texts(batch: &Batch) -> Vec<&str> {
    batch.messages().iter().map(|message| message.text().as_str()).collect()
}

fn last(count: u64) -> Start {
    Start::Last(Limit::clamped(count).unwrap())
}
