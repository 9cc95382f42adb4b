//! The events of one run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use pubsub::{
    batch::Limit,
    channel::Channel,
    clock::{self, Clock, millis},
    service::{Place, Wanted},
    store::Start,
};
use tests::checker::{Chain, History, Rules, check};
use tokio::{runtime, task::JoinSet, time::sleep};

use super::{
    lies::Lie,
    line::Faults,
    process::{Process, Running},
    random::Random,
    story::story,
    table::SimulatedTable,
};
use crate::{
    head::Terms,
    item::{LogName, Slot},
    table::{CountUp, Table},
};

const BEGUN_MS: u64 = 1_000_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const PROCESSES: usize = 4;
const PUBLISHERS: u64 = 3;
/// The first has most of the messages, and all faults of single slots.
pub(super) const CHANNELS: [&str; 3] = ["busy", "quiet", "quieter"];
/// The subscribers who stay from beginning to end, and those who come in each busy phase.
const REGULARS: u64 = 2;
const VISITORS: u64 = 4;
/// Longer than any request takes to land.
const SETTLED: Duration = Duration::from_secs(62);

/// The result of a run.
pub(super) struct Outcome {
    pub(super) verdict: Result<(), Vec<String>>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    histories: Vec<History>,
}

impl Outcome {
    /// The histories, for people.
    pub(super) fn story(&self) -> String {
        let tell = |(channel, history): (&&str, &History)| format!("\n{channel}\n{}", story(history));
        CHANNELS.iter().zip(&self.histories).map(tell).collect()
    }
}

/// Runs one seed.
pub(super) fn simulate(seed: u64, lie: Option<Lie>) -> Outcome {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let simulation = Arc::new(Simulation::new(seed, lie));
        simulation.run().await;
        let mut histories = simulation.histories.lock().unwrap().clone();
        for (history, channel) in histories.iter_mut().zip(&simulation.channels) {
            history.written = Some(simulation.table.written(channel));
        }
        let skew = 2 * simulation.plan.skew;
        let rules = Rules {
            // How long a hold waits for a hole, and half a second to notice and to answer.
            patience: SECOND + SECOND / 2,
            patience_of_looks: 11 * SECOND + skew.min(10 * SECOND),
            patience_of_losses: 22 * SECOND,
            skew,
        };
        let judge = |(channel, history): (&&str, &History)| {
            let faults = check(history, rules).err().unwrap_or_default();
            faults.into_iter().map(|fault| format!("{channel}: {fault}")).collect::<Vec<_>>()
        };
        let faults: Vec<_> = CHANNELS.iter().zip(&histories).flat_map(judge).collect();
        let mut verdict = if faults.is_empty() { Ok(()) } else { Err(faults) };
        let said =
            histories.iter().flat_map(|history| &history.publishes).filter(|publish| publish.id.is_some()).count();
        let polls = histories.iter().flat_map(|history| &history.chains).flat_map(|chain| &chain.polls);
        let heard = polls.map(|poll| poll.messages.len()).sum::<usize>();
        if said < 10 || heard < 10 {
            verdict = Err(vec![format!("{said} messages were published, and {heard} delivered")]);
        }
        Outcome { verdict, counts: simulation.table.counts(), histories }
    })
}

/// What a seed decides at the beginning.
pub(super) struct Plan {
    /// How far the clocks of processes that DynamoDB lets in are apart.
    pub(super) skew: Duration,
    /// One process has a clock that is so wrong that DynamoDB refuses it.
    refused_ms: Option<i64>,
    retention: Duration,
    raised_to: Option<Duration>,
    /// Messages of each publisher in each busy phase.
    pub(super) messages: u64,
    later_version: bool,
    page_max: usize,
}

impl Plan {
    fn draw(random: &mut Random) -> Self {
        let raised_to = random.chance(150).then(|| random.one_of(&[24 * HOUR, 72 * HOUR]));
        let skew_ms = random.one_of(&[4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 600_000]);
        let messages = random.one_of(&[6, 6, 6, 8, 8, 8, 60]);
        // If clocks are minutes apart, a beginning sees all that is under way only if one page shows it.
        let short_page = if messages > 10 || skew_ms > 5_000 { 40 } else { 3 };
        Self {
            skew: Duration::from_millis(skew_ms),
            refused_ms: random.chance(200).then(|| random.one_of(&[-93_600_000, -1_200_000, 1_200_000, 93_600_000])),
            retention: if raised_to.is_some() { HOUR } else { 24 * HOUR },
            raised_to,
            messages,
            later_version: random.chance(30),
            page_max: random.one_of(&[usize::MAX, usize::MAX, short_page]),
        }
    }
}

/// One run.
pub(super) struct Simulation {
    random: Mutex<Random>,
    pub(super) plan: Plan,
    /// The true time.
    clock: Clock,
    pub(super) table: SimulatedTable,
    pub(super) processes: Vec<Process>,
    pub(super) channels: [Channel; CHANNELS.len()],
    /// What was seen of each channel.
    pub(super) histories: Mutex<Vec<History>>,
    /// Whether the subscribers who stay go on.
    pub(super) awake: AtomicBool,
}

impl Simulation {
    fn new(seed: u64, lie: Option<Lie>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let clock = Clock::starting_at(BEGUN_MS);
        let table = SimulatedTable::new(clock.clone(), random.fork());
        table.with(|state| (state.stale, state.page_max) = (200, plan.page_max));
        let process = |number| {
            let skew = random.below(millis(plan.skew));
            let off = plan.refused_ms.filter(|_| number == PROCESSES - 1).unwrap_or_default();
            let clock = Clock::starting_at((BEGUN_MS + skew).checked_add_signed(off).unwrap());
            Process::new(&table, clock, lie, plan.retention)
        };
        let processes = (0..PROCESSES).map(process).collect();
        Self {
            random: Mutex::new(random),
            plan,
            clock,
            table,
            processes,
            channels: CHANNELS.map(|name| Channel::parse(name).unwrap()),
            histories: Mutex::new(vec![History::default(); CHANNELS.len()]),
            awake: AtomicBool::new(true),
        }
    }

    async fn run(self: &Arc<Self>) {
        let mut regulars = JoinSet::new();
        for _ in 0..REGULARS {
            let (simulation, random) = (Arc::clone(self), self.fork());
            regulars.spawn(async move { simulation.stay(random).await });
        }
        self.busy(0, self.plan.messages).await;
        self.quiet().await;
        self.busy(1, self.plan.messages).await;
        self.audit().await;
        self.lose().await;
        self.busy(2, 1).await;
        self.awake.store(false, Relaxed);
        regulars.join_all().await;
    }

    pub(super) fn fork(&self) -> Random {
        self.random.lock().unwrap().fork()
    }

    /// The true time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.table.elapsed()
    }

    /// Everybody publishes and subscribes while things go wrong. Then nothing goes wrong until all have received
    /// everything.
    async fn busy(self: &Arc<Self>, phase: u64, messages: u64) {
        let mut random = self.fork();
        let harshness = random.one_of(&[0, 1, 4]);
        let overload = random.chance(100);
        if overload {
            self.table.count("overload");
        }
        for process in &self.processes {
            process.line.set_faults(Faults {
                request_lost: 8 * harshness,
                response_lost: 12 * harshness,
                late: 12 * harshness,
                slow: 15 * harshness,
                throttled: if overload { 350 } else { 10 * harshness },
            });
        }
        let mut people = JoinSet::new();
        for _ in 0..VISITORS {
            let (simulation, random) = (Arc::clone(self), self.fork());
            people.spawn(async move { simulation.visit(random).await });
        }
        let (simulation, mischief) = (Arc::clone(self), self.fork());
        people.spawn(async move { simulation.mischief(mischief).await });
        let mut publishers = JoinSet::new();
        for number in 0..PUBLISHERS {
            let (simulation, random) = (Arc::clone(self), self.fork());
            publishers.spawn(async move { simulation.publish(phase, number, messages, random).await });
        }
        if phase == 0 && self.plan.later_version {
            self.publish_as_later_version(&mut random).await;
        }
        publishers.join_all().await;
        for process in &self.processes {
            process.line.set_faults(Faults::default());
        }
        people.join_all().await;
        sleep(SETTLED).await;
    }

    /// The faults of single processes, or of all.
    async fn mischief(&self, mut random: Random) {
        for _ in 0..random.below(4) {
            sleep(random.duration_ms(0, 3_000)).await;
            let process = &self.processes[usize::try_from(random.below(PROCESSES as u64)).unwrap()];
            match random.below(4) {
                0 => process.line.cut(random.duration_ms(100, 20_000)),
                1 => process.line.freeze(random.duration_ms(100, 2_500)),
                // While one is frozen, all clocks go on: by seconds, or by days.
                2 => {
                    process.line.freeze(random.duration_ms(100, 2_500));
                    sleep(random.duration_ms(0, 100)).await;
                    let by = random.one_of(&[6 * SECOND, 20 * SECOND, HOUR, 26 * HOUR, 200 * HOUR]);
                    self.advance(by + random.duration_ms(0, 1_000));
                }
                _ => {}
            }
        }
    }

    /// All clocks go on while nobody does anything.
    fn advance(&self, by: Duration) {
        self.table.count("time jumped");
        let begun = self.elapsed();
        self.clock.advance(by);
        for process in &self.processes {
            process.clock.advance(by);
            process.line.trouble_since(begun);
        }
        self.table.expire();
    }

    /// Days in which hardly anybody publishes, though some listen.
    async fn quiet(self: &Arc<Self>) {
        let mut random = self.fork();
        let (margin, kept) = (HOUR / 12, self.plan.retention);
        for day in 0..=random.below(5) {
            let spans = [kept / 2, kept - margin, kept + HOUR / 2, kept + HOUR - margin, 3 * (kept + HOUR)];
            let span = if day == 0 && self.plan.later_version { 30 * HOUR } else { random.one_of(&spans) };
            self.advance(span + random.duration_ms(0, 600_000));
            for _ in 0..random.below(3) {
                self.table.expire();
            }
            for number in 0..random.below(3) {
                if random.chance(300) {
                    // The publisher dies before it writes.
                    let _ = self.give_out().await;
                } else if random.chance(500) {
                    let channel = if random.chance(700) { 0 } else { 1 };
                    self.publish_once(channel, &format!("quiet.{day}.{number}"), None, &mut random).await;
                }
            }
            sleep(random.duration_ms(0, 5_000)).await;
            if day == 1 {
                self.raise(&mut random).await;
            }
        }
        self.raise(&mut random).await;
        if random.chance(200) {
            self.lose().await;
        }
    }

    /// Restarts one process after the other with a longer retention, while the others still have the shorter one.
    async fn raise(&self, random: &mut Random) {
        let Some(retention) = self.plan.raised_to.filter(|to| self.processes[0].running().kept != *to) else { return };
        self.table.count("retention raised");
        for (number, process) in self.processes.iter().enumerate().rev() {
            process.restart(retention);
            self.publish_once(0, &format!("raised.{number}"), None, random).await;
            sleep(random.duration_ms(0, 2_000)).await;
        }
    }

    /// Takes an offset, as a publisher does that then dies.
    async fn give_out(&self) -> Option<(LogName, u64)> {
        let process = &self.processes[0];
        let terms = Terms::new(process.clock.unix_ms(), millis(process.running().kept));
        let channel = &self.channels[0];
        match process.line.count_up(channel, terms).await {
            Ok(CountUp::Done(head)) => Some((LogName::new(channel, head.epoch), head.last)),
            _ => None,
        }
    }

    /// A later version writes something that this one can't read.
    async fn publish_as_later_version(&self, random: &mut Random) {
        sleep(random.duration_ms(0, 1_000)).await;
        if let Some((log, offset)) = self.give_out().await {
            let slot = Slot::Unknown { time: self.table.unix_ms() };
            let _ = self.processes[0].line.put_slot(&log, offset, &slot, u64::MAX).await;
            self.table.count("later version");
            let epoch = self.table.with(|state| state.head(&self.channels[0])).map_or(0, |head| head.epoch);
            self.histories.lock().unwrap()[0].unreadable.insert((epoch, offset));
        }
    }

    /// Loses the log, at a moment at which nobody publishes.
    async fn lose(&self) {
        let mut random = self.fork();
        let missing = random.chance(200);
        if missing {
            let span = random.duration_ms(1_000, 8_000);
            self.table.count("table missing");
            self.processes.iter().for_each(|process| process.line.cut(span));
            sleep(span).await;
        }
        if missing || random.chance(500) {
            self.table.clear();
        } else {
            self.table.behead();
        }
        let lost = self.elapsed();
        self.histories.lock().unwrap().iter_mut().for_each(|history| history.losses.push(lost));
    }

    /// Reads all that is there.
    async fn audit(&self) {
        let Running { service, kept, .. } = self.processes[0].running();
        for (number, channel) in self.channels.iter().enumerate() {
            let begun = self.elapsed();
            let mut place = Place { channel: channel.clone(), start: Start::Earliest };
            let mut all = Vec::new();
            loop {
                let wanted = Wanted::Batch(Limit::MAX);
                let batch =
                    service.subscribe(std::slice::from_ref(&place), wanted, clock::now()).await.unwrap().remove(0);
                // A table that lies may lead back to the beginning again and again.
                if batch.messages().is_empty() || batch.missed() {
                    break;
                }
                all.extend(self.answered(&self.processes[0], kept, begun, false, &batch).messages);
                place.start = Start::After(batch.cursor());
            }
            self.histories.lock().unwrap()[number].audit = Some((self.elapsed(), all));
        }
    }

    /// Adds chains to the histories of their channels.
    pub(super) fn note(&self, chains: Vec<Chain>) {
        let mut histories = self.histories.lock().unwrap();
        for (history, chain) in histories.iter_mut().zip(chains) {
            history.chains.push(chain);
        }
    }
}
