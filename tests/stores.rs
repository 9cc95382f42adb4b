//! The suite of all stores, over the memory store. That of DynamoDB runs it beside its simulation.

use std::sync::Arc;

use pubsub::{clock::Clock, limits::Limits, memory::Memory};
use tests::suite::{Bench, RETENTION};

fn bench() -> Bench {
    let clock = Clock::starting_at(1_000_000_000_000);
    Bench { store: Arc::new(Memory::new(clock.clone(), RETENTION, Limits::default())), clock }
}

tests::store_suite!(bench());
