//! A message and its parts.

use std::{io, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    channel::Channel,
    cursor::Cursor,
    limits::{KEY_CHARS_MAX, NICK_CHARS_MAX, TEXT_BYTES_MAX},
};

/// A message's text: 1 to 32,768 bytes of UTF-8, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Text(Box<str>);

/// The text is empty or too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// It is empty.
    #[error("the message is missing or empty; it needs 1 to {TEXT_BYTES_MAX} bytes of text")]
    Missing,
    /// It is too long.
    #[error("the message has {0} bytes; {TEXT_BYTES_MAX} are allowed")]
    TooLarge(usize),
}

impl Text {
    /// Takes a text as it is.
    ///
    /// # Errors
    /// [`InvalidText`] when it is empty or has more than 32,768 bytes.
    pub fn parse(text: String) -> Result<Self, InvalidText> {
        match text.len() {
            0 => Err(InvalidText::Missing),
            1..=TEXT_BYTES_MAX => Ok(Self(text.into())),
            bytes => Err(InvalidText::TooLarge(bytes)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A nickname: 1 to 64 characters, at least one of them visible, and none that changes how other text is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nick(Box<str>);

/// The nickname is too long, invisible, or has a character that is not allowed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a nick is 1 to {NICK_CHARS_MAX} characters, one of them visible, without control, direction or line separator characters"
)]
pub struct InvalidNick;

impl Nick {
    /// Takes a nickname as it is.
    ///
    /// # Errors
    /// [`InvalidNick`] when it has no visible character, more than 64, or one that is not allowed.
    pub fn parse(nick: String) -> Result<Self, InvalidNick> {
        let visible = |c: char| !c.is_whitespace() && !is_default_ignorable(c);
        let fits = nick.chars().nth(NICK_CHARS_MAX).is_none();
        if fits && nick.chars().any(visible) && !nick.chars().any(is_disruptive) {
            Ok(Self(nick.into()))
        } else {
            Err(InvalidNick)
        }
    }

    /// The nickname.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters (Cc), bidirectional controls, and the line and paragraph separators.
fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Unicode's `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt): what is drawn as nothing.
fn is_default_ignorable(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

/// An idempotency key: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

/// The key is empty, too long, or not visible ASCII.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 1 to {KEY_CHARS_MAX} visible ASCII characters")]
pub struct InvalidKey;

impl Key {
    /// Takes a key as it is. Quotes are a part of it.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is empty, has more than 64 characters, or others than visible ASCII.
    pub fn parse(key: &[u8]) -> Result<Self, InvalidKey> {
        let visible = key.iter().all(u8::is_ascii_graphic);
        match std::str::from_utf8(key) {
            Ok(key) if visible && (1..=KEY_CHARS_MAX).contains(&key.len()) => Ok(Self(key.into())),
            _ => Err(InvalidKey),
        }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message that has no offset yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The nickname, if there is one.
    pub nick: Option<Nick>,
    /// The text.
    pub text: Text,
}

/// A message in a log. Its serialized form is what subscribers get.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    id: Cursor,
    channel: Channel,
    nick: Option<Nick>,
    #[serde(rename = "message")]
    text: Text,
    #[serde(rename = "time", serialize_with = "rfc3339")]
    unix_ms: u64,
    /// Kept, because a batch needs it each time that it is put together.
    #[serde(skip)]
    encoded_len: usize,
}

impl Message {
    /// Gives a draft its cursor, and the time of its publishing in milliseconds since 1970.
    #[must_use]
    pub fn new(id: Cursor, channel: Channel, draft: Draft, unix_ms: u64) -> Self {
        let Draft { nick, text } = draft;
        let mut message = Self { id, channel, nick, text, unix_ms, encoded_len: 0 };
        message.encoded_len = encoded_len(&message);
        message
    }

    /// Its cursor: that of a client that has read up to and including this message.
    #[must_use]
    pub fn id(&self) -> Cursor {
        self.id
    }

    /// Its channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Who says it.
    #[must_use]
    pub fn nick(&self) -> Option<&Nick> {
        self.nick.as_ref()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// When it was published, in milliseconds since 1970: for people and for retention.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    /// The length of its JSON, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Whether it has this draft's nickname and text.
    #[must_use]
    pub fn says(&self, draft: &Draft) -> bool {
        self.nick == draft.nick && self.text == draft.text
    }
}

/// RFC 3339 in UTC, with milliseconds. A time after the year 9999 has no such form, and is shown as the last moment of
/// that year.
fn rfc3339<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    const YEAR_9999: u64 = 253_402_300_799_999;
    let time = std::time::UNIX_EPOCH + Duration::from_millis(*unix_ms.min(&YEAR_9999));
    serializer.collect_str(&humantime::format_rfc3339_millis(time))
}

fn encoded_len(message: &Message) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither counting nor a message's own parts can fail.
    let _ = serde_json::to_writer(&mut count, message);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    fn draft(nick: Option<&str>, text: &str) -> Draft {
        Draft { nick: nick.map(|nick| Nick(nick.into())), text: Text(text.into()) }
    }

    proptest! {
        #[test]
        fn a_text_is_kept_byte_for_byte(text in "(?s).{1,200}") {
            let kept = Text::parse(text.clone()).map(|kept| kept.as_str().to_owned());
            prop_assert_eq!(kept, Ok(text));
        }

        #[test]
        fn a_nick_is_taken_exactly_when_it_can_be_read(nick in "(?s).{0,70}|[\\s\u{200B}-\u{200F}\u{3164}a]{0,70}") {
            let readable = Regex::new(r"^(?s:.){1,64}$").unwrap().is_match(&nick)
                && Regex::new(r"[^\p{White_Space}\p{Default_Ignorable_Code_Point}]").unwrap().is_match(&nick)
                && !Regex::new(r"[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]").unwrap().is_match(&nick);
            prop_assert_eq!(Nick::parse(nick).is_ok(), readable);
        }

        #[test]
        fn a_key_is_taken_exactly_when_it_is_visible_ascii(key in prop::collection::vec(any::<u8>(), 0..70)) {
            let visible = (1..=64).contains(&key.len()) && key.iter().all(|b| (0x21..=0x7E).contains(b));
            prop_assert_eq!(Key::parse(&key).is_ok(), visible);
        }

        #[test]
        fn a_message_knows_its_encoded_length(nick in "(?s).{1,10}", text in "(?s).{1,100}", unix_ms: u64) {
            let message = Message::new(Cursor::new(7, 42), Channel::default(), draft(Some(&nick), &text), unix_ms);
            prop_assert_eq!(message.encoded_len(), serde_json::to_vec(&message).unwrap().len());
        }
    }

    #[test]
    fn the_invisible_characters_are_those_of_unicode() {
        let ignorable = Regex::new(r"\p{Default_Ignorable_Code_Point}").unwrap();
        let disruptive = Regex::new(r"[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]").unwrap();
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            assert_eq!(is_default_ignorable(c), ignorable.is_match(&text), "{c:?}");
            assert_eq!(is_disruptive(c), disruptive.is_match(&text), "{c:?}");
        }
    }

    #[test]
    fn a_family_of_joined_signs_is_a_nick() {
        for nick in ["ann", " ann ", "👩\u{200D}👧", "نام\u{200C}ها", &"é".repeat(64)] {
            assert!(Nick::parse(nick.to_owned()).is_ok(), "{nick}");
        }
        for nick in ["", " ", "\u{200D}", "\u{3164}", "a\nb", "a\u{202E}b", &"é".repeat(65)] {
            assert_eq!(Nick::parse(nick.to_owned()), Err(InvalidNick), "{nick}");
        }
    }

    #[test]
    fn no_character_is_written_longer_than_json_needs() {
        // The largest answers are the most expensive thing that strangers can cause.
        for c in '\0'..=char::MAX {
            let least = match c {
                '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{C}' | '\r' => 2,
                '\0'..'\u{20}' => 6,
                c => c.len_utf8(),
            };
            assert_eq!(serde_json::to_string(&Text(c.to_string().into())).unwrap().len(), 2 + least, "{c:?}");
        }
    }

    #[test]
    fn a_text_has_1_to_32768_bytes() {
        assert_eq!(Text::parse(String::new()), Err(InvalidText::Missing));
        assert!(Text::parse("é".repeat(16_384)).is_ok());
        let long = "x".repeat(32_769);
        assert_eq!(Text::parse(long), Err(InvalidText::TooLarge(32_769)));
    }

    #[test]
    fn a_message_is_encoded_as_the_wire_says() {
        let message = Message::new(
            Cursor::new(1_763_942_400_123, 42),
            Channel::default(),
            draft(None, "\u{1}<é>\""),
            1_763_942_400_123,
        );
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"id":"1763942400123-42","channel":"lobby","nick":null,"message":"\u0001<é>\"","time":"2025-11-24T00:00:00.123Z"}"#
        );
    }
}
