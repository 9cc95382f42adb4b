//! The HTTP API, over a socket, on every host: exact requests and answers.

use std::time::Duration;

use http::Method;
use pubsub::clock;
use reqwest::Client;
use serde_json::json;

use crate::{
    host::{FORM, Host, JSON, check_headers, check_problem, literal, on_every_host, strings},
    server::Server,
};

async fn a_form_and_an_object_are_published_and_read(host: &Host) {
    let channel = &host.channel;
    let form = format!("nick=ann&message=caf%C3%A9+%26+%0A&channel={channel}&more=%ff");
    let sent = host.ask(Method::POST, "/pub?more=ignored", &[("content-type", FORM)], form.as_bytes()).await;
    assert_eq!(literal(&sent.text), format!(r#"{{"status":"sent","id":"EPOCH-1","channel":"{channel}"}}"#));
    let sent = host.publish(json!({"message": " \u{0}\u{1F600} ", "nick": null, "more": 7})).await;
    assert_eq!(literal(&sent.text), format!(r#"{{"status":"sent","id":"EPOCH-2","channel":"{channel}"}}"#));
    let read = host.poll("cursor=earliest").await;
    let first = format!(r#"{{"id":"EPOCH-1","channel":"{channel}","nick":"ann","message":"café & \n","time":"TIME"}}"#);
    let second =
        format!(r#"{{"id":"EPOCH-2","channel":"{channel}","nick":null,"message":" \u0000😀 ","time":"TIME"}}"#);
    let expected = format!(r#"{{"messages":[{first},{second}],"cursor":"EPOCH-2","missed":false}}"#);
    assert_eq!(literal(&read.text), expected);
    assert_eq!(read.header("content-type"), Some("application/json"));
}

async fn the_lobby_is_where_nobody_names_a_channel(host: &Host) {
    let sent = host.ask(Method::POST, "/pub", &[("content-type", FORM)], b"message=hi").await;
    assert_eq!(sent.json()["channel"], "lobby");
    let read = host.ask(Method::GET, "/sub?last=1", &[], b"").await;
    assert_eq!(read.json()["messages"][0]["channel"], "lobby");
}

async fn a_poll_begins_where_it_is_told_to(host: &Host) {
    assert_eq!(host.poll("wait=0").await.text, r#"{"messages":[],"cursor":"0-0","missed":false}"#);
    let mut ids = Vec::new();
    for text in ["a", "b", "c", "d"] {
        ids.push(host.say(text).await);
    }
    let beginning = ids[0].replace("-1", "-0");
    for (query, texts, cursor) in [
        ("wait=0".to_owned(), &[][..], &ids[3]),
        ("cursor=latest&wait=0".to_owned(), &[], &ids[3]),
        ("cursor=earliest".to_owned(), &["a", "b", "c", "d"], &ids[3]),
        ("cursor=0-0".to_owned(), &["a", "b", "c", "d"], &ids[3]),
        (format!("cursor={beginning}"), &["a", "b", "c", "d"], &ids[3]),
        (format!("cursor={}", ids[1]), &["c", "d"], &ids[3]),
        (format!("cursor={}&limit=1", ids[1]), &["c"], &ids[2]),
        (format!("cursor={}&wait=0", ids[3]), &[], &ids[3]),
        ("last=2".to_owned(), &["c", "d"], &ids[3]),
        ("last=2&limit=1".to_owned(), &["c"], &ids[2]),
        ("last=99999999999999999999999&wait=0".to_owned(), &["a", "b", "c", "d"], &ids[3]),
        ("cursor=earliest&limit=1000&_=17".to_owned(), &["a", "b", "c", "d"], &ids[3]),
    ] {
        let read = host.poll(&query).await;
        assert_eq!((read.texts(), read.cursor(), read.missed()), (strings(texts), cursor.clone(), false), "{query}");
    }
}

async fn history_is_read_backwards(host: &Host) {
    assert_eq!(host.poll("before=0-0").await.text, r#"{"messages":[],"missed":false}"#);
    assert_eq!(host.poll("before=5-5").await.text, r#"{"messages":[],"missed":true}"#);
    let mut ids = Vec::new();
    for text in ["a", "b", "c", "d"] {
        ids.push(host.say(text).await);
    }
    let ahead = ids[3].replace("-4", "-5");
    for (before, texts, missed) in [
        (ids[3].as_str(), &["b", "c"][..], false),
        (ids[1].as_str(), &["a"], false),
        (ids[0].as_str(), &[], false),
        ("0-0", &[], false),
        ("5-5", &[], true),
        (ahead.as_str(), &[], true),
    ] {
        let read = host.poll(&format!("before={before}&limit=2&wait=25")).await;
        assert_eq!((read.texts(), read.missed()), (strings(texts), missed), "{before}");
        assert_eq!(read.json().get("cursor"), None);
    }
}

async fn a_cursor_of_another_log_is_missed_at_once(host: &Host) {
    let lost = host.poll("cursor=5-5&wait=25").await;
    assert_eq!(lost.text, r#"{"messages":[],"cursor":"0-0","missed":true}"#);
    let id = host.say("a").await;
    let ahead = id.replace("-1", "-2");
    for cursor in ["5-5", "0-5", &ahead] {
        let read = host.poll(&format!("cursor={cursor}&wait=25")).await;
        assert_eq!((read.texts(), read.missed(), read.cursor()), (strings(&["a"]), true, id.clone()), "{cursor}");
    }
}

async fn a_key_publishes_once(host: &Host) {
    let keyed = json!({"message": "a", "nick": "ann", "key": "\"k\""});
    let first = host.publish(keyed.clone()).await;
    host.say("b").await;
    let again = host.publish(keyed).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    for other in [json!({"message": "c", "nick": "ann", "key": "\"k\""}), json!({"message": "a", "key": "\"k\""})] {
        let reused = host.publish(other).await;
        assert_eq!((reused.status, reused.code().as_str()), (422, "key_reused"));
    }
    let body = json!({"channel": host.channel, "message": "a", "nick": "ann"}).to_string();
    let headers = [("content-type", JSON), ("idempotency-key", "\"k\"")];
    let by_header = host.ask(Method::POST, "/pub", &headers, body.as_bytes()).await;
    assert_eq!(by_header.text, first.text);
    assert_eq!(host.poll("cursor=earliest").await.texts(), ["a", "b"]);
}

async fn a_poll_is_held_until_somebody_publishes(host: &Host) {
    let publish = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        host.publish(json!({"message": "hi", "nick": "ann"})).await
    };
    let (one, bare, limited, _) =
        tokio::join!(host.poll("wait=20"), host.poll(""), host.poll("cursor=0-0&limit=1"), publish);
    assert_eq!((one.texts(), limited.texts()), (strings(&["hi"]), strings(&["hi"])));
    let channel = &host.channel;
    let message = format!(r#"{{"id":"EPOCH-1","channel":"{channel}","nick":"ann","message":"hi","time":"TIME""#);
    assert_eq!(literal(&bare.text), format!(r#"{message},"cursor":"EPOCH-1"}}"#));
}

async fn a_hold_runs_out_empty_and_a_bare_one_with_409(host: &Host) {
    let begun = clock::now();
    let (empty, bare) = tokio::join!(host.poll("wait=1"), host.poll("_=1"));
    assert_eq!(empty.text, r#"{"messages":[],"cursor":"0-0","missed":false}"#);
    assert_eq!((bare.status, bare.code().as_str()), (409, "nothing_published"));
    let waited = clock::now() - begun;
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
}

async fn an_answer_says_what_it_is_for(host: &Host) {
    let (first, channel) = (host.say("one").await, &host.channel);
    for query in [format!("cursor={first}"), "last=5".to_owned(), format!("before={first}"), "cursor=no".to_owned()] {
        let answer = host.poll(&format!("wait=0&{query}&_=1")).await;
        assert_eq!(answer.header("linger-for"), Some(format!("channel={channel}&{query}").as_str()), "{}", answer.text);
    }
    for (fields, asked) in [(json!({"message": "a", "key": "k&="}), Some("key=k&=")), (json!({"message": "a"}), None)] {
        assert_eq!(host.publish(fields).await.header("linger-for"), asked);
    }
}

async fn a_bare_poll_of_a_browser_gets_an_address_of_its_own(host: &Host) {
    let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let bare = format!("{}/sub?channel={}", host.base, host.channel);
    let redirected = http.get(&bare).header("sec-fetch-mode", "cors").send().await.unwrap();
    let location = redirected.headers()["location"].to_str().unwrap();
    assert_eq!(redirected.status(), 307);
    assert!(location.starts_with(&format!("?channel={}&_=", host.channel)), "{location}");
    assert_eq!(redirected.headers()["cache-control"], "no-store");
    // As a browser follows it. At that address it is held.
    let next = host.ask(Method::GET, &format!("/sub{location}"), &[("sec-fetch-mode", "cors")], b"").await;
    assert_eq!((next.status, next.code().as_str()), (409, "nothing_published"));
}

async fn what_is_pending_comes_in_pieces_and_all_of_it(host: &Host) {
    // Each is 196,608 bytes as JSON: two fit into an answer, and none alone is too large.
    let large = "\u{1}".repeat(32_768);
    for _ in 0..3 {
        host.say(&large).await;
    }
    let mut query = "cursor=earliest".to_owned();
    let mut pieces = Vec::new();
    for _ in 0..2 {
        let piece = host.poll(&query).await;
        assert!(piece.text.len() < 512 * 1024 + 200);
        query = format!("cursor={}", piece.cursor());
        pieces.push(piece.texts().len());
    }
    assert_eq!(pieces, [2, 1]);
    let last = query.replace("cursor=", "before=");
    assert_eq!(host.poll(&last).await.texts().len(), 2);

    for number in 0..250 {
        host.say(&number.to_string()).await;
    }
    let mut texts = Vec::new();
    while texts.len() < 250 {
        let piece = host.poll(&query).await;
        assert!(piece.texts().len() <= 100);
        texts.extend(piece.texts());
        query = format!("cursor={}", piece.cursor());
    }
    assert_eq!(texts, (0..250).map(|number| number.to_string()).collect::<Vec<_>>());
}

async fn every_fault_has_its_code_and_the_same_document_again(host: &Host) {
    let before = host.poll("wait=0").await.cursor();
    let long = format!("message={}", "x".repeat(32_769));
    let huge = format!("message={}", "x".repeat(256 * 1024));
    let publishes = [
        (FORM, "message=%", 400, "malformed_body"),
        (JSON, "{\"message\":", 400, "malformed_body"),
        (FORM, "", 400, "missing_message"),
        (JSON, r#"{"message":7}"#, 400, "invalid_message"),
        (FORM, "message=a&nick=%E2%80%AE", 400, "invalid_nick"),
        (FORM, "message=a&channel=a/b", 400, "invalid_channel"),
        (FORM, "message=a&key=a+b", 400, "invalid_key"),
        (FORM, "message=a&message=a", 400, "repeated_parameter"),
        (FORM, &long, 413, "message_too_large"),
        (FORM, &huge, 413, "body_too_large"),
        ("text/plain", "message=a", 415, "unsupported_media_type"),
    ];
    for (content_type, body, status, code) in publishes {
        let ask = async || host.ask(Method::POST, "/pub", &[("content-type", content_type)], body.as_bytes()).await;
        check_problem(&ask().await, &ask().await, status, code);
    }
    let polls = [
        ("wait=%", 400, "malformed_query"),
        ("cursor=nonsense", 400, "invalid_cursor"),
        ("last=0", 400, "invalid_last"),
        ("before=latest", 400, "invalid_before"),
        ("wait=soon", 400, "invalid_wait"),
        ("limit=0", 400, "invalid_limit"),
        ("wait=1&wait=1", 400, "repeated_parameter"),
        ("cursor=latest&last=1", 400, "conflicting_parameters"),
    ];
    for (query, status, code) in polls {
        check_problem(&host.poll(query).await, &host.poll(query).await, status, code);
    }
    let keys = [("content-type", FORM), ("idempotency-key", "a")];
    let conflict = async || host.ask(Method::POST, "/pub", &keys, b"message=a&key=b").await;
    check_problem(&conflict().await, &conflict().await, 400, "conflicting_parameters");
    assert_eq!(host.poll("wait=0").await.cursor(), before, "what is refused changes nothing");
}

async fn each_path_takes_its_methods(host: &Host) {
    for (path, allow) in [("/pub", "POST, OPTIONS"), ("/sub", "GET, POST, OPTIONS")] {
        for method in [Method::HEAD, Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            if allow.split(", ").any(|allowed| allowed == method.as_str()) {
                continue;
            }
            let refused = host.ask(method.clone(), path, &[], b"").await;
            assert_eq!((refused.status, refused.header("allow")), (405, Some(allow)), "{method} {path}");
            if method != Method::HEAD {
                assert_eq!(refused.code(), "method_not_allowed");
            }
            check_headers(&refused);
        }
        let options = host.ask(Method::OPTIONS, path, &[], b"").await;
        assert_eq!((options.status, options.header("allow"), options.text.as_str()), (204, Some(allow), ""));
        assert_eq!(options.header("access-control-allow-origin"), None, "no origin is allowed");
    }
    check_headers(&host.ask(Method::POST, "/pub", &[("content-type", FORM)], b"message=a").await);
    check_headers(&host.poll("wait=0").await);
}

on_every_host! {
    a_form_and_an_object_are_published_and_read
    the_lobby_is_where_nobody_names_a_channel
    a_poll_begins_where_it_is_told_to
    history_is_read_backwards
    a_cursor_of_another_log_is_missed_at_once
    a_key_publishes_once
    a_poll_is_held_until_somebody_publishes
    a_hold_runs_out_empty_and_a_bare_one_with_409
    an_answer_says_what_it_is_for
    a_bare_poll_of_a_browser_gets_an_address_of_its_own
    what_is_pending_comes_in_pieces_and_all_of_it
    every_fault_has_its_code_and_the_same_document_again
    each_path_takes_its_methods
}

#[tokio::test]
async fn pages_of_allowed_origins_may_use_it() {
    let host = Host::server(&["--allowed-origin", "https://chat.example"]).await;
    let (ours, theirs) = (("origin", "https://chat.example"), ("origin", "https://evil.example"));
    let refused = host.ask(Method::GET, "/sub?wait=x", &[ours], b"").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (400, Some(ours.1)));
    let exposed = refused.header("access-control-expose-headers").unwrap();
    assert!(["retry-after", "x-request-id", "linger-for"].iter().all(|name| exposed.contains(name)), "{exposed}");
    assert!(refused.header("vary").is_some_and(|vary| vary.contains("origin")));
    let other = host.ask(Method::GET, "/sub?wait=0", &[theirs], b"").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    let asks = [
        ours,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,idempotency-key"),
    ];
    let preflight = host.ask(Method::OPTIONS, "/pub", &asks, b"").await;
    assert!(preflight.status < 300);
    assert_eq!(preflight.header("access-control-max-age"), Some("7200"));
    assert!(preflight.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    assert!(preflight.header("access-control-allow-headers").is_some_and(|names| names.contains("idempotency-key")));
    assert!(preflight.header("x-request-id").is_some());
}

#[tokio::test]
async fn the_page_is_served_and_nothing_outside_it() {
    let host = Host::server(&[]).await;
    let get = async |path: &str| host.ask(Method::GET, path, &[], b"").await;
    for (path, media_type) in [("/", "text/html"), ("/chat.css", "text/css"), ("/client.js", "text/javascript")] {
        let file = get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert!(file.header("content-type").is_some_and(|given| given.starts_with(media_type)), "{path}");
        assert_eq!(file.header("cache-control"), Some("no-cache"));
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        let etag = file.header("etag").expect("an ETag");
        let again = host.ask(Method::GET, path, &[("if-none-match", etag)], b"").await;
        assert_eq!(again.status, 304);
    }
    let long = format!("/{}", "x".repeat(300));
    for path in ["/nope", "/static/", "/..%2fCargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd", "/a%00b", "/%ff", &long]
    {
        check_problem(&get(path).await, &get(path).await, 404, "not_found");
        let posted = host.ask(Method::POST, path, &[], b"").await;
        assert_eq!((posted.status, posted.code().as_str()), (404, "not_found"), "{path}");
    }
    let posted = host.ask(Method::POST, "/", &[], b"").await;
    assert_eq!(
        (posted.status, posted.code().as_str(), posted.header("allow")),
        (405, "method_not_allowed", Some("GET, HEAD"))
    );
    let posted = host.ask(Method::POST, "/healthz", &[], b"").await;
    assert_eq!((posted.status, posted.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(get("/healthz").await.text, r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn a_full_store_says_so_and_keeps_what_it_has() {
    let server = Server::start_in(&[("LINGER_CHANNELS_MAX", "1")]).await;
    let host = Host::new(&server.base.clone(), server);
    host.say("a").await;
    let ask = async || host.ask(Method::POST, "/pub", &[("content-type", FORM)], b"channel=second&message=b").await;
    check_problem(&ask().await, &ask().await, 503, "store_full");
    assert_eq!(host.poll("cursor=earliest").await.texts(), ["a"]);
}

#[tokio::test]
async fn what_has_expired_is_missed() {
    let host = Host::server(&["--retention", "1s"]).await;
    let (first, _) = (host.say("a").await, host.say("b").await);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let gone = host.poll(&format!("cursor={first}&wait=25")).await;
    assert_eq!((gone.texts(), gone.missed()), (vec![], true));
    assert_eq!(literal(&gone.cursor()), "EPOCH-2");
    assert!(!host.poll(&format!("cursor={}&wait=0", gone.cursor())).await.missed());
    assert!(!host.poll("cursor=earliest&wait=0").await.missed());
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let host = Host::server(&[]).await;
    for _ in 0..2 {
        host.publish(json!({"message": "a", "key": "k"})).await;
    }
    host.poll("cursor=earliest").await;
    host.poll("wait=x").await;
    let metrics = host.ask(Method::GET, "/metrics", &[], b"").await;
    for line in [
        "linger_holds 0",
        "linger_followers 0",
        "linger_published_total 1",
        "linger_delivered_total 1",
        "linger_errors_total{code=\"invalid_wait\"} 1",
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line} is not in {}", metrics.text);
    }
}
