//! A server under test, on whichever host.

#[cfg(feature = "dynamodb")]
use std::time::Duration;
use std::{
    any::Any,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use http::{HeaderMap, Method};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::server::Server;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const JSON: &str = "application/json";

/// A server under test, with a channel that no other test uses.
pub(crate) struct Host {
    /// What must be kept until it is dropped.
    _server: Box<dyn Any>,
    pub(crate) base: String,
    pub(crate) channel: String,
    http: Client,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Host {
    pub(crate) fn new(base: &str, server: impl Any) -> Self {
        static CHANNELS: AtomicU32 = AtomicU32::new(0);
        let channel = format!("wire-{}", CHANNELS.fetch_add(1, Relaxed));
        Self { _server: Box::new(server), base: base.to_owned(), channel, http: Client::new() }
    }

    pub(crate) async fn server(arguments: &[&str]) -> Self {
        let server = Server::start(arguments).await;
        Self::new(&server.base.clone(), server)
    }

    #[cfg(feature = "dynamodb")]
    pub(crate) async fn table() -> Self {
        let table = crate::table::new_table().await;
        let server = Server::over_table(&tests::local::ENDPOINT, &table, &["--wait-max", "2s"]).await;
        Self::new(&server.base.clone(), server)
    }

    #[cfg(feature = "dynamodb")]
    pub(crate) async fn functions() -> Self {
        Self::functions_in(&[]).await
    }

    /// Both functions with these environment variables.
    #[cfg(feature = "dynamodb")]
    pub(crate) async fn functions_in(environment: &[(&str, &str)]) -> Self {
        let functions = crate::runtime::Functions::start(&crate::runtime::Settings {
            endpoint: &tests::local::ENDPOINT,
            table: &crate::table::new_table().await,
            concurrency: 10,
            // So that a hold ends after 2 s, as on the other hosts here.
            deadline: Duration::from_millis(2500),
            environment,
        })
        .await;
        Self::new(&functions.base.clone(), functions)
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path_and_query}", self.base)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response: Response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    /// Polls this host's channel.
    pub(crate) async fn poll(&self, query: &str) -> Answer {
        self.ask(Method::GET, &format!("/sub?channel={}&{query}", self.channel), &[], b"").await
    }

    /// Publishes on this host's channel.
    pub(crate) async fn publish(&self, fields: Value) -> Answer {
        let mut body = json!({"channel": self.channel});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.ask(Method::POST, "/pub", &[("content-type", JSON)], body.to_string().as_bytes()).await
    }

    /// Publishes a text, and returns its id.
    pub(crate) async fn say(&self, text: &str) -> String {
        let sent = self.publish(json!({"message": text})).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        sent.json()["id"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let answer = self.json();
        let messages = answer["messages"].as_array().unwrap_or_else(|| panic!("no messages: {}", self.text)).iter();
        messages.map(|message| message["message"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn cursor(&self) -> String {
        self.json()["cursor"].as_str().unwrap_or_else(|| panic!("no cursor: {}", self.text)).to_owned()
    }

    pub(crate) fn missed(&self) -> bool {
        self.json()["missed"].as_bool().unwrap_or_else(|| panic!("no missed: {}", self.text))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {}", self.text)).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The same text, with each id and time replaced by its kind.
pub(crate) fn literal(text: &str) -> String {
    let ids = regex::Regex::new(r"[1-9]\d{12}-(\d+)").unwrap();
    let times = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").unwrap();
    times.replace_all(&ids.replace_all(text, "EPOCH-$1"), "TIME").into_owned()
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn check_problem(one: &Answer, again: &Answer, status: u16, code: &str) {
    assert_eq!(one.text, again.text);
    let document = one.json();
    assert_eq!((one.status, document["status"].as_u64()), (status, Some(status.into())), "{}", one.text);
    assert_eq!((document["code"].as_str(), document["type"].as_str()), (Some(code), Some("about:blank")));
    assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
    assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 10));
    assert_eq!(
        document["retry_after"].as_u64().map(|seconds| seconds.to_string()).as_deref(),
        one.header("retry-after")
    );
    assert_eq!(one.header("content-type"), Some("application/problem+json"));
    check_headers(one);
}

pub(crate) fn check_headers(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() > 8));
}

/// Runs each of these on all hosts.
macro_rules! on_every_host {
    ($($test:ident)*) => {
        mod server {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&$crate::host::Host::server(&["--wait-max", "2s"]).await).await;
                }
            )*
        }
        #[cfg(feature = "dynamodb")]
        mod server_over_a_table {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&$crate::host::Host::table().await).await;
                }
            )*
        }
        #[cfg(feature = "dynamodb")]
        mod functions {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&$crate::host::Host::functions().await).await;
                }
            )*
        }
    };
}

pub(crate) use on_every_host;
