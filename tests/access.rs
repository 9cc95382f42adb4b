//! Who may publish and subscribe: the server with keys, and tokens that `linger token` made.

use std::{
    env, fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use http::Method;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    host::{Answer, FORM, Host, check_problem},
    server::{Server, command},
};

/// A folder with the keys of one algorithm.
pub(crate) struct Keys(PathBuf);

impl Keys {
    pub(crate) async fn new(algorithm: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Relaxed);
        let folder = env::temp_dir().join(format!("linger-keys-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let keys = Self(folder);
        let made = command().arg("keys").arg(&keys.0).args(["--algorithm", algorithm]).output().await.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        keys
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) async fn token(&self, arguments: &[&str]) -> String {
        let private = self.file("linger-private.json");
        let made = command().args(["token", "--keys", &private]).args(arguments).output().await.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn publish(host: &Host, token: &str, form: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    host.ask(Method::POST, "/pub", &[("content-type", FORM), ("authorization", &bearer)], form.as_bytes()).await
}

async fn poll(host: &Host, token: &str, query: &str) -> Answer {
    host.ask(Method::GET, &format!("/sub?{query}"), &[("authorization", &format!("bearer {token}"))], b"").await
}

/// Every host, with these keys.
async fn hosts(keys: &Keys) -> Vec<Host> {
    let file = keys.file("linger-keys.json");
    #[cfg(feature = "dynamodb")]
    let set = fs::read_to_string(&file).unwrap();
    Vec::from([
        Host::server(&["--access-keys", &file]).await,
        #[cfg(feature = "dynamodb")]
        Host::functions_in(&[("LINGER_ACCESS_KEYS", &set)]).await,
        #[cfg(feature = "dynamodb")]
        Host::functions_in(&[("LINGER_ACCESS_SECRET", &set)]).await,
    ])
}

fn check_refused(answer: &Answer, status: u16, code: &str, challenge: Option<&str>) {
    check_problem(answer, answer, status, code);
    assert_eq!(answer.header("www-authenticate"), challenge, "{}", answer.text);
}

#[tokio::test]
async fn each_does_what_the_token_says_and_nothing_else() {
    for algorithm in ["es256", "eddsa", "hs256"] {
        let keys = Keys::new(algorithm).await;
        let ann = keys.token(&["--publish", "news", "--subscribe", "news,team.*", "--nickname", "ann"]).await;
        let listener = keys.token(&["--subscribe", "news"]).await;

        for host in hosts(&keys).await {
            each_does_what_is_said(&host, &ann, &listener).await;
        }
    }
}

async fn each_does_what_is_said(host: &Host, ann: &str, listener: &str) {
    let sent = publish(host, ann, "channel=news&message=a").await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let form = format!("channel=news&message=b&nick=ann&token={ann}");
    let sent = host.ask(Method::POST, "/pub", &[("content-type", FORM)], form.as_bytes()).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let refused = publish(host, ann, "channel=news&message=c&nick=bob").await;
    check_refused(&refused, 403, "nick_not_yours", None);
    let scope = Some("Bearer error=\"insufficient_scope\"");
    check_refused(&publish(host, listener, "channel=news&message=d").await, 403, "forbidden", scope);
    check_refused(&publish(host, ann, "channel=News&message=e").await, 403, "forbidden", scope);

    let read = poll(host, listener, "channel=news&cursor=earliest&wait=0").await;
    assert_eq!(read.texts(), ["a", "b"]);
    assert_eq!(read.json()["messages"][0]["nick"], "ann", "a publish without a nick gets the token's");
    let form = format!("channels=news:earliest,team.a&wait=0&token={ann}");
    let read = host.ask(Method::POST, "/sub", &[("content-type", FORM)], form.as_bytes()).await;
    assert_eq!(read.status, 200, "{}", read.text);

    for query in ["channel=ops&wait=0", "channel=ops&before=7-1", "channel=team", "channel=%54eam.a&last=1", ""] {
        check_refused(&poll(host, ann, query).await, 403, "forbidden", scope);
    }
    let several = poll(host, ann, "channels=news,ops,team.a,team&wait=0").await;
    check_refused(&several, 403, "forbidden", scope);
    assert_eq!(several.json()["channels"], json!(["ops", "team"]));
}

#[tokio::test]
async fn without_a_good_token_nothing_is_done_and_no_token_is_in_a_log() {
    let keys = Keys::new("es256").await;
    let others = Keys::new("eddsa").await;
    let server = Server::start(&["--access-keys", &keys.file("linger-keys.json")]).await;
    let host = Host::new(&server.base, ());
    let good = keys.token(&["--publish", "*", "--subscribe", "*"]).await;
    let foreign = others.token(&["--publish", "*", "--subscribe", "*"]).await;
    let invalid = Some("Bearer error=\"invalid_token\"");

    let absent = host.ask(Method::POST, "/pub", &[("content-type", FORM)], b"message=a&channel=/").await;
    check_refused(&absent, 401, "unauthorized", Some("Bearer"));
    let basic = host.ask(Method::GET, "/sub", &[("authorization", "Basic YTpi")], b"").await;
    check_refused(&basic, 401, "unauthorized", Some("Bearer"));
    for token in [&foreign, &good[1..], &format!("{good}A"), "x", ""] {
        check_refused(&publish(&host, token, "message=a").await, 401, "unauthorized", invalid);
        check_refused(&poll(&host, token, "channel=/").await, 401, "unauthorized", invalid);
    }
    for (body, code) in [
        ("message=a&token=", "invalid_token_field"),
        ("message=a&token=%ff", "invalid_token_field"),
        ("message=a&token=b", "conflicting_parameters"),
        ("message=a&token=a&token=a", "repeated_parameter"),
    ] {
        check_refused(&publish(&host, &good, body).await, 400, code, None);
    }
    for query in [format!("token={good}&wait=0"), format!("%74oken={good}&cursor=latest")] {
        check_refused(&poll(&host, &good, &query).await, 400, "misplaced_parameter", None);
    }
    check_refused(&publish(&host, &good, "message=a&channel=/").await, 400, "invalid_channel", None);
    assert!(poll(&host, &good, "cursor=earliest&wait=0").await.texts().is_empty(), "nothing was published");

    let metrics = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
    let log = format!("{:?}{metrics}", server.log());
    let parts = [&good, &foreign].into_iter().flat_map(|token| token.split('.').map(|part| &part[part.len() - 20..]));
    for part in parts {
        assert!(!log.contains(part), "{part} of a token");
    }
    let private = fs::read_to_string(keys.file("linger-private.json")).unwrap();
    let secret = private.split("\"d\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(log.contains("unauthorized") && !log.contains(secret));
}

#[tokio::test]
async fn keys_are_made_in_pairs_and_public_ones_told_from_others() {
    let said = async |arguments: &[&str]| {
        let ended = command().args(arguments).output().await.unwrap();
        (ended.status.success(), String::from_utf8(ended.stdout).unwrap() + &String::from_utf8_lossy(&ended.stderr))
    };
    for (algorithm, is_public) in [("es256", true), ("eddsa", true), ("hs256", false)] {
        let keys = Keys::new(algorithm).await;
        let (public, private) = (keys.file("linger-keys.json"), keys.file("linger-private.json"));
        let (taken, printed) = said(&["keys", "--check", &public]).await;
        assert_eq!(taken, is_public, "{printed}");
        if is_public {
            assert_eq!(printed, fs::read_to_string(&public).unwrap());
        }
        assert!(!said(&["keys", "--check", &private]).await.0);
        // A second pair is no half of it.
        let (folder, before) = (keys.file(""), fs::read(&private).unwrap());
        for (gone, left) in [(&public, &private), (&private, &public)] {
            let content = fs::read(gone).unwrap();
            fs::remove_file(gone).unwrap();
            assert!(!said(&["keys", &folder]).await.0);
            assert!(fs::metadata(left).is_ok() && fs::metadata(gone).is_err(), "{gone} is of another pair");
            fs::write(gone, content).unwrap();
        }
        assert_eq!(fs::read(&private).unwrap(), before);
        assert!(!said(&["token", "--keys", &private, "--nickname", "ann"]).await.0, "it would allow nothing");
    }
    assert!(!said(&["keys", "--check", "nowhere.json"]).await.0);
}

#[tokio::test]
async fn a_server_that_would_be_open_by_mistake_does_not_start() {
    let keys = Keys::new("es256").await;
    let (public, private) = (keys.file("linger-keys.json"), keys.file("linger-private.json"));
    let secret = fs::read_to_string(&private).unwrap();
    let secret = secret.split("\"d\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for (arguments, variable, said) in [
        (&[][..], Some(("LINGER_ACCESS_KEY", &public)), "LINGER_ACCESS_KEY is no setting"),
        (&["--log-format", "off"], Some(("LINGER_ACCES_KEYS", &public)), "LINGER_ACCES_KEYS is no setting"),
        (&[], Some(("LINGER_KEYS", &public)), "LINGER_KEYS is no setting"),
        (&[], Some(("LINGER_ACCESS_KEYS", &secret)), "can't read the keys in the file of that name"),
        (&["--access-issuer", "me"], None, "the issuer of tokens does nothing without keys"),
        (&["--access-audience", "you"], None, "the audience of tokens does nothing without keys"),
        (&["--access-keys", "nowhere.json"], None, "can't read the keys in nowhere.json"),
        (&[], Some(("LINGER_ACCESS_KEYS", &String::new())), "LINGER_ACCESS_KEYS is empty"),
        (&["--access-keys", &private], None, "private"),
        (&[], Some(("LINGER_ACCESS_KEYS", &private)), "private"),
        (&["--access-keys", "{}"], None, "no JWK set"),
        (&[], Some(("LINGER_ACCESS_KEYS", &format!("'{}'", fs::read_to_string(&private).unwrap()))), "without quotes"),
        (&[], Some(("LINGER_ACCESS_KEYS", &format!("[{}]", fs::read_to_string(&private).unwrap()))), "begins with {"),
    ] {
        let mut server = command();
        server.args(["--port", "0"]).args(arguments).envs(variable);
        let ended = timeout(Duration::from_secs(10), server.output()).await.expect("it ends").unwrap();
        let complained = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && complained.contains(said), "{arguments:?}: {complained}");
        assert!(!complained.contains(&secret));
    }
}
