//! The real code of the store, the followers and the holds over a simulated table: one thread, virtual time, and one
//! seed that decides everything.
//!
//! A run has two busy phases and quiet days between them. In a busy phase several publishers on several processes
//! publish, crash, and try again elsewhere, while subscribers hold, look, break off and change processes; requests get
//! lost, land late, or are refused. In between, time passes, items expire, and now and then a head or the whole table
//! is lost. What they all saw is a history, and the checker judges it.

mod random;
mod scenario;
pub(crate) mod table;

use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use self::scenario::{Outcome, simulate};
use crate::wrong::Wrong;

/// How often each thing happened.
type Counts = BTreeMap<&'static str, u64>;

/// Runs seeds from 1 on until there are enough, or one fails. Says what happened in all of them, and the first failure.
fn run(seeds: u64, wrong: Option<Wrong>) -> (Counts, Option<(u64, Outcome)>) {
    let (next, failed) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    let worker = || {
        let (mut counts, mut failure) = (Counts::new(), None);
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed > seeds.min(failed.load(Relaxed)) {
                return (counts, failure);
            }
            let outcome = simulate(seed, wrong);
            for (what, count) in &outcome.counts {
                *counts.entry(*what).or_default() += count;
            }
            if outcome.verdict.is_err() {
                failed.fetch_min(seed, Relaxed);
                failure = Some((seed, outcome));
            }
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let (mut counts, mut failure) = (Counts::new(), None::<(u64, Outcome)>);
        for worker in workers {
            let (theirs, failed) = worker.join().unwrap();
            for (what, count) in theirs {
                *counts.entry(what).or_default() += count;
            }
            failure = [failure, failed].into_iter().flatten().min_by_key(|(seed, _)| *seed);
        }
        (counts, failure)
    })
}

fn seeds(default: u64) -> u64 {
    env::var("SEEDS").map_or(default, |seeds| seeds.parse().expect("SEEDS is a number"))
}

#[test]
fn every_promise_is_kept_whatever_happens() {
    if let Ok(seed) = env::var("SEED") {
        let outcome = simulate(seed.parse().expect("SEED is a number"), None);
        println!("{}", outcome.story());
        return assert_eq!(outcome.verdict, Ok(()));
    }
    let seeds = seeds(2_000);
    let (counts, failure) = run(seeds, None);
    println!("{seeds} seeds: {counts:#?}");
    if let Some((seed, outcome)) = failure {
        panic!("SEED={seed} {}\n{:#?}", outcome.story(), outcome.verdict);
    }
    for fault in [
        "request lost",
        "response lost",
        "landed late",
        "slow",
        "throttled",
        "stale query",
        "given up",
        "publisher crashed",
        "subscriber broke off",
        "item expired",
        "published again",
        "head deleted",
        "table made anew",
        "quiet days",
    ] {
        let count = counts.get(fault).copied().unwrap_or_default();
        assert!(count * 2_000 >= 1_000 * seeds, "{fault} happened {count} times only");
    }
}

#[test]
fn every_wrong_variant_is_caught() {
    for wrong in Wrong::ALL {
        let (_, failure) = run(10_000, Some(wrong));
        let (seed, outcome) = failure.unwrap_or_else(|| panic!("{wrong:?} was not caught"));
        let fault = outcome.verdict.expect_err("a failure").remove(0);
        println!("{wrong:?}: seed {seed}: {fault}");
    }
}

#[test]
fn a_seed_decides_everything() {
    let (one, again) = (simulate(7, None), simulate(7, None));
    assert_eq!(one.story(), again.story());
}
