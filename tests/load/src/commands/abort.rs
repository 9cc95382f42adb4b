//! Held polls whose clients break off: how soon the server has forgotten them, and what is left.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    Common, Outcome,
    clock::{self, millis},
    crowd::Crowd,
    metrics::Metrics,
    process::Usage,
    progress, report,
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

    /// How often they come and break off
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl Options {
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let Self { common, held, rounds } = self;
        common.at_rest()?;
        let before = self.look()?;
        for round in 1..=*rounds {
            progress(format_args!("round {round} of {rounds}: {held} break off"));
            let mut crowd = Crowd::gather(common, *held, 1)?;
            if !crowd.until_held(common)? {
                crowd.pause(Duration::from_millis(300))?;
            }
            drop(crowd);
            let broke_off = clock::now();
            let mut left = self.look()?;
            while left.is_more_than(&before) && clock::now() - broke_off < common.patience()? {
                std::thread::sleep(Duration::from_millis(5));
                left = self.look()?;
            }
            let forgotten = (!left.is_more_than(&before)).then(|| millis(clock::now() - broke_off));
            report(
                "abort",
                common,
                json!({
                    "held": held, "round": round, "forgotten_ms": forgotten,
                    "holds_left": left.holds.zip(before.holds).map(|(left, before)| left - before),
                    "descriptors_left": left.grown(&before, |usage| usage.descriptors as u64),
                    "memory_left_kib": left.grown(&before, |usage| usage.memory_kib),
                }),
            )?;
        }
        // It still serves.
        Crowd::gather(common, 1, 1)?.verdict()
    }

    fn look(&self) -> Outcome<Look> {
        let holds = Metrics::ask(&self.common.target)?.map(|metrics| metrics.holds());
        Ok(Look { holds, usage: self.common.usage()? })
    }
}

/// What a server has at one moment, as far as it can be known.
struct Look {
    holds: Option<f64>,
    usage: Option<Usage>,
}

impl Look {
    fn grown(&self, before: &Self, what: fn(&Usage) -> u64) -> Option<i64> {
        let grown = |(now, before): (&Usage, &Usage)| what(now).cast_signed() - what(before).cast_signed();
        self.usage.as_ref().zip(before.usage.as_ref()).map(grown)
    }

    fn is_more_than(&self, before: &Self) -> bool {
        let descriptors = self.grown(before, |usage| usage.descriptors as u64);
        self.holds > before.holds || descriptors.is_some_and(|grown| grown > 0)
    }
}
