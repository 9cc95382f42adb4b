//! Hostile requests: those that once caused a fault, and variations of them.
//!
//! `HOSTILE_REQUESTS` sets how many. The test prints its seed; `HOSTILE_SEED` repeats that sequence.

use std::{collections::BTreeMap, env, fs, sync::Arc, time::Duration};

use crate::server::{ROOT, Server};
use pubsub::clock;
use tests::random::Random;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// Requests on one connection before it is read to its end.
const PIPELINED: usize = 20;

/// Connections at once.
const CONNECTIONS: usize = 32;

/// A number from the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The lines of corpus.txt, as bytes.
pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(ROOT.join("tests/corpus.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| bytes(line.split_once(' ').unwrap().1)).collect()
}

/// The bytes that a line describes.
fn bytes(line: &str) -> Vec<u8> {
    let repeated = regex::Regex::new(r"\{(.[^{}]*?)\*(\d+)\}").unwrap();
    let line = repeated.replace_all(line, |found: &regex::Captures<'_>| found[1].repeat(found[2].parse().unwrap()));
    let escaped = regex::bytes::Regex::new(r"\\(r|n|\\|x([0-9a-f]{2}))").unwrap();
    let bytes = escaped.replace_all(line.as_bytes(), |found: &regex::bytes::Captures<'_>| match &found[1] {
        b"r" => vec![b'\r'],
        b"n" => vec![b'\n'],
        b"\\" => vec![b'\\'],
        _ => vec![u8::from_str_radix(std::str::from_utf8(&found[2]).unwrap(), 16).unwrap()],
    });
    bytes.into_owned()
}

/// A request of the corpus, as it is or changed in a few places.
pub(crate) fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| corpus[random.below(corpus.len() as u64) as usize].clone();
    let mut request = pick(random);
    for _ in 0..random.below(6).saturating_sub(2) {
        let at = |random: &mut Random, request: &[u8]| random.below(request.len() as u64 + 1) as usize;
        let (from, to) = (at(random, &request), at(random, &request));
        let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
        match random.below(5) {
            0 if from < request.len() => request[from] = random.below(256) as u8,
            1 => drop(request.drain(from..to)),
            2 => {
                let piece = request[from..to].to_vec();
                request.splice(from..from, piece);
            }
            3 => {
                let other = pick(random);
                let cut = at(random, &other);
                request.splice(from..to, other[cut..(cut + 40).min(other.len())].iter().copied());
            }
            _ => {
                let odd: &[&[u8]] =
                    &[b"\0", b"\r\n", b"%00", b"//", b"\xff", b": ", b"&", b"=", b"-1", b"%", b"\r\n\r\n"];
                request.splice(from..from, odd[random.below(odd.len() as u64) as usize].iter().copied());
            }
        }
    }
    request
}

/// Sends some on one connection, closes its sending half, and counts the answers by their status. A connection that
/// ends without one counts as 0.
pub(crate) async fn attack(address: &str, requests: &[Vec<u8>]) -> BTreeMap<u16, u64> {
    let mut statuses = BTreeMap::new();
    let mut answers = Vec::new();
    let exchanged = timeout(Duration::from_secs(30), async {
        let mut stream = TcpStream::connect(address).await.expect("it accepts");
        let (mut read, mut write) = stream.split();
        let sending = async {
            for request in requests {
                // The server may close the connection before everything is written.
                if write.write_all(request).await.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        };
        tokio::join!(sending, async { drop(read.read_to_end(&mut answers).await) });
    });
    exchanged.await.expect("no connection hangs");
    let text = String::from_utf8_lossy(&answers);
    for line in text.split("HTTP/1.1 ").skip(1) {
        let status = line.get(..3).and_then(|status| status.parse().ok());
        assert!(status != Some(500), "{line}");
        *statuses.entry(status.unwrap_or_default()).or_default() += 1;
    }
    if statuses.is_empty() {
        statuses.insert(0, 1);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_answered_or_refused_and_leave_nothing() {
    let (count, seed) = (setting("HOSTILE_REQUESTS", 5_000), setting("HOSTILE_SEED", std::process::id().into()));
    println!("HOSTILE_REQUESTS={count} HOSTILE_SEED={seed}");
    let mut server = Server::start(&["--log-format", "off", "--wait-max", "1s", "--workers", "3"]).await;
    let corpus = Arc::new(corpus());
    for request in corpus.iter() {
        attack(server.address(), std::slice::from_ref(request)).await;
    }
    let (descriptors, tasks) = (server.descriptors(), server.metric("linger_tasks").await);
    let begun = clock::now();
    let mut attackers = JoinSet::new();
    for number in 0..CONNECTIONS as u64 {
        let (corpus, address) = (Arc::clone(&corpus), server.address().to_owned());
        let mut random = Random::new(seed + number);
        attackers.spawn(async move {
            let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
            while statuses.values().sum::<u64>() < count / CONNECTIONS as u64 {
                let requests: Vec<_> = (0..PIPELINED).map(|_| changed(&corpus, &mut random)).collect();
                for (status, count) in attack(&address, &requests).await {
                    *statuses.entry(status).or_default() += count;
                }
            }
            statuses
        });
    }
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    for (status, count) in attackers.join_all().await.into_iter().flatten() {
        *statuses.entry(status).or_default() += count;
    }
    println!("{statuses:?} in {:?}", clock::now() - begun);
    assert_eq!(server.metric("linger_panics_total").await, 0);
    for status in [200, 400, 404, 405, 415] {
        assert!(statuses.contains_key(&status), "the bytes got too little far: {statuses:?}");
    }
    let at_rest = async {
        while server.descriptors() > descriptors + 2 || server.metric("linger_tasks").await > tasks + 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(15), at_rest).await.expect("nothing is left of them");
    server.signal("TERM");
    assert!(server.ended().await.success());
}
