//! Publishers with a wrong clock, a frozen process, a lost log or another retention.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_hours_behind_destroys_nothing() {
    let world = world();
    let right = world.process(24 * HOUR);
    let first = right.say("first").await;
    for behind in [HOUR, 26 * HOUR, 300 * HOUR] {
        let clock = Clock::starting_at(world.clock.unix_ms() - clock::millis(behind));
        // The table accepts its signatures, as if it did not check them.
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
async fn publishers_with_all_clocks_that_dynamodb_takes_have_one_order() {
    let world = world();
    let mut said = vec![];
    for off_min in [14_i64, -14, 0, 14, -14] {
        let clock = Clock::starting_at(world.clock.unix_ms().checked_add_signed(off_min * 60_000).unwrap());
        said.push(said.len().to_string());
        world.process_with(clock, 24 * HOUR).say(&said[said.len() - 1]).await;
    }
    assert_eq!(texts(&world.process(24 * HOUR).read(Start::Earliest).await), said);
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
            // Nor does the time of the frozen publisher hide anybody's message.
            let batch = other.read(Start::Earliest).await;
            assert_eq!(texts(&batch).contains(&"meanwhile"), asleep > HOUR, "after {ms} ms {asleep:?}: {batch:?}");
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
        // New messages are kept for a day; older ones for at least an hour.
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
        // Also for a process that still has the shorter one.
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
    // As if a head was deleted while publishers ran: another time, another text, with a key.
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

#[tokio::test(start_paused = true)]
async fn a_publisher_whose_log_is_lost_midway_does_not_write_into_the_next_one() {
    let world = world();
    let process = world.process(24 * HOUR);
    let first = process.say("first").await;
    let log = LogName::new(&Channel::default(), first.epoch());
    // Its slot is taken, so it needs another one. Meanwhile the log is lost, and another one begins.
    world.table.put_slot_now(&log, first.offset() + 1, &Slot::Filler { time: world.clock.unix_ms() }, u64::MAX);
    let (store, channel) = (Arc::clone(&process.store), Channel::default());
    let draft = Draft { nick: None, text: Text::parse("lost".to_owned()).unwrap() };
    world.requests("put message");
    let append = tokio::spawn(async move { Store::append(&*store, &channel, draft, None).await });
    while world.requests("put message") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    world.table.behead();
    let direct = DynamoDb::new(world.table.clone(), world.clock.clone(), 24 * HOUR);
    let draft = Draft { nick: None, text: Text::parse("next".to_owned()).unwrap() };
    Store::append(&direct, &Channel::default(), draft, None).await.unwrap();
    assert_eq!(append.await.unwrap(), Err(StoreError::NoAnswer));
    assert_eq!(texts(&process.read(Start::Earliest).await), ["next"]);
}
