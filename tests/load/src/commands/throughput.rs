//! Publishers who publish as fast as they are answered, and subscribers who poll as fast as they are.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    Common, Outcome, clock,
    crowd::{Crowd, Event},
    durations::Durations,
    micros_each, process, progress, report,
    tally::Verdict,
};

/// What it is told.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// How many publish, each one message at a time
    #[arg(long, default_value_t = 8)]
    publishers: usize,

    /// How many subscribe
    #[arg(long, default_value_t = 100)]
    subscribers: usize,

    /// How long they publish
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Options {
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let Self { common, publishers, subscribers, seconds } = self;
        let mut crowd = Crowd::gather(common, *subscribers, *publishers)?;
        let (server, own) = (common.usage()?, process::own_cpu());
        let (mut delivered, mut accepted) = (Durations::default(), Durations::default());
        let mut heard = |event| match event {
            Event::Delivered(_, took) => delivered.add(took),
            Event::Accepted(took) => accepted.add(took),
        };
        let begun = clock::now();
        let until = begun + Duration::try_from_secs_f64(*seconds)?;
        crowd.publishes_again = true;
        crowd.all_publish()?;
        while clock::now() < until {
            progress(format_args!("{:.1} of {seconds} s", (clock::now() - begun).as_secs_f64()));
            crowd.turn(until, &mut heard)?;
        }
        let took = (clock::now() - begun).as_secs_f64();
        let own = process::own_cpu() - own;
        let server = common.usage()?.zip(server).map(|(after, before)| after.cpu.saturating_sub(before.cpu));
        crowd.publishes_again = false;
        let verdict = crowd.verdict()?;
        let each = |number: u64| (number as f64 / took).round();
        report(
            "throughput",
            common,
            json!({
                "publishers": publishers, "subscribers": subscribers, "seconds": took,
                "accepted_per_s": each(accepted.total()), "delivered_per_s": each(delivered.total()),
                "accepted_p50_ms": accepted.at(500), "accepted_p99_ms": accepted.at(990),
                "delivered_p50_ms": delivered.at(500), "delivered_p99_ms": delivered.at(990),
                "refused": crowd.published().1, "verdict": verdict,
                "server_cpu_us": server.and_then(|cpu| micros_each(cpu, delivered.total())),
                "client_cpu_us": micros_each(own, delivered.total()),
            }),
        )?;
        Ok(verdict)
    }
}
