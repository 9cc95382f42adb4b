//! Polls for sets of channels that change: nothing lost, nothing twice, one order, in each channel.

use std::{collections::BTreeMap, time::Duration};

use tests::{
    checker::{Begin, Chain, History, Publish, Rules, check},
    random::Random,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{client::Noting, server::Server};

/// The first has most of the messages.
const CHANNELS: [&str; 6] = ["busy", "a", "b", "c", "d", "e"];

/// Publishes to one channel after the other. Repeats a publish with the same key until it is acknowledged.
async fn publisher(client: Noting, number: u64, count: u64) -> Vec<(&'static str, Publish)> {
    let mut random = Random::new(number);
    let mut publishes = Vec::new();
    for message in 0..count {
        let channel = if random.below(2) == 0 { CHANNELS[0] } else { random.one_of(&CHANNELS) };
        let text = format!("{number}.{message}");
        loop {
            let publish = client.on(channel).publish(&text, Some(&text)).await;
            let done = publish.id.is_some();
            publishes.push((channel, publish));
            if done {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    publishes
}

/// Polls some of the channels, others each time, and breaks off sometimes, until it has the last message of each.
async fn subscriber(client: Noting, begin: (&str, Begin), seed: u64) -> BTreeMap<&'static str, Chain> {
    let mut random = Random::new(seed);
    let mut stands = CHANNELS.map(|channel| (channel, begin.0.to_owned()));
    let mut chains: BTreeMap<_, _> =
        CHANNELS.into_iter().map(|channel| (channel, Chain { start: begin.1, polls: vec![] })).collect();
    let ended = |chain: &Chain| chain.polls.iter().flat_map(|poll| &poll.messages).any(|(_, text)| text == "end");
    while !chains.values().all(ended) {
        let wanted = stands.iter().filter(|_| random.below(3) > 0);
        let places: BTreeMap<_, _> =
            wanted.map(|(channel, position)| ((*channel).to_owned(), position.clone())).collect();
        if places.is_empty() {
            continue;
        }
        let patience = if random.below(4) == 0 { random.below(30) } else { 30_000 };
        let more = format!("limit={}&wait={}", 1 + random.below(120), random.below(3));
        let polled = timeout(Duration::from_millis(patience), client.poll_several(&places, &more)).await;
        let Ok(Some(told)) = polled else { continue };
        for (channel, poll) in told {
            let stand = stands.iter_mut().find(|(name, _)| *name == channel).expect("a channel that was asked for");
            stand.1 = poll.cursor.to_string();
            chains.get_mut(channel.as_str()).expect("a channel").polls.push(poll);
        }
    }
    chains
}

/// Runs publishers and subscribers, each with a server, and checks what they saw.
async fn judge(publishing: &[&Noting], subscribing: &[&Noting], count: u64, patience: Duration) {
    let mut publishers = JoinSet::new();
    for number in 0..4 {
        publishers.spawn(publisher(publishing[number % publishing.len()].clone(), number as u64, count));
    }
    let mut subscribers = JoinSet::new();
    for (number, begin) in [("earliest", Begin::Earliest), ("0-0", Begin::After(pubsub::cursor::Cursor::ORIGIN))]
        .into_iter()
        .cycle()
        .take(6)
        .enumerate()
    {
        subscribers.spawn(subscriber(subscribing[number % subscribing.len()].clone(), begin, number as u64 + 50));
    }
    let mut histories = CHANNELS.map(|channel| (channel, History::default()));
    for (channel, publish) in publishers.join_all().await.into_iter().flatten() {
        let (_, history) = histories.iter_mut().find(|(name, _)| *name == channel).expect("a channel");
        history.publishes.push(publish);
    }
    for (channel, history) in &mut histories {
        while history.publishes.last().is_none_or(|last| last.text != "end" || last.id.is_none()) {
            history.publishes.push(publishing[0].on(channel).publish("end", Some("end")).await);
        }
    }
    for mut chains in timeout(Duration::from_secs(120), subscribers.join_all()).await.expect("all get the end") {
        for (channel, history) in &mut histories {
            history.chains.extend(chains.remove(channel));
        }
    }
    for (channel, history) in &histories {
        assert_eq!(check(history, Rules { patience, ..Rules::default() }), Ok(()), "{channel}");
        let delivered = |chain: &Chain| chain.polls.iter().map(|poll| poll.messages.len()).sum::<usize>();
        let texts: std::collections::BTreeSet<_> = history.publishes.iter().map(|publish| &publish.text).collect();
        assert!(history.chains.iter().all(|chain| delivered(chain) == texts.len()), "{channel}: each has all");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_polls_for_changing_sets_misses_nothing() {
    let server = Server::start(&[]).await;
    let client = Noting::new(&server.base, "x");
    judge(&[&client], &[&client], 700, Duration::ZERO).await;
}

#[cfg(feature = "dynamodb")]
#[tokio::test(flavor = "multi_thread")]
async fn nor_over_a_table_whose_answers_get_lost() {
    use crate::{
        proxy::{Cut, Kind},
        table::Pair,
    };
    let pair = Pair::start().await;
    let whole = Noting::new(&pair.whole.base, "x");
    let cut = whole.at(&pair.cut.base);
    let done = std::sync::atomic::AtomicBool::new(false);
    let mischief = async {
        let mut random = Random::new(1);
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let kind = random.one_of(&[Kind::GiveOut, Kind::PutMessage, Kind::Query, Kind::Query, Kind::Head]);
            let late = Duration::from_millis(random.below(400));
            let what = [Cut::DropRequest, Cut::DropResponse, Cut::ForwardLater(late), Cut::Delay(late)];
            pair.proxy.cut(kind, random.one_of(&what));
            sleep(Duration::from_millis(60)).await;
        }
    };
    let judged = async {
        judge(&[&cut, &whole], &[&whole, &cut], 40, Duration::from_secs(60)).await;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(judged, mischief);
}
