//! What the memory store does beyond what every store does.

use super::*;
use crate::{limits::MESSAGE_OVERHEAD_BYTES, message::Text};

const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    memory: Memory,
    clock: Clock,
}

fn bench(limits: Limits) -> Bench {
    let clock = Clock::starting_at(1_000_000_000_000);
    Bench { memory: Memory::new(clock.clone(), 24 * HOUR, limits), clock }
}

impl Bench {
    fn append(&self, channel: &str, text: &str, key: Option<&str>) -> Result<Cursor, StoreError> {
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        let key = key.map(|key| Key::parse(key.as_bytes()).unwrap());
        let channel = Channel::parse(channel).unwrap();
        self.memory.append_now(&channel, draft, key).map(|appended| appended.id)
    }

    fn read(&self, channel: &str, start: Start) -> Batch {
        let channel = Channel::parse(channel).unwrap();
        self.memory.read_now(&channel, start, Limit::MAX)
    }

    fn texts(&self, channel: &str) -> Vec<String> {
        let batch = self.read(channel, Start::Earliest);
        batch.messages().iter().map(|message| message.text().as_str().to_owned()).collect()
    }

    /// What is counted, counted anew.
    fn check_load(&self) {
        let state = self.memory.state();
        let entries = || state.logs.values().flat_map(|log| &log.entries);
        assert_eq!(state.load.bytes, state.logs.values().map(|log| log.load.bytes).sum::<usize>());
        assert_eq!(state.load.bytes, entries().map(|entry| entry.load.bytes).sum::<usize>());
        assert_eq!(state.load.keys, entries().filter(|entry| entry.key.is_some()).count());
        assert_eq!(state.load.keys, state.logs.values().map(|log| log.keys.len()).sum::<usize>());
    }
}

#[tokio::test]
async fn the_oldest_go_when_a_channel_is_full_and_that_shows_as_missed() {
    let bench = bench(Limits { channel_messages_max: 3, ..Limits::default() });
    let ids: Vec<_> = ["a", "b", "c", "d"].map(|text| bench.append("x", text, Some(text)).unwrap()).into();
    assert_eq!(bench.texts("x"), ["b", "c", "d"]);
    assert!(bench.read("x", Start::After(Cursor::new(ids[0].epoch(), 0))).missed());
    assert!(!bench.read("x", Start::After(ids[0])).missed());
    bench.check_load();
}

#[tokio::test]
async fn a_channel_has_at_most_so_many_bytes() {
    let room_for_two = 2 * (MESSAGE_OVERHEAD_BYTES + 10);
    let bench = bench(Limits { channel_bytes_max: room_for_two, ..Limits::default() });
    for text in ["0123456789", "abcdefghij", "ABCDEFGHIJ"] {
        bench.append("x", text, None).unwrap();
    }
    assert_eq!(bench.texts("x"), ["abcdefghij", "ABCDEFGHIJ"]);
    bench.append("x", "as long as the two before it", None).unwrap();
    assert_eq!(bench.texts("x").len(), 1);
    let too_large = bench.append("x", &"x".repeat(room_for_two), None);
    assert_eq!(too_large, Err(StoreError::Full("bytes in one channel")));
    assert_eq!(bench.texts("x").len(), 1, "what is refused changes nothing");
    bench.check_load();
}

#[tokio::test]
async fn a_full_store_takes_from_the_largest_channel_and_not_from_quiet_ones() {
    let room_for_four = 4 * (MESSAGE_OVERHEAD_BYTES + 1);
    let bench = bench(Limits { bytes_max: room_for_four, ..Limits::default() });
    let quiet = bench.append("quiet", "a", None).unwrap();
    let first = bench.append("loud", "a", None).unwrap();
    for text in ["b", "c", "d"] {
        bench.append("loud", text, None).unwrap();
    }
    bench.append("new", "a", None).expect("who is quiet is heard in a full store");
    assert_eq!((bench.texts("loud"), bench.texts("quiet").len()), (vec!["c".into(), "d".into()], 1));
    assert!(bench.read("loud", Start::After(first)).missed());
    assert!(!bench.read("quiet", Start::After(quiet)).missed());
    bench.check_load();
    bench.clock.advance(24 * HOUR);
    bench.append("new", "b", None).unwrap();
    assert!(bench.texts("loud").is_empty(), "what has expired goes first");
    bench.check_load();
}

#[tokio::test]
async fn a_message_that_can_never_fit_changes_nothing() {
    let bench = bench(Limits { bytes_max: MESSAGE_OVERHEAD_BYTES + 1, ..Limits::default() });
    bench.append("x", "a", None).unwrap();
    assert_eq!(bench.append("y", "bc", None), Err(StoreError::Full("bytes in one channel")));
    assert_eq!(bench.texts("x"), ["a"]);
    bench.check_load();
}

#[tokio::test]
async fn a_channel_too_many_takes_the_place_of_the_smallest_that_nobody_waits_on() {
    let bench = bench(Limits { channels_max: 3, ..Limits::default() });
    let waited_on = Channel::parse("waited-on").unwrap();
    let said = bench.append("waited-on", "a", None).unwrap();
    let mut waiting = bench.memory.tail(&waited_on, said);
    assert!(timeout(Duration::from_millis(1), waiting.next()).await.is_err());
    for text in ["a", "b"] {
        bench.append("two", text, None).unwrap();
    }
    let one = bench.append("one", "a", None).unwrap();
    assert_eq!(bench.append("new", "a", None), Err(StoreError::Full("channels")), "all were spoken in just now");
    bench.clock.advance(CHANNEL_QUIET);
    bench.append("new", "a", None).unwrap();
    assert_eq!((bench.texts("two").len(), bench.texts("waited-on").len()), (2, 1));
    assert!(bench.read("one", Start::After(one)).missed());
    bench.clock.advance(CHANNEL_QUIET);
    let again = bench.append("one", "a", None).unwrap();
    assert!(again.epoch() > one.epoch(), "another log begins");
    bench.check_load();
}

#[tokio::test]
async fn who_waits_on_every_channel_keeps_them_all() {
    let bench = bench(Limits { channels_max: 1, ..Limits::default() });
    let channel = Channel::parse("x").unwrap();
    let said = bench.append("x", "a", None).unwrap();
    let mut waiting = bench.memory.tail(&channel, said);
    assert!(timeout(Duration::from_millis(1), waiting.next()).await.is_err());
    bench.clock.advance(HOUR);
    assert_eq!(bench.append("y", "a", None), Err(StoreError::Full("channels")));
    assert_eq!(bench.texts("x"), ["a"]);
}

#[tokio::test]
async fn keys_have_a_maximum_and_go_with_their_messages() {
    let bench = bench(Limits { keys_max: 3, ..Limits::default() });
    let first = bench.append("x", "a", Some("k1")).unwrap();
    bench.append("y", "b", Some("k1")).expect("a key belongs to its channel");
    assert_eq!(bench.append("x", "a", Some("k1")), Ok(first));
    assert_eq!(bench.append("x", "b", Some("k1")), Err(StoreError::KeyReused));
    bench.append("x", "c", Some("k2")).unwrap();
    bench.append("y", "d", Some("k2")).expect("the channel with the most keys makes room");
    assert_eq!((bench.texts("x"), bench.texts("y").len()), (vec!["c".into()], 2));
    bench.check_load();
    let again = bench.append("x", "a", Some("k1")).unwrap();
    assert_ne!(again, first, "its message is gone");
    bench.check_load();
}

#[tokio::test]
async fn a_log_that_was_large_does_not_keep_the_room() {
    let bench = bench(Limits::default());
    for number in 0..1000 {
        bench.append("x", "a", Some(&number.to_string())).unwrap();
    }
    bench.clock.advance(24 * HOUR);
    bench.texts("x");
    let state = bench.memory.state();
    let log = &state.logs[&Channel::parse("x").unwrap()];
    assert!(log.entries.capacity() < 100 && log.keys.capacity() < 100);
}

#[tokio::test]
async fn a_silent_channel_is_forgotten_and_begins_another_log() {
    let bench = bench(Limits { channels_max: 1, ..Limits::default() });
    let first = bench.append("x", "a", None).unwrap();
    bench.clock.advance(25 * HOUR);
    bench.append("y", "b", None).expect("x has made room");
    let lost = bench.read("x", Start::After(first));
    assert!(lost.missed() && lost.cursor() == Cursor::ORIGIN);
    let Clock::Virtual { unix_ms, .. } = &bench.clock else { unreachable!() };
    unix_ms.fetch_sub(25 * 3_600_000, std::sync::atomic::Ordering::Relaxed);
    bench.memory.state().logs.clear();
    let second = bench.append("x", "c", None).unwrap();
    assert!(second.epoch() > first.epoch(), "also with the clock set back, no epoch comes twice");
}

#[tokio::test]
async fn a_channel_that_somebody_waits_on_is_not_forgotten() {
    let bench = bench(Limits::default());
    let channel = Channel::parse("x").unwrap();
    let first = bench.append("x", "a", None).unwrap();
    let mut waiting = bench.memory.tail(&channel, first);
    let polled = timeout(Duration::from_millis(1), waiting.next()).await;
    assert!(polled.is_err(), "nothing has come");
    bench.clock.advance(26 * HOUR);
    bench.append("y", "b", None).unwrap();
    let second = bench.append("x", "c", None).unwrap();
    assert_eq!(second.epoch(), first.epoch());
    let batch = waiting.next().await.unwrap().batch;
    drop(waiting);
    assert!(!batch.missed() && batch.cursor() == second);
    assert!(bench.memory.state().bells.is_empty(), "the last waiter has taken its bell");
}
