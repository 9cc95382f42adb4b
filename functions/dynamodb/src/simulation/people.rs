//! The publishers and subscribers.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use pubsub::{
    batch::{Batch, Limit},
    clock,
    cursor::Cursor,
    message::{Draft, Key, Text},
    service::{Place, Wanted},
    store::Start,
};
use tests::checker::{Begin, Chain, Glimpse, Poll, Publish};
use tokio::time::{sleep, timeout};

use super::{
    process::{Process, Running},
    random::Random,
    scenario::{CHANNELS, Simulation},
};

/// A subscriber's chains in all channels, before the first poll of each.
fn chains(start: Begin) -> Vec<Chain> {
    vec![Chain { start, polls: vec![] }; CHANNELS.len()]
}

impl Simulation {
    fn any_process(&self, random: &mut Random) -> &Process {
        &self.processes[usize::try_from(random.below(self.processes.len() as u64)).unwrap()]
    }

    pub(super) async fn publish(&self, phase: u64, number: u64, messages: u64, mut random: Random) {
        for message in 0..messages {
            let text = format!("{phase}.{number}.{message}");
            let channel = [0, 0, 1, 0, 2, 0, 0][usize::try_from(3 * number + message).unwrap() % 7];
            // Sometimes a key that was used in an earlier phase, days or a moment ago.
            let used = random.chance(150).then(|| format!("{}.{number}.{message}", phase.saturating_sub(1)));
            if used.is_some() {
                self.table.count("key reused");
            }
            let key = random.chance(500).then(|| used.unwrap_or_else(|| text.clone()));
            let key = key.as_deref();
            if key.is_some() && random.chance(100) {
                let (mut one, mut other) = (random.fork(), random.fork());
                let differing = if random.chance(300) { format!("{text}!") } else { text.clone() };
                tokio::join!(
                    self.publish_once(channel, &text, key, &mut one),
                    self.publish_once(channel, &differing, key, &mut other)
                );
            }
            for _ in 0..4 {
                let done = self.publish_once(channel, &text, key, &mut random).await;
                if key.is_none() || (done && random.chance(700)) {
                    break;
                }
                self.table.count("published again");
                sleep(random.duration_ms(0, 3_000)).await;
            }
            let pauses = random.one_of(&[0, 20, 300, 3_000]);
            sleep(random.duration_ms(0, if messages > 10 { pauses / 10 } else { pauses })).await;
        }
    }

    /// One attempt on some process, which may crash at any moment.
    pub(super) async fn publish_once(
        &self,
        channel: usize,
        text: &str,
        key: Option<&str>,
        random: &mut Random,
    ) -> bool {
        let process = self.any_process(random);
        let Running { store, kept, .. } = process.running();
        let draft = Draft { nick: None, text: Text::parse(text.to_owned()).unwrap() };
        let parsed = key.map(|key| Key::parse(key.as_bytes()).unwrap());
        let begun = self.elapsed();
        let patience = if random.chance(150) {
            self.table.count("publisher crashed");
            random.duration_ms(0, 60)
        } else {
            Duration::MAX
        };
        // Below the service, which would carry it out even if the client left.
        let published = timeout(patience, store.append(&self.channels[channel], draft, parsed)).await;
        let id = published.ok().and_then(Result::ok).map(|appended| appended.id);
        let (text, key) = (text.to_owned(), key.map(str::to_owned));
        let publish = Publish { text, key, begun, ended: self.elapsed(), id, kept };
        self.histories.lock().unwrap()[channel].publishes.push(publish);
        id.is_some()
    }

    /// Stays until the end. Begins anew only in channels where it never got an answer.
    pub(super) async fn stay(&self, mut random: Random) {
        let begin = random.one_of(&[Begin::After(Cursor::ORIGIN), Begin::Latest, Begin::Earliest]);
        let mut chains = chains(begin);
        while self.awake.load(Relaxed) {
            let wait = random.one_of(&[0, 1, 5, 25]);
            self.poll(&mut chains, wait, false, &mut random).await;
            let pauses = if wait == 0 { 3_000 } else { 200 };
            sleep(random.duration_ms(0, pauses)).await;
        }
        self.note(chains);
    }

    /// Begins in some way, polls a few times, looks back, and leaves.
    pub(super) async fn visit(&self, mut random: Random) {
        for _ in 0..random.below(4) {
            sleep(random.duration_ms(0, 4_000)).await;
            let begin = random.one_of(&[Begin::Latest, Begin::Latest, Begin::Last(1), Begin::Last(5), Begin::Earliest]);
            let bare = begin == Begin::Latest && random.chance(300);
            let mut chains = chains(begin);
            self.table.count("began");
            for number in 0..1 + random.below(4) {
                let wait = random.one_of(&[0, 0, 1, 5]);
                self.poll(&mut chains, wait, bare && number == 0, &mut random).await;
                if random.chance(200)
                    && let Some(last) = chains[0].polls.last()
                {
                    self.look_back(last.cursor, &mut random).await;
                }
                sleep(random.duration_ms(0, 500)).await;
            }
            self.note(chains);
        }
    }

    /// Polls some channels once, on some process, and may break off. The answer is added to the chains.
    async fn poll(&self, chains: &mut [Chain], wait: u64, bare: bool, random: &mut Random) {
        let process = self.any_process(random);
        let Running { service, kept, .. } = process.running();
        // A different set each time. The first channel is nearly always in it, since most happens there.
        let set = if bare { &[0][..] } else { random.one_of(&[&[0][..], &[0], &[0, 1], &[0, 1, 2], &[2, 0], &[1, 2]]) };
        let places: Vec<_> = set.iter().map(|channel| self.place(*channel, &chains[*channel])).collect();
        let limit = Limit::clamped(random.one_of(&[1, 2, 5, 100])).unwrap();
        // A poll with `last` takes all of them, so that the checker sees how many there are.
        let all = places.iter().any(|place| matches!(place.start, Start::Last(_)));
        let limit = if all { Limit::MAX } else { limit };
        let wanted = if bare { Wanted::Message } else { Wanted::Batch(limit) };
        let begun = self.elapsed();
        let until = clock::now() + Duration::from_secs(wait);
        let patience = if random.chance(150) { random.duration_ms(0, 2_000) } else { Duration::MAX };
        match timeout(patience, service.subscribe(&places, wanted, until)).await {
            Err(_) => self.table.count("subscriber broke off"),
            // A bare poll that runs out gets no cursor.
            Ok(Ok(batches)) if !bare || !batches[0].messages().is_empty() => {
                let something = batches.iter().any(|batch| !batch.is_empty());
                for ((channel, place), batch) in set.iter().zip(&places).zip(&batches) {
                    let mut poll = self.answered(process, kept, begun, wait > 0, batch);
                    poll.aside = something && batch.is_empty() && place.start.cursor().is_some();
                    if poll.aside {
                        self.table.count("another channel answered");
                    }
                    chains[*channel].polls.push(poll);
                }
            }
            Ok(_) => {}
        }
    }

    /// The cursor from which a chain goes on.
    fn place(&self, channel: usize, chain: &Chain) -> Place {
        let start = match (chain.polls.last(), chain.start) {
            (Some(poll), _) => Start::After(poll.cursor),
            (None, Begin::After(cursor)) => Start::After(cursor),
            (None, Begin::Latest) => Start::Latest,
            (None, Begin::Last(count)) => Start::Last(Limit::clamped(count as u64).unwrap()),
            (None, Begin::Earliest) => Start::Earliest,
        };
        Place { channel: self.channels[channel].clone(), start }
    }

    /// Asks for the history before a cursor.
    async fn look_back(&self, before: Cursor, random: &mut Random) {
        let process = self.any_process(random);
        let Running { service, kept, .. } = process.running();
        let limit = random.one_of(&[1, 3, 100]);
        let begun = self.elapsed();
        if let Ok(batch) = service.history(&self.channels[0], before, Limit::clamped(limit).unwrap()).await {
            self.table.count("looked back");
            let poll = self.answered(process, kept, begun, false, &batch);
            let limit = usize::try_from(limit).unwrap();
            self.histories.lock().unwrap()[0].glimpses.push(Glimpse { before, limit, poll });
        }
    }

    pub(super) fn answered(
        &self,
        process: &Process,
        kept: Duration,
        begun: Duration,
        held: bool,
        batch: &Batch,
    ) -> Poll {
        let (ended, messages) = (self.elapsed(), batch.messages().iter());
        Poll {
            begun,
            ended,
            messages: messages.map(|message| (message.id(), message.text().as_str().to_owned())).collect(),
            cursor: batch.cursor(),
            missed: batch.missed(),
            held,
            kept,
            aside: false,
            trouble: process.line.trouble_within(begun, ended),
        }
    }
}
