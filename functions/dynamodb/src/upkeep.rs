//! Operations on the whole table, which operators start.

use std::time::Duration;

use aws_sdk_dynamodb::{
    client::Waiters,
    error::{BuildError, ProvideErrorMetadata},
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
    },
};

use crate::client::Client;

/// A table is made within this.
const MADE_MAX: Duration = Duration::from_secs(60);

impl Client {
    /// Makes the table, for development. An existing one is fine.
    ///
    /// # Errors
    /// What DynamoDB says.
    pub async fn create_table(&self) -> Result<(), String> {
        let attribute = |name, kind| AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
        let key = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let said = |error: &dyn ProvideErrorMetadata| error.message().unwrap_or("no answer").to_owned();
        let invalid = |error: BuildError| error.to_string();
        let created = self
            .sdk
            .create_table()
            .table_name(&self.table)
            .attribute_definitions(attribute("log", ScalarAttributeType::S).map_err(invalid)?)
            .attribute_definitions(attribute("offset", ScalarAttributeType::N).map_err(invalid)?)
            .key_schema(key("log", KeyType::Hash).map_err(invalid)?)
            .key_schema(key("offset", KeyType::Range).map_err(invalid)?)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await;
        match created {
            Ok(_) => {}
            // Perhaps an earlier request made it and its answer was lost. Then the next step is still to do.
            Err(error) if error.code() == Some("ResourceInUseException") => {}
            Err(error) => return Err(said(&error)),
        }
        // AWS takes some seconds to make it, and refuses what follows until then.
        let made = self.sdk.wait_until_table_exists().table_name(&self.table).wait(MADE_MAX).await;
        made.map_err(|error| error.to_string())?;
        let expiry = self.sdk.update_time_to_live().table_name(&self.table);
        let specification = TimeToLiveSpecification::builder().attribute_name("expires").enabled(true);
        let expiry = expiry.time_to_live_specification(specification.build().map_err(invalid)?);
        match expiry.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.message().is_some_and(|message| message.contains("already enabled")) => Ok(()),
            Err(error) => Err(said(&error)),
        }
    }

    /// Makes every channel's log begin anew, by deleting all heads: for a table that was restored from a backup, or
    /// that is used again. Its heads are older than what clients have seen, so they would give out offsets twice, and
    /// old cursors would skip messages. Without them each old cursor is answered with `missed`. Returns how many
    /// channels there were.
    ///
    /// Nobody may publish meanwhile. It reads the whole table.
    ///
    /// # Errors
    /// What DynamoDB says. It can be done again.
    pub async fn begin_anew(&self) -> Result<usize, String> {
        let said = |error: &dyn ProvideErrorMetadata| error.message().unwrap_or("no answer").to_owned();
        let scan = self
            .sdk
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("attribute_exists(#epoch)")
            .projection_expression("#log, #offset")
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_names("#log", "log")
            .expression_attribute_names("#offset", "offset");
        let mut heads = scan.into_paginator().items().send();
        let mut count = 0;
        while let Some(head) = heads.next().await {
            let key = head.map_err(|error| said(&error))?;
            let delete = self.sdk.delete_item().table_name(&self.table).set_key(Some(key));
            delete.send().await.map_err(|error| said(&error))?;
            count += 1;
        }
        Ok(count)
    }
}
