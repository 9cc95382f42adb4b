//! A client that records its requests and answers, for the checker.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use pubsub::{clock, cursor::Cursor};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use tests::checker::{Poll, Publish};

/// The answer for each channel.
pub(crate) type Told = BTreeMap<String, Poll>;

/// Publishes and polls on one channel of one server.
#[derive(Clone)]
pub(crate) struct Noting {
    http: Client,
    base: String,
    channel: String,
    /// The beginning of the recorded times.
    begun: Instant,
}

impl Noting {
    /// A client for a channel. Clones share connections and the beginning of time.
    #[must_use]
    pub(crate) fn new(base: &str, channel: &str) -> Self {
        Self { http: Client::new(), base: base.to_owned(), channel: channel.to_owned(), begun: clock::now() }
    }

    /// The same client, and the same beginning of time, for another channel.
    #[must_use]
    pub(crate) fn on(&self, channel: &str) -> Self {
        Self { channel: channel.to_owned(), ..self.clone() }
    }

    /// The same client, and the same beginning of time, for another server.
    #[cfg(feature = "dynamodb")]
    #[must_use]
    pub(crate) fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    fn elapsed(&self) -> Duration {
        clock::now() - self.begun
    }

    /// Publishes once.
    pub(crate) async fn publish(&self, text: &str, key: Option<&str>) -> Publish {
        let begun = self.elapsed();
        let mut body = serde_json::json!({"channel": self.channel, "message": text});
        if let Some(key) = key {
            body["key"] = key.into();
        }
        let request = self.http.post(format!("{}/pub", self.base)).header("content-type", "application/json");
        let id = match request.body(body.to_string()).send().await {
            Ok(response) if response.status() == StatusCode::OK => {
                let body = response.text().await.unwrap_or_default();
                serde_json::from_str::<Value>(&body).ok().map(|sent| cursor(&sent["id"]))
            }
            _ => None,
        };
        let (ended, kept) = (self.elapsed(), Duration::MAX);
        Publish { text: text.to_owned(), key: key.map(str::to_owned), begun, ended, id, kept }
    }

    /// Polls once. Returns nothing if there was no answer. `query` says where to begin, such as `cursor=earliest`.
    pub(crate) async fn poll(&self, query: &str) -> Option<Poll> {
        let begun = self.elapsed();
        let url = format!("{}/sub?channel={}&{query}", self.base, self.channel);
        let response = self.http.get(url).send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let answer: Value = serde_json::from_str(&response.text().await.ok()?).expect("JSON");
        Some(noted(&answer, begun..self.elapsed(), !query.contains("wait=0")))
    }

    /// Polls several channels once, each from a position. Returns the answer for each, or nothing if there was no
    /// answer.
    pub(crate) async fn poll_several(&self, places: &BTreeMap<String, String>, more: &str) -> Option<Told> {
        let begun = self.elapsed();
        let list: Vec<_> = places.iter().map(|(channel, position)| format!("{channel}:{position}")).collect();
        let query = format!("channels={}&{more}", list.join(","));
        let url = format!("{}/sub", self.base);
        // `GET` and `POST` are the same.
        let request = if list.len().is_multiple_of(2) {
            self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(query)
        } else {
            self.http.get(format!("{url}?{query}"))
        };
        let response = request.send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let answer: Value = serde_json::from_str(&response.text().await.ok()?).expect("JSON");
        let span = begun..self.elapsed();
        let told = answer["channels"].as_object().expect("channels").iter();
        Some(told.map(|(name, part)| (name.clone(), noted(part, span.clone(), !more.contains("wait=0")))).collect())
    }

    /// The answer to a bare poll: a message's id and text.
    #[cfg(feature = "dynamodb")]
    pub(crate) async fn next_message(&self) -> (Cursor, String) {
        let answer =
            self.http.get(format!("{}/sub?channel={}", self.base, self.channel)).send().await.expect("an answer");
        let answer: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        (cursor(&answer["id"]), answer["message"].as_str().expect("text").to_owned())
    }
}

/// An answer, or its part for one channel.
fn noted(answer: &Value, span: Range<Duration>, held: bool) -> Poll {
    let message = |message: &Value| (cursor(&message["id"]), message["message"].as_str().expect("text").to_owned());
    Poll {
        begun: span.start,
        ended: span.end,
        messages: answer["messages"].as_array().expect("messages").iter().map(message).collect(),
        cursor: cursor(&answer["cursor"]),
        missed: answer["missed"].as_bool().expect("missed"),
        held,
        aside: false,
        kept: Duration::MAX,
        trouble: Duration::ZERO,
    }
}

fn cursor(value: &Value) -> Cursor {
    value.as_str().and_then(|text| text.parse().ok()).expect("a cursor")
}
