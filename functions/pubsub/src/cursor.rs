//! A position in a log.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::limits::NUMBER_BOUND;

/// A position in a channel's log, and the id of the message there. In requests and answers it is `<epoch>-<offset>`.
///
/// It has equality and no order: offsets can be compared only within one epoch, and another epoch is another log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    epoch: u64,
    offset: u64,
}

impl Cursor {
    /// The cursor of a channel that was never used, before the first message of any log.
    pub const ORIGIN: Self = Self::new(0, 0);

    /// Both numbers must be below 2^63, which counters in a store reach only after hundreds of millions of years.
    #[must_use]
    pub const fn new(epoch: u64, offset: u64) -> Self {
        debug_assert!(epoch < NUMBER_BOUND && offset < NUMBER_BOUND);
        Self { epoch, offset }
    }

    /// The log that this is a position in: when it began, in milliseconds since 1970. Compare it for equality only.
    #[must_use]
    pub const fn epoch(self) -> u64 {
        self.epoch
    }

    /// The offset in the log; 0 is its beginning.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Each message has one in its JSON, and `Display` would take as long as the rest of the message.
        let (mut epoch, mut offset) = (itoa::Buffer::new(), itoa::Buffer::new());
        serializer.serialize_str(&[epoch.format(self.epoch), "-", offset.format(self.offset)].concat())
    }
}

/// It is not of the form `<epoch>-<offset>`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is two numbers below 2^63 with a '-' between, as it came in an answer")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self::new(number(epoch)?, number(offset)?))
    }
}

/// A decimal number below 2^63, without sign or leading zeros, so that each cursor has one spelling only.
fn number(text: &str) -> Result<u64, InvalidCursor> {
    if !text.bytes().all(|b| b.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return Err(InvalidCursor);
    }
    let number = text.parse().map_err(|_| InvalidCursor)?;
    if number < NUMBER_BOUND { Ok(number) } else { Err(InvalidCursor) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(epoch in 0..NUMBER_BOUND, offset in 0..NUMBER_BOUND) {
            let cursor = Cursor::new(epoch, offset);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "\\PC{0,30}|[0-9+-]{0,42}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "1-+2",
            "01-2",
            "1-02",
            "00-0",
            " 1-2",
            "1-2 ",
            "1_2",
            "１-２",
            "9223372036854775808-0",
            "0-9223372036854775808",
            "0x1-2",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
        assert_eq!("0-0".parse(), Ok(Cursor::ORIGIN));
    }
}
