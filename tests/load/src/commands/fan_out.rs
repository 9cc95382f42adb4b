//! One message to many who are held: when the first, the median, nearly all and the last of them have it.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    Common, Outcome,
    clock::{self, millis},
    crowd::Crowd,
    micros_each, process, progress, report,
    tally::Verdict,
};

/// What it is told.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// How many are held
    #[arg(long, default_value_t = 1000)]
    held: usize,

    /// How many messages, one after another
    #[arg(long, default_value_t = 10)]
    rounds: usize,

    /// Milliseconds before each message, in which all come to be held again
    #[arg(long, default_value_t = 300)]
    pause_ms: u64,

    /// Milliseconds that the pause is longer at most, at random
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
}

impl Options {
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let Self { common, held, rounds, .. } = self;
        let mut crowd = Crowd::gather(common, *held, 1)?;
        for round in 1..=*rounds {
            progress(format_args!("message {round} of {rounds} to {held}"));
            crowd.pause(self.pause())?;
            let (server, own) = (common.usage()?, process::own_cpu());
            let sent = clock::now();
            crowd.publish(0)?;
            let mut took = Vec::with_capacity(*held);
            let lacking = crowd.until_delivered(&mut |_, _| took.push(clock::now() - sent))?;
            crowd.until_accepted()?;
            // The server's part in the next polls is part of the delivery.
            crowd.pause(Duration::from_millis(self.pause_ms.min(100)))?;
            let own = process::own_cpu() - own;
            let server = common.usage()?.zip(server).map(|(after, before)| after.cpu.saturating_sub(before.cpu));
            took.sort();
            let at = |thousandths: usize| {
                let rank = (took.len() * thousandths).div_ceil(1000).max(1);
                took.get(rank - 1).copied().map(millis)
            };
            let had = took.len() as u64;
            report(
                "fan-out",
                common,
                json!({
                    "held": held, "round": round, "lacking": lacking,
                    "first_ms": took.first().copied().map(millis), "median_ms": at(500), "p99_ms": at(990),
                    "last_ms": at(1000),
                    "server_cpu_us": server.and_then(|cpu| micros_each(cpu, had)),
                    "client_cpu_us": micros_each(own, had),
                }),
            )?;
        }
        let verdict = crowd.verdict()?;
        report("fan-out", common, json!({ "held": held, "verdict": verdict }))?;
        Ok(verdict)
    }

    /// Any time will do that has nothing to do with the server's own.
    fn pause(&self) -> Duration {
        let chance = clock::now().as_nanos() as u64 / 1009;
        Duration::from_millis(self.pause_ms + chance % (self.jitter_ms + 1))
    }
}
