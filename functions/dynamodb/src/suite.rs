//! The suite of all stores, over the simulated table and over DynamoDB Local; and these two against each other.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use pubsub::{
    channel::Channel,
    clock::Clock,
    message::{Draft, Key, Nick, Text},
    meter::Meter,
};
use tests::{
    local,
    suite::{Bench, RETENTION},
};

use crate::{
    Client, DynamoDb, Roots, Settings,
    item::{Head, LogName, Pointer, Slot},
    simulation::table::SimulatedTable,
    table::{Consistency, Moved, Range, Table, Turn},
};

/// A client for a new table of DynamoDB Local.
async fn local_table() -> Client {
    static TABLES: AtomicU32 = AtomicU32::new(0);
    let name = format!("suite-{}-{}", std::process::id(), TABLES.fetch_add(1, Relaxed));
    let settings = Settings::from_environment(name, Some(local::ENDPOINT.clone()), |_| None).unwrap();
    let client = Client::new(settings, Arc::new(Meter::default()));
    client.create_table().await.unwrap();
    client
}

/// A clock that begins now: DynamoDB Local deletes what has expired within seconds.
fn clock() -> Clock {
    Clock::starting_at(Clock::System.unix_ms())
}

mod simulated {
    use super::*;

    fn bench() -> Bench {
        let clock = clock();
        let table = SimulatedTable::faultless(clock.clone());
        Bench { store: Arc::new(DynamoDb::new(table, clock.clone(), RETENTION)), clock }
    }

    tests::store_suite!(bench());
}

mod real {
    use super::*;

    async fn bench() -> Bench {
        let clock = clock();
        Bench { store: Arc::new(DynamoDb::new(local_table().await, clock.clone(), RETENTION)), clock }
    }

    tests::store_suite!(bench().await);
}

/// Does the same to a table, step by step, and says what came of each.
async fn steps(table: &impl Table) -> Vec<String> {
    let (lobby, other) = (Channel::default(), Channel::parse("other").unwrap());
    let log = LogName::new(&lobby, 1_000);
    let key = Key::parse(b"k").unwrap();
    let expires = Clock::System.unix_ms() / 1000 + 1_000_000;
    let text = Text::parse("é\u{0}x".repeat(100)).unwrap();
    let said = |nick: Option<&str>, key: Option<&Key>| Slot::Message {
        time: 1_500,
        draft: Draft { nick: nick.map(|nick| Nick::parse(nick.to_owned()).unwrap()), text: text.clone() },
        key: key.cloned(),
    };
    let filler = Slot::Filler { time: 1_600 };
    let to = |slot, time| Pointer { slot, time };
    let mut came = Vec::new();
    macro_rules! step {
        ($call:expr) => {
            came.push(format!("{}: {:?}", stringify!($call), $call.await))
        };
    }
    step!(table.head(&lobby));
    step!(table.give_out(&lobby, Turn::RunOn, 1_000, 0));
    step!(table.give_out(&lobby, Turn::Begin, 1_000, 0));
    step!(table.give_out(&lobby, Turn::Begin, 1_001, 0));
    step!(table.give_out(&lobby, Turn::RunOn, 1_002, 999));
    step!(table.give_out(&lobby, Turn::RunOn, 1_003, 1_002));
    step!(table.give_out(&lobby, Turn::Begin, 1_003, 1_001));
    step!(table.give_out(&lobby, Turn::Begin, 9_000, 1_002));
    step!(table.head(&lobby));
    step!(table.head(&other));
    step!(table.put_slot(&log, 1, &said(Some("ann"), Some(&key)), expires));
    step!(table.put_slot(&log, 1, &filler, expires));
    step!(table.put_slot(&log, 2, &filler, expires));
    step!(table.put_slot(&log, 2, &said(None, None), expires));
    step!(table.put_slot(&log, 4, &said(None, None), expires));
    step!(table.put_slot(&LogName::new(&lobby, 1_001), 3, &filler, expires));
    step!(table.put_key(&log, &key, to(1, 1_500), 0, expires));
    step!(table.put_key(&log, &key, to(2, 1_600), 1_500, expires));
    step!(table.put_key(&log, &key, to(2, 1_600), 1_501, expires));
    step!(table.move_key(&log, &key, 1, to(3, 1_700), expires));
    step!(table.move_key(&log, &key, 2, to(3, 1_700), expires));
    step!(table.put_key(&log, &key, to(9, 1_900), 1_700, expires));
    step!(table.move_key(&log, &Key::parse(b"K").unwrap(), 1, to(3, 1_700), expires));
    for consistency in [Consistency::Eventual, Consistency::Strong] {
        for range in
            [Range::Above(0), Range::Above(1), Range::Above(4), Range::Below(4), Range::Below(1), Range::Below(99)]
        {
            for limit in [1, 2, 100] {
                step!(table.query(&log, range, consistency, limit));
            }
        }
    }
    came
}

#[tokio::test]
async fn the_simulated_table_does_what_dynamodb_does() {
    let (real, simulated) = (local_table().await, SimulatedTable::faultless(clock()));
    let (real, simulated) = (steps(&real).await, steps(&simulated).await);
    for (real, simulated) in real.iter().zip(&simulated) {
        assert_eq!(simulated, real);
    }
    assert!(real.len() == simulated.len() && real.len() > 50);
    assert!(
        real.iter().any(|step| step.contains(&format!("{:?}", Head { epoch: 1_000, last: 3, time: 9_000, base: 2 })))
    );
    assert!(real.iter().any(|step| step.ends_with(&format!("{:?}", Ok::<_, ()>(Moved::Gone)))));
}

#[tokio::test]
async fn a_table_that_is_there_already_is_fine() {
    let client = local_table().await;
    client.create_table().await.unwrap();
}

#[tokio::test]
async fn the_roots_of_amazon_are_certificates() {
    let mut settings = Settings::from_environment("x".to_owned(), Some(local::ENDPOINT.clone()), |_| None).unwrap();
    settings.roots = Roots::Amazon;
    // A client whose roots can't be read panics when it is made.
    let client = Client::new(settings, Arc::new(Meter::default()));
    assert!(client.head(&Channel::default()).await.is_err(), "there is no such table");
}
