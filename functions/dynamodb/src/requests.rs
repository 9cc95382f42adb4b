//! Each operation of the seam as one request to DynamoDB.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{
        AttributeValue, ConsumedCapacity, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
    },
};
use pubsub::{channel::Channel, limits::NUMBER_BOUND, message::Key, meter::Kind};

use crate::{
    client::Client,
    item::{Head, LogName, Pointer, Slot},
    table::{Consistency, Moved, Page, Range, Table, TableError, Turn},
};

type Item = HashMap<String, AttributeValue>;

impl Client {
    /// Counts a request. Where the endpoint reports no units, `least` is what AWS would bill.
    fn count(&self, kind: Kind, reported: Option<&ConsumedCapacity>, least: f64) {
        let units = reported.and_then(ConsumedCapacity::capacity_units).unwrap_or_default();
        self.meter.count(kind, if units > 0.0 { units } else { least });
    }
}

impl Table for Client {
    async fn give_out(&self, channel: &Channel, turn: Turn, now: u64, quiet: u64) -> Result<Option<Head>, TableError> {
        let request = self
            .sdk
            .update_item()
            .table_name(&self.table)
            .key("log", text(channel.as_str()))
            .key("offset", number(0))
            .expression_attribute_names("#last", "last")
            .expression_attribute_names("#time", "time")
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":quiet", number(quiet))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let request = match turn {
            Turn::RunOn => request
                .update_expression("SET #time = :now ADD #last :one")
                .condition_expression("#time > :quiet"),
            Turn::Begin => request
                .update_expression(
                    "SET #epoch = if_not_exists(#epoch, :now), #base = if_not_exists(#last, :zero), #time = :now ADD #last :one",
                )
                .condition_expression("attribute_not_exists(#time) OR #time <= :quiet")
                .expression_attribute_names("#epoch", "epoch")
                .expression_attribute_names("#base", "base")
                .expression_attribute_values(":zero", number(0)),
        };
        match request.send().await {
            Ok(given) => {
                self.count(Kind::GiveOut, given.consumed_capacity(), 1.0);
                given.attributes().map(head).transpose()
            }
            Err(error) => {
                self.count(Kind::GiveOut, None, 1.0);
                match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
                    _ => Err(failure(&error)),
                }
            }
        }
    }

    async fn put_slot(
        &self,
        log: &LogName,
        offset: u64,
        slot: &Slot,
        expires: u64,
    ) -> Result<Option<Slot>, TableError> {
        let mut item = item(log.as_str(), offset, slot.time(), expires);
        match slot {
            Slot::Filler { .. } => {
                item.insert("filler".into(), AttributeValue::Bool(true));
            }
            Slot::Message { draft, key, .. } => {
                item.insert("text".into(), text(draft.text.as_str()));
                item.extend(draft.nick.iter().map(|nick| ("nick".into(), text(nick.as_str()))));
                item.extend(key.iter().map(|key| ("key".into(), text(key.as_str()))));
            }
        }
        let units = write_units(slot.size(log));
        let request = self
            .sdk
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#log)")
            .expression_attribute_names("#log", "log")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(put) => {
                self.count(Kind::PutSlot, put.consumed_capacity(), units);
                Ok(None)
            }
            Err(error) => {
                self.count(Kind::PutSlot, None, units);
                old_item(&error).and_then(|old| self::slot(old).map(Some))
            }
        }
    }

    async fn put_key(
        &self,
        log: &LogName,
        key: &Key,
        to: Pointer,
        quiet: u64,
        expires: u64,
    ) -> Result<Option<Pointer>, TableError> {
        let mut item = item(&log.of_key(key), 0, to.time, expires);
        item.insert("slot".into(), number(to.slot));
        let request = self
            .sdk
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#log) OR #time < :quiet")
            .expression_attribute_names("#log", "log")
            .expression_attribute_names("#time", "time")
            .expression_attribute_values(":quiet", number(quiet))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(put) => {
                self.count(Kind::PutKey, put.consumed_capacity(), 1.0);
                Ok(None)
            }
            Err(error) => {
                self.count(Kind::PutKey, None, 1.0);
                old_item(&error).and_then(|old| pointer(old).map(Some))
            }
        }
    }

    async fn move_key(
        &self,
        log: &LogName,
        key: &Key,
        from: u64,
        to: Pointer,
        expires: u64,
    ) -> Result<Moved, TableError> {
        let request = self
            .sdk
            .update_item()
            .table_name(&self.table)
            .key("log", text(&log.of_key(key)))
            .key("offset", number(0))
            .update_expression("SET #slot = :slot, #time = :time, #expires = :expires")
            .condition_expression("#slot = :from")
            .expression_attribute_names("#slot", "slot")
            .expression_attribute_names("#time", "time")
            .expression_attribute_names("#expires", "expires")
            .expression_attribute_values(":slot", number(to.slot))
            .expression_attribute_values(":time", number(to.time))
            .expression_attribute_values(":expires", number(expires))
            .expression_attribute_values(":from", number(from))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(moved) => {
                self.count(Kind::MoveKey, moved.consumed_capacity(), 1.0);
                Ok(Moved::Done)
            }
            Err(error) => {
                self.count(Kind::MoveKey, None, 1.0);
                match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(failed)) => match failed.item() {
                        Some(old) => pointer(old).map(Moved::Elsewhere),
                        None => Ok(Moved::Gone),
                    },
                    _ => Err(failure(&error)),
                }
            }
        }
    }

    async fn query(
        &self,
        log: &LogName,
        range: Range,
        consistency: Consistency,
        limit: usize,
    ) -> Result<Page, TableError> {
        let (condition, offset, upward) = match range {
            Range::Above(offset) => ("#log = :log AND #offset > :offset", offset, true),
            Range::Below(offset) => ("#log = :log AND #offset < :offset", offset, false),
        };
        let strong = consistency == Consistency::Strong;
        let least = if strong { 1.0 } else { 0.5 };
        let request = self
            .sdk
            .query()
            .table_name(&self.table)
            .key_condition_expression(condition)
            .expression_attribute_names("#log", "log")
            .expression_attribute_names("#offset", "offset")
            .expression_attribute_values(":log", text(log.as_str()))
            .expression_attribute_values(":offset", number(offset))
            .scan_index_forward(upward)
            .consistent_read(strong)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(found) => {
                self.count(Kind::Query, found.consumed_capacity(), least);
                let slots = found.items().iter().map(|item| Ok((field(item, "offset")?, slot(item)?)));
                Ok(Page { slots: slots.collect::<Result<_, _>>()?, more: found.last_evaluated_key().is_some() })
            }
            Err(error) => {
                self.count(Kind::Query, None, least);
                Err(failure(&error))
            }
        }
    }

    async fn head(&self, channel: &Channel) -> Result<Option<Head>, TableError> {
        let request = self
            .sdk
            .get_item()
            .table_name(&self.table)
            .key("log", text(channel.as_str()))
            .key("offset", number(0))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(found) => {
                self.count(Kind::Head, found.consumed_capacity(), 1.0);
                found.item().map(head).transpose()
            }
            Err(error) => {
                self.count(Kind::Head, None, 1.0);
                Err(failure(&error))
            }
        }
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// What every item but a head has.
fn item(log: &str, offset: u64, time: u64, expires: u64) -> Item {
    [("log", text(log)), ("offset", number(offset)), ("time", number(time)), ("expires", number(expires))]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// One unit for each begun KiB.
fn write_units(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX))
}

fn field(item: &Item, name: &str) -> Result<u64, TableError> {
    let number = item.get(name).and_then(|value| value.as_n().ok()?.parse().ok());
    number.filter(|number| *number < NUMBER_BOUND).ok_or(TableError::Corrupt)
}

fn head(item: &Item) -> Result<Head, TableError> {
    Ok(Head {
        epoch: field(item, "epoch")?,
        last: field(item, "last")?,
        time: field(item, "time")?,
        base: field(item, "base")?,
    })
}

fn pointer(item: &Item) -> Result<Pointer, TableError> {
    Ok(Pointer { slot: field(item, "slot")?, time: field(item, "time")? })
}

fn slot(item: &Item) -> Result<Slot, TableError> {
    let time = field(item, "time")?;
    if item.contains_key("filler") {
        return Ok(Slot::Filler { time });
    }
    let string = |name: &str| match item.get(name).map(AttributeValue::as_s) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.clone())),
        Some(Err(_)) => Err(TableError::Corrupt),
    };
    let text = string("text")?.ok_or(TableError::Corrupt)?;
    Slot::message(time, text, string("nick")?, string("key")?).ok_or(TableError::Corrupt)
}

/// The item that stood in the way of a put.
fn old_item(error: &SdkError<PutItemError>) -> Result<&Item, TableError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item().ok_or(TableError::NoAnswer),
        _ => Err(failure(error)),
    }
}

/// What may be assumed after an error. Its cause is logged here, once.
fn failure<E: std::error::Error + ProvideErrorMetadata + 'static>(error: &SdkError<E>) -> TableError {
    let code = error.code();
    tracing::warn!(code, error = %aws_sdk_dynamodb::error::DisplayErrorContext(error), "the table failed");
    match code {
        Some("ThrottlingException" | "ProvisionedThroughputExceededException" | "RequestLimitExceeded") => {
            TableError::Throttled
        }
        _ => TableError::NoAnswer,
    }
}
