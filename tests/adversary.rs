//! The log over DynamoDB Local, at the moments at which it could lose something.

use std::time::Duration;

use pubsub::{clock, cursor::Cursor};
use tests::checker::Poll;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    client::Noting,
    proxy::{Cut, Kind},
    table::Pair,
};

fn texts(poll: &Poll) -> Vec<&str> {
    poll.messages.iter().map(|(_, text)| text.as_str()).collect()
}

/// Begins while another process's put is under way. Returns what came until that message did; nothing if it was too
/// late, and the message was acknowledged before the beginning.
async fn begin(pair: &Pair, begin: &str, before: usize, beside: bool) -> Option<Vec<String>> {
    let channel = format!("{}-{}", begin.replace('=', "-"), pair.proxy.count(Kind::PutMessage));
    let (slow, other) = (Noting::new(&pair.cut.base, &channel), Noting::new(&pair.whole.base, &channel));
    for number in 0..before {
        assert!(other.publish(&format!("before-{number}"), None).await.id.is_some());
    }
    pair.proxy.cut(Kind::PutMessage, Cut::Delay(Duration::from_millis(600)));
    let puts = pair.proxy.count(Kind::PutMessage);
    let under_way = tokio::spawn(async move { slow.publish("under way", None).await });
    while pair.proxy.count(Kind::PutMessage) == puts {
        sleep(Duration::from_millis(1)).await;
    }
    if beside {
        assert!(other.publish("beside", None).await.id.is_some());
    }
    let mut all = Vec::new();
    let mut query = if begin == "bare" {
        let holds = pair.whole.metric("linger_holds").await;
        let bare = tokio::spawn({
            let other = other.clone();
            async move { other.next_message().await }
        });
        while pair.whole.metric("linger_holds").await == holds && !bare.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        if under_way.is_finished() {
            return None;
        }
        let (id, text) = bare.await.unwrap();
        all.push(text);
        format!("cursor={id}")
    } else {
        let first = other.poll(&format!("{begin}&wait=0")).await.expect("an answer");
        if under_way.is_finished() {
            return None;
        }
        let query = format!("cursor={}", first.cursor);
        all.extend(first.messages.into_iter().map(|(_, text)| text));
        query
    };
    while !all.iter().any(|text| text == "under way") {
        let poll = other.poll(&format!("{query}&wait=5")).await.expect("an answer");
        assert!(!poll.missed && (all.len() < 9), "{begin} {before} {beside}: {all:?} {poll:?}");
        query = format!("cursor={}", poll.cursor);
        all.extend(poll.messages.into_iter().map(|(_, text)| text));
    }
    assert!(under_way.await.unwrap().id.is_some());
    Some(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_is_given_what_is_under_way() {
    let pair = Pair::start().await;
    for how in ["cursor=latest", "last=1", "last=50", "cursor=earliest", "bare"] {
        for (before, beside) in [(0, false), (1, false), (3, false), (0, true), (1, true), (3, true)] {
            let came = timeout(Duration::from_secs(60), async {
                loop {
                    if let Some(came) = begin(&pair, how, before, beside).await {
                        return came;
                    }
                }
            });
            let came = came.await.unwrap_or_else(|_| panic!("{how} {before} {beside}: it never came"));
            let times = came.iter().filter(|text| *text == "under way").count();
            assert_eq!(times, 1, "{how} {before} {beside}: {came:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_cut_off_claims_nothing() {
    let pair = Pair::start().await;
    let (cut, whole) = (Noting::new(&pair.cut.base, "x"), Noting::new(&pair.whole.base, "x"));
    let id = whole.publish("first", None).await.id.expect("published");
    let holder = cut.clone();
    let held = tokio::spawn(async move { holder.poll(&format!("cursor={id}&wait=25")).await });
    // It has looked, and is held.
    while pair.cut.metric("linger_followers").await == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    pair.proxy.set_down(true);
    let second = whole.publish("second", None).await.id.expect("published");
    // Polls that begin now must not be answered empty: neither those that find a follower which looked just now, nor
    // later ones.
    for wait in [1, 2, 1, 0] {
        let poll = cut.poll(&format!("cursor={id}&wait={wait}")).await;
        assert!(poll.is_none(), "{poll:?}");
    }
    pair.proxy.set_down(false);
    pair.proxy.break_connections();
    let held = held.await.unwrap().expect("a hold outlives an outage");
    assert_eq!((texts(&held), held.cursor), (vec!["second"], second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_whose_answer_is_known_is_answered() {
    let pair = Pair::start().await;
    let (cut, whole) = (Noting::new(&pair.cut.base, "x"), Noting::new(&pair.whole.base, "x"));
    let first = whole.publish("a", Some("k")).await.id.expect("published");
    // The filler that meets the message goes through. The one that only spares readers a wait hangs.
    pair.proxy.cut(Kind::PutFiller, Cut::Delay(Duration::ZERO));
    for _ in 0..3 {
        pair.proxy.cut(Kind::PutFiller, Cut::Stall);
    }
    let again = cut.publish("a", Some("k")).await;
    assert_eq!(again.id, Some(first), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_midway_leaves_no_hole() {
    let pair = Pair::start().await;
    let whole = Noting::new(&pair.whole.base, "x");
    let id = whole.publish("first", None).await.id.expect("published");
    let holder = whole.clone();
    let held = tokio::spawn(async move { holder.poll(&format!("cursor={id}&wait=20")).await });
    pair.proxy.cut(Kind::PutMessage, Cut::Delay(Duration::from_millis(200)));
    let mut stream = TcpStream::connect(pair.cut.address()).await.unwrap();
    let body = "channel=x&message=left";
    let head = "POST /pub HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    while pair.proxy.count(Kind::PutMessage) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(stream);
    let begun = clock::now();
    let held = held.await.unwrap().expect("an answer");
    assert_eq!(texts(&held), ["left"], "after {:?}", clock::now() - begun);
    assert_eq!(pair.proxy.count(Kind::PutFiller), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_fillers_hides_nothing() {
    let pair = Pair::start().await;
    let client = Noting::new(&pair.whole.base, "x");
    let id = client.publish("a", Some("k")).await.id.expect("published");
    // Each repeat takes an offset and fills it.
    for _ in 0..130 {
        assert_eq!(client.publish("a", Some("k")).await.id, Some(id));
    }
    let above = Cursor::new(id.epoch(), id.offset() + 130);
    for query in
        ["last=1&wait=0".to_owned(), "last=1&limit=1&wait=0".to_owned(), "cursor=earliest&limit=1&wait=0".to_owned()]
    {
        let poll = client.poll(&query).await.expect("an answer");
        assert_eq!(texts(&poll), ["a"], "{query}");
    }
    let url = pair.whole.url(&format!("/sub?channel=x&before={above}&limit=1"));
    let history = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(history.contains(r#""message":"a""#) && history.contains(r#""missed":false"#), "{history}");
    let end = client.poll("cursor=latest&wait=0").await.expect("an answer");
    assert_eq!((end.messages.len(), end.cursor), (0, above));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_a_bare_poll_is_given_the_first_message_of_a_new_channel() {
    let pair = Pair::start().await;
    for round in 0..5 {
        let channel = format!("new-{round}");
        let (slow, other) = (Noting::new(&pair.cut.base, &channel), Noting::new(&pair.whole.base, &channel));
        pair.proxy.cut(Kind::PutMessage, Cut::Delay(Duration::from_millis(50 * round)));
        let first = tokio::spawn(async move { slow.publish("first", None).await });
        sleep(Duration::from_millis(20 * round)).await;
        let got = timeout(Duration::from_secs(8), other.next_message()).await.expect("in time");
        assert_eq!((Some(got.0), got.1.as_str()), (first.await.unwrap().id, "first"), "{round}");
    }
}
