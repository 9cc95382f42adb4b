//! What happens in one run.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use pubsub::{
    batch::{Batch, Limit},
    channel::Channel,
    clock::{self, Clock},
    cursor::Cursor,
    limits::Limits,
    message::{Draft, Key, Text},
    service::{Service, Wanted},
    store::Start,
};
use tests::checker::{Chain, History, Poll, Publish, Rules, check};
use tokio::{
    runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    random::Random,
    table::{Faults, SimulatedTable},
};
use crate::{DynamoDb, wrong::Wrong};

const BEGUN_MS: u64 = 1_000_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const RETENTION: Duration = Duration::from_secs(24 * 3600);
const SKEW_MS: u64 = 4_000;
const PROCESSES: u64 = 4;
const PUBLISHERS: u64 = 3;
const SUBSCRIBERS: u64 = 3;
/// Of each publisher, in each of the two busy phases.
const MESSAGES: u64 = 8;

/// What became of a run.
pub(super) struct Outcome {
    pub(super) verdict: Result<(), Vec<String>>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    history: History,
}

impl Outcome {
    /// The history, for people.
    pub(super) fn story(&self) -> String {
        let mut story = String::from("\n");
        for Publish { text, key, begun, ended, id } in &self.history.publishes {
            let _ = writeln!(story, "{begun:?} – {ended:?} publish {text} {key:?} → {id:?}");
        }
        for (number, chain) in self.history.chains.iter().enumerate() {
            let _ = writeln!(story, "subscriber {number} from {:?}", chain.start);
            for Poll { begun, ended, messages, cursor, missed } in &chain.polls {
                let _ = writeln!(story, "  {begun:?} – {ended:?} → {cursor} {missed} {messages:?}");
            }
        }
        let _ = writeln!(story, "audit {:?}", self.history.audit);
        story
    }
}

/// Runs one seed.
pub(super) fn simulate(seed: u64, wrong: Option<Wrong>) -> Outcome {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let simulation = Arc::new(Simulation::new(seed, wrong));
        simulation.run().await;
        let history = simulation.history.lock().unwrap().clone();
        let rules =
            Rules { patience: Duration::from_secs(20), retention: RETENTION, skew: Duration::from_millis(2 * SKEW_MS) };
        Outcome { verdict: check(&history, rules), counts: simulation.table.counts(), history }
    })
}

struct Process {
    service: Service,
    clock: Clock,
}

struct Simulation {
    random: Mutex<Random>,
    clock: Clock,
    table: SimulatedTable,
    processes: Vec<Process>,
    channel: Channel,
    history: Mutex<History>,
    /// Whether subscribers go on.
    awake: AtomicBool,
}

impl Simulation {
    fn new(seed: u64, wrong: Option<Wrong>) -> Self {
        let mut random = Random::new(seed);
        let clock = Clock::starting_at(BEGUN_MS);
        let table = SimulatedTable::new(clock.clone(), random.fork(), wrong);
        let process = |_| {
            let clock = Clock::starting_at(BEGUN_MS + random.below(SKEW_MS));
            let mut store = DynamoDb::new(table.clone(), clock.clone(), RETENTION);
            store.wrong = wrong;
            Process { service: Service::new(Arc::new(store), clock.clone(), &Limits::default()), clock }
        };
        let processes = (0..PROCESSES).map(process).collect();
        let channel = Channel::default();
        Self {
            random: Mutex::new(random),
            clock,
            table,
            processes,
            channel,
            history: Mutex::default(),
            awake: AtomicBool::new(false),
        }
    }

    async fn run(self: &Arc<Self>) {
        let mut cursors = vec![None; SUBSCRIBERS as usize];
        self.busy(0, MESSAGES, &mut cursors).await;
        self.quiet().await;
        self.busy(1, MESSAGES, &mut cursors).await;
        self.audit().await;
        self.lose();
        self.busy(2, 1, &mut cursors).await;
    }

    fn fork(&self) -> Random {
        self.random.lock().unwrap().fork()
    }

    /// The true time since the beginning.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.clock.unix_ms() - BEGUN_MS)
    }

    /// Everybody publishes and subscribes while things go wrong; then nothing goes wrong until all have all.
    async fn busy(self: &Arc<Self>, phase: u64, messages: u64, cursors: &mut [Option<Cursor>]) {
        let mut random = self.fork();
        let harshness = random.one_of(&[0, 1, 4]);
        self.table.set_faults(Faults {
            request_lost: 8 * harshness,
            response_lost: 12 * harshness,
            late: 12 * harshness,
            slow: 15 * harshness,
            throttled: 10 * harshness,
            stale: 200,
        });
        self.awake.store(true, Relaxed);
        let mut subscribers = JoinSet::new();
        for (number, cursor) in cursors.iter().enumerate() {
            let (simulation, cursor, random) = (Arc::clone(self), *cursor, self.fork());
            subscribers.spawn(async move { (number, simulation.subscribe(cursor, random).await) });
        }
        let mut publishers = JoinSet::new();
        for number in 0..PUBLISHERS {
            let (simulation, random) = (Arc::clone(self), self.fork());
            publishers.spawn(async move { simulation.publish(phase, number, messages, random).await });
        }
        publishers.join_all().await;
        self.table.set_faults(Faults { stale: 200, ..Faults::default() });
        // Longer than any request takes to land.
        sleep(Duration::from_secs(62)).await;
        self.awake.store(false, Relaxed);
        for (number, cursor) in subscribers.join_all().await {
            cursors[number] = cursor;
        }
    }

    /// Days in which hardly anybody speaks.
    async fn quiet(&self) {
        let mut random = self.fork();
        self.table.count("quiet days");
        for day in 0..=random.below(4) {
            let hours = random.one_of(&[10 * HOUR, 24 * HOUR - HOUR / 12, 24 * HOUR + HOUR / 2, 25 * HOUR, 51 * HOUR]);
            let by = hours + random.duration_ms(0, 600_000);
            self.clock.advance(by);
            for process in &self.processes {
                process.clock.advance(by);
            }
            for _ in 0..random.below(3) {
                self.table.expire();
            }
            if random.chance(300) {
                self.publish_once(&format!("quiet.{day}"), None, &mut random).await;
                sleep(Duration::from_secs(5)).await;
            }
        }
        if random.chance(200) {
            self.lose();
        }
    }

    /// Somebody loses the log.
    fn lose(&self) {
        if self.random.lock().unwrap().chance(500) {
            self.table.behead();
        } else {
            self.table.clear();
        }
    }

    async fn publish(&self, phase: u64, number: u64, messages: u64, mut random: Random) {
        for message in 0..messages {
            let text = format!("{phase}.{number}.{message}");
            let key = random.chance(500).then_some(text.as_str());
            if key.is_some() && random.chance(100) {
                let (mut one, mut other) = (random.fork(), random.fork());
                tokio::join!(self.publish_once(&text, key, &mut one), self.publish_once(&text, key, &mut other));
            }
            for _ in 0..4 {
                let done = self.publish_once(&text, key, &mut random).await;
                if key.is_none() || (done && random.chance(700)) {
                    break;
                }
                self.table.count("published again");
                sleep(random.duration_ms(0, 3_000)).await;
            }
            let pauses = random.one_of(&[0, 20, 300, 3_000]);
            sleep(random.duration_ms(0, pauses)).await;
        }
    }

    /// One attempt on some process, which may crash at any moment of it.
    async fn publish_once(&self, text: &str, key: Option<&str>, random: &mut Random) -> bool {
        let process = &self.processes[random.below(PROCESSES) as usize];
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        let parsed = key.map(|key| Key::parse(key.as_bytes()).unwrap());
        let begun = self.elapsed();
        let patience = if random.chance(150) {
            self.table.count("publisher crashed");
            random.duration_ms(0, 60)
        } else {
            Duration::MAX
        };
        let published = timeout(patience, process.service.publish(&self.channel, draft, parsed)).await;
        let id = published.ok().and_then(Result::ok).map(|appended| appended.id);
        let (text, key) = (text.to_owned(), key.map(str::to_owned));
        self.history.lock().unwrap().publishes.push(Publish { text, key, begun, ended: self.elapsed(), id });
        id.is_some()
    }

    /// Polls until it is told to stop, and says where it stands.
    async fn subscribe(&self, mut cursor: Option<Cursor>, mut random: Random) -> Option<Cursor> {
        let mut first = Start::Latest;
        if cursor.is_none() && random.chance(700) {
            cursor = Some(Cursor::ORIGIN);
        } else if random.chance(500) {
            first = Start::Earliest;
        }
        let mut chain = Chain { start: cursor, polls: vec![] };
        while self.awake.load(Relaxed) {
            let process = &self.processes[random.below(PROCESSES) as usize];
            let start = cursor.map_or(first, Start::After);
            let wait = Duration::from_secs(random.one_of(&[0, 1, 5, 25]));
            let limit = Limit::clamped(random.one_of(&[1, 3, 100])).unwrap();
            let begun = self.elapsed();
            let poll = process.service.subscribe(&self.channel, start, Wanted::Batch(limit), clock::now() + wait);
            let patience = if random.chance(150) { random.duration_ms(0, 2_000) } else { Duration::MAX };
            match timeout(patience, poll).await {
                Err(_) => self.table.count("subscriber broke off"),
                Ok(Err(_)) => {}
                Ok(Ok(batch)) => {
                    cursor = Some(batch.cursor());
                    chain.polls.push(self.answered(begun, &batch));
                }
            }
            let pauses = if wait.is_zero() { 3_000 } else { 200 };
            sleep(random.duration_ms(0, pauses)).await;
        }
        self.history.lock().unwrap().chains.push(chain);
        cursor
    }

    fn answered(&self, begun: Duration, batch: &Batch) -> Poll {
        let messages = batch.messages().iter();
        Poll {
            begun,
            ended: self.elapsed(),
            messages: messages.map(|message| (message.id(), message.text().as_str().to_owned())).collect(),
            cursor: batch.cursor(),
            missed: batch.missed(),
        }
    }

    /// Reads all that is there.
    async fn audit(&self) {
        let service = &self.processes[0].service;
        let mut start = Start::Earliest;
        let mut all = Vec::new();
        loop {
            let wanted = Wanted::Batch(Limit::MAX);
            let batch = service.subscribe(&self.channel, start, wanted, clock::now()).await.unwrap();
            if batch.messages().is_empty() {
                break;
            }
            all.extend(self.answered(Duration::ZERO, &batch).messages);
            start = Start::After(batch.cursor());
        }
        self.history.lock().unwrap().audit = Some((self.elapsed(), all));
    }
}
