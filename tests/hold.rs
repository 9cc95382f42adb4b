//! The hold and the follower, over the memory store with Tokio's clock paused: no test here waits.

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use pubsub::{
    batch::Limit,
    channel::Channel,
    clock,
    cursor::Cursor,
    limits::Limits,
    service::{Refusal, Stats, Wanted},
    store::{Start, StoreError},
};
use tokio::time::sleep;

use crate::bench::{ANY, SECOND, bench, bench_with, settle, texts};

#[tokio::test(start_paused = true)]
async fn a_held_poll_is_answered_by_a_publish() {
    let bench = bench();
    let held = bench.holds(1, Start::Latest).await.remove(0);
    let id = bench.publish("hi").await;
    let batch = held.await.unwrap().unwrap();
    assert_eq!((texts(&batch), batch.cursor(), batch.missed()), (vec!["hi"], id, false));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_runs_out_ends_where_it_began() {
    let bench = bench();
    let id = bench.publish("before").await;
    let begun = clock::now();
    let batch = bench.hold(Start::Latest, ANY).await.unwrap();
    assert_eq!(clock::now() - begun, 25 * SECOND);
    assert!(batch.is_empty() && batch.cursor() == id);
}

#[tokio::test(start_paused = true)]
async fn a_look_does_not_hold() {
    let bench = bench();
    let begun = clock::now();
    let looked = bench.subscribe(&bench.channel, Start::Latest, ANY, clock::now()).await.unwrap();
    assert!(looked.is_empty() && clock::now() == begun);
    assert_eq!((bench.stats().followers, bench.reads()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_herd_shares_one_follower_one_batch_and_one_encoding() {
    let bench = bench();
    let herd = bench.holds(1000, Start::Latest).await;
    assert_eq!((bench.stats().holds, bench.stats().followers), (1000, 1));
    assert_eq!(bench.store.tails.load(Relaxed), 1);
    bench.publish("hi").await;
    let mut encodings = Vec::new();
    for held in herd {
        encodings.push(held.await.unwrap().unwrap().encoded().as_ptr());
    }
    encodings.dedup();
    assert_eq!(encodings.len(), 1);
    assert_eq!(bench.stats().delivered, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_herd_that_polls_again_reads_nothing() {
    let bench = bench();
    let herd = bench.holds(1000, Start::Latest).await;
    bench.publish("one").await;
    let cursor = herd.into_iter().next().unwrap().await.unwrap().unwrap().cursor();
    settle().await;
    bench.reads();

    sleep(SECOND / 2).await;
    let herd = bench.holds(1000, Start::After(cursor)).await;
    assert_eq!((bench.reads(), bench.stats().followers), (0, 1));

    // A hold that comes late for the last batch reads nothing either. One that is further behind reads.
    bench.publish("two").await;
    for held in herd {
        assert_eq!(texts(&held.await.unwrap().unwrap()), ["two"]);
    }
    let late = bench.hold(Start::After(cursor), ANY).await.unwrap();
    assert_eq!((texts(&late), bench.reads()), (vec!["two"], 0));
    bench.publish("three").await;
    settle().await;
    let behind = bench.hold(Start::After(cursor), ANY).await.unwrap();
    assert_eq!((texts(&behind), bench.reads()), (vec!["two", "three"], 1));
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_a_second_after_its_last_hold() {
    let bench = bench();
    let herd = bench.holds(10, Start::Latest).await;
    for held in &herd {
        held.abort();
    }
    settle().await;
    assert_eq!((bench.stats().holds, bench.stats().followers), (0, 1));
    sleep(SECOND * 9 / 10).await;
    assert_eq!(bench.stats().followers, 1);
    // A hold comes shortly before the end: another second.
    let visit = bench.holds(1, Start::Latest).await;
    visit[0].abort();
    sleep(SECOND * 9 / 10).await;
    assert_eq!(bench.stats().followers, 1);
    sleep(SECOND / 5).await;
    assert_eq!(bench.stats().followers, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_trusts_a_follower_that_was_frozen() {
    let bench = bench();
    let id = bench.publish("one").await;
    let _held = bench.holds(1, Start::After(id)).await;
    bench.reads();
    let _awake = bench.holds(1, Start::After(id)).await;
    assert_eq!(bench.reads(), 0);
    // The wall clock went on. The monotonic one, and every timer, did not.
    bench.clock.advance(10 * SECOND);
    let _thawed = bench.holds(1, Start::After(id)).await;
    assert_eq!(bench.reads(), 1);
    sleep(2 * SECOND).await;
    let _again = bench.holds(1, Start::After(id)).await;
    assert_eq!(bench.reads(), 0, "it is awake again");
}

/// The waker of a future that the test polls itself.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_hold_can_be_dropped_at_every_await() {
    for polls in 0..8 {
        let bench = bench();
        let first = bench.publish("first").await;
        {
            let mut hold = pin!(bench.hold(Start::After(first), ANY));
            for _ in 0..polls {
                if poll_once(hold.as_mut()).is_ready() {
                    break;
                }
                settle().await;
            }
        }
        settle().await;
        assert_eq!(bench.stats().holds, 0, "dropped after {polls} polls");
        sleep(SECOND * 11 / 10).await;
        assert_eq!(bench.stats().followers, 0, "dropped after {polls} polls");
        bench.publish("second").await;
        let next = bench.hold(Start::After(first), ANY).await.unwrap();
        assert_eq!(texts(&next), ["second"], "dropped after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_between_an_answer_and_the_next_poll() {
    let bench = bench();
    let mut cursor = bench.hold(Start::Earliest, ANY).await.unwrap().cursor();
    let mut got = Vec::new();
    for round in 0..100 {
        let held = bench.holds(usize::from(round % 3 == 0), Start::After(cursor)).await;
        for copy in 0..=round % 4 {
            bench.publish(&format!("{round}.{copy}")).await;
        }
        drop(held);
        let batch = bench.hold(Start::After(cursor), Wanted::Batch(Limit::clamped(3).unwrap())).await.unwrap();
        got.extend(texts(&batch).into_iter().map(str::to_owned));
        cursor = batch.cursor();
    }
    let rest = bench.hold(Start::After(cursor), ANY).await.unwrap();
    got.extend(texts(&rest).into_iter().map(str::to_owned));
    let all: Vec<_> = (0..100).flat_map(|round| (0..=round % 4).map(move |copy| format!("{round}.{copy}"))).collect();
    assert_eq!(got, all);
}

#[tokio::test(start_paused = true)]
async fn a_hold_on_a_channel_without_a_log_gets_its_first_message() {
    let bench = bench();
    let empty = bench.hold(Start::Latest, ANY).await.unwrap();
    assert_eq!(empty.cursor(), Cursor::ORIGIN);
    let held = bench.holds(2, Start::After(Cursor::ORIGIN)).await;
    let id = bench.publish("first").await;
    for held in held {
        let batch = held.await.unwrap().unwrap();
        assert_eq!((texts(&batch), batch.cursor(), batch.missed()), (vec!["first"], id, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_told_at_once_that_its_log_is_gone() {
    let bench = bench();
    let begun = clock::now();
    let lost = bench.hold(Start::After(Cursor::new(5, 5)), ANY).await.unwrap();
    assert!(lost.missed() && lost.messages().is_empty() && lost.cursor() == Cursor::ORIGIN);
    assert_eq!(clock::now(), begun);
}

#[tokio::test(start_paused = true)]
async fn a_bare_hold_passes_over_what_was_missed() {
    let bench = bench();
    let held = tokio::spawn(bench.hold(Start::After(Cursor::new(5, 5)), Wanted::Message));
    settle().await;
    assert!(!held.is_finished());
    bench.publish("one").await;
    let message = held.await.unwrap().unwrap();
    assert_eq!(texts(&message), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_outlives_an_outage_and_a_first_look_does_not() {
    let bench = bench();
    let id = bench.publish("one").await;
    let held = bench.holds(1, Start::After(id)).await.remove(0);
    bench.store.failing.store(1, Relaxed);
    let refused = bench.hold(Start::Latest, ANY).await;
    assert_eq!(refused.unwrap_err(), Refusal::Store(StoreError::NoAnswer));

    sleep(5 * SECOND).await;
    assert!(!held.is_finished());
    bench.store.failing.store(0, Relaxed);
    bench.publish("two").await;
    assert_eq!(texts(&held.await.unwrap().unwrap()), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_another_log_replaces_the_follower_and_its_holds_read() {
    let bench = bench();
    let id = bench.publish("old").await;
    let held = bench.holds(2, Start::After(id)).await;
    bench.lose();
    bench.clock.advance(SECOND);
    let other = bench.publish("new").await;
    assert_ne!(other.epoch(), id.epoch());
    bench.reads();
    let reader = bench.holds(1, Start::Latest).await;
    settle().await;
    assert_eq!(bench.stats().followers, 1, "there is one follower, of the new log");
    for held in held {
        let batch = held.await.unwrap().unwrap();
        assert!(batch.missed() && texts(&batch) == ["new"], "{batch:?}");
    }
    assert_eq!(bench.reads(), 3, "the reader and each of the two holds");
    bench.publish("newer").await;
    for held in reader {
        assert_eq!(texts(&held.await.unwrap().unwrap()), ["newer"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_nobody_looked_for_is_not_answered_empty() {
    let bench = bench();
    let id = bench.publish("one").await;
    let _held = bench.holds(1, Start::After(id)).await;
    // This process is cut off, and another one publishes. Then a poll comes here, and finds a follower that looked just
    // now.
    bench.store.failing.store(1, Relaxed);
    bench.publish("two").await;
    let refused = bench.hold(Start::After(id), ANY).await;
    assert_eq!(refused.unwrap_err(), Refusal::Store(StoreError::NoAnswer));
    // A poll that comes now, long after the last successful look, is refused at once.
    let begun = clock::now();
    let refused = bench.hold(Start::After(id), ANY).await;
    assert_eq!(refused.unwrap_err(), Refusal::Store(StoreError::NoAnswer));
    assert_eq!(clock::now(), begun);
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_any_length_in_which_somebody_looked_is_answered_empty() {
    let bench = bench();
    let id = bench.publish("one").await;
    let _held = bench.holds(1, Start::After(id)).await;
    for ms in [1, 100, 900, 1_000, 1_100, 2_500, 25_000] {
        sleep(Duration::from_millis(130)).await;
        let until = clock::now() + Duration::from_millis(ms);
        bench.reads();
        let batch = bench.subscribe(&bench.channel, Start::After(id), ANY, until).await.unwrap();
        assert!(batch.is_empty() && batch.cursor() == id, "{ms}");
        assert!(bench.reads() == 0 || ms < 2_500, "{ms}: its follower has looked for it");
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_goes_on_when_its_client_leaves() {
    let bench = bench();
    bench.store.failing.store(1, Relaxed);
    let left = tokio::time::timeout(SECOND / 10, bench.publish("one")).await;
    assert!(left.is_err(), "the client leaves before the answer");
    bench.store.failing.store(0, Relaxed);
    sleep(SECOND).await;
    let batch = bench.hold(Start::Earliest, ANY).await.unwrap();
    assert_eq!((texts(&batch), bench.stats().published), (vec!["one"], 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_append_is_its_requests_own() {
    let bench = Arc::new(bench());
    bench.store.failing.store(2, Relaxed);
    let publishes = Arc::clone(&bench);
    let ended = tokio::spawn(async move { publishes.publish("one").await }).await;
    assert!(ended.is_err_and(|ended| ended.is_panic()));
    bench.store.failing.store(0, Relaxed);
    bench.publish("two").await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_holds_and_refuses_what_comes() {
    let bench = bench();
    let id = bench.publish("one").await;
    let herd = bench.holds(3, Start::Latest).await;
    bench.service.close();
    for held in herd {
        let batch = held.await.unwrap().unwrap();
        assert!(batch.is_empty() && batch.cursor() == id);
    }
    assert_eq!(bench.hold(Start::Latest, ANY).await.unwrap_err(), Refusal::Stopping);
}

#[tokio::test(start_paused = true)]
async fn there_are_at_most_so_many_holds_and_refusing_one_costs_nothing() {
    let bench = bench_with(Limits { holds_max: 2, ..Limits::default() });
    let id = bench.publish("one").await;
    let herd = bench.holds(2, Start::Latest).await;
    bench.reads();
    let other = Channel::parse("other").unwrap();
    for start in [Start::Earliest, Start::Latest, Start::After(id), Start::After(Cursor::new(5, 5))] {
        assert_eq!(bench.hold(start, ANY).await.unwrap_err(), Refusal::TooManyHolds(2));
        let elsewhere = bench.subscribe(&other, start, Wanted::Message, clock::now() + SECOND).await;
        assert_eq!(elsewhere.unwrap_err(), Refusal::TooManyHolds(2));
    }
    assert_eq!((bench.reads(), bench.stats().followers), (0, 1));
    let pending = bench.subscribe(&bench.channel, Start::Earliest, ANY, clock::now()).await.unwrap();
    assert_eq!(texts(&pending), ["one"], "who only looks needs no hold");
    herd[0].abort();
    settle().await;
    let held = bench.holds(1, Start::After(id)).await.remove(0);
    bench.publish("two").await;
    assert_eq!(texts(&held.await.unwrap().unwrap()), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn there_are_at_most_so_many_followers_and_refusing_one_costs_nothing() {
    let bench = bench_with(Limits { followers_max: 1, ..Limits::default() });
    let herd = bench.holds(1, Start::Latest).await;
    bench.reads();
    let other = Channel::parse("other").unwrap();
    let elsewhere = async || bench.subscribe(&other, Start::Latest, ANY, clock::now() + SECOND).await;
    assert_eq!(elsewhere().await.unwrap_err(), Refusal::TooManyFollowers(1));
    assert_eq!((bench.reads(), bench.stats()), (0, Stats { holds: 1, places: 1, followers: 1, ..bench.stats() }));
    let _shares = bench.holds(10, Start::Latest).await;
    assert_eq!(bench.stats().holds, 11, "a channel that is followed has room for all");
    drop((herd, _shares));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_fails_is_forgotten() {
    let bench = bench();
    let herd = bench.holds(3, Start::Latest).await;
    bench.store.corrupt.store(true, Relaxed);
    sleep(2 * SECOND).await;
    for held in herd {
        held.abort();
    }
    settle().await;
    assert_eq!(bench.stats().followers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_comes_does_not_hurry_the_follower_of_others_like_it() {
    let bench = bench();
    let id = bench.publish("one").await;
    let _held = bench.holds(1, Start::After(id)).await;
    let looks = || bench.store.paces.lock().unwrap().len();
    let before = looks();
    let _others = bench.holds(10, Start::After(id)).await;
    let _one_more = bench.holds(1, Start::After(id)).await;
    assert_eq!(looks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_follower_does_not_keep_what_it_said_last() {
    let bench = bench();
    let _held = bench.holds(1, Start::Latest).await;
    let bound = Wanted::Batch(Limit::MAX);
    let held = tokio::spawn(bench.hold(Start::Latest, bound));
    settle().await;
    let id = bench.publish("large").await;
    let batch = held.await.unwrap().unwrap();
    let message = Arc::downgrade(&batch.messages()[0]);
    drop(batch);
    drop(_held);
    let _stays = bench.holds(1, Start::After(id)).await;
    sleep(3 * SECOND).await;
    assert_eq!(message.strong_count(), 1, "only the log has it");
    let behind = bench.hold(Start::Earliest, ANY).await.unwrap();
    assert_eq!(texts(&behind), ["large"]);
}
