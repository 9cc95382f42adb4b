//! Broken surroundings: a log that can't be written, settings that other programs made, many held polls at the end.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Duration,
};

use crate::server::{BINARY, command};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Child,
    time::{sleep, timeout},
};

/// A port that was free just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server whose output does not go to this test.
struct Running {
    child: Child,
    port: u16,
}

impl Running {
    async fn start(stdout: Stdio, stderr: Stdio, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let child = command()
            .args(["--log-format", "json", "--port", &port.to_string()])
            .envs(environment.iter().copied())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let running = Self { child, port };
        let up = async {
            while running.connect().await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), up).await.expect("it starts, whoever reads what it says");
        running
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).await
    }

    /// Sends so many requests on one connection. Each must be answered.
    async fn ask(&self, count: usize) {
        let mut stream = self.connect().await.unwrap();
        let mut answer = [0; 4096];
        for number in 0..count {
            stream.write_all(b"GET /sub?wait=0&channel=x HTTP/1.1\r\nhost: linger\r\n\r\n").await.unwrap();
            let read = timeout(Duration::from_secs(10), stream.read(&mut answer)).await;
            let len = read.unwrap_or_else(|_| panic!("request {number} hangs")).unwrap();
            assert!(answer[..len].starts_with(b"HTTP/1.1 200 "), "request {number} is not answered");
        }
    }

    async fn lost(&self) -> u64 {
        let text = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await.unwrap().text().await.unwrap();
        let lost = text.lines().find_map(|line| line.strip_prefix("linger_log_lines_lost_total "));
        lost.expect("a metric").parse().unwrap()
    }

    async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = timeout(Duration::from_secs(10), self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}, signal {:?}", status.signal());
    }
}

fn full_disk() -> Stdio {
    fs::File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_can_not_be_written_loses_lines_and_no_request() {
    for output in [full_disk, broken_pipe] {
        let running = Running::start(output(), output(), &[]).await;
        running.ask(1000).await;
        assert!(running.lost().await >= 1000);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_loses_lines_and_no_request() {
    let (_unread_stdout, stdout) = std::io::pipe().unwrap();
    let (_unread, stderr) = std::io::pipe().unwrap();
    let running = Running::start(stdout.into(), stderr.into(), &[]).await;
    running.ask(10_000).await;
    assert!(running.lost().await > 0, "the queue is bounded");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_with_its_outputs_closed() {
    let port = free_port();
    let closed = format!("exec {} --port {port} >&- 2>&-", BINARY.display());
    let child = tokio::process::Command::new("sh").args(["-c", &closed]).kill_on_drop(true).spawn().unwrap();
    let running = Running { child, port };
    let up = async {
        while running.connect().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), up).await.expect("it starts");
    running.ask(100).await;
    running.stop().await;
}

#[tokio::test]
async fn a_variable_that_is_empty_is_not_set() {
    let names = fs::read_to_string(crate::server::ROOT.join("local/src/flags.rs")).unwrap();
    let limits = fs::read_to_string(crate::server::ROOT.join("functions/pubsub/src/limits.rs")).unwrap();
    let variable = regex::Regex::new(r#""((?:LINGER|AWS)_\w+)""#).unwrap();
    let text = names + &limits;
    let mut empty: Vec<_> = variable.captures_iter(&text).map(|found| (found.extract::<1>().1[0], "")).collect();
    assert!(empty.len() > 20, "{empty:?}");
    // The port is given by a flag. Empty keys would leave the server open.
    empty.retain(|(name, _)| !["LINGER_PORT", "LINGER_ACCESS_KEYS"].contains(name));
    let running = Running::start(Stdio::null(), Stdio::null(), &empty).await;
    running.ask(1).await;
    running.stop().await;
    let output = command().env("LINGER_PORT", "").args(["--host", "192.0.2.1"]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("can't listen on 192.0.2.1:3000"), "{said}");
}

/// Its error when it does not start.
async fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = command();
    command.args(arguments).envs(environment.iter().copied()).stdout(Stdio::null());
    let output = timeout(Duration::from_secs(5), command.output()).await.expect("it does not start").unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_setting_that_could_never_work_is_refused_and_the_right_form_is_named() {
    for (arguments, environment, expected) in [
        (&[][..], &[("LINGER_PORT", "tcp://10.0.0.1:3000")][..], "Kubernetes sets LINGER_PORT"),
        (&["--allowed-origin", "https://example.com."], &[], "write example.com"),
        (&["--allowed-origin", "http://127.1"], &[], "four numbers"),
        (&["--allowed-origin", "https://*.example.com"], &[], "write each name"),
        (&["--allowed-host", "example.com:3000"], &[], "write example.com"),
        (&["--host", "127.0.0.1:3000"], &[], "the port is --port"),
        (&["--trusted-proxy", "nginx"], &[], "an address, or a network such as 10.0.0.0/8"),
        (&["--address-publishes", "0"], &[], "--address-publishes"),
        (&[], &[("LINGER_KEYS_MAX", " 7")], "LINGER_KEYS_MAX is"),
    ] {
        let said = refusal(arguments, environment).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_variable_that_is_misspelt_is_named() {
    let environment = [("LINGER_HOLD_MAX", "5"), ("LINGER_SERVICE_HOST", "10.0.0.1"), ("LINGER_PORT_3000_TCP", "x")];
    let server = crate::server::Server::start_in(&environment).await;
    let warned = async {
        while server.log().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), warned).await.expect("a line");
    let said: Vec<_> = server.log().into_iter().map(|line| line["variable"].clone()).collect();
    assert_eq!(said, ["LINGER_HOLD_MAX"]);
}

#[tokio::test]
async fn an_origin_is_matched_however_it_was_written() {
    for written in ["https://example.com:443", "HTTPS://EXAMPLE.com", "https://example.com:"] {
        let server = crate::server::Server::start(&["--allowed-origin", written]).await;
        let request = reqwest::Client::new().get(server.url("/sub?wait=0")).header("origin", "https://example.com");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://example.com", "{written}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_wait_are_answered_when_it_stops() {
    let running = Running::start(Stdio::null(), Stdio::null(), &[]).await;
    // As many as there are descriptors, if that is asked for.
    let count = std::env::var("SOAK_HOLDS").map_or(4000, |count| count.parse().unwrap());
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = running.connect().await.unwrap();
        stream.write_all(b"GET /sub?cursor=latest HTTP/1.1\r\nhost: linger\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    let metrics = format!("http://127.0.0.1:{}/metrics", running.port);
    let all = async {
        while !reqwest::get(&metrics).await.unwrap().text().await.unwrap().contains(&format!("linger_holds {count}\n"))
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), all).await.expect("all are held");
    let answers = tokio::spawn(async move {
        let mut answered = 0;
        for mut stream in held {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            let answer = String::from_utf8_lossy(&bytes);
            let whole = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\"missed\":false}");
            // A client that is not told sends its next request on a connection that is about to end.
            answered += u32::from(whole && answer.contains("connection: close\r\n"));
        }
        answered
    });
    running.stop().await;
    assert_eq!(answers.await.unwrap(), count);
}
