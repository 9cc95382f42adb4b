//! What a held poll takes of the server while nothing happens.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{Common, Outcome, crowd::Crowd, progress, report, tally::Verdict};

/// What it is told.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// How many are held
    #[arg(long, default_value_t = 1000)]
    held: usize,

    /// How long they are watched
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Options {
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let Self { common, held, seconds } = self;
        let usage = || -> Outcome<_> { Ok(common.usage()?.ok_or("--pid is needed: the server's process")?) };
        common.at_rest()?;
        let before = usage()?;
        let mut crowd = Crowd::gather(common, *held, 1)?;
        crowd.pause(Duration::from_secs_f64(seconds.min(1.0)))?;
        let begun = usage()?;
        progress(format_args!("watching {held} for {seconds} s"));
        crowd.pause(Duration::try_from_secs_f64(*seconds)?)?;
        let after = usage()?;
        let each = |grown: f64| grown / *held as f64;
        let cpu = after.cpu.saturating_sub(begun.cpu).as_secs_f64() * 1e6;
        let verdict = crowd.verdict()?;
        report(
            "idle",
            common,
            json!({
                "held": held, "seconds": seconds, "memory_before_kib": before.memory_kib,
                "memory_kib": each(after.memory_kib as f64 - before.memory_kib as f64),
                "descriptors": each(after.descriptors as f64 - before.descriptors as f64),
                "cpu_us_per_s": each(cpu / seconds), "verdict": verdict,
            }),
        )?;
        Ok(verdict)
    }
}
