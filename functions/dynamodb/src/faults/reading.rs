//! Readers and followers, and what their looks cost.

use super::*;

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
            // The lost writes leave holes that can be decided after ten seconds.
            sleep(11 * SECOND).await;
            let rest = process.read(Start::After(batch.cursor())).await;
            assert_eq!([texts(&batch), texts(&rest)].concat(), ["last"], "{lost} lost, {gap:?} apart");
            assert_eq!(rest.cursor(), last, "{lost} lost, {gap:?} apart: {batch:?} {rest:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_missed_something_is_told_so_also_when_the_next_slot_is_an_old_hole() {
    let world = world();
    let process = world.process(24 * HOUR);
    let first = process.say("first").await;
    process.say("gone").await;
    world.clock.advance(23 * HOUR);
    process.die().await;
    process.say("later").await;
    // What has expired is not deleted yet.
    world.clock.advance(2 * HOUR);
    let batch = process.read(Start::After(first)).await;
    assert_eq!((texts(&batch), batch.missed()), (vec!["later"], true));
}

#[tokio::test(start_paused = true)]
async fn a_follower_gives_an_old_hole_no_time() {
    let world = world();
    let process = world.process(24 * HOUR);
    let (first, channel) = (process.say("first").await, Channel::default());
    process.die().await;
    process.say("above").await;
    sleep(11 * SECOND).await;
    let begun = clock::now();
    let mut tail = process.store.tail(&channel, first);
    while texts(&tail.next().await.unwrap().batch) != ["above"] {}
    assert!(clock::now() - begun < SECOND / 2, "{:?}", clock::now() - begun);
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
    // A channel that was used for more than a day, and of which nothing was deleted.
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
        // The oldest message that is left, to the minute.
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
    // Once it can't be acknowledged any more, it is decided, once.
    sleep(11 * SECOND).await;
    assert_eq!(reader.read(Start::Latest).await.cursor(), second);
    assert_eq!(world.requests("put filler"), 1);
    assert_eq!(texts(&reader.read(last(2)).await), ["first", "second"]);
    assert_eq!(world.requests("put filler"), 0);
}

/// What happens to a process that follows, and how long it may take until it notices that its log was lost meanwhile.
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

#[tokio::test(start_paused = true)]
async fn a_filler_that_looks_old_does_not_hide_what_is_under_way_below_it() {
    let world = world();
    let (reader, writer) = (world.process(24 * HOUR), world.process(24 * HOUR));
    let first = writer.say("first").await;
    let under_way = writer.die().await;
    for number in 0..15 {
        writer.say(&number.to_string()).await;
    }
    let lost = writer.die().await;
    writer.say("last").await;
    // A follower decided the hole near the end.
    let log = LogName::new(&Channel::default(), first.epoch());
    let head = reader.line.head(&Channel::default()).await.unwrap().unwrap();
    reader.store.decide(&log, [lost], &head, world.clock.unix_ms()).await.unwrap();
    for start in [Start::Latest, last(1), last(50)] {
        assert_eq!(reader.read(start).await.cursor().offset(), under_way - 1, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_asks_often_after_news_and_below_a_hole_and_seldom_otherwise() {
    let world = world();
    let (follower, writer) = (world.process(24 * HOUR), world.process(24 * HOUR));
    let (first, channel) = (writer.say("first").await, Channel::default());
    let mut tail = follower.store.tail(&channel, first);
    let mut queries = async |span: Duration| {
        world.requests("query");
        let until = clock::now() + span;
        while clock::now() < until {
            tail.next().await.unwrap();
        }
        world.requests("query")
    };
    let (often, seldom) = (11..=20, 3..=6);
    world.requests("head");
    assert!(often.contains(&queries(SECOND).await), "when it begins");
    queries(2 * SECOND).await;
    assert!(seldom.contains(&queries(SECOND).await), "on an idle channel");
    writer.say("news").await;
    queries(SECOND / 4).await;
    assert!(often.contains(&queries(SECOND).await), "after news");
    queries(3 * SECOND).await;
    // The message above the hole is not delivered before the hole is decided.
    writer.die().await;
    writer.say("above").await;
    queries(SECOND / 4).await;
    world.requests("put filler");
    assert!((4..=10).contains(&queries(SECOND * 2 / 5).await), "below a hole");
    assert_eq!(world.requests("put filler"), 0, "its writer is given its time");
    queries(SECOND / 2).await;
    assert_eq!(world.requests("put filler"), 1);
    assert_eq!(world.requests("head"), 1, "it looked closely to decide the hole, and at no other time");
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_polls_of_many_channels_asks_more_seldom() {
    let world = world();
    let process = world.process(24 * HOUR);
    let (first, channel) = (process.say("first").await, Channel::default());
    for (channels, most) in [(1, 24), (4, 20), (20, 4)] {
        let mut tail = process.store.tail(&channel, first);
        tail.pace(channels);
        for _ in 0..20 {
            tail.next().await.unwrap();
        }
        world.requests("query");
        let until = clock::now() + 6 * SECOND;
        while clock::now() < until {
            tail.next().await.unwrap();
        }
        let queries = world.requests("query");
        assert!((most * 3 / 4..=most).contains(&queries), "{channels} channels: {queries}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_news_is_one_query() {
    let world = world();
    let process = world.process(24 * HOUR);
    let (first, last) = (process.say("first").await, process.say("last").await);
    sleep(SECOND).await;
    for (start, heads, queries) in
        [(Start::After(first), 0, 1), (Start::After(last), 1, 1), (Start::After(Cursor::ORIGIN), 1, 1)]
    {
        for kind in ["query", "head"] {
            world.requests(kind);
        }
        process.read(start).await;
        assert_eq!((world.requests("head"), world.requests("query")), (heads, queries), "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_at_what_can_not_be_delivered_asks_once() {
    for (decided, above) in [(true, 0), (false, 150)] {
        let world = world();
        let process = world.process(24 * HOUR);
        let first = process.say("first").await;
        process.die().await;
        for number in 0..above {
            process.say(&number.to_string()).await;
        }
        if decided {
            sleep(11 * SECOND).await;
            process.read(Start::Latest).await;
        }
        for kind in ["query", "head"] {
            world.requests(kind);
        }
        assert!(process.read(Start::After(first)).await.is_empty());
        // A glance, and the closer look.
        assert_eq!((world.requests("head"), world.requests("query")), (1, 2), "{above} above");
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_an_error_for_whoever_stands_below_it() {
    let world = world();
    let process = world.process(24 * HOUR);
    let first = process.say("first").await;
    let offset = process.die().await;
    let log = LogName::new(&Channel::default(), first.epoch());
    world.table.put_slot_now(&log, offset, &Slot::Unknown { time: world.clock.unix_ms() }, u64::MAX);
    let last = process.say("last").await;
    let read = async |start| Store::read(&*process.store, &Channel::default(), start, Limit::MAX).await;
    assert_eq!(read(Start::After(first)).await.unwrap_err(), StoreError::Corrupt);
    assert_eq!(process.store.tail(&Channel::default(), first).next().await.unwrap_err(), StoreError::Corrupt);
    assert_eq!(read(Start::Before(last)).await.unwrap_err(), StoreError::Corrupt);
    // What is below it is delivered.
    let beginning = Cursor::new(first.epoch(), 0);
    for start in [Start::Earliest, Start::After(Cursor::ORIGIN), Start::After(beginning)] {
        assert_eq!(texts(&read(start).await.unwrap()), ["first"], "{start:?}");
    }
    let look = process.store.tail(&Channel::default(), beginning).next().await.unwrap();
    assert_eq!(texts(&look.batch), ["first"]);
    assert_eq!(texts(&read(Start::After(Cursor::new(first.epoch(), offset))).await.unwrap()), ["last"]);
}
