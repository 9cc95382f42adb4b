//! Many who poll again at the same moment: once when there is nothing new, and once when there are two new messages.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    Common, Outcome,
    clock::{self, millis},
    crowd::Crowd,
    metrics::Metrics,
    progress, report,
    tally::Verdict,
};

/// What it is told.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// How many poll
    #[arg(long, default_value_t = 1000)]
    held: usize,

    /// How often they do
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl Options {
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let Self { common, held, rounds } = self;
        let mut crowd = Crowd::gather(common, *held, 1)?;
        for round in 1..=*rounds {
            progress(format_args!("round {round} of {rounds}: {held} poll again"));
            crowd.pause(Duration::from_millis(300))?;
            self.release(&mut crowd, 1)?;
            let (reads, begun) = (self.reads()?, clock::now());
            crowd.all_poll()?;
            let held_ms = crowd.until_held(common)?.then(|| millis(clock::now() - begun));
            let reads_of_nothing = grown(reads, self.reads()?);

            // Who has the first stands before two more, when all poll again.
            self.release(&mut crowd, 1)?;
            self.publish(&mut crowd, 2)?;
            let (reads, begun) = (self.reads()?, clock::now());
            crowd.polls_again = true;
            crowd.all_poll()?;
            let lacking = crowd.until_delivered(&mut |_, _| ())?;
            report(
                "herd",
                common,
                json!({
                    "held": held, "round": round, "lacking": lacking,
                    "held_again_ms": held_ms, "reads_for_nothing": reads_of_nothing,
                    "two_messages_ms": millis(clock::now() - begun), "reads_for_two": grown(reads, self.reads()?),
                }),
            )?;
        }
        let verdict = crowd.verdict()?;
        report("herd", common, json!({ "held": held, "verdict": verdict }))?;
        Ok(verdict)
    }

    /// Answers everybody who is held, and nobody polls again.
    fn release(&self, crowd: &mut Crowd, messages: usize) -> Outcome<()> {
        crowd.polls_again = false;
        self.publish(crowd, messages)?;
        crowd.until_delivered(&mut |_, _| ())?;
        Ok(())
    }

    fn publish(&self, crowd: &mut Crowd, messages: usize) -> Outcome<()> {
        for _ in 0..messages {
            crowd.publish(0)?;
            crowd.until_accepted()?;
        }
        Ok(())
    }

    /// Reads of the table so far; nothing without a table.
    fn reads(&self) -> Outcome<Option<f64>> {
        let metrics = Metrics::ask(&self.common.target)?;
        Ok(metrics.and_then(|metrics| metrics.sum("linger_store_requests_total", Some("query"))))
    }
}

fn grown(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    after.zip(before).map(|(after, before)| after - before)
}
