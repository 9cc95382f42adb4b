//! What a poll is answered with: a piece of a log.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    cursor::Cursor,
    limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX},
    message::Message,
};

/// How many messages one batch may have: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// A batch with one message.
    pub const ONE: Self = Self(1);
    /// A full batch.
    pub const MAX: Self = Self(BATCH_MESSAGES_MAX);

    /// So many, at most 100; none for 0.
    #[must_use]
    pub fn clamped(number: u64) -> Option<Self> {
        match usize::try_from(number).unwrap_or(usize::MAX) {
            0 => None,
            number => Some(Self(number.min(BATCH_MESSAGES_MAX))),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

/// A contiguous piece of one channel's log. Its serialized form is the wire's.
#[derive(Debug, Serialize)]
pub struct Batch {
    /// Where it begins: every hold that stands here can share it.
    #[serde(skip)]
    after: Cursor,
    messages: Vec<Arc<Message>>,
    /// Where it ends, offsets without a message counted.
    cursor: Cursor,
    missed: bool,
    /// The first hold encodes it; ten thousand clone the bytes.
    #[serde(skip)]
    encoded: OnceLock<Bytes>,
}

/// What a batch has for somebody who stands at a cursor.
#[derive(Debug)]
pub enum Following {
    /// What stands after the cursor, as much as was asked for.
    Batch(Arc<Batch>),
    /// The batch ends at the cursor or below it: what comes next is in a batch to come.
    NothingYet,
    /// The batch begins above the cursor, or belongs to another log: only the store can tell.
    Unknown,
}

impl Batch {
    /// What stands after `after`, up to `end`: as many of `messages`, oldest first, as `limit` and 512 KiB allow.
    #[must_use]
    pub fn new(
        after: Cursor,
        messages: impl IntoIterator<Item = Arc<Message>>,
        end: Cursor,
        missed: bool,
        limit: Limit,
    ) -> Self {
        let mut rest = messages.into_iter().peekable();
        let messages = fitting(&mut rest, limit);
        let cut_off = rest.peek().and(messages.last());
        Self { after, cursor: cut_off.map_or(end, |last| last.id()), messages, missed, encoded: OnceLock::new() }
    }

    /// What stands before `end`, as many of `messages`, newest first, as `limit` and 512 KiB allow.
    #[must_use]
    pub fn before(end: Cursor, messages: impl IntoIterator<Item = Arc<Message>>, missed: bool, limit: Limit) -> Self {
        let mut messages = fitting(&mut messages.into_iter().peekable(), limit);
        messages.reverse();
        let after = messages.first().map_or(end, |first| Cursor::new(first.id().epoch(), first.id().offset() - 1));
        Self { after, messages, cursor: end, missed, encoded: OnceLock::new() }
    }

    /// Nothing, for somebody who stands at `at` and stays there.
    #[must_use]
    pub fn empty(at: Cursor) -> Self {
        Self::new(at, [], at, false, Limit::MAX)
    }

    /// Whether there is nothing to say: no message, and none missed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.missed
    }

    /// Where it begins.
    #[must_use]
    pub fn after(&self) -> Cursor {
        self.after
    }

    /// Its messages, in the order of the log.
    #[must_use]
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// Where it ends, and whoever has read it stands.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether a message after where it begins can no longer be had.
    #[must_use]
    pub fn missed(&self) -> bool {
        self.missed
    }

    /// Its JSON, made once.
    #[must_use]
    pub fn encoded(&self) -> Bytes {
        let encode = || serde_json::to_vec(self).unwrap_or_default().into();
        self.encoded.get_or_init(encode).clone()
    }

    /// What it has for somebody who stands at `at` and takes `limit` messages.
    #[must_use]
    pub fn following(self: &Arc<Self>, at: Cursor, limit: Limit) -> Following {
        let one_log = at.epoch() == self.cursor.epoch() && at.epoch() == self.after.epoch();
        let begins_here = at == self.after;
        let ends_here = at.epoch() == self.cursor.epoch() && at.offset() >= self.cursor.offset();
        if ends_here && !(begins_here && self.missed) {
            Following::NothingYet
        } else if begins_here && self.messages.len() <= limit.get() {
            Following::Batch(Arc::clone(self))
        } else if begins_here || (one_log && !self.missed && at.offset() > self.after.offset()) {
            let rest = self.messages.iter().cloned();
            let rest = rest.skip_while(|m| !begins_here && m.id().offset() <= at.offset());
            let part = Self::new(at, rest, self.cursor, self.missed, limit);
            Following::Batch(Arc::new(part))
        } else {
            Following::Unknown
        }
    }
}

/// Takes as many messages as one batch may have. One always fits, however large.
fn fitting(messages: &mut std::iter::Peekable<impl Iterator<Item = Arc<Message>>>, limit: Limit) -> Vec<Arc<Message>> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while taken.len() < limit.get()
        && let Some(message) = messages.next_if(|m| {
            bytes += m.encoded_len() + 1;
            taken.is_empty() || bytes <= BATCH_BYTES_MAX
        })
    {
        taken.push(message);
    }
    taken
}
