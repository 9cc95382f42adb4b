//! Polls of several channels, over the memory store with Tokio's clock paused.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Waker},
};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock,
    cursor::Cursor,
    limits::Limits,
    service::{Each, Place, Refusal},
    store::{Start, StoreError},
};
use tokio::{task::JoinHandle, time::sleep};

use crate::bench::{ANY, Bench, SECOND, bench, bench_with, settle, texts};

type Answer = Result<Each<Arc<Batch>>, Refusal>;

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn place(name: &str, start: Start) -> Place {
    Place { channel: channel(name), start }
}

/// This many channels, all with the same start.
fn many(count: usize, start: Start) -> Vec<Place> {
    (0..count).map(|number| place(&number.to_string(), start)).collect()
}

/// The positions after an answer.
fn next(places: &[Place], answer: &[Arc<Batch>]) -> Vec<Place> {
    let stands = |(place, batch): (&Place, &Arc<Batch>)| Place {
        start: Start::After(batch.cursor()),
        channel: place.channel.clone(),
    };
    places.iter().zip(answer).map(stands).collect()
}

fn told(answer: &[Arc<Batch>]) -> Vec<Vec<&str>> {
    answer.iter().map(|batch| texts(batch)).collect()
}

impl Bench {
    fn poll(&self, places: &[Place]) -> impl Future<Output = Answer> + use<> {
        let (service, places) = (Arc::clone(&self.service), places.to_vec());
        async move { service.subscribe(&places, ANY, clock::now() + 25 * SECOND).await }
    }

    async fn held(&self, places: &[Place]) -> JoinHandle<Answer> {
        let held = tokio::spawn(self.poll(places));
        settle().await;
        held
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_that_has_something_answers_with_all_that_others_have_by_then() {
    let bench = bench();
    let held = bench.held(&many(5, Start::Latest)).await;
    assert_eq!((bench.stats().holds, bench.stats().followers), (1, 5));
    bench.append("3", "three").await;
    let id = bench.append("1", "one").await;
    let answer = held.await.unwrap().unwrap();
    assert_eq!(told(&answer), [vec![], vec!["one"], vec![], vec!["three"], vec![]]);
    assert_eq!((answer[1].cursor(), answer[0].cursor()), (id, Cursor::ORIGIN));
}

#[tokio::test(start_paused = true)]
async fn one_that_always_has_something_does_not_keep_others_from_being_looked_at() {
    let bench = bench();
    let old = bench.publish_to(&channel("quiet"), "first").await;
    let _other = bench.held(&[place("quiet", Start::Latest), place("busy", Start::Latest)]).await;
    bench.publish_to(&channel("quiet"), "second").await;
    settle().await;
    bench.publish_to(&channel("quiet"), "third").await;
    settle().await;
    // The follower of the quiet channel is past this position, so the channel must be read. The busy one has messages
    // at once.
    let busy = bench.publish_to(&channel("busy"), "news").await;
    settle().await;
    let before = Cursor::new(busy.epoch(), busy.offset() - 1);
    let places = [place("busy", Start::After(before)), place("quiet", Start::After(old))];
    let answer = bench.poll(&places).await.unwrap();
    assert_eq!(told(&answer), [vec!["news"], vec!["second", "third"]]);
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_on_a_channel_share_one_follower_and_one_encoding() {
    let bench = bench();
    let places = many(20, Start::Latest);
    let mut herd = Vec::new();
    for _ in 0..50 {
        herd.push(bench.held(&places).await);
    }
    let alone = tokio::spawn({
        let (service, place) = (Arc::clone(&bench.service), place("7", Start::Latest));
        async move { service.subscribe(&[place], ANY, clock::now() + 25 * SECOND).await }
    });
    settle().await;
    assert_eq!((bench.stats().holds, bench.stats().followers, bench.store.tails.load(Relaxed)), (51, 20, 20));
    bench.publish_to(&channel("7"), "hi").await;
    let encoding = alone.await.unwrap().unwrap()[0].encoded().as_ptr();
    let mut stands = Vec::new();
    for held in herd {
        let answer = held.await.unwrap().unwrap();
        assert_eq!(answer[7].encoded().as_ptr(), encoding);
        stands = next(&places, &answer);
    }
    bench.reads();
    let _again = bench.held(&stands).await;
    assert_eq!(bench.reads(), 0, "who polls again sits down where the followers stand");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_runs_out_ends_where_each_place_was() {
    let bench = bench();
    let id = bench.publish_to(&channel("a"), "before").await;
    let begun = clock::now();
    let places = [place("a", Start::After(id)), place("b", Start::Latest), place("a.b", Start::Earliest)];
    let answer = bench.poll(&places).await.unwrap();
    assert_eq!(clock::now() - begun, 25 * SECOND);
    assert!(answer.iter().all(|batch| batch.is_empty()));
    let cursors: Vec<_> = answer.iter().map(|batch| batch.cursor()).collect();
    assert_eq!(cursors, [id, Cursor::ORIGIN, Cursor::ORIGIN]);
}

#[tokio::test(start_paused = true)]
async fn one_that_missed_something_is_told_so_and_the_others_stand_where_they_stood() {
    let bench = bench();
    let id = bench.publish_to(&channel("a"), "before").await;
    let begun = clock::now();
    let places = [place("a", Start::After(id)), place("b", Start::After(Cursor::new(5, 5)))];
    let answer = bench.poll(&places).await.unwrap();
    assert_eq!(clock::now(), begun);
    assert!(!answer[0].missed() && answer[0].cursor() == id && answer[1].missed());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_can_not_be_read_keeps_nobody_from_the_others() {
    let bench = bench();
    let id = bench.publish_to(&channel("a"), "one").await;
    bench.publish_to(&channel("b"), "one").await;
    *bench.store.unreadable.lock().unwrap() = Some(channel("b"));
    let unread = Start::After(Cursor::new(id.epoch(), 0));
    let places = [place("a", Start::After(id)), place("b", unread)];

    let all = [place("a", unread), place("b", unread)];
    let looked = bench.service.subscribe(&all, ANY, clock::now()).await.unwrap();
    assert_eq!((told(&looked), Start::After(looked[1].cursor())), (vec![vec!["one"], vec![]], unread));

    let held = bench.held(&places).await;
    sleep(5 * SECOND).await;
    assert!(!held.is_finished());
    bench.publish_to(&channel("a"), "two").await;
    let answer = held.await.unwrap().unwrap();
    assert_eq!(told(&answer), [vec!["two"], vec![]]);
    assert_eq!(Start::After(answer[1].cursor()), unread, "it stands where it stood");

    // An empty answer would claim that there is nothing.
    let begun = clock::now();
    let nothing = bench.poll(&next(&places, &answer)).await;
    assert_eq!(nothing.unwrap_err(), Refusal::Store(StoreError::NoAnswer));
    assert_eq!(clock::now() - begun, 25 * SECOND);

    // Nor can a place without a cursor begin.
    for beginning in [Start::Latest, Start::Earliest, Start::Last(Limit::ONE)] {
        let begun = clock::now();
        let refused = bench.poll(&[places[0].clone(), place("b", beginning)]).await;
        assert_eq!(refused.unwrap_err(), Refusal::Store(StoreError::NoAnswer));
        assert_eq!(clock::now(), begun);
    }

    let held = bench.held(&next(&places, &answer)).await;
    sleep(5 * SECOND).await;
    *bench.store.unreadable.lock().unwrap() = None;
    assert_eq!(told(&held.await.unwrap().unwrap()), [vec![], vec!["one"]], "it is read again");
}

#[tokio::test(start_paused = true)]
async fn when_nothing_can_be_read_the_poll_fails_at_once() {
    let bench = bench();
    bench.store.failing.store(1, Relaxed);
    let begun = clock::now();
    let refused = bench.poll(&many(3, Start::After(Cursor::new(5, 5)))).await;
    assert_eq!(refused.unwrap_err(), Refusal::Store(StoreError::NoAnswer));
    assert_eq!(clock::now(), begun);
}

#[tokio::test(start_paused = true)]
async fn held_polls_wait_on_so_many_channels_in_all_and_refusing_one_costs_nothing() {
    let bench = bench_with(Limits { places_max: 7, followers_max: 8, ..Limits::default() });
    let held = bench.held(&many(5, Start::Latest)).await;
    bench.reads();
    assert_eq!(bench.poll(&many(3, Start::Latest)).await.unwrap_err(), Refusal::TooManyPlaces(7));
    assert_eq!((bench.reads(), bench.stats().holds, bench.stats().followers), (0, 1, 5));
    assert_eq!(bench.stats().places, 5);
    let _two = bench.held(&many(2, Start::Latest)).await;
    held.abort();
    settle().await;
    let new: Vec<_> = ["a", "b", "c", "d"].map(|name| place(name, Start::Latest)).into();
    bench.reads();
    assert_eq!(bench.poll(&new).await.unwrap_err(), Refusal::TooManyFollowers(8), "5 of them are still there");
    assert_eq!((bench.reads(), bench.stats().holds, bench.stats().followers), (0, 1, 5));
    let _three = bench.held(&new[..3]).await;
    assert_eq!((bench.stats().holds, bench.stats().followers), (2, 8));
}

#[tokio::test(start_paused = true)]
async fn a_refused_poll_keeps_no_follower() {
    let bench = bench_with(Limits { followers_max: 1, ..Limits::default() });
    let start = Start::After(bench.publish_to(&channel("a"), "first").await);
    bench.held(&[place("a", start)]).await.abort();
    let too_many = [place("a", start), place("b", Start::Latest)];
    for _ in 0..4 {
        assert_eq!(bench.poll(&too_many).await.unwrap_err(), Refusal::TooManyFollowers(1));
        sleep(SECOND / 2).await;
    }
    assert_eq!(bench.stats().followers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_poll_of_several_can_be_dropped_at_every_await() {
    for polls in 0..8 {
        let bench = bench();
        let first = bench.publish_to(&channel("a"), "first").await;
        let places = [place("a", Start::After(first)), place("b", Start::Latest)];
        {
            let mut hold = pin!(bench.poll(&places));
            for _ in 0..polls {
                if hold.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                settle().await;
            }
        }
        settle().await;
        assert_eq!(bench.stats().holds, 0, "dropped after {polls} polls");
        sleep(SECOND * 11 / 10).await;
        assert_eq!(bench.stats().followers, 0, "dropped after {polls} polls");
        bench.publish_to(&channel("a"), "second").await;
        let answer = bench.poll(&places).await.unwrap();
        assert_eq!(told(&answer), [vec!["second"], vec![]], "dropped after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_at_the_pace_of_whoever_waits_on_the_fewest_channels() {
    let bench = bench();
    let paces = || {
        let noted = std::mem::take(&mut *bench.store.paces.lock().unwrap());
        let mut paces: Vec<_> = noted.into_iter().filter(|(of, _)| *of == channel("0")).map(|(_, pace)| pace).collect();
        paces.dedup();
        paces
    };
    let _twenty = bench.held(&many(20, Start::Latest)).await;
    assert_eq!(paces(), [20]);
    let one = bench.held(&many(1, Start::Latest)).await;
    assert_eq!(paces(), [1], "at once, and not when its pause is over");
    let _five = bench.held(&many(5, Start::Latest)).await;
    sleep(2 * SECOND).await;
    assert_eq!(paces(), [1]);
    one.abort();
    sleep(2 * SECOND).await;
    assert_eq!(paces().last(), Some(&5));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_the_set_changes() {
    let bench = bench();
    let names: Vec<_> = (0..6).map(|number| number.to_string()).collect();
    let mut stands: Vec<_> = names.iter().map(|name| place(name, Start::Earliest)).collect();
    let mut got: Vec<Vec<String>> = vec![vec![]; names.len()];
    for round in 0..200_usize {
        let wanted: Vec<_> = (0..names.len()).filter(|number| (round / 3 + number * number) % 3 != 0).collect();
        let places: Vec<_> = wanted.iter().map(|number| stands[*number].clone()).collect();
        let held = bench.held(&places).await;
        for copy in 0..=round % 3 {
            bench.publish_to(&channel(&names[(round + copy) % names.len()]), &format!("{round}.{copy}")).await;
        }
        if round % 4 == 0 {
            held.abort();
            continue;
        }
        sleep(SECOND).await;
        if !held.is_finished() {
            continue;
        }
        let answer = held.await.unwrap().unwrap();
        for (number, batch) in wanted.into_iter().zip(answer) {
            got[number].extend(texts(&batch).into_iter().map(str::to_owned));
            stands[number].start = Start::After(batch.cursor());
        }
    }
    let rest = bench.service.subscribe(&stands, ANY, clock::now()).await.unwrap();
    for (number, batch) in rest.iter().enumerate() {
        got[number].extend(texts(batch).into_iter().map(str::to_owned));
        let all = bench.subscribe(&channel(&names[number]), Start::Earliest, ANY, clock::now()).await.unwrap();
        assert_eq!(got[number], texts(&all), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_channel_delays_a_quiet_one_by_no_more_than_one_answer() {
    let bench = Arc::new(bench());
    let publisher = Arc::clone(&bench);
    let busy = tokio::spawn(async move {
        for number in 0..5_000 {
            publisher.publish_to(&channel("busy"), &number.to_string()).await;
            sleep(SECOND / 1_000).await;
        }
    });
    let mut stands = vec![place("busy", Start::Latest), place("quiet", Start::Latest)];
    let (mut answers, mut heard) = (0, 0);
    while !busy.is_finished() {
        let said = (answers % 7 == 3).then(|| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.publish_to(&channel("quiet"), "now").await })
        });
        let mut late = 0;
        loop {
            let answer = bench.poll(&stands).await.unwrap();
            stands = next(&stands, &answer);
            answers += 1;
            match texts(&answer[1])[..] {
                [] if said.is_some() => late += 1,
                [] => break,
                ["now"] => {
                    heard += 1;
                    break;
                }
                _ => panic!("twice: {answer:?}"),
            }
            assert!(late <= 1, "{late} answers came before it");
        }
    }
    assert!(answers > 4_000 && heard > 500, "{answers} answers, {heard} of them with the quiet one's");
}
