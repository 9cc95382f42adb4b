//! How to publish and poll at each kind of server. Requests are made once and sent by many.

use std::{collections::VecDeque, rc::Rc};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{Outcome, http::Response, sent::Sent, target::Target};

/// The kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// Linger, and the floor servers
    Linger,
    /// Nginx with nchan, as tests/load/compare configures it
    Nchan,
}

/// How many answers are remembered. The subscribers have very few positions, so more would only take longer to search.
const RECENT_MAX: usize = 16;

/// The requests and answers for one channel of a server.
pub(crate) struct Talk {
    dialect: Dialect,
    host: String,
    prefix: String,
    channel: String,
    /// The latest answers, the newest first. A connection that gets the same bytes uses the same parsed answer.
    recent: VecDeque<(Position, Vec<u8>, Rc<Delivery>)>,
}

/// The position in the headers of an nchan answer; nothing with linger, which has it in the body.
type Position = [Vec<u8>; 2];

/// One answer to a poll.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) messages: Vec<Sent>,
    /// The next poll after it.
    pub(crate) next: Vec<u8>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    cursor: &'a str,
}

#[derive(Deserialize)]
struct Message<'a> {
    message: &'a str,
}

impl Talk {
    pub(crate) fn new(dialect: Dialect, target: &Target, channel: &str) -> Self {
        let (host, prefix) = (target.host.clone(), target.prefix.clone());
        Self { dialect, host, prefix, channel: channel.to_owned(), recent: VecDeque::new() }
    }

    /// The request that publishes this.
    pub(crate) fn publish(&self, text: &str) -> Vec<u8> {
        let Self { host, prefix, channel, .. } = self;
        let (query, kind, body) = match self.dialect {
            Dialect::Linger => {
                let body = format!("channel={channel}&message={text}");
                (String::new(), "application/x-www-form-urlencoded", body)
            }
            Dialect::Nchan => (format!("?channel={channel}"), "text/plain", text.to_owned()),
        };
        let len = body.len();
        let head = format!("POST {prefix}/pub{query} HTTP/1.1\r\nHost: {host}\r\n");
        format!("{head}Content-Type: {kind}\r\nContent-Length: {len}\r\n\r\n{body}").into_bytes()
    }

    /// The poll that begins with the first message.
    pub(crate) fn first(&self) -> Vec<u8> {
        match self.dialect {
            Dialect::Linger => self.poll("&cursor=earliest", ""),
            Dialect::Nchan => self.poll("", ""),
        }
    }

    fn poll(&self, query: &str, headers: &str) -> Vec<u8> {
        let Self { host, prefix, channel, .. } = self;
        format!("GET {prefix}/sub?channel={channel}{query} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").into_bytes()
    }

    /// Parses the answer to a poll.
    pub(crate) fn delivery(&mut self, response: &Response<'_>) -> Outcome<Rc<Delivery>> {
        if response.status != 200 {
            return Err(refusal("a poll", response));
        }
        let position = match self.dialect {
            Dialect::Linger => ["", ""].map(|nothing| nothing.as_bytes()),
            Dialect::Nchan => ["last-modified", "etag"].map(|name| response.header(name)),
        };
        let same = |(place, body, _): &&(Position, Vec<u8>, _)| *place == position && *body == *response.body;
        if let Some((_, _, delivery)) = self.recent.iter().find(same) {
            return Ok(Rc::clone(delivery));
        }
        let delivery = Rc::new(match self.dialect {
            Dialect::Linger => self.batch(&response.body)?,
            Dialect::Nchan => self.message(position, &response.body)?,
        });
        self.recent.truncate(RECENT_MAX - 1);
        let body = response.body.clone().into_owned();
        self.recent.push_front((position.map(<[u8]>::to_vec), body, Rc::clone(&delivery)));
        Ok(delivery)
    }

    fn batch(&self, body: &[u8]) -> Outcome<Delivery> {
        let Batch { messages, cursor } = serde_json::from_slice(body)?;
        let messages = messages.iter().map(|message| Sent::parse(message.message)).collect::<Outcome<_>>()?;
        Ok(Delivery { messages, next: self.poll(&format!("&cursor={cursor}&wait=25"), "") })
    }

    fn message(&self, [modified, etag]: [&[u8]; 2], body: &[u8]) -> Outcome<Delivery> {
        let (modified, etag) = (str::from_utf8(modified)?, str::from_utf8(etag)?);
        let headers = format!("If-Modified-Since: {modified}\r\nIf-None-Match: {etag}\r\n");
        Ok(Delivery { messages: vec![Sent::parse(str::from_utf8(body)?)?], next: self.poll("", &headers) })
    }
}

/// A server's unexpected answer, for people.
pub(crate) fn refusal(what: &str, response: &Response<'_>) -> Box<dyn std::error::Error> {
    let body = String::from_utf8_lossy(&response.body);
    format!("{what} was answered {}: {}", response.status, body.chars().take(300).collect::<String>()).into()
}
