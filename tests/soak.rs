//! Everything at once, for a while: people who publish and poll, clients that break off and come back, strangers who
//! abuse the server, a table that fails. In the end nothing is lost, repeated or out of order, and nothing is left
//! over.
//!
//! `SOAK_SECONDS` sets how long, and `SOAK_REST_MS` the pause after each round of each kind of abuse. Without a pause
//! the strangers use the whole machine.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

#[cfg(feature = "dynamodb")]
use crate::proxy::Proxy;
use crate::{
    client::Noting,
    hostile::{attack, changed, corpus, setting},
    server::Server,
};
use pubsub::{clock, cursor::Cursor};
use tests::{
    checker::{Begin, Chain, History, Rules, check},
    random::Random,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Small, so that the store is full for most of the time. Holds are short, so that a connection with twenty held
/// requests comes to its end.
const FULL_SOON: [(&str, &str); 6] = [
    // More than a small machine has by default, so that holds are woken from other threads too.
    ("LINGER_WORKERS", "3"),
    ("LINGER_WAIT_MAX", "1s"),
    ("LINGER_BYTES_MAX", "33554432"),
    ("LINGER_KEYS_MAX", "20000"),
    ("LINGER_CHANNELS_MAX", "2000"),
    ("LINGER_FOLLOWERS_MAX", "1000"),
];

/// The most memory that the server may use with these limits: for its connections, bodies and answers under way, and
/// the store.
const RESIDENT_MAX_MIB: u64 = 256;

/// How many subscribers only wait, and how many break off.
const WAITING: usize = 3;

/// Publishes from time to time, and must never fail.
async fn publisher(client: Noting, number: usize, done: Arc<AtomicBool>) -> History {
    let mut history = History::default();
    let mut message = 0;
    while !done.load(Relaxed) {
        let text = format!("{number}.{message}");
        let publish = client.publish(&text, (message % 3 == 0).then_some(&text)).await;
        assert!(publish.id.is_some(), "{number} can't publish");
        history.publishes.push(publish);
        message += 1;
        sleep(Duration::from_millis(20)).await;
    }
    history
}

/// Polls until it has the last message. One that breaks off does so in every third poll, and asks again.
async fn subscriber(client: Noting, cuts: bool, seed: u64) -> History {
    let mut chain = Chain { start: Begin::After(Cursor::ORIGIN), polls: vec![] };
    let mut random = Random::new(seed);
    let mut query = "cursor=0-0".to_owned();
    loop {
        let patience = if cuts && random.below(3) == 0 { random.below(40) } else { 60_000 };
        let polled = timeout(Duration::from_millis(patience), client.poll(&query)).await;
        let Ok(poll) = polled else { continue };
        let poll = poll.expect("a poll is answered");
        query = format!("cursor={}", poll.cursor);
        let ended = poll.messages.iter().any(|(_, text)| text == "end");
        chain.polls.push(poll);
        if ended {
            return History { chains: vec![chain], ..History::default() };
        }
    }
}

/// The well-behaved clients, on a thread of their own, so that they need not wait for the abusive ones.
fn people(client: Noting, done: Arc<AtomicBool>) -> thread::JoinHandle<History> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut waiting, mut cutting) = (JoinSet::new(), JoinSet::new());
            for number in 0..WAITING as u64 {
                waiting.spawn(subscriber(client.clone(), false, number));
                cutting.spawn(subscriber(client.clone(), true, number));
            }
            let mut publishers = JoinSet::new();
            for number in 0..2 {
                publishers.spawn(publisher(client.clone(), number, Arc::clone(&done)));
            }
            let mut histories = publishers.join_all().await;
            let end = client.publish("end", None).await;
            histories.push(History { publishes: vec![end], ..History::default() });
            for subscribers in [waiting, cutting] {
                histories
                    .extend(timeout(Duration::from_secs(60), subscribers.join_all()).await.expect("all get the end"));
            }
            let (mut publishes, mut chains) = (Vec::new(), Vec::new());
            for history in histories {
                publishes.extend(history.publishes);
                chains.extend(history.chains);
            }
            History { publishes, chains, ..History::default() }
        })
    })
}

/// Requests that are pipelined on one connection, whether or not they are all answered.
async fn flood(address: &str, requests: Vec<String>) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let (mut read, mut write) = stream.split();
    let sending = async {
        for request in requests {
            if write.write_all(request.as_bytes()).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let mut answers = [0; 4096];
    let reading = async { while read.read(&mut answers).await.is_ok_and(|len| len > 0) {} };
    let _ = timeout(Duration::from_secs(20), async { tokio::join!(sending, reading) }).await;
}

fn publish(fields: &str) -> String {
    let head = "POST /pub HTTP/1.1\r\nhost: linger\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    format!("{head}content-length: {}\r\n\r\n{fields}", fields.len())
}

/// Opens connections, sends the same on each, and reads nothing for a moment.
async fn sit(address: &str, count: usize, sent: &str) {
    let mut sitting = Vec::new();
    for _ in 0..count {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = timeout(Duration::from_millis(20), stream.write_all(sent.as_bytes())).await;
            sitting.push(stream);
        }
    }
    sleep(Duration::from_secs(2)).await;
}

/// Repeats one kind of abuse.
async fn abuse(kind: u64, address: String, corpus: Arc<Vec<Vec<u8>>>, done: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut random = Random::new(kind);
    let rest = Duration::from_millis(setting("SOAK_REST_MS", 0));
    let long = "x".repeat(30_000);
    while !done.load(Relaxed) {
        let number = random.below(1 << 30);
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: linger\r\n\r\n");
        let many = |count: u64, request: &dyn Fn(u64) -> String| (0..count).map(request).collect::<Vec<_>>();
        match kind {
            0 | 1 => {
                let requests: Vec<_> = (0..20).map(|_| changed(&corpus, &mut random)).collect();
                drop(attack(&address, &requests).await);
            }
            2 => flood(&address, many(500, &|key| publish(&format!("channel=k&message=a&key={number}.{key}")))).await,
            3 => flood(&address, many(500, &|other| publish(&format!("channel={number}.{other}&message=a")))).await,
            4 => flood(&address, many(20, &|_| publish(&format!("channel=large&message={long}")))).await,
            5 => flood(&address, many(200, &|channel| get(&format!("/sub?channel=d{number}.{channel}&wait=0")))).await,
            6 => sit(&address, 200, &get(&format!("/sub?channel=h{}", number % 300))).await,
            7 => sit(&address, 100, &get("/sub?channel=large&cursor=earliest")).await,
            8 => sit(&address, 100, &get("/client/tabs.js").repeat(20)).await,
            9 => sit(&address, 100, &publish(&format!("message={long}"))[..20_000]).await,
            _ => sit(&address, 100, &format!("GET / HTTP/1.1\r\nx: {long}")[..10_000]).await,
        }
        count.fetch_add(1, Relaxed);
        sleep(rest).await;
    }
}

/// A percentile of a sorted list, in thousandths.
fn quantile(sorted: &[Duration], thousandths: usize) -> Duration {
    sorted.get(sorted.len() * thousandths / 1000).copied().unwrap_or_default()
}

/// How long each message took to reach each of those who only wait.
fn deliveries(history: &History) -> Vec<Duration> {
    let sent: HashMap<_, _> = history.publishes.iter().map(|publish| (&publish.text, publish.begun)).collect();
    let waiting = history.chains.iter().take(WAITING).flat_map(|chain| &chain.polls);
    let delivered = waiting.flat_map(|poll| poll.messages.iter().map(move |(_, text)| (text, poll.ended)));
    let mut took: Vec<_> = delivered.filter_map(|(text, ended)| Some(ended.saturating_sub(*sent.get(text)?))).collect();
    took.sort_unstable();
    took
}

fn resident_mib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn people_are_served_while_strangers_abuse_and_nothing_is_left_over() {
    let span = Duration::from_secs(setting("SOAK_SECONDS", 5));
    let server = Server::start_quiet(&FULL_SOON).await;
    let (descriptors, tasks) = (server.descriptors(), server.metric("linger_tasks").await);
    let client = Noting::new(&server.base, "people");
    let (done, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let people = people(client, Arc::clone(&done));
    let corpus = Arc::new(corpus());
    let mut abusers = JoinSet::new();
    for kind in 0..=10 {
        let address = server.address().to_owned();
        abusers.spawn(abuse(kind, address, Arc::clone(&corpus), Arc::clone(&done), Arc::clone(&rounds)));
    }
    let (begun, mut half, mut peak) = (clock::now(), 0, 0);
    while begun.elapsed() < span {
        sleep(span / 20).await;
        let now = resident_mib(&server);
        peak = peak.max(now);
        if begun.elapsed() < span / 2 {
            half = peak;
        }
    }
    done.store(true, Relaxed);
    timeout(Duration::from_secs(60), abusers.join_all()).await.expect("those who abuse come to an end");
    let history = tokio::task::spawn_blocking(|| people.join().unwrap()).await.unwrap();
    let took = deliveries(&history);
    println!(
        "{span:?}: {} published, {} delivered, p50 {:?}, p99 {:?}, longest {:?}; {} rounds of abuse; {half} MiB at most in the first half, {peak} MiB in all",
        history.publishes.len(),
        took.len(),
        quantile(&took, 500),
        quantile(&took, 990),
        took.last(),
        rounds.load(Relaxed),
    );
    assert_eq!(check(&history, Rules::default()), Ok(()));
    assert!(history.chains.iter().flat_map(|chain| &chain.polls).all(|poll| !poll.missed));
    assert_eq!(server.metric("linger_panics_total").await, 0);
    assert_eq!(server.number("linger_errors_total{code=\"internal\"}").await, 0.0);
    assert!(peak < RESIDENT_MAX_MIB && peak < half + half / 2, "{half} MiB, then {peak} MiB");
    let at_rest = async {
        while server.descriptors() > descriptors + 3 || server.metric("linger_tasks").await > tasks + 3 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), at_rest).await.expect("no descriptor and no task is left over");
}

/// Cuts the store off from its table, at random moments.
#[cfg(feature = "dynamodb")]
async fn cut_now_and_then(proxy: &Proxy, span: Duration) {
    use crate::proxy::{Cut, Kind};
    let (begun, mut random) = (clock::now(), Random::new(7));
    let kinds =
        [Kind::GiveOut, Kind::PutMessage, Kind::PutKey, Kind::MoveKey, Kind::PutFiller, Kind::Query, Kind::Head];
    while begun.elapsed() < span {
        let kind = kinds[random.below(kinds.len() as u64) as usize];
        let late = Duration::from_millis(random.below(1500));
        let cut = match random.below(5) {
            0 => Cut::DropRequest,
            1 => Cut::DropResponse,
            2 => Cut::ForwardLater(late),
            3 => Cut::Delay(late),
            _ => Cut::Stall,
        };
        proxy.cut(kind, cut);
        if random.below(10) == 0 {
            proxy.break_connections();
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(feature = "dynamodb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_fails_loses_nothing_while_strangers_abuse() {
    use crate::outage::{publish_through_outages, read_through_outages};
    let span = Duration::from_secs(setting("SOAK_SECONDS", 5));
    let proxy = Proxy::start(&tests::local::ENDPOINT).await;
    let server = Server::over_table(
        &proxy.endpoint,
        &crate::table::new_table().await,
        &["--log-format", "off", "--wait-max", "1s"],
    )
    .await;
    let (client, done) = (Noting::new(&server.base, "x"), Arc::new(AtomicBool::new(false)));
    let mut publishers = JoinSet::new();
    for number in 0..4 {
        publishers.spawn(publish_through_outages(client.clone(), number, Arc::default(), Arc::clone(&done)));
    }
    let readers = [(); 2].map(|()| tokio::spawn(read_through_outages(client.clone())));
    let (corpus, address) = (Arc::new(corpus()), server.address().to_owned());
    let stranger = tokio::spawn(abuse(0, address, corpus, Arc::clone(&done), Arc::default()));
    cut_now_and_then(&proxy, span).await;
    done.store(true, Relaxed);
    let publishes: Vec<_> = publishers.join_all().await.into_iter().flatten().collect();
    let end = async { while client.publish("end", Some("end")).await.id.is_none() {} };
    timeout(Duration::from_secs(30), end).await.expect("it recovers");
    let mut chains = Vec::new();
    for reader in readers {
        chains.push(timeout(Duration::from_secs(30), reader).await.expect("it comes to the end").unwrap());
    }
    stranger.await.unwrap();
    let refused = publishes.iter().filter(|publish| publish.id.is_none()).count();
    println!("{span:?}: {} acknowledged, {refused} refused", publishes.len() - refused);
    let history = History { publishes, chains, ..History::default() };
    assert_eq!(check(&history, Rules { patience: Duration::from_secs(60), ..Rules::default() }), Ok(()));
    assert_eq!(server.metric("linger_panics_total").await, 0);
}
