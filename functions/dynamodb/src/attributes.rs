//! Heads, slots and keys as items of DynamoDB, and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use pubsub::{channel::Channel, limits::NUMBER_BOUND};

use crate::{
    head::Head,
    item::{LogName, Pointer, Slot},
    table::TableError,
};

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn attributes<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What every item but a head has.
pub(crate) fn item(log: &str, offset: u64, time: u64, expires: u64) -> Item {
    attributes([("log", text(log)), ("offset", number(offset)), ("time", number(time)), ("expires", number(expires))])
}

pub(crate) fn head_item(channel: &Channel, head: &Head) -> Item {
    attributes([
        ("log", text(channel.as_str())),
        ("offset", number(0)),
        ("epoch", number(head.epoch)),
        ("last", number(head.last)),
        ("time", number(head.time)),
        ("base", number(head.base)),
        ("mark", number(head.mark)),
        ("due", number(head.due)),
        ("kept", number(head.kept)),
        ("retention", number(head.retention)),
    ])
}

pub(crate) fn slot_item(log: &LogName, offset: u64, slot: &Slot, expires: u64) -> Item {
    let mut item = item(log.as_str(), offset, slot.time(), expires);
    match slot {
        Slot::Message { draft, key, .. } => {
            item.insert("text".into(), text(draft.text.as_str()));
            item.extend(draft.nick.iter().map(|nick| ("nick".into(), text(nick.as_str()))));
            item.extend(key.iter().map(|key| ("key".into(), text(key.as_str()))));
        }
        Slot::Filler { .. } | Slot::Unknown { .. } => {
            item.insert("filler".into(), AttributeValue::Bool(true));
        }
    }
    item
}

pub(crate) fn number_of(item: &Item, name: &str) -> Result<u64, TableError> {
    let number = item.get(name).and_then(|value| value.as_n().ok()?.parse().ok());
    number.filter(|number| *number < NUMBER_BOUND).ok_or_else(|| {
        tracing::error!(log = ?item.get("log"), offset = ?item.get("offset"), "an item has no number {name}");
        TableError::Corrupt
    })
}

pub(crate) fn head_of(item: &Item) -> Result<Head, TableError> {
    Ok(Head {
        epoch: number_of(item, "epoch")?,
        last: number_of(item, "last")?,
        time: number_of(item, "time")?,
        base: number_of(item, "base")?,
        mark: number_of(item, "mark")?,
        due: number_of(item, "due")?,
        kept: number_of(item, "kept")?,
        retention: number_of(item, "retention")?,
    })
}

pub(crate) fn pointer_of(item: &Item) -> Result<Pointer, TableError> {
    Ok(Pointer { slot: number_of(item, "slot")?, time: number_of(item, "time")? })
}

/// A slot. One whose time can't be read never expires, as far as this version can tell.
pub(crate) fn slot_of(item: &Item) -> Slot {
    let Ok(time) = number_of(item, "time") else {
        return Slot::Unknown { time: NUMBER_BOUND - 1 };
    };
    if item.contains_key("filler") {
        return Slot::Filler { time };
    }
    let string = |name: &str| item.get(name).map(|value| value.as_s().cloned()).transpose();
    let message = || Slot::message(time, string("text").ok()??, string("nick").ok()?, string("key").ok()?);
    message().unwrap_or(Slot::Unknown { time })
}
