//! The DynamoDB store from outside: servers over one table of DynamoDB Local, with a proxy that cuts between.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use dynamodb::{Client, Settings};
use pubsub::clock;
use tests::{
    checker::{Begin, Chain, History, Rules, check},
    local,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    client::Noting,
    proxy::{Cut, Kind, Proxy},
    server::{ROOT, Server},
};

/// The name of a table that no other test uses.
fn table() -> String {
    static TABLES: AtomicU32 = AtomicU32::new(0);
    format!("linger-{}-{}", std::process::id(), TABLES.fetch_add(1, Relaxed))
}

/// A table that is there.
pub(crate) async fn new_table() -> String {
    new_table_at(&local::ENDPOINT).await
}

pub(crate) async fn new_table_at(endpoint: &str) -> String {
    let name = table();
    let settings = Settings::from_environment(name.clone(), Some(endpoint.to_owned()), |_| None).unwrap();
    let client = Client::new(settings, Arc::default());
    // On a busy machine, a database that has just started may need longer than a request may take.
    let made = async { while client.create_table().await.is_err() {} };
    timeout(Duration::from_secs(60), made).await.expect("a table");
    name
}

/// Two servers over one table, the first of them through a proxy.
pub(crate) struct Pair {
    pub(crate) proxy: Proxy,
    pub(crate) cut: Server,
    pub(crate) whole: Server,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let (proxy, table) = (Proxy::start(&local::ENDPOINT).await, table());
        let cut = Server::over_table(&proxy.endpoint, &table, &[]).await;
        let whole = Server::over_table(&local::ENDPOINT, &table, &[]).await;
        Self { proxy, cut, whole }
    }

    fn cut_client(&self) -> Noting {
        Noting::new(&self.cut.base, "x")
    }

    fn whole_client(&self) -> Noting {
        Noting::new(&self.whole.base, "x")
    }

    /// All messages, after the holes were decided: an offset stays empty when the answer that gave it out was lost.
    async fn texts(&self) -> Vec<String> {
        let client = self.whole_client();
        let mut query = "cursor=earliest&wait=2".to_owned();
        let mut texts = Vec::new();
        loop {
            let poll = client.poll(&query).await.expect("an answer");
            if poll.messages.is_empty() {
                return texts;
            }
            query = format!("cursor={}&wait=2", poll.cursor);
            texts.extend(poll.messages.into_iter().map(|(_, text)| text));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_and_the_next_try_append_once() {
    let pair = Pair::start().await;
    for (number, cuts) in [
        vec![(Kind::GiveOut, Cut::DropResponse)],
        vec![(Kind::PutMessage, Cut::DropResponse)],
        vec![(Kind::PutMessage, Cut::DropRequest)],
        vec![(Kind::PutKey, Cut::DropResponse)],
        vec![(Kind::PutMessage, Cut::ForwardLater(Duration::from_millis(300)))],
        vec![(Kind::PutMessage, Cut::Delay(Duration::from_millis(1500)))],
        vec![
            (Kind::GiveOut, Cut::DropResponse),
            (Kind::PutKey, Cut::DropRequest),
            (Kind::PutMessage, Cut::DropResponse),
        ],
    ]
    .into_iter()
    .enumerate()
    {
        for (kind, cut) in cuts {
            pair.proxy.cut(kind, cut);
        }
        let text = number.to_string();
        let sent = pair.cut_client().publish(&text, Some(&text)).await;
        assert!(sent.id.is_some(), "{text}");
    }
    sleep(Duration::from_millis(600)).await;
    assert_eq!(pair.texts().await, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_key_on_another_process_appends_once_however_late_the_first_lands() {
    let pair = Pair::start().await;
    for _ in 0..3 {
        pair.proxy.cut(Kind::PutMessage, Cut::ForwardLater(Duration::from_millis(1500)));
    }
    let first = pair.cut_client().publish("a", Some("k")).await;
    assert_eq!(first.id, None, "all its tries were cut");
    let again = pair.whole_client().publish("a", Some("k")).await;
    assert!(again.id.is_some());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(pair.whole_client().publish("a", Some("k")).await.id, again.id);
    assert_eq!(pair.texts().await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_killed_between_its_writes_delays_others_by_the_grace() {
    let mut pair = Pair::start().await;
    let first = pair.whole_client().publish("first", None).await.id.expect("published");
    pair.proxy.cut(Kind::PutMessage, Cut::Stall);
    let client = pair.cut_client();
    let dying = tokio::spawn(async move { client.publish("dead", Some("k")).await });
    while pair.proxy.count(Kind::PutMessage) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    pair.cut.signal("KILL");
    assert!(!pair.cut.ended().await.success());
    assert_eq!(dying.await.unwrap().id, None);

    let holder = pair.whole_client();
    let held = tokio::spawn(async move { holder.poll(&format!("cursor={first}&wait=20")).await });
    sleep(Duration::from_millis(200)).await;
    let begun = clock::now();
    assert!(pair.whole_client().publish("second", None).await.id.is_some());
    let got = held.await.unwrap().expect("an answer");
    let waited = clock::now() - begun;
    assert_eq!(got.messages.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["second"]);
    println!("delayed by {waited:?}");
    assert!(waited >= Duration::from_millis(750), "the hole was given its time: {waited:?}");
    assert!(waited < Duration::from_secs(3), "{waited:?}");

    // The client tries again on the other server.
    let again = pair.whole_client().publish("dead", Some("k")).await;
    assert!(again.id.is_some());
    assert_eq!(pair.texts().await, ["first", "second", "dead"]);
}

async fn publisher(client: Noting, number: usize, count: usize, keyed: bool) -> History {
    let mut history = History::default();
    for message in 0..count {
        let text = format!("{number}.{message}");
        let key = keyed.then_some(text.as_str());
        history.publishes.push(client.publish(&text, key).await);
    }
    history
}

async fn subscriber(client: Noting) -> History {
    let mut chain = Chain { start: Begin::Earliest, polls: vec![] };
    let mut query = "cursor=earliest".to_owned();
    loop {
        let poll = client.poll(&query).await.expect("an answer");
        query = format!("cursor={}", poll.cursor);
        let ended = poll.messages.iter().any(|(_, text)| text == "end");
        chain.polls.push(poll);
        if ended {
            return History { chains: vec![chain], ..History::default() };
        }
    }
}

/// What publishing has cost the servers: requests and write units.
async fn spent(servers: &[Server]) -> (f64, f64) {
    let (mut requests, mut units) = (0.0, 0.0);
    for server in servers {
        for kind in ["give_out", "put_slot", "put_key", "move_key"] {
            requests += server.number(&format!("linger_store_requests_total{{kind=\"{kind}\"}}")).await;
            units += server.number(&format!("linger_store_units_total{{kind=\"{kind}\"}}")).await;
        }
    }
    (requests, units)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publishers_in_many_processes_keep_one_order_at_the_least_cost() {
    const PUBLISHERS: usize = 64;
    for (messages, keyed, requests_max, units_max) in [(10_000, false, 2.1, 2.05), (2_000, true, 3.15, 3.1)] {
        let table = table();
        let (mut publishing, mut subscribing) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            publishing.push(Server::over_table(&local::ENDPOINT, &table, &[]).await);
        }
        for _ in 0..2 {
            subscribing.push(Server::over_table(&local::ENDPOINT, &table, &[]).await);
        }
        let origin = Noting::new(&publishing[0].base, "x");
        let mut subscribers = JoinSet::new();
        for number in 0..10 {
            subscribers.spawn(subscriber(origin.at(&subscribing[number % 2].base)));
        }
        let mut publishers = JoinSet::new();
        for number in 0..PUBLISHERS {
            let client = origin.at(&publishing[number % 3].base);
            publishers.spawn(publisher(client, number, messages / PUBLISHERS, keyed));
        }
        let mut histories = publishers.join_all().await;
        let end = origin.publish("end", None).await;
        histories.push(History { publishes: vec![end], ..History::default() });
        histories.extend(timeout(Duration::from_secs(60), subscribers.join_all()).await.expect("all come to the end"));
        let history = History {
            publishes: histories.iter().flat_map(|history| history.publishes.clone()).collect(),
            chains: histories.into_iter().flat_map(|history| history.chains).collect(),
            ..History::default()
        };
        assert_eq!(check(&history, Rules::default()), Ok(()));
        // No publish is refused because of contention. One may be refused because the table did not answer in time, on
        // a busy machine, but that takes at least a second.
        let (published, refused): (Vec<_>, Vec<_>) = history.publishes.iter().partition(|publish| publish.id.is_some());
        let hasty = refused.iter().find(|publish| publish.ended - publish.begun < Duration::from_secs(1));
        assert!(hasty.is_none(), "refused at once: {hasty:?}");
        let (published, refused) = (published.len(), refused.len());
        let delivered = |chain: &Chain| chain.polls.iter().map(|poll| poll.messages.len()).sum::<usize>();
        let all = published..=published + refused;
        assert!(history.chains.iter().all(|chain| all.contains(&delivered(chain))), "everybody has all");
        let (requests, units) = spent(&publishing).await;
        let each = |total: f64| total / f64::from(u32::try_from(published).unwrap());
        println!("{published} messages, keyed: {keyed}: {} requests and {} units each", each(requests), each(units));
        let told = documented(if keyed { "the same with a key" } else { "write units of a publish of up to 1 KiB" });
        assert!((each(units) - f64::from(u32::try_from(told).unwrap())).abs() < 0.2, "COST.md says {told}");
        assert!(each(requests) <= requests_max && each(units) <= units_max, "{} {}", each(requests), each(units));
    }
}

/// The read requests of a server so far.
async fn reads(server: &Server) -> u64 {
    let mut total = 0;
    for kind in ["query", "head"] {
        total += server.metric(&format!("linger_store_requests_total{{kind=\"{kind}\"}}")).await;
    }
    total
}

/// Its read requests within this time.
async fn reads_within(server: &Server, span: Duration) -> u64 {
    let before = reads(server).await;
    sleep(span).await;
    reads(server).await - before
}

/// This many holds, each on a connection of its own, once all are held.
async fn holds(server: &Server, count: usize, query: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = format!("GET /sub?channel=x&{query} HTTP/1.1\r\nhost: linger\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    while server.metric("linger_holds").await < count as u64 {
        sleep(Duration::from_millis(10)).await;
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_holds_read_as_often_as_one() {
    const SPAN: Duration = Duration::from_secs(4);
    let server = Server::over_table(&local::ENDPOINT, &table(), &[]).await;
    let client = Noting::new(&server.base, "x");
    let mut at = client.publish("first", None).await.id.expect("published");

    let one = holds(&server, 1, &format!("cursor={at}")).await;
    sleep(Duration::from_secs(2)).await;
    let reads_of_one = reads_within(&server, SPAN).await;
    drop(one);
    let mut herd = holds(&server, 1000, &format!("cursor={at}")).await;
    sleep(Duration::from_secs(2)).await;
    let reads_of_many = reads_within(&server, SPAN).await;
    println!("reads in {SPAN:?}: {reads_of_one} for one hold, {reads_of_many} for a thousand");
    assert!(reads_of_many <= reads_of_one + 2, "{reads_of_many} and {reads_of_one}");
    assert!(reads_of_one >= 10, "somebody reads");

    // All are answered, and poll again on the same connections.
    let before = reads(&server).await;
    at = client.publish("second", None).await.id.expect("published");
    let again = format!("GET /sub?channel=x&cursor={at} HTTP/1.1\r\nhost: linger\r\n\r\n");
    for stream in &mut herd {
        let mut answer = vec![0; 4096];
        let len = stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..len]).contains("second"));
        stream.write_all(again.as_bytes()).await.unwrap();
    }
    while server.metric("linger_holds").await < 1000 {
        sleep(Duration::from_millis(5)).await;
    }
    let herd_reads = reads(&server).await - before;
    println!("a herd of a thousand that polls again: {herd_reads} reads");
    assert!(herd_reads <= 60, "{herd_reads}");

    drop(herd);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(reads_within(&server, Duration::from_secs(1)).await, 0, "nobody is there, and nobody reads");
}

/// An input of the costs, as the document has it.
fn documented(input: &str) -> u64 {
    let document = std::fs::read_to_string(ROOT.join("docs/COST.md")).unwrap();
    let row = document.lines().find_map(|line| line.strip_prefix(&format!("| {input} | ")));
    row.unwrap_or_else(|| panic!("no {input}")).trim_end_matches(" |").parse().unwrap()
}

/// The reads of one idle hold on so many channels, in a process of its own.
async fn reads_of_an_idle_hold(channels: usize) -> u64 {
    let server = Server::over_table(&local::ENDPOINT, &table(), &[]).await;
    let mut places = Vec::new();
    for number in 0..channels {
        let name = format!("x{number}");
        let at = Noting::new(&server.base, &name).publish("first", None).await.id.expect("published");
        places.push(format!("{name}:{at}"));
    }
    let before = reads(&server).await;
    let poll = reqwest::get(server.url(&format!("/sub?wait=25&channels={}", places.join(",")))).await.unwrap();
    assert_eq!(poll.text().await.unwrap(), r#"{"channels":{}}"#);
    let reads = reads(&server).await - before;
    println!("an idle hold of 25 s on {channels} channels: {reads} reads");
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_hold_reads_so_often() {
    let [one, five, twenty] = [1, 5, 20].map(reads_of_an_idle_hold);
    let (one, five, twenty) = tokio::join!(one, five, twenty);
    for (reads, input) in
        [(one, "reads of an idle hold of 25 s"), (five, "the same on 5 channels"), (twenty, "the same on 20 channels")]
    {
        let told = documented(input);
        // A busy machine reads less often.
        let range = told / 2..=told + told / 10;
        assert!(range.contains(&reads), "{input}: {reads}, and COST.md says {told}");
    }
    assert!(twenty <= 5 * one, "{twenty} reads on 20 channels, {one} on one");
}
