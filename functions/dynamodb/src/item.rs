//! The items of the table.
//!
//! | item | `log` | `offset` | other attributes |
//! |---|---|---|---|
//! | head | `lobby` | 0 | `epoch`, `last`, `time`, `base`, `mark`, `due`, `kept`, `retention` |
//! | slot: a message | `lobby@1763942400123` | 1 … | `time`, `text`, `nick`, `key`, `expires` |
//! | slot: a filler | `lobby@1763942400123` | 1 … | `filler`, `time`, `expires` |
//! | key | `lobby@1763942400123#the-key` | 0 | `slot`, `time`, `expires` |
//!
//! The epoch is a part of the name of a log's slots, so a log that lost its head can't mix with what is left of it. A
//! channel's name has neither `@` nor `#`.

use std::fmt;

use pubsub::{
    channel::Channel,
    message::{Draft, Key, Nick, Text},
};

/// One log of a channel: the partition of its slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogName(String);

impl LogName {
    pub(crate) fn new(channel: &Channel, epoch: u64) -> Self {
        Self(format!("{}@{epoch}", channel.as_str()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition of a key of this log.
    pub(crate) fn of_key(&self, key: &Key) -> String {
        format!("{}#{}", self.0, key.as_str())
    }
}

/// What a slot holds. Once written, it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A message, with the time at which its offset was given out.
    Message { time: u64, draft: Draft, key: Option<Key> },
    /// A filler: nothing, for ever. Its publisher was too slow, or had failed.
    Filler { time: u64 },
    /// Something that a later version wrote. The slot is decided, but this version can't read it.
    Unknown { time: u64 },
}

impl Slot {
    pub(crate) fn time(&self) -> u64 {
        match self {
            Self::Message { time, .. } | Self::Filler { time } | Self::Unknown { time } => *time,
        }
    }

    /// About how many bytes DynamoDB counts for it: names and values.
    pub(crate) fn size(&self, log: &LogName) -> usize {
        let fixed = log.as_str().len() + "logoffsettimeexpires".len() + 30;
        match self {
            Self::Filler { .. } | Self::Unknown { .. } => fixed + "filler".len() + 1,
            Self::Message { draft: Draft { nick, text }, key, .. } => {
                let nick = nick.as_ref().map_or(0, |nick| "nick".len() + nick.as_str().len());
                let key = key.as_ref().map_or(0, |key| "key".len() + key.as_str().len());
                fixed + "text".len() + text.as_str().len() + nick + key
            }
        }
    }

    /// The message in a slot, from the item's attributes; nothing if they make no message.
    pub(crate) fn message(time: u64, text: String, nick: Option<String>, key: Option<String>) -> Option<Self> {
        let nick = nick.map(Nick::parse).transpose().ok()?;
        let key = key.map(|key| Key::parse(key.as_bytes())).transpose().ok()?;
        Some(Self::Message { time, draft: Draft { nick, text: Text::parse(text).ok()? }, key })
    }
}

/// The slot that a key's message is in, or is going to be in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) slot: u64,
    /// The time of that slot's message.
    pub(crate) time: u64,
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "→{} ({})", self.slot, self.time)
    }
}
