//! The channel of both servers: its messages as they are in an answer, and the last answer.
//!
//! They have linger's API as far as the load tool needs it: `POST /pub` with a form, `GET /sub` with a cursor. They
//! keep everything for ever, refuse nothing, and hold a poll until there is a message.

use bytes::Bytes;

/// As many as linger gives in one answer.
const BATCH_MESSAGES_MAX: usize = 100;

/// One channel.
#[derive(Default)]
pub(crate) struct Log {
    messages: Vec<String>,
    /// The last answer, with its first and last positions. Nearly all clients ask for the same.
    last: (usize, usize, Bytes),
}

impl Log {
    /// Appends a message, and returns how many there are.
    pub(crate) fn append(&mut self, text: &str) -> usize {
        self.messages.push(format!(r#"{{"message":"{text}"}}"#));
        self.messages.len()
    }

    /// What comes after a cursor, made into an answer by `finish`; nothing if nothing does.
    pub(crate) fn after(&mut self, cursor: usize, finish: fn(String) -> String) -> Option<Bytes> {
        let end = self.messages.len().min(cursor.saturating_add(BATCH_MESSAGES_MAX));
        let messages = self.messages.get(cursor..end).filter(|messages| !messages.is_empty())?;
        if (self.last.0, self.last.1) != (cursor, end) {
            let answer = finish(format!(r#"{{"messages":[{}],"cursor":"{end}"}}"#, messages.join(",")));
            self.last = (cursor, end, answer.into());
        }
        Some(self.last.2.clone())
    }
}

/// A field of a query or of a form. The load tool sends none that has to be decoded.
pub(crate) fn field<'a>(fields: &'a str, name: &str) -> &'a str {
    let mut pairs = fields.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

/// The position of a poll. Anything but a number is the beginning.
pub(crate) fn cursor(query: &str) -> usize {
    field(query, "cursor").parse().unwrap_or(0)
}
