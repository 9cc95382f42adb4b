//! The functions' own binaries, as `sam build` makes them, under a runtime API.

use std::{process::Stdio, sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use pubsub::clock;
use serde_json::{Value, json};
use tests::local;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    proxy::{Kind, Proxy},
    runtime::{Function, Functions, Settings, command, event},
    server::ROOT,
    smoke,
    table::new_table,
};

const LONG: Duration = Duration::from_secs(29);

fn settings<'a>(endpoint: &'a str, table: &'a str) -> Settings<'a> {
    Settings {
        endpoint,
        table,
        concurrency: 100,
        deadline: LONG,
        environment: &[("LINGER_TEST_PANIC", "channel=panic")],
    }
}

fn get(query: &str) -> Value {
    event(&Method::GET, "/sub", query, &HeaderMap::new(), b"")
}

fn post(body: &str) -> Value {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    event(&Method::POST, "/pub", "", &headers, body.as_bytes())
}

/// The status and the body of an answer.
fn said(answer: Result<Value, Value>) -> (u64, Value) {
    let answer = answer.expect("an answer");
    let body = answer["body"].as_str().unwrap_or_default();
    (answer["statusCode"].as_u64().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_holds_a_hundred_with_one_follower_and_a_panic_takes_no_other_with_it() {
    let proxy = Proxy::start(&local::ENDPOINT).await;
    let functions = Functions::start(&settings(&proxy.endpoint, &new_table().await)).await;
    let (status, sent) = said(functions.publish.invoke(post("channel=x&message=first")).await);
    assert_eq!(status, 200, "{sent}");
    let cursor = sent["id"].as_str().unwrap().to_owned();

    let mut holds = JoinSet::new();
    for _ in 0..98 {
        let (subscribe, query) = (Arc::clone(&functions.subscribe), format!("channel=x&cursor={cursor}"));
        holds.spawn(async move { said(subscribe.invoke(get(&query)).await) });
    }
    sleep(Duration::from_secs(2)).await;
    let before = proxy.count(Kind::Query);
    sleep(Duration::from_secs(3)).await;
    let queries = proxy.count(Kind::Query) - before;
    assert!((5..=16).contains(&queries), "one follower asks about 4 times a second, and these were {queries}");

    let (status, problem) = said(functions.subscribe.invoke(get("channel=panic")).await);
    assert_eq!((status, &problem["code"]), (500, &json!("internal")));
    assert_eq!(said(functions.publish.invoke(post("channel=x&message=second")).await).0, 200);
    for (status, answer) in timeout(Duration::from_secs(5), holds.join_all()).await.expect("all are told") {
        assert_eq!((status, &answer["messages"][0]["message"]), (200, &json!("second")));
    }
    assert!(said(functions.subscribe.invoke(get("channel=x&wait=0")).await).0 == 200, "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_can_not_be_read_is_a_400_and_the_process_lives_on() {
    let table = new_table().await;
    let (mut publish, mut subscribe) = {
        let settings = settings(&local::ENDPOINT, &table);
        (Function::start("Publish", &settings).await, Function::start("Subscribe", &settings).await)
    };
    let changed = |mut event: Value, path: &str, value: Value| {
        *event.pointer_mut(path).unwrap() = value;
        event
    };
    let mut odd_host = get("wait=0");
    odd_host["headers"]["host"] = json!("a b:c@[");
    let mut odd_scheme = get("wait=0");
    odd_scheme["headers"]["x-forwarded-proto"] = json!("ht tp");
    for event in [
        get("channel=é"),
        get("wait=0&x=a b"),
        changed(get("wait=0"), "/rawPath", json!("/sub é")),
        changed(get("wait=0"), "/rawPath", json!("")),
        odd_host,
        odd_scheme,
    ] {
        let (status, problem) = said(subscribe.invoke(event.clone()).await);
        assert_eq!((status, &problem["code"]), (400, &json!("malformed_query")), "{event}");
    }
    let (status, problem) = said(publish.invoke(changed(post("message=a"), "/body", json!("%%%"))).await);
    assert_eq!((status, &problem["code"]), (400, &json!("malformed_body")));
    assert!(publish.invoke(json!({"not": "http"})).await.is_err());
    assert!(publish.invoke(json!(7)).await.is_err());

    let mut plain = post("");
    (plain["body"], plain["isBase64Encoded"]) = (json!("message=plain+text"), json!(false));
    assert_eq!(said(publish.invoke(plain).await).0, 200);
    let rest = json!({
        "resource": "/sub", "path": "/sub", "httpMethod": "GET", "headers": {"Host": "api.example"},
        "multiValueHeaders": {"Host": ["api.example"]}, "queryStringParameters": {"cursor": "earliest"},
        "multiValueQueryStringParameters": {"cursor": ["earliest"]}, "pathParameters": null, "stageVariables": null,
        "requestContext": {"stage": "prod", "httpMethod": "GET", "path": "/prod/sub", "requestId": "r"},
        "body": null, "isBase64Encoded": false
    });
    let (status, read) = said(subscribe.invoke(rest).await);
    assert_eq!(
        (status, &read["messages"][0]["message"]),
        (200, &json!("plain text")),
        "an event of version 1 is one too"
    );
    assert!(publish.runs() && subscribe.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_before_the_invocations_deadline() {
    let table = new_table().await;
    let short = Settings { deadline: Duration::from_millis(2500), ..settings(&local::ENDPOINT, &table) };
    let subscribe = Function::start("Subscribe", &short).await;
    let begun = clock::now();
    let (status, empty) = said(subscribe.invoke(get("channel=x&wait=20")).await);
    let took = clock::now() - begun;
    assert_eq!((status, &empty["cursor"]), (200, &json!("0-0")));
    assert!((Duration::from_millis(1500)..Duration::from_millis(2400)).contains(&took), "{took:?}");
}

/// Freezes a subscriber for a while, within a hold or between two. Its connections break meanwhile.
async fn thaws(frozen: Duration, within: bool) {
    let proxy = Proxy::start(&local::ENDPOINT).await;
    let functions = Functions::start(&Settings {
        deadline: frozen + LONG,
        concurrency: 1,
        ..settings(&proxy.endpoint, &new_table().await)
    })
    .await;
    let publish = async |text: &str| {
        let (status, sent) = said(functions.publish.invoke(post(&format!("channel=x&message={text}"))).await);
        assert_eq!(status, 200, "{sent}");
        sent["id"].as_str().unwrap().to_owned()
    };
    let cursor = publish("first").await;
    let subscribe = Arc::clone(&functions.subscribe);
    let query = format!("channel=x&cursor={cursor}&wait=20");
    let mut held = None;
    if within {
        let (subscribe, query) = (Arc::clone(&subscribe), query.clone());
        held = Some(tokio::spawn(async move { said(subscribe.invoke(get(&query)).await) }));
        sleep(Duration::from_secs(1)).await;
    } else {
        said(subscribe.invoke(get(&format!("channel=x&cursor={cursor}&wait=1"))).await);
    }
    subscribe.signal("STOP");
    sleep(frozen / 2).await;
    proxy.break_connections();
    publish("second").await;
    sleep(frozen / 2).await;
    subscribe.signal("CONT");

    let begun = clock::now();
    let mut answer = match held {
        Some(held) => held.await.unwrap(),
        None => said(subscribe.invoke(get(&query)).await),
    };
    // Its first look may use the broken connection. Then it is told, and asks again.
    for _ in 0..5 {
        if answer.0 == 200 && answer.1["messages"].as_array().is_some_and(|messages| !messages.is_empty()) {
            break;
        }
        assert!(answer.0 == 200 || answer.0 == 503, "{answer:?}");
        answer = said(subscribe.invoke(get(&query)).await);
    }
    assert_eq!(answer.1["messages"][0]["message"], "second", "nothing is lost");
    assert!(clock::now() - begun < Duration::from_secs(8));
    let next = format!("channel=x&cursor={}&wait=10", answer.1["cursor"].as_str().unwrap());
    let (after, _) = tokio::join!(subscribe.invoke(get(&next)), publish("third"));
    assert_eq!(said(after).1["messages"][0]["message"], "third", "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_frozen_within_a_hold_loses_nothing() {
    thaws(Duration::from_secs(8), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_frozen_between_two_holds_loses_nothing() {
    thaws(Duration::from_secs(60), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_can_not_do_its_work_does_not_start() {
    let table = ("LINGER_TABLE", "linger");
    for (environment, why) in [
        (&[][..], "LINGER_TABLE is not set"),
        (&[table, ("LINGER_ACCESS_KEYS", "{\"keys\":[]}")], "there are 0 keys"),
        (&[table, ("LINGER_ACCESS_SECRET", " ")], "the keys are no JWK set"),
        (&[table, ("LINGER_ACCESS_ISSUER", "me")], "the issuer of tokens does nothing without keys"),
        (&[table, ("LINGER_ACCESS_AUDIENCE", "you")], "the audience of tokens does nothing without keys"),
        (&[table, ("LINGER_ACCESS_KEY", "{}")], "LINGER_ACCESS_KEY is no setting"),
    ] {
        for name in ["Publish", "Subscribe"] {
            let mut function = command(name);
            function.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1").envs(environment.iter().copied());
            let output = timeout(Duration::from_secs(10), function.stdout(Stdio::piped()).output()).await;
            let output = output.expect("it ends").unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && said.contains(why), "{name}: {said}");
        }
    }
}

#[test]
fn the_binaries_are_small_and_need_no_newer_system_than_lambdas() {
    let needed = regex::Regex::new(r"GLIBC_2\.(\d+)").unwrap();
    for name in ["Publish", "Subscribe"] {
        let binary = std::fs::read(ROOT.join("target/sam").join(name).join("bootstrap")).expect("tests/run builds it");
        assert!(binary.len() <= 5_400_000, "{name} has {} bytes", binary.len());
        let text = String::from_utf8_lossy(&binary);
        let newest = needed.captures_iter(&text).filter_map(|version| version[1].parse::<u32>().ok()).max();
        assert!(newest.is_some_and(|newest| newest <= 34), "{name} needs GLIBC 2.{newest:?}");
    }
}

#[test]
fn both_architectures_are_built_and_each_is_what_it_is_called() {
    let (native, other) = if cfg!(target_arch = "aarch64") { (0xB7, 0x3E) } else { (0x3E, 0xB7) };
    for (folder, machine) in [("target/sam", native), ("target/sam-other", other)] {
        for name in ["Publish", "Subscribe", "SubscribeManaged"] {
            let path = ROOT.join(folder).join(name).join("bootstrap");
            let binary = std::fs::read(&path).unwrap_or_else(|_| panic!("tests/run builds {}", path.display()));
            assert_eq!(&binary[..4], b"\x7FELF", "{}", path.display());
            assert_eq!(u16::from_le_bytes([binary[18], binary[19]]), machine, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_odd_part_is_a_400_and_no_panic() {
    let table = new_table().await;
    let subscribe = Function::start("Subscribe", &settings(&local::ENDPOINT, &table)).await;
    let rest = json!({
        "resource": "/sub", "path": "/sub", "httpMethod": "GET", "headers": {"Host": "api.example"},
        "multiValueHeaders": {"Host": ["api.example"]}, "queryStringParameters": {"wait": "0"},
        "multiValueQueryStringParameters": {"wait": ["0"]}, "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "stage": "prod", "httpMethod": "GET", "path": "/prod/sub", "requestId": "r", "domainName": "api.example"
        },
        "body": null, "isBase64Encoded": false
    });
    assert_eq!(said(subscribe.invoke(rest.clone()).await).0, 200);
    for (place, value) in [
        ("/requestContext/domainName", json!("a b")),
        ("/requestContext/domainName", json!("[")),
        ("/requestContext/stage", json!("s".repeat(70_000))),
        ("/headers", json!({"Host": "a.example", "host": "b.example"})),
        ("/multiValueHeaders", json!({"Host": ["a.example", "b.example"]})),
        ("/multiValueQueryStringParameters", json!({"wait": []})),
        ("/queryStringParameters", json!({"wait": "0".repeat(70_000)})),
        ("/path", json!("/".repeat(70_000))),
    ] {
        let mut event = rest.clone();
        *event.pointer_mut(place).unwrap() = value;
        let (status, problem) = said(subscribe.invoke(event).await);
        assert_eq!((status, &problem["code"]), (400, &json!("malformed_query")), "{place}");
    }
    assert_eq!(said(subscribe.invoke(get("wait=0")).await).0, 200, "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_can_not_be_written_costs_a_function_no_answer() {
    let table = new_table().await;
    let (gone, broken) = std::io::pipe().unwrap();
    drop(gone);
    let (_unread, stalled) = std::io::pipe().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for log in [Stdio::from(broken), Stdio::from(full), Stdio::from(stalled)] {
        let mut subscribe = Function::start_logging("Subscribe", &settings(&local::ENDPOINT, &table), log).await;
        for _ in 0..400 {
            let answered = timeout(Duration::from_secs(10), subscribe.invoke(get("wait=0"))).await;
            assert_eq!(said(answered.expect("it answers")).0, 200);
        }
        assert!(subscribe.runs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_functions_pass_what_a_deployment_must_and_answer_cloudfront_alone() {
    let table = new_table().await;
    let secrets = [("LINGER_ORIGIN_SECRETS", "0123456789abcdef0123456789abcdef,")];
    let settings = Settings { environment: &secrets, ..settings(&local::ENDPOINT, &table) };
    let functions = Functions::start(&settings).await;
    let report = smoke::run(&functions.base, &["--direct", &functions.direct]).await.expect("all is well");
    assert_eq!(report.lines().filter(|line| line.starts_with("ok ")).count(), 9, "{report}");

    // A wrong secret is refused before anything else is checked: also before the method, and with an event that can't
    // be read.
    let mut guess = get("channel=é");
    guess["headers"]["linger-origin"] = json!("0123456789abcdef0123456789abcdee");
    let mut put = post("message=x");
    put["requestContext"]["http"]["method"] = json!("PUT");
    let answers = [functions.subscribe.invoke(guess).await, functions.publish.invoke(put).await];
    for (status, problem) in answers.map(said) {
        assert_eq!((status, &problem["code"]), (421, &json!("wrong_host")), "{problem}");
    }
    // An empty secret is none.
    let mut empty = get("wait=0");
    empty["headers"]["linger-origin"] = json!("");
    assert_eq!(said(functions.subscribe.invoke(empty).await).0, 421);
}
