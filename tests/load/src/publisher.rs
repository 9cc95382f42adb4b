//! A publisher, with one message at a time.

use std::time::Duration;

use crate::{Outcome, clock, http::Response, sent::Sent, talk::Talk, tally::Published, wire::Wire};

/// A publisher on a connection of its own.
pub(crate) struct Publisher {
    /// Its number.
    number: usize,
    connection: usize,
    /// The length of a text.
    bytes: usize,
    pub(crate) published: Published,
    /// When the message was sent that has no answer yet.
    asked: Option<Duration>,
}

impl Publisher {
    pub(crate) fn new(number: usize, connection: usize, bytes: usize) -> Self {
        Self { number, connection, bytes, published: Published::default(), asked: None }
    }

    /// Whether its last message has no answer yet.
    pub(crate) fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// Publishes its next message.
    pub(crate) fn publish(&mut self, talk: &Talk, wire: &mut Wire) -> Outcome<()> {
        let sent = Sent { publisher: self.number, sequence: self.published.next, at: clock::now() };
        self.published.next += 1;
        self.asked = Some(sent.at);
        wire.send(self.connection, &talk.publish(&sent.text(self.bytes)))
    }

    /// Takes the answer. Returns how long it took, if the message is published.
    pub(crate) fn answered(&mut self, response: &Response<'_>, now: Duration) -> Outcome<Option<Duration>> {
        let asked = self.asked.take().ok_or("there was an answer, and no request")?;
        if (200..300).contains(&response.status) {
            return Ok(Some(now.saturating_sub(asked)));
        }
        // The last message is `next - 1`. A request that is wrong for this server will not be right a moment later.
        if response.status != 429 && response.status < 500 {
            return Err(crate::talk::refusal("a publish", response));
        }
        self.published.refused.insert(self.published.next - 1);
        Ok(None)
    }
}
