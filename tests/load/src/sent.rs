//! The text of a message: its publisher, its number, and when it was sent.

use std::time::Duration;

use crate::Outcome;

/// A message of this tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The publisher, counted from 0.
    pub(crate) publisher: usize,
    /// The number among this publisher's messages, from 0.
    pub(crate) sequence: u64,
    /// When it was sent, since the tool began.
    pub(crate) at: Duration,
}

impl Sent {
    /// The text, padded to so many bytes. It needs no escapes in a form, in JSON or in a header.
    pub(crate) fn text(self, bytes: usize) -> String {
        let Self { publisher, sequence, at } = self;
        let text = format!("{publisher}-{sequence}-{}-", at.as_nanos());
        format!("{text:x<bytes$}")
    }

    /// Reads such a text.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let foreign = || format!("a message on the channel is not of this tool: {text}");
        let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
        let mut number = || parts.next().flatten().ok_or_else(foreign);
        let publisher = usize::try_from(number()?).map_err(|_| foreign())?;
        Ok(Self { publisher, sequence: number()?, at: Duration::from_nanos(number()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_it_was_made_of() {
        let sent = Sent { publisher: 7, sequence: 42, at: Duration::from_nanos(1_234_567) };
        assert_eq!(sent.text(20), "7-42-1234567-xxxxxxx");
        for bytes in [0, 20, 1300] {
            assert_eq!(Sent::parse(&sent.text(bytes)).unwrap(), sent);
        }
        assert!(Sent::parse("hello").is_err() && Sent::parse("1-2-").is_err());
    }
}
