//! The suite of all stores, over the simulated table and over DynamoDB Local; and these two against each other.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use aws_sdk_dynamodb::types::AttributeValue;
use pubsub::{
    batch::Limit,
    channel::Channel,
    clock::Clock,
    cursor::Cursor,
    message::{Draft, Key, Nick, Text},
    meter::Meter,
    store::{Start, Store, StoreError},
};
use tests::{
    local,
    suite::{Bench, RETENTION},
};

use crate::{
    Client, DynamoDb, Roots, Settings,
    attributes::{number, text},
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
    simulation::table::SimulatedTable,
    table::{Consistency, Moved, Range, Table},
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

/// A clock that begins now, because DynamoDB Local deletes expired items within seconds.
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

/// Performs the same steps on a table, and returns the result of each.
async fn steps(table: &impl Table) -> Vec<String> {
    let (lobby, other) = (Channel::default(), Channel::parse("other").unwrap());
    let log = LogName::new(&lobby, 1_000);
    let key = Key::parse(b"k").unwrap();
    let expires = Clock::System.unix_ms() / 1000 + 1_000_000;
    let long = Text::parse("é\u{0}x".repeat(100)).unwrap();
    let said = |nick: Option<&str>, key: Option<&Key>| Slot::Message {
        time: 1_500,
        draft: Draft { nick: nick.map(|nick| Nick::parse(nick.to_owned()).unwrap()), text: long.clone() },
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
    let terms = Terms { now: 1_002, quiet: 999, ahead: 2_000, retention: 50 };
    let first = Head { epoch: 1_000, last: 1, time: 1_000, base: 0, mark: 0, due: 1_500, kept: 50, retention: 50 };
    step!(table.head(&lobby));
    step!(table.count_up(&lobby, terms));
    step!(table.put_head(&lobby, Some(first), first));
    step!(table.put_head(&lobby, None, first));
    step!(table.put_head(&lobby, None, first));
    step!(table.count_up(&lobby, terms));
    for refused in [
        Terms { quiet: 1_002, ..terms },
        Terms { ahead: 1_002, ..terms },
        Terms { now: 1_500, ..terms },
        Terms { retention: 51, ..terms },
    ] {
        step!(table.count_up(&lobby, refused));
    }
    step!(table.count_up(&lobby, Terms { now: 1_499, ahead: 1_003, quiet: 1_001, retention: 49 }));
    let third = Head { last: 3, time: 1_499, ..first };
    for other in [Head { last: 2, ..third }, Head { epoch: 1_001, ..third }] {
        step!(table.put_head(&lobby, Some(other), third));
    }
    let raised = Head { last: 4, kept: 50, retention: 60, mark: 3, due: 9_000, ..third };
    step!(table.put_head(&lobby, Some(third), raised));
    step!(table.count_up(&lobby, Terms { retention: 70, ..terms }));
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
        real.iter().any(|step| step.contains("Ok(Done(Head { epoch: 1000, last: 5, time: 1002, base: 0, mark: 3,"))
    );
    assert!(real.iter().any(|step| step.ends_with(&format!("{:?}", Ok::<_, ()>(Moved::Gone)))));
}

#[tokio::test]
async fn a_table_that_is_there_already_is_fine() {
    let client = local_table().await;
    client.create_table().await.unwrap();
}

/// A copy of a table, as if restored from a backup.
async fn copy_of(client: &Client) -> Client {
    let copy = local_table().await;
    let mut items = client.sdk.scan().table_name(&client.table).into_paginator().items().send();
    while let Some(item) = items.next().await {
        copy.sdk.put_item().table_name(&copy.table).set_item(Some(item.unwrap())).send().await.unwrap();
    }
    copy
}

#[tokio::test]
async fn in_a_restored_table_every_log_can_begin_anew() {
    let (client, lobby) = (local_table().await, Channel::default());
    let store = DynamoDb::new(client.clone(), Clock::System, RETENTION);
    let say = async |store: &DynamoDb, text: &str| {
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        Store::append(store, &lobby, draft, None).await.unwrap().id
    };
    say(&store, "backed up").await;
    let backup = copy_of(&client).await;
    let seen = say(&store, "lost").await;

    // Without `--begin-anew`, the restored log gives out offsets that clients have seen, and their cursors skip
    // messages.
    let careless = DynamoDb::new(copy_of(&backup).await, Clock::System, RETENTION);
    assert_eq!(say(&careless, "skipped").await, seen);
    let batch = Store::read(&careless, &lobby, Start::After(seen), Limit::MAX).await.unwrap();
    assert!(batch.is_empty());

    assert_eq!(backup.begin_anew().await, Ok(1));
    assert_eq!(backup.begin_anew().await, Ok(0));
    let restored = DynamoDb::new(backup, Clock::System, RETENTION);
    let batch = Store::read(&restored, &lobby, Start::After(seen), Limit::MAX).await.unwrap();
    assert!(batch.missed() && batch.cursor() == Cursor::ORIGIN);
    let id = say(&restored, "first").await;
    assert_ne!(id.epoch(), seen.epoch());
    let batch = Store::read(&restored, &lobby, Start::After(seen), Limit::MAX).await.unwrap();
    assert_eq!((batch.messages().len(), batch.missed(), batch.cursor()), (1, true, id));
}

#[tokio::test]
async fn what_a_later_version_wrote_stops_readers_there_and_nowhere_else() {
    let (client, lobby) = (local_table().await, Channel::default());
    let store = DynamoDb::new(client.clone(), Clock::System, RETENTION);
    let draft = |text: &str| Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(Store::append(&store, &lobby, draft(&number.to_string()), None).await.unwrap().id);
    }
    let log = LogName::new(&lobby, ids[0].epoch());
    for (attribute, value) in [
        ("text", AttributeValue::N("7".to_owned())),
        ("nick", AttributeValue::S("\u{202e}".to_owned())),
        ("time", AttributeValue::S("yesterday".to_owned())),
    ] {
        let key = [("log", text(log.as_str())), ("offset", number(ids[2].offset()))];
        let mut update = client.sdk.update_item().table_name(&client.table);
        for (name, value) in key {
            update = update.key(name, value);
        }
        let update = update.update_expression("SET #a = :a").expression_attribute_names("#a", attribute);
        update.expression_attribute_values(":a", value).send().await.unwrap();

        let read = async |start| Store::read(&store, &lobby, start, Limit::MAX).await;
        let below = read(Start::Earliest).await.unwrap();
        assert_eq!((below.messages().len(), below.cursor(), below.missed()), (2, ids[1], false), "{attribute}");
        assert_eq!(read(Start::After(ids[1])).await.unwrap_err(), StoreError::Corrupt, "{attribute}");
        let mut tail = store.tail(&lobby, ids[1]);
        assert_eq!(tail.next().await.unwrap_err(), StoreError::Corrupt, "{attribute}");
        for start in [Start::After(ids[2]), Start::Last(Limit::MAX), Start::Before(Cursor::new(ids[0].epoch(), 6))] {
            // The last cursor may be ahead of the log.
            let Ok(batch) = read(start).await else { panic!("{attribute} {start:?}") };
            let came: Vec<_> = batch.messages().iter().map(|message| message.id()).collect();
            assert!(came == ids[3..] || batch.missed(), "{attribute} {start:?}: {batch:?}");
        }
        assert_eq!(read(Start::Before(ids[3])).await.unwrap_err(), StoreError::Corrupt, "{attribute}");
        assert_eq!(read(Start::Latest).await.unwrap().cursor(), ids[4], "{attribute}");
    }
    // A publisher whose slot holds this filler takes another one.
    Store::append(&store, &lobby, draft("more"), Some(Key::parse(b"k").unwrap())).await.unwrap();
}

#[tokio::test]
async fn the_roots_of_amazon_are_certificates() {
    let mut settings = Settings::from_environment("x".to_owned(), Some(local::ENDPOINT.clone()), |_| None).unwrap();
    settings.roots = Roots::Amazon;
    // A client whose roots can't be read panics when it is made.
    let client = Client::new(settings, Arc::new(Meter::default()));
    assert!(client.head(&Channel::default()).await.is_err(), "there is no such table");
}

/// Requests and read units of one read, by DynamoDB Local's own count.
async fn cost(store: &DynamoDb, meter: &Meter, start: Start) -> (u64, f64) {
    meter.since_last();
    Store::read(store, &Channel::default(), start, Limit::MAX).await.unwrap();
    let usage = meter.since_last();
    (usage.requests, usage.read_units)
}

#[tokio::test]
async fn beginnings_cost_what_the_document_says() {
    let (client, meter, clock) = (local_table().await, Arc::new(Meter::default()), clock());
    let counted = Client { meter: Arc::clone(&meter), ..client };
    let store = DynamoDb::new(counted, clock.clone(), RETENTION);
    let append = async || {
        let draft = Draft { nick: None, text: Text::parse("x".repeat(100)).unwrap() };
        Store::append(&store, &Channel::default(), draft, None).await.unwrap()
    };
    let last = Start::Last(Limit::clamped(50).unwrap());
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/LOG.md")).unwrap();
    let mut wrong = Vec::new();
    let mut documented = async |what: &str, start| {
        let (requests, units) = cost(&store, &meter, start).await;
        let row = format!("| {what} | {requests} | {units} |");
        println!("{row}");
        wrong.extend((!document.contains(&row)).then_some(row));
    };
    documented("any, channel without a log", Start::Latest).await;
    for _ in 0..100 {
        append().await;
    }
    documented("`latest`, 100 messages in the last 10 s", Start::Latest).await;
    clock.advance(std::time::Duration::from_secs(11));
    documented("`latest`, quiet channel", Start::Latest).await;
    documented("`last=50`, quiet channel", last).await;
    documented("`earliest`, 100 messages", Start::Earliest).await;
    clock.advance(RETENTION - std::time::Duration::from_secs(3_600));
    for _ in 0..1_900 {
        append().await;
    }
    clock.advance(std::time::Duration::from_secs(3_600));
    append().await;
    clock.advance(RETENTION - std::time::Duration::from_secs(3_600));
    append().await;
    documented("`earliest`, 2,000 expired slots that are not deleted yet", Start::Earliest).await;
    assert!(wrong.is_empty(), "docs/LOG.md has other figures than {wrong:#?}");
}
