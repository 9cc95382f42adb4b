//! Each operation of the seam as one request to DynamoDB.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{
        get_item::GetItemOutput,
        put_item::{PutItemError, PutItemOutput, builders::PutItemFluentBuilder},
        query::QueryOutput,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::{
        ConsumedCapacity, ReturnConsumedCapacity::Total, ReturnValue, ReturnValuesOnConditionCheckFailure::AllOld,
    },
};
use pubsub::{channel::Channel, message::Key, meter::Kind};

use crate::{
    attributes::{Item, head_item, head_of, item, number, number_of, pointer_of, slot_item, slot_of, text},
    client::{Client, failure},
    head::{Head, Terms},
    item::{LogName, Pointer, Slot},
    table::{Consistency, CountUp, Moved, Page, Range, Table, TableError},
};

impl Client {
    /// Counts a request. If the endpoint reports no units, `least` is what AWS would bill.
    fn count<O, E>(
        &self,
        kind: Kind,
        least: f64,
        sent: &Result<O, E>,
        reported: impl Fn(&O) -> Option<&ConsumedCapacity>,
    ) {
        let units = sent.as_ref().ok().and_then(reported).and_then(ConsumedCapacity::capacity_units);
        self.meter.count(kind, units.filter(|units| *units > 0.0).unwrap_or(least));
    }

    fn put(&self, item: Item, condition: &str) -> PutItemFluentBuilder {
        self.sdk
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .return_values_on_condition_check_failure(AllOld)
            .return_consumed_capacity(Total)
    }

    fn update(&self, log: &str, update: &str, condition: &str) -> UpdateItemFluentBuilder {
        self.sdk
            .update_item()
            .table_name(&self.table)
            .key("log", text(log))
            .key("offset", number(0))
            .update_expression(update)
            .condition_expression(condition)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(AllOld)
            .return_consumed_capacity(Total)
    }
}

impl Table for Client {
    async fn count_up(&self, channel: &Channel, terms: Terms) -> Result<CountUp, TableError> {
        let condition = "#time > :quiet AND #time < :ahead AND #due > :now \
            AND (#retention >= :retention OR #kept < #retention)";
        let sent = self
            .update(channel.as_str(), "SET #time = :now ADD #last :one", condition)
            .expression_attribute_names("#time", "time")
            .expression_attribute_names("#last", "last")
            .expression_attribute_names("#due", "due")
            .expression_attribute_names("#kept", "kept")
            .expression_attribute_names("#retention", "retention")
            .expression_attribute_values(":now", number(terms.now))
            .expression_attribute_values(":quiet", number(terms.quiet))
            .expression_attribute_values(":ahead", number(terms.ahead))
            .expression_attribute_values(":retention", number(terms.retention))
            .expression_attribute_values(":one", number(1))
            .send()
            .await;
        self.count(Kind::GiveOut, 1.0, &sent, UpdateItemOutput::consumed_capacity);
        match sent {
            Ok(given) => head_of(given.attributes().ok_or(TableError::NoAnswer)?).map(CountUp::Done),
            Err(error) => Ok(CountUp::Refused(update_failed(&error)?.map(head_of).transpose()?)),
        }
    }

    async fn put_head(&self, channel: &Channel, old: Option<Head>, new: Head) -> Result<bool, TableError> {
        let item = head_item(channel, &new);
        let put = match old {
            None => self.put(item, "attribute_not_exists(#log)").expression_attribute_names("#log", "log"),
            Some(old) => self
                .put(item, "#epoch = :epoch AND #last = :last")
                .expression_attribute_names("#epoch", "epoch")
                .expression_attribute_names("#last", "last")
                .expression_attribute_values(":epoch", number(old.epoch))
                .expression_attribute_values(":last", number(old.last)),
        };
        let sent = put.send().await;
        self.count(Kind::GiveOut, 1.0, &sent, PutItemOutput::consumed_capacity);
        match sent {
            Ok(_) => Ok(true),
            Err(error) => put_failed(&error).map(|_| false),
        }
    }

    async fn put_slot(
        &self,
        log: &LogName,
        offset: u64,
        slot: &Slot,
        expires: u64,
    ) -> Result<Option<Slot>, TableError> {
        let put = self.put(slot_item(log, offset, slot, expires), "attribute_not_exists(#log)");
        let sent = put.expression_attribute_names("#log", "log").send().await;
        self.count(Kind::PutSlot, write_units(slot.size(log)), &sent, PutItemOutput::consumed_capacity);
        match sent {
            Ok(_) => Ok(None),
            // The failure has the item that was there.
            Err(error) => put_failed(&error)?.map(slot_of).ok_or(TableError::NoAnswer).map(Some),
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
        let sent = self
            .put(item, "attribute_not_exists(#log) OR #time < :quiet")
            .expression_attribute_names("#log", "log")
            .expression_attribute_names("#time", "time")
            .expression_attribute_values(":quiet", number(quiet))
            .send()
            .await;
        self.count(Kind::PutKey, 1.0, &sent, PutItemOutput::consumed_capacity);
        match sent {
            Ok(_) => Ok(None),
            Err(error) => put_failed(&error)?.map(pointer_of).ok_or(TableError::NoAnswer)?.map(Some),
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
        let sent = self
            .update(&log.of_key(key), "SET #slot = :slot, #time = :time, #expires = :expires", "#slot = :from")
            .expression_attribute_names("#slot", "slot")
            .expression_attribute_names("#time", "time")
            .expression_attribute_names("#expires", "expires")
            .expression_attribute_values(":slot", number(to.slot))
            .expression_attribute_values(":time", number(to.time))
            .expression_attribute_values(":expires", number(expires))
            .expression_attribute_values(":from", number(from))
            .send()
            .await;
        self.count(Kind::MoveKey, 1.0, &sent, UpdateItemOutput::consumed_capacity);
        match sent {
            Ok(_) => Ok(Moved::Done),
            Err(error) => Ok(match update_failed(&error)? {
                Some(old) => Moved::Elsewhere(pointer_of(old)?),
                None => Moved::Gone,
            }),
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
        let sent = self
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
            .return_consumed_capacity(Total)
            .send()
            .await;
        self.count(Kind::Query, if strong { 1.0 } else { 0.5 }, &sent, QueryOutput::consumed_capacity);
        let found = sent.map_err(|error| failure(&error))?;
        let slots = found.items().iter().map(|item| Ok((number_of(item, "offset")?, slot_of(item))));
        Ok(Page { slots: slots.collect::<Result<_, _>>()?, more: found.last_evaluated_key().is_some() })
    }

    async fn head(&self, channel: &Channel) -> Result<Option<Head>, TableError> {
        let sent = self
            .sdk
            .get_item()
            .table_name(&self.table)
            .key("log", text(channel.as_str()))
            .key("offset", number(0))
            .consistent_read(true)
            .return_consumed_capacity(Total)
            .send()
            .await;
        self.count(Kind::Head, 1.0, &sent, GetItemOutput::consumed_capacity);
        sent.map_err(|error| failure(&error))?.item().map(head_of).transpose()
    }
}

/// One unit for each KiB or part of one.
fn write_units(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX))
}

/// The item because of which a put's condition failed, if there is one. Other failures stay errors.
fn put_failed(error: &SdkError<PutItemError>) -> Result<Option<&Item>, TableError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item()),
        _ => Err(failure(error)),
    }
}

/// The same for an update.
fn update_failed(error: &SdkError<UpdateItemError>) -> Result<Option<&Item>, TableError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item()),
        _ => Err(failure(error)),
    }
}
