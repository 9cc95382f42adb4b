//! What messages and held polls cost in a table of DynamoDB, by linger's own metrics.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::{Common, Outcome, crowd::Crowd, metrics::Metrics, progress, report, tally::Verdict};

/// What it is told.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// How many messages are published, one after another
    #[arg(long, default_value_t = 100)]
    messages: usize,

    /// How many polls are held, all on one channel
    #[arg(long, default_value_t = 1)]
    held: usize,

    /// How long they are held while nothing is published
    #[arg(long, default_value_t = 25.0)]
    seconds: f64,
}

/// Requests and units by kind.
type Store = BTreeMap<String, (f64, f64)>;

impl Options {
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let Self { common, messages, held, seconds } = self;
        let mut publisher = Crowd::gather(common, 0, 1)?;
        let before = self.store()?;
        for number in 0..*messages {
            progress(format_args!("message {number} of {messages}"));
            publisher.publish(0)?;
            publisher.until_accepted()?;
        }
        let (published, after) = (publisher.published(), self.store()?);
        let measured = json!({
            "messages": messages, "refused": published.1, "per_message": each(&before, &after, *messages as f64),
        });
        report("table", common, measured)?;

        let mut crowd = Crowd::gather(common, *held, 1)?;
        // A follower looks less often after a while without news.
        crowd.pause(Duration::from_secs_f64(seconds.min(5.0)))?;
        let before = self.store()?;
        progress(format_args!("{held} held for {seconds} s"));
        crowd.pause(Duration::try_from_secs_f64(*seconds)?)?;
        let used = each(&before, &self.store()?, *held as f64);
        let verdict = crowd.verdict()?;
        report("table", common, json!({ "held": held, "seconds": seconds, "per_hold": used, "verdict": verdict }))?;
        Ok(verdict)
    }

    fn store(&self) -> Outcome<Store> {
        let metrics = Metrics::ask(&self.common.target)?.ok_or("the server has no metrics of linger")?;
        let store: Store =
            metrics.store().into_iter().map(|(kind, requests, units)| (kind, (requests, units))).collect();
        if store.is_empty() {
            return Err("the server has no table: start linger with --store dynamodb".into());
        }
        Ok(store)
    }
}

/// What each of so many took, by kind of request.
fn each(before: &Store, after: &Store, number: f64) -> Value {
    let kinds = after.iter().filter_map(|(kind, (requests, units))| {
        let (requests_before, units_before) = before.get(kind).copied().unwrap_or_default();
        let (requests, units) = ((requests - requests_before) / number, (units - units_before) / number);
        (requests > 0.0).then(|| (kind.clone(), json!({ "requests": requests, "units": units })))
    });
    Value::Object(kinds.collect())
}
