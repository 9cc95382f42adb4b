//! Nothing lost, nothing twice, one order: the server under load, with clients that break off.

use std::time::Duration;

use crate::{client::Noting, server::Server};
use pubsub::cursor::Cursor;
use tests::checker::{Begin, Chain, History, Rules, check};
use tokio::{task::JoinSet, time::timeout};

const PUBLISHERS: usize = 8;
const MESSAGES: usize = 20_000;

/// Publishes its share, one message after the other; every tenth twice, with a key.
async fn publisher(client: Noting, number: usize) -> History {
    let mut history = History::default();
    for message in 0..MESSAGES / PUBLISHERS {
        let text = format!("{number}.{message}");
        let key = (message % 10 == 0).then_some(text.as_str());
        for _ in 0..=usize::from(key.is_some()) {
            history.publishes.push(client.publish(&text, key).await);
        }
    }
    history
}

/// Polls until it has the last message, and breaks off every few polls after a random time.
async fn subscriber(client: Noting, start: Begin, mut random: u64) -> History {
    let mut chain = Chain { start, polls: vec![] };
    let mut query = match start {
        Begin::After(cursor) => format!("cursor={cursor}"),
        Begin::Latest => "cursor=latest".to_owned(),
        Begin::Last(count) => format!("last={count}"),
        Begin::Earliest => "cursor=earliest".to_owned(),
    };
    loop {
        // Xorshift. Any sequence will do, if each subscriber has another one.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let patience = if random.is_multiple_of(3) { random % 3_000 } else { 30_000_000 };
        let asked = format!("{query}&limit={}", 1 + random % 130);
        let polled = timeout(Duration::from_micros(patience), client.poll(&asked)).await;
        let Ok(poll) = polled else { continue };
        let poll = poll.expect("an answer");
        query = format!("cursor={}", poll.cursor);
        let ended = poll.messages.iter().any(|(_, text)| text == "end");
        chain.polls.push(poll);
        if ended {
            return History { chains: vec![chain], ..History::default() };
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_passes_its_cursor_back_misses_nothing_and_repeats_nothing() {
    let server = Server::start(&[]).await;
    let client = Noting::new(&server.base, "log");
    let mut tasks = JoinSet::new();
    for (number, start) in
        [Begin::Earliest, Begin::Earliest, Begin::After(Cursor::ORIGIN), Begin::Last(1), Begin::Latest]
            .into_iter()
            .enumerate()
    {
        tasks.spawn(subscriber(client.clone(), start, 0x9E37_79B9_7F4A_7C15 ^ (number as u64)));
    }
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(publisher(client.clone(), number));
    }
    let mut histories = publishers.join_all().await;
    let end = client.publish("end", None).await;
    let count = end.id.expect("published").offset();
    histories.push(History { publishes: vec![end], ..History::default() });
    histories.extend(timeout(Duration::from_secs(60), tasks.join_all()).await.expect("all come to the end"));

    let mut audit = Vec::new();
    let mut query = "cursor=earliest&wait=0".to_owned();
    while audit.len() <= MESSAGES {
        let poll = client.poll(&query).await.expect("an answer");
        assert!(!poll.messages.is_empty(), "{} of {MESSAGES} are there", audit.len());
        query = format!("cursor={}&wait=0", poll.cursor);
        audit.extend(poll.messages);
    }
    let history = History {
        audit: Some((Duration::MAX, audit)),
        publishes: histories.iter().flat_map(|history| history.publishes.clone()).collect(),
        chains: histories.into_iter().flat_map(|history| history.chains).collect(),
        ..History::default()
    };
    assert_eq!(check(&history, Rules::default()), Ok(()));
    assert!(history.publishes.iter().all(|publish| publish.id.is_some()));
    assert_eq!(count as usize, MESSAGES + 1, "offsets have no gaps, and a repeat takes none");
    let delivered = |chain: &Chain| chain.polls.iter().map(|poll| poll.messages.len()).sum::<usize>();
    let complete = history.chains.iter().filter(|chain| delivered(chain) == MESSAGES + 1);
    assert!(complete.count() >= 3, "whoever began at the beginning has all of them");
}
