//! The load tool: it measures a server that keeps its promises, and detects one that does not.

use std::{
    convert::Infallible,
    path::PathBuf,
    process::Output,
    sync::{Arc, LazyLock, Mutex},
};

use crate::server::{Server, build};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, process::Command, sync::watch};

static LOAD: LazyLock<PathBuf> = LazyLock::new(|| build(&["--package", "load"], "load"));

async fn load(command: &str, base: &str, arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(&*LOAD).args([command, base]).args(arguments).kill_on_drop(true).output().await.unwrap()
}

/// The results, a JSON object on each line.
fn results(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The results for a server that lost nothing.
fn clean(output: &Output) -> Vec<Value> {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    results(output)
}

/// A number above zero.
fn positive(line: &Value, name: &str) -> f64 {
    let number = line[name].as_f64().unwrap_or_else(|| panic!("{name} in {line}"));
    assert!(number > 0.0, "{name} in {line}");
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_measurement_ends_and_finds_nothing_lost() {
    let server = Server::start_quiet(&[]).await;
    let pid = format!("--pid {}", server.pid());
    // Before all others, so that the server closes none of their connections meanwhile.
    let idle = clean(&load("idle", &server.base, &format!("--held 50 --seconds 0.2 {pid}")).await);
    // A connection is one descriptor. There is a publisher too.
    assert!((0.9..1.2).contains(&positive(&idle[0], "descriptors")), "{idle:?}");
    let fan_out = clean(&load("fan-out", &server.base, &format!("--held 50 --rounds 3 --pause-ms 20 {pid}")).await);
    assert_eq!(fan_out.len(), 4);
    for line in &fan_out[..3] {
        let times = ["first_ms", "median_ms", "p99_ms", "last_ms"].map(|name| positive(line, name));
        assert!(times.is_sorted(), "{line}");
    }
    let throughput = "--publishers 4 --subscribers 10 --seconds 1";
    let throughput = clean(&load("throughput", &server.base, &format!("{throughput} {pid}")).await);
    let [accepted, delivered] = ["accepted_per_s", "delivered_per_s"].map(|name| positive(&throughput[0], name));
    assert!(delivered > accepted, "{throughput:?}");
    positive(&throughput[0], "client_cpu_us");

    for line in clean(&load("abort", &server.base, &format!("--held 50 --rounds 2 {pid}")).await) {
        positive(&line, "forgotten_ms");
        assert_eq!(line["holds_left"].as_f64(), Some(0.0), "{line}");
    }
    let herd = clean(&load("herd", &server.base, "--held 50 --rounds 2").await);
    for line in &herd[..2] {
        positive(line, "held_again_ms");
        positive(line, "two_messages_ms");
    }
}

#[cfg(feature = "dynamodb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_takes_two_writes_of_the_table() {
    let server = Server::over_table(&tests::local::ENDPOINT, "load", &[]).await;
    let lines = clean(&load("table", &server.base, "--messages 10 --seconds 1").await);
    for kind in ["give_out", "put_slot"] {
        assert_eq!(lines[0]["per_message"][kind]["requests"].as_f64(), Some(1.0), "{lines:?}");
        positive(&lines[0]["per_message"][kind], "units");
    }
    positive(&lines[1]["per_hold"]["query"], "requests");
}

#[tokio::test]
async fn what_is_no_server_is_not_measured() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let output = load("fan-out", &format!("http://{free}"), "--held 1").await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
}

/// A server's fault with its third message.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Lost,
    Repeated,
    Disordered,
}

/// A server that answers as linger does, for one channel, with a fault.
#[derive(Default)]
struct Faulty {
    messages: Mutex<Vec<String>>,
    /// The number of messages.
    news: watch::Sender<usize>,
}

impl Faulty {
    async fn start(fault: Fault) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(Self::default());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                let answer = service_fn(move |request| Arc::clone(&server).answer(fault, request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        base
    }

    async fn answer(
        self: Arc<Self>,
        fault: Fault,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let body = if request.method() == Method::POST {
            let form = request.into_body().collect().await.unwrap().to_bytes();
            let text = std::str::from_utf8(&form).unwrap().split_once("message=").unwrap().1;
            self.publish(fault, text.to_owned());
            String::new()
        } else {
            let query = request.uri().query().unwrap();
            let cursor = query.split('&').find_map(|field| field.strip_prefix("cursor=")?.parse().ok()).unwrap_or(0);
            self.news.subscribe().wait_for(|len| *len > cursor).await.unwrap();
            let messages = self.messages.lock().unwrap();
            let texts: Vec<_> = messages[cursor..].iter().map(|text| format!(r#"{{"message":"{text}"}}"#)).collect();
            format!(r#"{{"messages":[{}],"cursor":"{}"}}"#, texts.join(","), messages.len())
        };
        Ok(Response::new(Full::new(body.into())))
    }

    fn publish(&self, fault: Fault, text: String) {
        let mut messages = self.messages.lock().unwrap();
        match (fault, text.split('-').nth(1).unwrap()) {
            (Fault::Lost, "2") => {}
            (Fault::Repeated, "2") => messages.extend([text.clone(), text]),
            // The third comes before the second.
            (Fault::Disordered, "1") => {}
            (Fault::Disordered, "2") => messages.extend([text.clone(), text.replacen("0-2-", "0-1-", 1)]),
            _ => messages.push(text),
        }
        self.news.send_replace(messages.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loses_repeats_or_disorders_a_message_is_found_out() {
    let found = async |fault| {
        let base = Faulty::start(fault).await;
        let output = load("fan-out", &base, "--held 3 --rounds 4 --pause-ms 20 --patience 2").await;
        assert_eq!(output.status.code(), Some(1), "{fault:?}: {output:?}");
        let verdict = results(&output).last().unwrap()["verdict"].clone();
        ["lost", "repeated", "disordered"].map(|name| verdict[name].as_u64().unwrap())
    };
    let (lost, repeated, disordered) =
        tokio::join!(found(Fault::Lost), found(Fault::Repeated), found(Fault::Disordered));
    // For each of three subscribers.
    assert_eq!((lost, repeated, disordered), ([3, 0, 0], [0, 3, 0], [0, 0, 3]));
}
