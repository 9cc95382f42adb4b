//! A channel's name.

use std::sync::Arc;

use serde::Serialize;

use crate::limits::CHANNEL_CHARS_MAX;

/// The name of a log: 1 to 64 characters out of `A-Z a-z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Channel(Arc<str>);

/// The name is empty, too long, or has another character.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a channel is 1 to {CHANNEL_CHARS_MAX} characters out of A-Z, a-z, 0-9, '.', '_' and '-'")]
pub struct InvalidChannel;

impl Channel {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidChannel`] when it is no channel name.
    pub fn parse(name: &str) -> Result<Self, InvalidChannel> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=CHANNEL_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidChannel)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Channel {
    /// `lobby`, the channel of requests that name none.
    fn default() -> Self {
        Self("lobby".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_kept_as_it_is(name in "[A-Za-z0-9._-]{1,64}") {
            let channel = Channel::parse(&name);
            prop_assert_eq!(channel.as_ref().map(Channel::as_str), Ok(name.as_str()));
        }

        #[test]
        fn a_name_with_another_character_is_refused(
            before in "[A-Za-z0-9._-]{0,31}", odd in "[^A-Za-z0-9._-]", after in "[A-Za-z0-9._-]{0,31}"
        ) {
            prop_assert_eq!(Channel::parse(&format!("{before}{odd}{after}")), Err(InvalidChannel));
        }
    }

    #[test]
    fn a_name_has_1_to_64_characters() {
        assert_eq!(Channel::parse(""), Err(InvalidChannel));
        assert!(Channel::parse(&"x".repeat(64)).is_ok());
        assert_eq!(Channel::parse(&"x".repeat(65)), Err(InvalidChannel));
    }
}
