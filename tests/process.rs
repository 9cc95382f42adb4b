//! The server as a process: how it starts, and how it stops.

use std::{process::Stdio, time::Duration};

use crate::server::{Server, command};
use pubsub::clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

async fn send(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(3), stream.read_to_end(&mut bytes)).await;
    read.expect("the connection is closed").unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn stops(signal: &str) {
    let mut server = Server::start(&[]).await;
    let silent = TcpStream::connect(server.address()).await.unwrap();
    let idle = send(&server, "GET /healthz HTTP/1.1\r\nhost: linger\r\n\r\n").await;
    let bare = send(&server, "GET /sub HTTP/1.1\r\nhost: linger\r\n\r\n").await;
    let held = send(&server, "GET /sub?cursor=latest HTTP/1.1\r\nhost: linger\r\n\r\n").await;
    let head = "POST /pub HTTP/1.1\r\nhost: linger\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    let mut slow = send(&server, &format!("{head}content-length: 9\r\n\r\nmessage")).await;
    while server.metric("linger_holds").await < 2 {
        sleep(Duration::from_millis(5)).await;
    }

    let begun = clock::now();
    server.signal(signal);
    let held = rest(held).await;
    assert!(held.contains(r#"{"messages":[],"cursor":"0-0","missed":false}"#), "{held}");
    let bare = rest(bare).await;
    assert!(bare.contains("HTTP/1.1 409 ") && bare.contains("nothing_published"), "{bare}");
    assert!(rest(silent).await.is_empty());
    assert!(rest(idle).await.ends_with(r#"{"status":"ok"}"#));
    // A request comes while another one is under way.
    let late = rest(send(&server, "GET /sub HTTP/1.1\r\nhost: linger\r\n\r\n").await).await;
    assert!(late.contains("HTTP/1.1 503 ") && late.contains("\"stopping\",\"retry_after\":1"), "{late}");
    slow.write_all(b"=x").await.unwrap();
    let slow = rest(slow).await;
    assert!(slow.contains("HTTP/1.1 503 ") && slow.contains("\"stopping\""), "{slow}");
    assert!(server.ended().await.success());
    assert!(clock::now() - begun < Duration::from_secs(2));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn as_many_workers_serve_as_are_asked_for_and_one_processor_is_left_free() {
    let workers = |server: &Server| {
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let names = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap());
        names.filter(|name| name.starts_with("worker ")).count()
    };
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!(workers(&Server::start(&[]).await), (processors - 1).max(1));
    assert_eq!(workers(&Server::start(&["--workers", "3"]).await), 3);
}

#[tokio::test]
async fn it_stops_when_it_is_told_to_and_nobody_is_left_hanging() {
    stops("TERM").await;
    stops("INT").await;
}

#[tokio::test]
async fn it_stops_in_time_though_a_client_never_finishes() {
    let mut server = Server::start(&[]).await;
    let _slow = send(&server, "POST /pub HTTP/1.1\r\nhost: linger\r\n").await;
    let _slower = send(&server, "G").await;
    sleep(Duration::from_millis(50)).await;
    let begun = clock::now();
    server.signal("TERM");
    assert!(server.ended().await.success());
    assert!(clock::now() - begun < Duration::from_secs(2));
}

/// Its error when it does not start, and its exit code.
async fn refuses(arguments: &[&str], environment: &[(&str, &str)]) -> (String, i32) {
    let process = command().args(arguments).envs(environment.iter().copied()).stdout(Stdio::piped()).output();
    let output = timeout(Duration::from_secs(5), process).await.expect("it does not start").unwrap();
    assert!(output.stdout.is_empty());
    (String::from_utf8(output.stderr).unwrap(), output.status.code().expect("it was not killed"))
}

#[tokio::test]
async fn what_it_can_not_do_it_says_at_once() {
    let server = Server::start(&[]).await;
    let port = server.address().rsplit(':').next().unwrap();
    let (said, code) = refuses(&["--port", port], &[]).await;
    assert_eq!(code, 1);
    assert!(said.contains(&format!("can't listen on 127.0.0.1:{port}: Address already in use")), "{said}");

    for (arguments, environment, expected) in [
        (&["--allowed-origin", "https://example.com/"][..], &[][..], "it ends with a slash; write https://example.com"),
        (&["--allowed-origin", "https://example.com/a"], &[], "it has a path, /a; write https://example.com"),
        (&["--allowed-origin", "*"], &[], "all origins can't be allowed at once"),
        (&["--retention", "soon"], &[], "must be a time from 1s to 3650d"),
        (&["--wait-max", "26s"], &[], "must be 25 s at most"),
        (&["--static-dir", "/nowhere"], &[], "there is no page at /nowhere"),
        (&["--port", "0"], &[("LINGER_HOLDS_MAX", "many")], "LINGER_HOLDS_MAX is \"many\""),
        (&["--table", "chat"], &[], "need --store dynamodb"),
        (&["--create-table"], &[], "need --store dynamodb"),
        (&[], &[("LINGER_TABLE", "chat")], "need --store dynamodb"),
        (&["--host", "nowhere.invalid"], &[], "can't listen on nowhere.invalid:3000"),
    ] {
        let (said, code) = refuses(arguments, environment).await;
        assert!(code == 1 || code == 2, "{code}");
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_health_check_succeeds_only_while_the_server_answers() {
    let mut server = Server::start(&["--host", "0.0.0.0", "--allowed-host", "a.example"]).await;
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let check = async || {
        let health = command().args(["health", "--host", "0.0.0.0", "--port", &port]).output();
        let output = timeout(Duration::from_secs(10), health).await.expect("it ends").unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check().await, (true, String::new()));
    server.signal("TERM");
    server.ended().await;
    let (healthy, said) = check().await;
    assert!(!healthy && said.starts_with("linger: not healthy: "), "{said}");
    // Another program listens there.
    let other = std::net::TcpListener::bind(("0.0.0.0", port.parse::<u16>().unwrap())).unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
    });
    let (healthy, said) = check().await;
    answer.join().unwrap();
    assert!(!healthy && said.contains("answered HTTP/1.1 404"), "{said}");
}

#[tokio::test]
async fn the_environment_says_what_flags_say() {
    let environment = [("LINGER_WAIT_MAX", "1"), ("LINGER_ALLOWED_ORIGIN", "https://a.example,https://b.example")];
    let server = Server::start_in(&environment).await;
    let begun = clock::now();
    let request = reqwest::Client::new().get(server.url("/sub?wait=20")).header("origin", "https://b.example");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://b.example");
    assert!(clock::now() - begun < Duration::from_secs(5));
}

#[tokio::test]
async fn every_request_has_a_line_in_the_log() {
    let server = Server::start(&[]).await;
    let asked = reqwest::Client::new().get(server.url("/sub?channel=x&cursor=nonsense"));
    let answer = asked.header("x-request-id", "mine").send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(id, "mine");
    let held = send(&server, "GET /sub?channel=left HTTP/1.1\r\nhost: linger\r\n\r\n").await;
    while server.metric("linger_holds").await < 1 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(held);
    let line = async |what: &dyn Fn(&serde_json::Value) -> bool| {
        for _ in 0..200 {
            if let Some(line) = server.log().into_iter().find(|line| what(line)) {
                return line;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no such line in {:?}", server.log())
    };
    let refused = line(&|line| line["id"] == id.as_str()).await;
    assert_eq!((&refused["status"], &refused["code"]), (&400.into(), &"invalid_cursor".into()));
    assert_eq!((&refused["path"], &refused["method"]), (&"/sub".into(), &"GET".into()));
    let long = "A".repeat(7_000);
    let made_up = send(&server, &format!("{long} /{long} HTTP/1.1\r\nhost: linger\r\nconnection: close\r\n\r\n")).await;
    assert!(!rest(made_up).await.is_empty());
    let cut = line(&|line| line["method"].as_str().is_some_and(|method| method.starts_with("AAA"))).await;
    assert!(cut.to_string().len() < 1000, "{cut}");
    let left = line(&|line| line["message"] == "client left").await;
    assert_eq!((&left["path"], &left["status"]), (&"/sub".into(), &serde_json::Value::Null));
}
