//! Whatever bytes come, the server goes on, never answers 500, and changes its log only with a 200.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::server::Server;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

/// Sends bytes, and reads until the connection closes.
fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may close the connection before everything is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let _ = stream.shutdown(Shutdown::Both);
    String::from_utf8_lossy(&answer).into_owned()
}

fn newest(address: &str) -> String {
    let answer = exchange(address, b"GET /sub?wait=0 HTTP/1.1\r\nhost: linger\r\nconnection: close\r\n\r\n");
    let (_, cursor) = answer.split_once(r#""cursor":""#).unwrap_or_else(|| panic!("no cursor: {answer}"));
    cursor.split_once('"').unwrap().0.to_owned()
}

/// Mostly bytes that a parser accepts at first.
fn piece(likely: &'static str) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => proptest::string::bytes_regex(likely).unwrap(),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("OPTIONS"), Just("PUT"), Just("gEt")];
    let path = piece(r"/(pub|sub|healthz|metrics|[a-z.%/0-9A-F]{0,12})");
    let query =
        piece(r"(wait=0&)?((channel|cursor|last|before|limit|wait|x)=([0-9]-[0-9]|%[0-9a-g]{2}|0|[a-z]{0,5})&?){0,3}");
    let header =
        piece(r"(content-type|idempotency-key|origin|content-length|accept-encoding|range|expect): [ -~]{0,20}");
    let media = prop_oneof![Just("application/json"), Just("application/x-www-form-urlencoded; charset=utf-8")];
    let body = piece(r#"(\{"message":"[a-z\\]{0,5}"[,}"\[]{0,3}|(message|nick|key)=([a-z%0-9+]{0,5})&?){0,3}"#);
    (method, path, query, header, media, body).prop_map(|(method, path, query, header, media, body)| {
        let mut bytes = format!("{method} ").into_bytes();
        bytes.extend(path);
        bytes.extend(b"?wait=0&");
        bytes.extend(query);
        bytes.extend(b" HTTP/1.1\r\nhost: linger\r\nconnection: close\r\n");
        bytes.extend(header);
        bytes.extend(format!("\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(body);
        bytes
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_is_answered_or_refused() {
    let mut server = Server::start(&["--wait-max", "1s"]).await;
    let address = server.address().to_owned();
    let run = move || {
        let statuses = RefCell::new(BTreeMap::new());
        let before = RefCell::new(newest(&address));
        let config = Config { cases: 1500, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&request(), |bytes| {
            let answer = exchange(&address, &bytes);
            let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
            prop_assert!(!status.starts_with('5'), "{answer}");
            let after = newest(&address);
            prop_assert!(after == *before.borrow() || (status == "200" && answer.contains("\"sent\"")), "{answer}");
            before.replace(after);
            *statuses.borrow_mut().entry(status).or_insert(0) += 1;
            Ok(())
        });
        (outcome.map_err(|failure| failure.to_string()), statuses.into_inner())
    };
    let (outcome, statuses) = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(outcome, Ok(()));
    for status in ["200", "400", "404", "405"] {
        assert!(statuses.contains_key(status), "the bytes got too little far: {statuses:?}");
    }
    server.signal("TERM");
    assert!(server.ended().await.success());
}
