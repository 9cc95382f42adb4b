//! One fault at a time, where a simulation would take long to meet it, or where it is about what the log costs.

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
    table::{Counted, Table},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// One simulated table, and the true time.
struct World {
    clock: Clock,
    table: SimulatedTable,
}

/// A process over the table, with a clock and a line of its own.
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

    /// Requests of a kind since this was last asked.
    fn requests(&self, kind: &'static str) -> u64 {
        self.table.take_count(kind)
    }

    /// Time goes on, and all that has expired is deleted.
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
            Counted::Up(head) => head.last,
            Counted::Not(Some(head)) => {
                let next = head.next(terms).unwrap();
                assert!(self.line.put_head(&Channel::default(), Some(head), next).await.unwrap());
                next.last
            }
            Counted::Not(None) => panic!("there is no log"),
        }
    }
}

fn texts(batch: &Batch) -> Vec<&str> {
    batch.messages().iter().map(|message| message.text().as_str()).collect()
}

fn last(count: u64) -> Start {
    Start::Last(Limit::clamped(count).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_hours_behind_destroys_nothing() {
    let world = world();
    let right = world.process(24 * HOUR);
    let first = right.say("first").await;
    for behind in [HOUR, 26 * HOUR, 300 * HOUR] {
        let clock = Clock::starting_at(world.clock.unix_ms() - clock::millis(behind));
        // Its signatures are taken, as by a table that does not look at them.
        let store = DynamoDb::new(world.table.clone(), clock, 24 * HOUR);
        let draft = Draft { nick: None, text: Text::parse("wrong".to_owned()).unwrap() };
        let refused = Store::append(&store, &Channel::default(), draft, None).await;
        assert_eq!(refused, Err(StoreError::Busy), "{behind:?}");
    }
    right.say("second").await;
    let batch = right.read(Start::After(Cursor::new(first.epoch(), 0))).await;
    assert_eq!((texts(&batch), batch.missed()), (vec!["first", "second"], false));
}

#[tokio::test(start_paused = true)]
async fn dynamodb_refuses_a_clock_that_is_off_and_nothing_comes_of_it() {
    let world = world();
    let right = world.process(24 * HOUR);
    right.say("first").await;
    for off_ms in [-26 * 3_600_000, -16 * 60_000, 16 * 60_000, 26 * 3_600_000] {
        let clock = Clock::starting_at(world.clock.unix_ms().checked_add_signed(off_ms).unwrap());
        let wrong = world.process_with(clock, 24 * HOUR);
        assert_eq!(wrong.append("wrong", None).await, Err(StoreError::NoAnswer), "{off_ms}");
    }
    assert_eq!(texts(&right.read(Start::Earliest).await), ["first"]);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_was_frozen_does_not_acknowledge() {
    for (asleep, key) in [(6 * SECOND, None), (26 * HOUR, None), (26 * HOUR, Some("k")), (300 * HOUR, Some("k"))] {
        for ms in [5, 15, 25, 45, 60] {
            let world = world();
            let process = world.process(24 * HOUR);
            process.say("first").await;
            let (store, channel) = (Arc::clone(&process.store), Channel::default());
            let draft = Draft { nick: None, text: Text::parse("frozen".to_owned()).unwrap() };
            let parsed = key.map(|key: &str| Key::parse(key.as_bytes()).unwrap());
            let append = tokio::spawn(async move { Store::append(&*store, &channel, draft, parsed).await });
            sleep(Duration::from_millis(ms)).await;
            process.line.freeze(SECOND / 2);
            let done = append.is_finished();
            world.clock.advance(asleep);
            let other = world.process(24 * HOUR);
            if asleep > HOUR {
                other.say("meanwhile").await;
            }
            let answer = append.await.unwrap();
            assert!(done || answer == Err(StoreError::NoAnswer), "after {ms} ms {asleep:?}: {answer:?}");
            // Neither is anybody's message hidden by the time that the frozen one brought.
            let batch = other.read(Start::Earliest).await;
            assert_eq!(texts(&batch).contains(&"meanwhile"), asleep > HOUR, "after {ms} ms {asleep:?}: {batch:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_frozen_decides_and_tells_nothing() {
    for ms in [1, 5, 12, 20, 30] {
        let world = world();
        let (reader, writer) = (world.process(24 * HOUR), world.process(24 * HOUR));
        let first = writer.say("first").await;
        writer.say("second").await;
        writer.die().await;
        writer.say("third").await;
        sleep(11 * SECOND).await;
        let (store, channel) = (Arc::clone(&reader.store), Channel::default());
        let read = tokio::spawn(async move { Store::read(&*store, &channel, Start::After(first), Limit::MAX).await });
        sleep(Duration::from_millis(ms)).await;
        reader.line.freeze(SECOND / 2);
        let done = read.is_finished();
        world.pass(300 * HOUR);
        let answer = read.await.unwrap();
        assert!(done || answer.is_err(), "after {ms} ms: {answer:?}");
        let after = writer.read(Start::After(first)).await;
        assert!(after.missed() && after.messages().is_empty(), "after {ms} ms: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_number_of_lost_offsets_in_a_row_hides_no_message_that_is_gone() {
    for lost in 1..6 {
        for gap in [20 * HOUR, 24 * HOUR + HOUR / 2, 25 * HOUR - SECOND, 26 * HOUR] {
            let world = world();
            let process = world.process(24 * HOUR);
            let first = process.say("first").await;
            process.say("gone").await;
            for _ in 0..lost {
                world.pass(gap);
                process.die().await;
            }
            world.pass(gap);
            let last = process.say("last").await;
            let batch = process.read(Start::After(first)).await;
            assert!(batch.missed(), "{lost} lost, {gap:?} apart: {batch:?}");
            // The lost ones are holes that can be decided in ten seconds.
            sleep(11 * SECOND).await;
            let rest = process.read(Start::After(batch.cursor())).await;
            assert_eq!([texts(&batch), texts(&rest)].concat(), ["last"], "{lost} lost, {gap:?} apart");
            assert_eq!(rest.cursor(), last, "{lost} lost, {gap:?} apart: {batch:?} {rest:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_raised_retention_hides_nothing() {
    for step in [HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR] {
        let world = world();
        let short = world.process(HOUR);
        let origin = Cursor::new(short.say("0").await.epoch(), 0);
        for number in 1..8 {
            world.pass(HOUR / 4);
            short.say(&number.to_string()).await;
        }
        let long = world.process(24 * HOUR);
        // What is published from now on is kept for a day; what was there before, for an hour at least.
        let mut kept = vec![];
        for number in 8..15 {
            kept.push(number.to_string());
            long.say(&number.to_string()).await;
            world.pass(step);
            let batch = long.read(Start::After(origin)).await;
            let all = texts(&batch);
            assert!(all.ends_with(&kept.iter().map(String::as_str).collect::<Vec<_>>()), "{step:?}: {batch:?}");
            assert!(batch.missed() || all.len() == number + 1, "{step:?}: {batch:?}");
            let earliest = long.read(Start::Earliest).await;
            assert!(all.ends_with(&texts(&earliest)) && !earliest.missed(), "{step:?}: {earliest:?}");
            assert!(texts(&earliest).len() >= kept.len(), "{step:?}: {earliest:?}");
        }
        // Also for a process that is not set to it yet.
        let batch = short.read(Start::After(origin)).await;
        assert!(batch.missed(), "{batch:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lowered_retention_loses_nothing_early() {
    let world = world();
    let long = world.process(24 * HOUR);
    let first = long.say("first").await;
    let short = world.process(HOUR);
    for number in 0..12 {
        world.pass(2 * HOUR - SECOND);
        short.say(&number.to_string()).await;
        let batch = long.read(Start::After(Cursor::new(first.epoch(), 0))).await;
        assert_eq!((batch.messages().len(), batch.missed()), (number + 2, false), "{batch:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_waits_ten_seconds_at_most_whatever_the_clock_of_a_writer() {
    for off_ms in [-300_000_i64, -20_000, -3_000, 0, 3_000, 8_000, 20_000, 300_000] {
        let world = world();
        let looker = world.process(24 * HOUR);
        let clock = Clock::starting_at(world.clock.unix_ms().checked_add_signed(off_ms).unwrap());
        let writer = world.process_with(clock, 24 * HOUR);
        let first = writer.say("first").await;
        writer.die().await;
        writer.say("second").await;
        let begun = clock::now();
        while texts(&looker.read(Start::After(first)).await) != ["second"] {
            sleep(SECOND / 4).await;
            let waited = clock::now() - begun;
            assert!(waited < 19 * SECOND && (off_ms.abs() > 10_000 || waited < 10 * SECOND + 9 * SECOND), "{off_ms}");
        }
        let waited = clock::now() - begun;
        let most = 10 * SECOND + Duration::from_millis(u64::try_from(off_ms.clamp(0, 10_000)).unwrap()) + SECOND;
        assert!(waited <= most, "{off_ms} ms off: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_skipped_by_few_queries() {
    const SLOTS: u64 = 20_000;
    let world = world();
    let process = world.process(24 * HOUR);
    let origin = Cursor::new(process.say("0").await.epoch(), 0);
    let log = LogName::new(&Channel::default(), origin.epoch());
    // A channel that has spoken for more than a day; nothing of it has been deleted.
    for number in 1..SLOTS {
        let offset = process.die().await;
        let draft = Draft { nick: None, text: Text::parse(number.to_string()).unwrap() };
        let slot = Slot::Message { time: world.clock.unix_ms(), draft, key: None };
        world.table.put_slot_now(&log, offset, &slot, u64::MAX);
        world.clock.advance(Duration::from_millis(24 * 3_600_000 / (SLOTS - 250)));
    }
    world.clock.advance(23 * HOUR);
    world.requests("query");
    for start in [Start::Earliest, Start::After(origin), Start::After(Cursor::ORIGIN)] {
        let batch = process.read(start).await;
        let queries = world.requests("query");
        println!(
            "{start:?}: {queries} queries, {} messages from {:?}",
            batch.messages().len(),
            batch.messages()[0].id()
        );
        assert!(queries <= 25, "{start:?} took {queries}");
        assert_eq!(batch.missed(), start != Start::Earliest);
        // The oldest that is left, to the minute.
        let age = world.clock.unix_ms() - batch.messages()[0].unix_ms();
        assert!((23 * 3_600_000 + 3_500_000..=24 * 3_600_000).contains(&age), "{age}");
    }
}

#[tokio::test(start_paused = true)]
async fn beginnings_cost_little() {
    for (messages, quiet, start, queries) in [
        (0, true, Start::Latest, 0),
        (3, true, Start::Latest, 1),
        (3, true, last(50), 1),
        (3, true, Start::Earliest, 1),
        (500, true, Start::Latest, 1),
        (500, true, last(50), 1),
        (500, true, Start::Earliest, 1),
        (500, false, Start::Latest, 2),
        (500, false, last(50), 2),
    ] {
        let world = world();
        let process = world.process(24 * HOUR);
        for number in 0..messages {
            process.say(&number.to_string()).await;
        }
        if quiet {
            sleep(11 * SECOND).await;
        }
        for kind in ["query", "head"] {
            world.requests(kind);
        }
        process.read(start).await;
        assert_eq!((world.requests("head"), world.requests("query")), (1, queries), "{messages} {quiet} {start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_beginning_stands_below_what_can_still_be_acknowledged() {
    let world = world();
    let (reader, writer) = (world.process(24 * HOUR), world.process(24 * HOUR));
    writer.say("first").await;
    let hole = writer.die().await;
    let second = writer.say("second").await;
    for start in [Start::Latest, last(1), last(50)] {
        let batch = reader.read(start).await;
        assert_eq!(batch.cursor().offset(), hole - 1, "{start:?}");
    }
    // When it can't be acknowledged any more it is decided, once.
    sleep(11 * SECOND).await;
    assert_eq!(reader.read(Start::Latest).await.cursor(), second);
    assert_eq!(world.requests("put filler"), 1);
    assert_eq!(texts(&reader.read(last(2)).await), ["first", "second"]);
    assert_eq!(world.requests("put filler"), 0);
}

#[tokio::test(start_paused = true)]
async fn all_is_deleted_in_the_end_and_nothing_before_it_has_expired() {
    let world = world();
    let process = world.process(24 * HOUR);
    process.append("keyed", Some("k")).await.unwrap();
    process.append("keyed", Some("k")).await.unwrap();
    process.die().await;
    process.say("plain").await;
    sleep(11 * SECOND).await;
    process.read(Start::Latest).await;
    // Two messages, a filler for the repeat, one for the hole, and a key.
    assert_eq!(world.table.items(), 5);
    for (hours, items) in [(24, 5), (75, 5), (124, 5), (126, 0)] {
        let elapsed = Duration::from_millis(world.clock.unix_ms() - 1_000_000_000_000);
        world.pass(hours * HOUR - elapsed);
        assert_eq!(world.table.items(), items, "after {hours} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_readers_overtake_each_time_is_told_that_it_was_busy() {
    let world = world();
    let process = world.process(24 * HOUR);
    let first = process.say("first").await;
    let log = LogName::new(&Channel::default(), first.epoch());
    for offset in 2..7 {
        world.table.put_slot_now(&log, offset, &Slot::Filler { time: world.clock.unix_ms() }, u64::MAX);
    }
    assert_eq!(process.append("overtaken", None).await, Err(StoreError::Busy));
    assert_eq!(process.say("next").await.offset(), 7);
    for offset in 8..12 {
        world.table.put_slot_now(&log, offset, &Slot::Filler { time: world.clock.unix_ms() }, u64::MAX);
    }
    assert_eq!(process.append("keyed", Some("k")).await.unwrap().id.offset(), 12);
    assert_eq!(process.append("keyed", Some("k")).await.unwrap().id.offset(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_strangers_message_in_the_slot_is_not_taken_for_ones_own() {
    let world = world();
    let process = world.process(24 * HOUR);
    let first = process.say("first").await;
    let log = LogName::new(&Channel::default(), first.epoch());
    let draft = |text: &str| Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
    let now = world.clock.unix_ms();
    // As after a head that was deleted under running publishers: of another time, another text, with a key.
    let strangers = [
        Slot::Message { time: now - 1, draft: draft("same"), key: None },
        Slot::Message { time: now, draft: draft("other"), key: None },
        Slot::Message { time: now, draft: draft("same"), key: Some(Key::parse(b"k").unwrap()) },
        Slot::Unknown { time: now },
    ];
    for (slot, offset) in strangers.into_iter().zip(2..) {
        world.table.put_slot_now(&log, offset, &slot, u64::MAX);
    }
    assert_eq!(process.append("same", None).await.unwrap().id.offset(), 6);
}

/// What befalls a process that follows, and how long it may take to notice that its log was lost meanwhile.
async fn follower_notices(befalls: impl AsyncFnOnce(&World, &Process), within: Duration) {
    let world = world();
    let (follower, writer) = (world.process(24 * HOUR), world.process(24 * HOUR));
    let first = writer.say("first").await;
    let channel = Channel::default();
    let mut tail = follower.store.tail(&channel, first);
    for _ in 0..10 {
        assert!(tail.next().await.unwrap().batch.is_empty());
    }
    world.table.clear();
    befalls(&world, &follower).await;
    let second = writer.say("second").await;
    let begun = clock::now();
    let batch = loop {
        let batch = tail.next().await.unwrap().batch;
        if !batch.is_empty() {
            break batch;
        }
    };
    let took = clock::now() - begun;
    assert!(took < within, "{took:?}");
    assert_eq!((texts(&batch), batch.missed(), batch.after(), batch.cursor()), (vec!["second"], true, first, second));
}

#[tokio::test(start_paused = true)]
async fn a_follower_notices_a_log_that_was_made_anew() {
    follower_notices(async |_, _| sleep(SECOND).await, 21 * SECOND).await;
    // At once after its process was frozen, and as soon as its table answers again.
    follower_notices(async |world, _| world.clock.advance(6 * SECOND), SECOND).await;
    follower_notices(async |_, process| process.line.cut(5 * SECOND), 12 * SECOND).await;
}
