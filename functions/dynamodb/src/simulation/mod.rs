//! The real code of the store, the followers and the holds over a simulated table: one thread, virtual time, and one
//! seed that decides everything.
//!
//! A run has busy phases and quiet days between them. Some subscribers stay from beginning to end; others come, begin
//! in every possible way, and go. Requests get lost, land late, or are refused; publishers crash and try again
//! elsewhere; processes are cut off, frozen, or have wrong clocks; items expire and are deleted; the retention is
//! raised; a head or the whole table is lost. The checker judges the history of what all of them saw.

mod lies;
pub(crate) mod line;
mod people;
mod process;
mod random;
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement"
)]
mod rate;
mod scenario;
mod story;
pub(crate) mod table;

use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use self::{
    lies::Lie,
    scenario::{Outcome, simulate},
};

/// How often each thing happened.
type Counts = BTreeMap<&'static str, u64>;

/// Runs seeds from 1 on until there are enough, or one fails. Returns what happened in all of them, and the first
/// failure.
fn run(seeds: u64, lie: Option<Lie>) -> (Counts, Option<(u64, Outcome)>) {
    let (next, failed) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    let worker = || {
        let (mut counts, mut failure) = (Counts::new(), None);
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed > seeds.min(failed.load(Relaxed)) {
                return (counts, failure);
            }
            let outcome = simulate(seed, lie);
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

/// What must happen in every thousand runs, and how often at least.
const SEEN: [(&str, u64); 26] = [
    ("request lost", 500),
    ("response lost", 500),
    ("landed late", 500),
    ("slow", 500),
    ("throttled", 500),
    ("overload", 50),
    ("stale query", 500),
    ("page cut short", 500),
    ("given up", 200),
    ("clock refused", 100),
    ("cut off", 100),
    ("frozen", 100),
    ("time jumped", 100),
    ("publisher crashed", 500),
    ("subscriber broke off", 500),
    ("began", 500),
    ("looked back", 500),
    ("another channel answered", 500),
    ("item expired", 500),
    ("published again", 500),
    ("key reused", 200),
    ("retention raised", 50),
    ("later version", 10),
    ("head deleted", 200),
    ("table made anew", 200),
    ("table missing", 50),
];

#[test]
fn every_promise_is_kept_whatever_happens() {
    if let Ok(seed) = env::var("SEED") {
        let outcome = simulate(seed.parse().expect("SEED is a number"), None);
        println!("{}", outcome.story());
        return assert_eq!(outcome.verdict, Ok(()));
    }
    let seeds = seeds(1_500);
    let (counts, failure) = run(seeds, None);
    println!("{seeds} seeds: {counts:#?}");
    if let Some((seed, outcome)) = failure {
        panic!("SEED={seed} {}\n{:#?}", outcome.story(), outcome.verdict);
    }
    for (what, least) in SEEN {
        let count = counts.get(what).copied().unwrap_or_default();
        assert!(count * 1_000 >= least * seeds, "{what} happened {count} times only");
    }
}

#[test]
fn every_lie_of_a_table_is_caught() {
    for lie in Lie::ALL {
        let (_, failure) = run(10_000, Some(lie));
        let (seed, outcome) = failure.unwrap_or_else(|| panic!("{lie:?} was not caught"));
        let fault = outcome.verdict.expect_err("a failure").remove(0);
        println!("{lie:?}: seed {seed}: {fault}");
    }
}

#[test]
fn a_seed_tells_one_story() {
    let twice = |seed| {
        let (one, again) = (simulate(seed, None), simulate(seed, None));
        assert!(one.story() == again.story(), "SEED={seed} tells two stories");
    };
    let (seeds, next) = (seeds(40), AtomicU64::new(1));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Relaxed)
                    && seed <= seeds
                {
                    twice(seed);
                }
            });
        }
    });
}
