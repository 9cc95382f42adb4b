//! Many holds at once, and what remains of them.

use std::time::Duration;

use crate::server::Server;
use pubsub::clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Opens a connection and sends a request.
async fn ask(server: &Server, path_and_query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {path_and_query} HTTP/1.1\r\nhost: linger\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until this is true, and fails when that takes too long.
async fn within(limit: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = clock::now();
    while !is_so().await {
        assert!(clock::now() - begun < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let len = timeout(Duration::from_secs(5), stream.read(&mut bytes)).await.expect("an answer within 5 s").unwrap();
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_leaves_nothing_and_who_stays_is_told() {
    let server = Server::start(&["--workers", "3"]).await;
    let http = reqwest::Client::new();
    let publish = async |channel: &str| {
        let body = format!("channel={channel}&message=hi");
        let request = http.post(server.url("/pub")).header("content-type", "application/x-www-form-urlencoded");
        assert!(request.body(body).send().await.unwrap().status().is_success());
    };
    let mut shared = Vec::new();
    for _ in 0..1000 {
        shared.push(ask(&server, "/sub?channel=all&wait=25").await);
    }
    within(Duration::from_secs(10), "1,000 holds", async || server.metric("linger_holds").await == 1000).await;
    assert_eq!(server.metric("linger_followers").await, 1);
    let descriptors = server.descriptors();

    let mut own = Vec::new();
    for number in 0..200 {
        own.push(ask(&server, &format!("/sub?channel=own-{number}&wait=25")).await);
    }
    within(Duration::from_secs(10), "200 more", async || server.metric("linger_holds").await == 1200).await;
    assert_eq!(server.metric("linger_followers").await, 201);

    own.clear();
    within(Duration::from_millis(500), "the 200 are gone", async || {
        server.metric("linger_holds").await == 1000 && server.descriptors() <= descriptors
    })
    .await;
    within(Duration::from_millis(1000), "their followers too", async || server.metric("linger_followers").await == 1)
        .await;

    // Every fifth of those on one channel leaves.
    let mut number = 0;
    shared.retain(|_| {
        number += 1;
        number % 5 != 0
    });
    within(Duration::from_millis(500), "800 stay", async || server.metric("linger_holds").await == 800).await;
    publish("all").await;
    for stream in &mut shared {
        let answer = answer(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""message":"hi""#), "{answer}");
    }
    within(Duration::from_millis(500), "nobody is held", async || server.metric("linger_holds").await == 0).await;
    within(Duration::from_millis(1500), "nor followed", async || server.metric("linger_followers").await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_too_many_is_told_when_to_come_back() {
    let server = Server::start_in(&[("LINGER_HOLDS_MAX", "1")]).await;
    let held = ask(&server, "/sub?wait=25").await;
    within(Duration::from_secs(5), "one hold", async || server.metric("linger_holds").await == 1).await;
    let refused = answer(&mut ask(&server, "/sub?wait=25").await).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 5\r\n"), "{refused}");
    assert!(refused.contains(r#""code":"too_many_holds","retry_after":5"#), "{refused}");
    drop(held);
    within(Duration::from_secs(1), "none", async || server.metric("linger_holds").await == 0).await;
}
