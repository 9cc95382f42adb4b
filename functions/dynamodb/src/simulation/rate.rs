//! Holes at a rate: publishers of a busy channel lose one put in a hundred, and followers cope with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub::{
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    message::{Draft, Text},
    store::Store,
};
use tokio::{
    runtime,
    time::{Instant, sleep},
};

use super::{line::Line, random::Random, table::SimulatedTable};
use crate::{DynamoDb, head::Terms, table::Table};

const BEGUN_MS: u64 = 1_000_000_000_000;
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// What a run of publishers and followers has shown.
#[derive(Debug)]
struct Shown {
    /// The longest delay of a message, in each quarter of the run.
    latest: [Duration; 4],
    /// Fillers that were put for each hole.
    fillers: f64,
}

/// Runs so many messages a second for so long, one in a hundred lost between its two requests, with so many followers.
fn run(rate: u64, span: Duration, followers: usize) -> Shown {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Clock::starting_at(BEGUN_MS);
        let table = SimulatedTable::new(clock.clone(), Random::new(rate));
        let process = || Line::new(table.clone(), clock.clone());
        let publisher = Arc::new(DynamoDb::new(process(), clock.clone(), RETENTION));
        let acknowledged: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
        let latest = Arc::new(Mutex::new([Duration::ZERO; 4]));
        let begun = clock::now();
        for _ in 0..followers {
            let store = DynamoDb::new(process(), clock.clone(), RETENTION);
            let (acknowledged, latest) = (Arc::clone(&acknowledged), Arc::clone(&latest));
            tokio::spawn(async move {
                let channel = Channel::default();
                let mut tail = store.tail(&channel, Cursor::ORIGIN);
                loop {
                    let batch = tail.next().await.unwrap().batch;
                    let now = clock::now();
                    let quarter = ((now - begun).as_secs_f64() / span.as_secs_f64() * 4.0) as usize;
                    for message in batch.messages() {
                        let there = acknowledged.lock().unwrap().get(&message.id().offset()).copied();
                        let late = there.map_or(Duration::ZERO, |there| now.saturating_duration_since(there));
                        let longest = &mut latest.lock().unwrap()[quarter.min(3)];
                        *longest = late.max(*longest);
                    }
                }
            });
        }
        let (mut lost, total) = (0_u32, rate * span.as_secs());
        for number in 0..total {
            let (publisher, acknowledged, clock) = (Arc::clone(&publisher), Arc::clone(&acknowledged), clock.clone());
            let dies = number % 100 == 37;
            lost += u32::from(dies);
            tokio::spawn(async move {
                let channel = Channel::default();
                if dies {
                    let terms = Terms::new(clock.unix_ms(), clock::millis(RETENTION));
                    let _ = publisher.table.count_up(&channel, terms).await;
                    return;
                }
                let draft = Draft { nick: None, text: Text::parse(number.to_string()).unwrap() };
                let id = Store::append(&*publisher, &channel, draft, None).await.unwrap().id;
                acknowledged.lock().unwrap().insert(id.offset(), clock::now());
            });
            // The pauses are whole milliseconds, and still make so many messages a second.
            let due = begun + Duration::from_secs_f64((number + 1) as f64 / rate as f64);
            sleep(due.saturating_duration_since(clock::now())).await;
        }
        sleep(Duration::from_secs(5)).await;
        let fillers = table.counts()["put filler"] as f64 / f64::from(lost);
        let latest = *latest.lock().unwrap();
        Shown { latest, fillers }
    })
}

#[test]
fn holes_at_a_rate_keep_nobody_behind() {
    let span = Duration::from_secs(std::env::var("SPAN").map_or(60, |span| span.parse().expect("seconds")));
    for rate in [30, 300, 600] {
        let shown = run(rate, span, 1);
        println!("{rate} a second: {shown:?}");
        assert!(shown.latest.iter().all(|late| *late < Duration::from_millis(2_500)), "{rate}: {shown:?}");
        assert!(shown.latest[3] < shown.latest[0] * 2, "it does not grow: {shown:?}");
    }
}

#[test]
fn fifty_followers_fill_a_hole_a_few_times_only() {
    let shown = run(100, Duration::from_secs(20), 50);
    println!("50 followers: {shown:?}");
    assert!(shown.fillers < 10.0, "{shown:?}");
}
