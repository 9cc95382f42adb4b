//! JSON: the fields of a body, and all answers but the batch of one channel.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;

use super::{
    Problem,
    fields::{Fields, Value},
};
use crate::{batch::Batch, channel::Channel, cursor::Cursor, message::Message, service::Place};

/// Finds the known fields of an object.
pub(super) fn read_into(fields: &mut Fields<'_>, json: &[u8]) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    fields.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// What is wrong with a body. The parser's own words are not used: they speak of its internals, and change with its
/// version.
pub(super) fn described(error: &serde_json::Error) -> String {
    let example = r#"a JSON object such as {"message": "hi"}"#;
    match error.classify() {
        Category::Eof if error.line() <= 1 && error.column() == 0 => format!("the body is empty; it must be {example}"),
        Category::Eof => format!("the body ends in the middle of its JSON; it must be {example}"),
        Category::Data | Category::Io => format!("the body is JSON but no object; it must be {example}"),
        Category::Syntax => {
            format!("the body is no valid JSON at line {}, column {}", error.line(), error.column())
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(name) = object.next_key::<String>()? {
            if let Some(field) = self.known(&name) {
                self.put(field, object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Value<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfAnyType;
        impl<'de> Visitor<'de> for OfAnyType {
            type Value = Value<'static>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Value<'static>, E> {
                Ok(Value::Text(text.to_owned().into()))
            }
            fn visit_unit<E>(self) -> Result<Value<'static>, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Value<'static>, E> {
                Ok(Value::NotText)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Value<'static>, E> {
                Ok(Value::NotText)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Value<'static>, E> {
                Ok(Value::NotText)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Value<'static>, E> {
                Ok(Value::NotText)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'static>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::NotText)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'static>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::NotText)
            }
        }
        deserializer.deserialize_any(OfAnyType)
    }
}

/// The answer to a publish.
pub(super) fn sent(id: Cursor, channel: &Channel) -> Bytes {
    #[derive(Serialize)]
    struct Sent<'a> {
        status: &'static str,
        id: Cursor,
        channel: &'a Channel,
    }
    let status = "sent";
    encode(&Sent { status, id, channel })
}

/// The answer to a poll of several channels: those that have something, and those without a cursor in the request, so
/// that the client gets one. The part of each is what a poll of it alone would be answered, and is encoded once for all
/// clients.
pub(super) fn channels(places: &[Place], batches: &[Arc<Batch>]) -> Bytes {
    let told = places.iter().zip(batches);
    let told = told.filter(|(place, batch)| !batch.is_empty() || place.start.cursor().is_none());
    let mut json = br#"{"channels":{"#.to_vec();
    for (number, (place, batch)) in told.enumerate() {
        let comma = if number > 0 { "," } else { "" };
        // A channel's name needs no escape in JSON.
        json.extend_from_slice(format!("{comma}\"{}\":", place.channel.as_str()).as_bytes());
        json.extend_from_slice(&batch.encoded());
    }
    json.extend_from_slice(b"}}");
    json.into()
}

/// The answer to a poll with `before`, which has no cursor to go on from.
pub(super) fn history(batch: &Batch) -> Bytes {
    #[derive(Serialize)]
    struct History<'a> {
        messages: &'a [Arc<Message>],
        missed: bool,
    }
    encode(&History { messages: batch.messages(), missed: batch.missed() })
}

/// The answer to a poll of 2013: the message itself.
pub(super) fn next_message(message: &Message, cursor: Cursor) -> Bytes {
    #[derive(Serialize)]
    struct Next<'a> {
        #[serde(flatten)]
        message: &'a Message,
        cursor: Cursor,
    }
    encode(&Next { message, cursor })
}

/// A problem document.
pub(super) fn problem(problem: &Problem) -> Bytes {
    encode(problem)
}

/// Values of texts and numbers always encode.
fn encode(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
