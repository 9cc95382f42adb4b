//! What every store must do. One suite, run against each of them by [`store_suite!`](crate::store_suite).

use std::{sync::Arc, time::Duration};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::Clock,
    cursor::Cursor,
    message::{Draft, Key, Nick, Text},
    store::{Appended, Start, Store, StoreError},
};

const HOUR: Duration = Duration::from_secs(3600);

/// The retention of the stores under test.
pub const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// An empty store, and its clock.
pub struct Bench {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its clock, which tests set forward.
    pub clock: Clock,
}

/// Makes a test of each item of the suite. `$bench` is an expression that makes a [`Bench`], and may await.
#[macro_export]
macro_rules! store_suite {
    ($bench:expr) => {
        $crate::store_suite! { $bench =>
            a_channel_without_a_log_is_at_the_origin
            messages_are_read_in_the_order_of_their_publishing
            a_read_begins_where_it_is_told_to
            a_read_has_no_more_than_its_limit
            history_is_read_backwards
            a_key_appends_once
            cursors_of_another_log_have_missed_something
            what_has_expired_is_missed_by_whoever_stood_before_it
            a_long_silence_misses_nothing_that_was_read
            a_key_is_free_again_when_its_message_has_expired
            channels_have_nothing_to_do_with_each_other
            whoever_waits_is_told_of_news
            whoever_waits_is_told_what_it_missed
            a_tail_goes_on_where_it_was
            a_tail_says_that_it_looked
            a_wait_can_be_dropped
        }
    };
    ($bench:expr => $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::suite::$name($bench).await;
            }
        )*
    };
}

impl Bench {
    async fn try_append(&self, nick: Option<&str>, text: &str, key: Option<&str>) -> Result<Appended, StoreError> {
        let nick = nick.map(|nick| Nick::parse(nick.to_owned()).expect("a nick"));
        let draft = Draft { nick, text: Text::parse(text.to_owned()).expect("a text") };
        let key = key.map(|key| Key::parse(key.as_bytes()).expect("a key"));
        self.store.append(&Channel::default(), draft, key).await
    }

    async fn append(&self, text: &str) -> Cursor {
        self.try_append(None, text, None).await.expect("appended").id
    }

    async fn read(&self, start: Start) -> Batch {
        self.store.read(&Channel::default(), start, Limit::MAX).await.expect("read")
    }

    /// What comes after a cursor, once there is something.
    async fn news(&self, after: Cursor) -> Batch {
        let channel = Channel::default();
        let mut tail = self.store.tail(&channel, after);
        loop {
            let batch = tail.next().await.expect("a look").batch;
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    async fn look(&self, cursor: Cursor) -> (Vec<String>, Cursor, bool) {
        told(&self.read(Start::After(cursor)).await)
    }
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.messages().iter().map(|message| message.text().as_str().to_owned()).collect()
}

fn told(batch: &Batch) -> (Vec<String>, Cursor, bool) {
    (texts(batch), batch.cursor(), batch.missed())
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn limit(number: u64) -> Limit {
    Limit::clamped(number).expect("a limit")
}

#[expect(missing_docs, reason = "the names are sentences")]
mod items {
    use super::*;

    pub async fn a_channel_without_a_log_is_at_the_origin(bench: Bench) {
        for start in [Start::Earliest, Start::Latest, Start::Last(limit(3)), Start::After(Cursor::ORIGIN)] {
            assert_eq!(told(&bench.read(start).await), (vec![], Cursor::ORIGIN, false), "{start:?}");
        }
        assert!(!bench.read(Start::Before(Cursor::ORIGIN)).await.missed());
        let foreign = Cursor::new(5, 5);
        assert_eq!(bench.look(foreign).await, (vec![], Cursor::ORIGIN, true));
        assert!(bench.read(Start::Before(foreign)).await.missed());
        let id = bench.append("first").await;
        assert_eq!(bench.look(Cursor::ORIGIN).await, (strings(&["first"]), id, false));
    }

    pub async fn messages_are_read_in_the_order_of_their_publishing(bench: Bench) {
        let before = bench.clock.unix_ms();
        let first = bench.try_append(Some("ann"), " \u{0}é\u{1F600}\n", None).await.expect("appended");
        let second = bench.append("second").await;
        assert!(!first.repeated && first.id.epoch() == second.epoch() && first.id.offset() < second.offset());
        let batch = bench.read(Start::Earliest).await;
        let [one, two] = batch.messages() else { panic!("two messages: {batch:?}") };
        assert_eq!((one.id(), two.id()), (first.id, second));
        assert_eq!(one.nick().map(Nick::as_str), Some("ann"));
        assert_eq!((one.text().as_str(), two.nick()), (" \u{0}é\u{1F600}\n", None));
        assert!((before..=bench.clock.unix_ms()).contains(&one.unix_ms()));
        assert_eq!((batch.cursor(), batch.missed()), (second, false));
    }

    pub async fn a_read_begins_where_it_is_told_to(bench: Bench) {
        let mut ids = Vec::new();
        for text in ["a", "b", "c", "d"] {
            ids.push(bench.append(text).await);
        }
        let end = ids[3];
        for (start, expected) in [
            (Start::Earliest, &["a", "b", "c", "d"][..]),
            (Start::Latest, &[]),
            (Start::Last(Limit::ONE), &["d"]),
            (Start::Last(limit(3)), &["b", "c", "d"]),
            (Start::Last(Limit::MAX), &["a", "b", "c", "d"]),
            (Start::After(Cursor::new(end.epoch(), 0)), &["a", "b", "c", "d"]),
            (Start::After(ids[1]), &["c", "d"]),
            (Start::After(end), &[]),
        ] {
            assert_eq!(told(&bench.read(start).await), (strings(expected), end, false), "{start:?}");
        }
    }

    pub async fn a_read_has_no_more_than_its_limit(bench: Bench) {
        for number in 0..5 {
            bench.append(&number.to_string()).await;
        }
        let read =
            async |start, number| bench.store.read(&Channel::default(), start, limit(number)).await.expect("read");
        let mut batch = read(Start::Earliest, 2).await;
        let mut all = texts(&batch);
        while !batch.messages().is_empty() {
            batch = read(Start::After(batch.cursor()), 2).await;
            assert!(batch.messages().len() <= 2);
            all.extend(texts(&batch));
        }
        assert_eq!(all, ["0", "1", "2", "3", "4"]);
        let large = "\u{1}".repeat(32_768);
        for _ in 0..3 {
            bench.append(&large).await;
        }
        let pieces = bench.read(Start::After(batch.cursor())).await;
        assert_eq!(pieces.messages().len(), 2, "each is 197 KB, and 512 KiB fit");
        assert_eq!(bench.look(pieces.cursor()).await.0.len(), 1);
    }

    pub async fn history_is_read_backwards(bench: Bench) {
        let mut ids = Vec::new();
        for text in ["a", "b", "c", "d"] {
            ids.push(bench.append(text).await);
        }
        let before = async |cursor, number| {
            let batch =
                bench.store.read(&Channel::default(), Start::Before(cursor), limit(number)).await.expect("read");
            assert_eq!(batch.cursor(), cursor);
            (texts(&batch), batch.missed())
        };
        assert_eq!(before(ids[3], 2).await, (strings(&["b", "c"]), false));
        assert_eq!(before(ids[1], 100).await, (strings(&["a"]), false));
        assert_eq!(before(ids[0], 100).await, (vec![], false));
        assert_eq!(before(Cursor::ORIGIN, 100).await, (vec![], false));
        assert_eq!(before(Cursor::new(5, 5), 100).await, (vec![], true));
        assert_eq!(before(Cursor::new(ids[3].epoch(), 99), 100).await, (vec![], true));
    }

    pub async fn a_key_appends_once(bench: Bench) {
        let first = bench.try_append(Some("ann"), "a", Some("k")).await.expect("appended");
        bench.append("b").await;
        let again = bench.try_append(Some("ann"), "a", Some("k")).await.expect("repeated");
        assert_eq!((again.id, again.repeated), (first.id, true));
        for (nick, text) in [(Some("ann"), "c"), (Some("bob"), "a"), (None, "a")] {
            assert_eq!(bench.try_append(nick, text, Some("k")).await, Err(StoreError::KeyReused));
        }
        bench.try_append(None, "d", Some("K")).await.expect("another key");
        assert_eq!(texts(&bench.read(Start::Earliest).await), ["a", "b", "d"]);
    }

    pub async fn cursors_of_another_log_have_missed_something(bench: Bench) {
        let id = bench.append("a").await;
        for cursor in [Cursor::new(5, 5), Cursor::new(0, 1), Cursor::new(id.epoch(), id.offset() + 1)] {
            assert_eq!(bench.look(cursor).await, (strings(&["a"]), id, true), "{cursor}");
        }
    }

    pub async fn what_has_expired_is_missed_by_whoever_stood_before_it(bench: Bench) {
        let ids = (bench.append("a").await, bench.append("b").await);
        bench.clock.advance(12 * HOUR);
        let third = bench.append("c").await;
        bench.clock.advance(12 * HOUR);
        let beginning = Cursor::new(third.epoch(), 0);
        for cursor in [beginning, Cursor::ORIGIN, ids.0] {
            assert_eq!(bench.look(cursor).await, (strings(&["c"]), third, true), "{cursor}");
        }
        assert_eq!(bench.look(ids.1).await, (strings(&["c"]), third, false));
        for start in [Start::Earliest, Start::Last(limit(2))] {
            assert_eq!(told(&bench.read(start).await), (strings(&["c"]), third, false));
        }
        assert_eq!(texts(&bench.read(Start::Before(third)).await), [""; 0]);
        bench.clock.advance(12 * HOUR);
        let (none, cursor, missed) = bench.look(ids.1).await;
        assert_eq!((none, missed), (vec![], true));
        assert_eq!(bench.look(cursor).await, (vec![], cursor, false));
        assert_eq!(told(&bench.read(Start::Earliest).await), (vec![], third, false));
    }

    pub async fn a_long_silence_misses_nothing_that_was_read(bench: Bench) {
        let first = bench.append("a").await;
        let waits = async { told(&bench.news(first).await) };
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bench.clock.advance(30 * HOUR);
            bench.append("b").await
        };
        let (next, second) = tokio::join!(waits, later);
        assert_eq!(next, (strings(&["b"]), second, false));
        assert_eq!(bench.look(Cursor::new(first.epoch(), 0)).await, (strings(&["b"]), second, true));
    }

    pub async fn a_key_is_free_again_when_its_message_has_expired(bench: Bench) {
        let first = bench.try_append(None, "a", Some("k")).await.expect("appended").id;
        bench.clock.advance(23 * HOUR);
        assert_eq!(bench.try_append(None, "a", Some("k")).await.expect("repeated").id, first);
        // For up to an hour after that, it may be there or not.
        bench.clock.advance(2 * HOUR + HOUR / 60);
        let again = bench.try_append(None, "other", Some("k")).await.expect("appended");
        assert!(again.id != first && !again.repeated);
    }

    pub async fn channels_have_nothing_to_do_with_each_other(bench: Bench) {
        bench.append("a").await;
        let other = Channel::parse("other").expect("a channel");
        let draft = Draft { nick: None, text: Text::parse("b".to_owned()).expect("a text") };
        bench.store.append(&other, draft, None).await.expect("appended");
        assert_eq!(texts(&bench.read(Start::Earliest).await), ["a"]);
        let theirs = bench.store.read(&other, Start::Earliest, Limit::MAX).await.expect("read");
        assert_eq!(texts(&theirs), ["b"]);
    }

    pub async fn whoever_waits_is_told_of_news(bench: Bench) {
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bench.append("a").await
        };
        let (batch, first) = tokio::join!(bench.news(Cursor::ORIGIN), later);
        assert_eq!((batch.after(), told(&batch)), (Cursor::ORIGIN, (strings(&["a"]), first, false)));
        let (batch, second) = tokio::join!(bench.news(first), bench.append("b"));
        assert_eq!((batch.after(), told(&batch)), (first, (strings(&["b"]), second, false)));
    }

    pub async fn whoever_waits_is_told_what_it_missed(bench: Bench) {
        let first = bench.append("a").await;
        bench.append("b").await;
        bench.clock.advance(26 * HOUR);
        let third = bench.append("c").await;
        let batch = bench.news(first).await;
        assert!(batch.missed() && batch.after() == first, "{batch:?}");
        let rest = bench.look(batch.cursor()).await.0;
        assert_eq!([texts(&batch), rest].concat(), ["c"]);
        assert_eq!(bench.look(third).await, (vec![], third, false));
    }

    pub async fn a_tail_goes_on_where_it_was(bench: Bench) {
        let channel = Channel::default();
        let mut stands = bench.append("0").await;
        let mut tail = bench.store.tail(&channel, stands);
        for round in 1..4 {
            // It is dropped at some await, and asked again.
            for ms in [0, 1, 7] {
                let _ = tokio::time::timeout(Duration::from_millis(ms), tail.next()).await;
            }
            let id = bench.append(&round.to_string()).await;
            let batch = loop {
                let batch = tail.next().await.expect("a look").batch;
                if !batch.is_empty() {
                    break batch;
                }
            };
            assert_eq!((batch.after(), told(&batch)), (stands, (strings(&[&round.to_string()]), id, false)));
            stands = id;
        }
    }

    pub async fn a_tail_says_that_it_looked(bench: Bench) {
        let channel = Channel::default();
        for stands in [Cursor::ORIGIN, bench.append("a").await] {
            let other = Channel::parse("silent").expect("a channel");
            let channel = if stands == Cursor::ORIGIN { &other } else { &channel };
            let mut tail = bench.store.tail(channel, stands);
            for _ in 0..3 {
                let looked = tokio::time::timeout(Duration::from_secs(3), tail.next()).await;
                assert!(looked.expect("in about a second").expect("a look").batch.is_empty());
            }
        }
    }

    pub async fn a_wait_can_be_dropped(bench: Bench) {
        let first = bench.append("a").await;
        for ms in [0, 1, 5, 20, 60] {
            let waited = tokio::time::timeout(Duration::from_millis(ms), bench.news(first)).await;
            assert!(waited.is_err(), "there are no news");
        }
        let second = bench.append("b").await;
        assert_eq!(bench.look(first).await, (strings(&["b"]), second, false));
    }
}

pub use items::*;
