//! Plain requests are answered as hyper would answer them.

use std::{sync::Arc, time::Duration};

use crate::{
    connections::{connect, rest, statuses},
    server::Server,
};
use tokio::{io::AsyncWriteExt, task::JoinSet, time::sleep};

/// Sends a request in pieces, one at each of these places, and returns all answers without what differs each time.
async fn answered(server: &Server, request: &str, cuts: Vec<usize>) -> String {
    let mut stream = connect(server).await;
    let mut from = 0;
    for cut in cuts.into_iter().chain([request.len()]) {
        stream.write_all(&request.as_bytes()[from..cut]).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        from = cut;
    }
    let answers = rest(&mut stream).await;
    let own = |line: &&str| !["date:", "x-request-id:"].iter().any(|name| line.starts_with(name));
    let lines: Vec<_> = answers.lines().filter(own).collect();
    // Ids are those of another log, and counters go on.
    let digits = |text: &str| text.split(|c: char| c.is_ascii_digit()).filter(|piece| !piece.is_empty()).collect();
    let pieces: Vec<String> = lines.into_iter().map(digits).collect();
    format!("{}\n{}", statuses(&answers).join(" "), pieces.join("\n"))
}

#[tokio::test]
async fn a_request_is_answered_alike_whether_it_comes_whole_or_in_pieces() {
    let server = Server::start(&["--keep-alive", "1s", "--allowed-origin", "https://a.example"]).await;
    let post = |path: &str, headers: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: linger\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    };
    let get = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nhost: linger\r\n{headers}\r\n");
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let mut requests = vec![
        post("/pub", form, "channel=another&message=hi"),
        post("/pub", "content-type: application/json\r\nidempotency-key: a\r\n", r#"{"message": "hi"}"#),
        post("/pub", "content-type: application/json\r\n", "{"),
        post("/pub", "content-type: text/plain\r\n", "hi"),
        post("/pub", form, ""),
        post("/pub?channel=news", form, "message=hi"),
        post("/pub", form, &format!("message={}", "x".repeat(100_000))),
        post("/sub", form, "channel=alike&cursor=earliest&wait=0"),
        post("/", form, "a=b"),
        "POST /pub HTTP/1.1\r\nhost: linger\r\n\r\n".to_owned(),
        "GET /sub?wait=0 HTTP/1.1\r\n\r\n".to_owned(),
        "GET /sub?wait=0 HTTP/1.1\r\nhost: other.example\r\n\r\n".to_owned(),
        "GET http://localhost/healthz HTTP/1.1\r\nhost: linger\r\n\r\n".to_owned(),
    ];
    for (target, headers) in [
        ("/sub?channel=alike&cursor=earliest", ""),
        ("/sub?channel=alike&cursor=earliest", "origin: https://a.example\r\n"),
        ("/sub?channels=alike:earliest,quiet&wait=0", "cookie: a=b\r\ncookie: c=d\r\n"),
        ("/sub?channel=quiet&cursor=latest&wait=1", ""),
        ("/sub?cursor=%zz", ""),
        ("/pub", ""),
        ("/", ""),
        ("/", "if-none-match: *\r\n"),
        ("/chat.js", ""),
        ("/nope", "accept-encoding: gzip\r\n"),
        ("/healthz", ""),
        ("*", ""),
    ] {
        requests.push(get(target, headers));
    }
    answered(&server, &post("/pub", form, "channel=alike&message=hi"), vec![]).await;
    let (server, mut cases) = (Arc::new(server), JoinSet::new());
    for request in requests {
        let server = Arc::clone(&server);
        cases.spawn(async move {
            let head = request.find("\r\n\r\n").unwrap() + 4;
            let cuts = [vec![], vec![1], vec![head - 2, head]];
            let [whole, early, late] = cuts.map(|cuts| answered(&server, &request, cuts));
            let (whole, early, late) = tokio::join!(whole, early, late);
            assert!(whole == early && whole == late, "{request}\n{whole}\n{early}\n{late}");
            assert!(!whole.starts_with('\n'), "there is an answer to {request}");
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}
