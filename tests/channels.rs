//! Several channels in one poll, over a socket, on every host.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use pubsub::clock;
use serde_json::{Value, json};

use crate::host::{Answer, FORM, Host, JSON, check_headers, check_problem, literal, on_every_host};

impl Host {
    /// One of this host's channels.
    fn own(&self, name: &str) -> String {
        format!("{}.{name}", self.channel)
    }

    async fn publish_to(&self, name: &str, text: &str) -> String {
        let sent = self.publish(json!({"channel": self.own(name), "message": text})).await;
        sent.json()["id"].as_str().unwrap_or_else(|| panic!("not sent: {}", sent.text)).to_owned()
    }

    /// A list of own channels, each with or without a position.
    fn list(&self, places: &[(&str, &str)]) -> String {
        let place = |(name, position): &(&str, &str)| match *position {
            "" => self.own(name),
            position => format!("{}:{position}", self.own(name)),
        };
        places.iter().map(place).collect::<Vec<_>>().join(",")
    }

    async fn poll_several(&self, places: &[(&str, &str)], more: &str) -> Answer {
        self.ask(Method::GET, &format!("/sub?channels={}&{more}", self.list(places)), &[], b"").await
    }

    /// The part of each own channel in an answer: texts, cursor, `missed`.
    fn told(&self, answer: &Answer) -> BTreeMap<String, (Vec<String>, String, bool)> {
        let channels = answer.json()["channels"].as_object().unwrap_or_else(|| panic!("{}", answer.text)).clone();
        let own = format!("{}.", self.channel);
        let told = |(name, batch): (String, Value)| {
            let texts = batch["messages"].as_array().unwrap().iter();
            let texts = texts.map(|message| message["message"].as_str().unwrap().to_owned()).collect();
            let cursor = batch["cursor"].as_str().unwrap().to_owned();
            (name.strip_prefix(&own).unwrap().to_owned(), (texts, cursor, batch["missed"].as_bool().unwrap()))
        };
        channels.into_iter().map(told).collect()
    }
}

async fn each_channel_is_answered_word_for_word_as_alone(host: &Host) {
    let first = host.publish_to("a", "one").await;
    host.publish_to("a", "two").await;
    host.publish_to("b", "three").await;
    let places = [("a", first.as_str()), ("b", "5-5"), ("c", "earliest"), ("d", "0-0")];
    let together = host.poll_several(&places, "wait=0").await;
    let mut parts = Vec::new();
    for (name, position) in places {
        let query = format!("/sub?channel={}&cursor={position}&wait=0", host.own(name));
        parts.push(format!("\"{}\":{}", host.own(name), host.ask(Method::GET, &query, &[], b"").await.text));
    }
    parts.pop();
    assert_eq!(together.text, format!(r#"{{"channels":{{{}}}}}"#, parts.join(",")), "and d has nothing to say");
    assert_eq!((together.status, together.header("content-type")), (200, Some("application/json")));
    check_headers(&together);
}

async fn those_without_a_position_begin_where_last_says_or_at_the_end(host: &Host) {
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(host.publish_to("a", text).await);
    }
    let told = |texts: &[&str], cursor: &str| {
        (texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), cursor.to_owned(), false)
    };
    for (position, more, expected) in [
        ("", "wait=0", told(&[], &ids[2])),
        ("latest", "wait=0&last=2", told(&[], &ids[2])),
        ("", "last=2", told(&["two", "three"], &ids[2])),
        ("", "last=2&limit=1", told(&["two"], &ids[1])),
        ("earliest", "limit=2", told(&["one", "two"], &ids[1])),
        (&ids[0], "last=1&limit=1", told(&["two"], &ids[1])),
    ] {
        let answer = host.poll_several(&[("a", position), ("none", "")], more).await;
        let nothing = told(&[], "0-0");
        let all = [("a".to_owned(), expected), ("none".to_owned(), nothing)].into();
        assert_eq!(host.told(&answer), all, "a:{position} {more}");
    }
}

async fn one_message_answers_a_poll_of_twenty(host: &Host) {
    let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let begin: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let beginning = host.poll_several(&begin, "wait=0").await;
    assert_eq!(host.told(&beginning).len(), 20, "each has a cursor now");
    let stands: Vec<_> = names.iter().map(|name| (name.as_str(), "0-0")).collect();
    let publish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        host.publish_to("7", "hi").await
    };
    let (answer, id) = tokio::join!(host.poll_several(&stands, "wait=20"), publish);
    assert_eq!(host.told(&answer), [("7".to_owned(), (vec!["hi".to_owned()], id, false))].into());
}

async fn a_hold_runs_out_with_those_that_have_no_cursor_yet(host: &Host) {
    let id = host.publish_to("a", "one").await;
    let begun = clock::now();
    let (stands, begins) = ([("a", id.as_str()), ("b", "0-0")], [("a", id.as_str()), ("b", "latest")]);
    let (stand, begin) = tokio::join!(host.poll_several(&stands, "wait=1"), host.poll_several(&begins, "wait=1"));
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert_eq!(stand.text, r#"{"channels":{}}"#);
    assert_eq!(host.told(&begin), [("b".to_owned(), (vec![], "0-0".to_owned(), false))].into());
}

async fn a_form_says_what_a_query_says(host: &Host) {
    host.publish_to("a", "one").await;
    let list = host.list(&[("a", "earliest"), ("b", "")]);
    let form =
        async |body: String| host.ask(Method::POST, "/sub?_=1", &[("content-type", FORM)], body.as_bytes()).await;
    let several = form(format!("channels={}&wait=0", list.replace(':', "%3A").replace(',', "%2C"))).await;
    let got = host.ask(Method::GET, &format!("/sub?channels={list}&wait=0"), &[], b"").await;
    assert_eq!((several.status, &several.text), (200, &got.text));
    check_headers(&several);

    let channel = host.own("a");
    let one = form(format!("channel={channel}&cursor=earliest")).await;
    let got = host.ask(Method::GET, &format!("/sub?channel={channel}&cursor=earliest"), &[], b"").await;
    assert_eq!((one.status, &one.text), (200, &got.text));
    let before = form(format!("channel={channel}&before=0-0")).await;
    assert_eq!(before.text, r#"{"messages":[],"missed":false}"#);
    let publish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        host.publish_to("a", "next").await
    };
    let (bare, _) = tokio::join!(form(format!("channel={channel}")), publish);
    assert!(literal(&bare.text).contains(r#""message":"next","time":"TIME","cursor":"EPOCH-2""#), "{}", bare.text);
}

async fn what_is_wrong_with_a_list_is_said(host: &Host) {
    let ask = async |query: &str| host.ask(Method::GET, &format!("/sub?{query}"), &[], b"").await;
    let many = (0..21).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    for (query, code) in [
        ("channels=", "invalid_channels"),
        ("channels=a,,b", "invalid_channels"),
        ("channels=a:now", "invalid_channels"),
        ("channels=a%2Fb", "invalid_channels"),
        (&format!("channels={many}"), "invalid_channels"),
        ("channels=a,b,a", "repeated_parameter"),
        ("channels=a&channels=b", "repeated_parameter"),
        ("channels=a&channel=b", "conflicting_parameters"),
        ("channels=a&cursor=latest", "conflicting_parameters"),
        ("channels=a&before=7-1", "conflicting_parameters"),
    ] {
        check_problem(&ask(query).await, &ask(query).await, 400, code);
        let form = async || host.ask(Method::POST, "/sub", &[("content-type", FORM)], query.as_bytes()).await;
        check_problem(&form().await, &form().await, 400, code);
        assert_eq!(form().await.text, ask(query).await.text);
    }
    let post = async |target: &str, content_type: &str, body: &[u8]| {
        host.ask(Method::POST, target, &[("content-type", content_type)], body).await
    };
    let huge = format!("x={}", "x".repeat(256 * 1024));
    for (target, content_type, body, status, code) in [
        ("/sub?channel=a", FORM, "wait=0", 400, "misplaced_parameter"),
        ("/sub?wait=0", FORM, "channels=a,a", 400, "misplaced_parameter"),
        ("/sub", FORM, "wait=%", 400, "malformed_body"),
        ("/sub", FORM, "wait=%ff", 400, "invalid_wait"),
        ("/sub", JSON, "{}", 415, "unsupported_media_type"),
        ("/sub", FORM, &huge, 413, "body_too_large"),
        ("/pub?channel=a", FORM, "message=a", 400, "misplaced_parameter"),
    ] {
        let ask = async || post(target, content_type, body.as_bytes()).await;
        check_problem(&ask().await, &ask().await, status, code);
    }
}

async fn a_quiet_channel_does_not_wait_behind_a_busy_one(host: &Host) {
    // Three of them do not fit into one answer.
    let large = "\u{1}".repeat(32_768);
    for _ in 0..3 {
        host.publish_to("busy", &large).await;
    }
    let small = host.publish_to("quiet", "small").await;
    let answer = host.poll_several(&[("busy", "earliest"), ("quiet", "earliest")], "wait=0").await;
    assert!(answer.text.len() < 512 * 1024 + 400);
    let told = host.told(&answer);
    assert_eq!(told["quiet"], (vec!["small".to_owned()], small, false));
    assert_eq!(told["busy"].0.len(), 2);
    let rest = host.poll_several(&[("busy", &told["busy"].1), ("quiet", &told["quiet"].1)], "wait=0").await;
    assert_eq!(host.told(&rest)["busy"].0, [large]);
}

on_every_host! {
    each_channel_is_answered_word_for_word_as_alone
    those_without_a_position_begin_where_last_says_or_at_the_end
    one_message_answers_a_poll_of_twenty
    a_hold_runs_out_with_those_that_have_no_cursor_yet
    a_form_says_what_a_query_says
    what_is_wrong_with_a_list_is_said
    a_quiet_channel_does_not_wait_behind_a_busy_one
}

#[tokio::test]
async fn an_address_holds_so_many_channels() {
    let host = Host::server(&["--address-holds", "5", "--limit-loopback"]).await;
    let held = host.poll_several(&[("a", ""), ("b", ""), ("c", "")], "wait=2");
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let three = host.poll_several(&[("a", ""), ("b", ""), ("c", "")], "wait=0").await;
        let two = host.poll_several(&[("a", ""), ("b", "")], "wait=0").await;
        (three.status, three.code(), two.status)
    };
    let (held, others) = tokio::join!(held, others);
    assert_eq!((held.status, others), (200, (429, "rate_limited".to_owned(), 200)));
}
