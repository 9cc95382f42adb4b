//! What must be true of a history of publishes and polls, with any store and any way to poll.
//!
//! A history is what clients saw of one channel: each publish with its answer, and each subscriber's chain of polls. It
//! is checked for the promises that `pubsub::store` makes. All texts differ, so that a text identifies its message. A
//! simulation also records what clients can't know: when each slot was written, when the log was lost, and how long a
//! poll's process was disturbed.

mod beginning;
mod progress;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    time::Duration,
};

use pubsub::cursor::Cursor;

/// One attempt to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The text. No other publish has it, except repeats with the same key.
    pub text: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// When it was sent.
    pub begun: Duration,
    /// When its answer came, or it was given up.
    pub ended: Duration,
    /// Its cursor, if the answer was 200.
    pub id: Option<Cursor>,
    /// Its retention.
    pub kept: Duration,
}

/// One answered poll.
#[derive(Clone, Debug)]
pub struct Poll {
    /// When it was sent.
    pub begun: Duration,
    /// When its answer came.
    pub ended: Duration,
    /// The messages: ids and texts.
    pub messages: Vec<(Cursor, String)>,
    /// The cursor to go on from.
    pub cursor: Cursor,
    /// Whether messages were missed.
    pub missed: bool,
    /// Whether it may be held.
    pub held: bool,
    /// Whether another channel of the poll caused the answer, and this one had nothing.
    pub aside: bool,
    /// The retention of its process.
    pub kept: Duration,
    /// How long during the poll something went wrong between its process and the table.
    pub trouble: Duration,
}

/// The beginning of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// After a cursor.
    After(Cursor),
    /// At the end, as a bare poll does too.
    Latest,
    /// This many messages before the end.
    Last(usize),
    /// At the oldest message retained.
    Earliest,
}

/// Polls of one subscriber, each with the cursor of the one before.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Where the first poll began.
    pub start: Begin,
    /// The polls.
    pub polls: Vec<Poll>,
}

/// A page of history, as a client received it.
#[derive(Clone, Debug)]
pub struct Glimpse {
    /// The position.
    pub before: Cursor,
    /// How many were asked for.
    pub limit: usize,
    /// The answer; its cursor is the position.
    pub poll: Poll,
}

/// What happened on one channel.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All publishes.
    pub publishes: Vec<Publish>,
    /// All subscribers.
    pub chains: Vec<Chain>,
    /// All pages of history.
    pub glimpses: Vec<Glimpse>,
    /// When the log was lost.
    pub losses: Vec<Duration>,
    /// When each slot was written, if that is known.
    pub written: Option<BTreeMap<(u64, u64), Duration>>,
    /// Slots that this version can't read. A poll with `last` gets no messages from below one.
    pub unreadable: BTreeSet<(u64, u64)>,
    /// All messages that were there in the end, and when that was.
    pub audit: Option<(Duration, Vec<(Cursor, String)>)>,
}

/// How strict to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// How long a held poll may not see a message: zero unless publishers crash and stores fail.
    pub patience: Duration,
    /// The same for a poll with `wait=0`.
    pub patience_of_looks: Duration,
    /// How long a poll may take to notice that its log was lost and another one has begun.
    pub patience_of_losses: Duration,
    /// How far clocks are apart.
    pub skew: Duration,
}

/// Checks a history, and returns everything that is wrong with it.
///
/// # Errors
/// One sentence for each fault.
pub fn check(history: &History, rules: Rules) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    let log = one_order(history, rules, &mut faults);
    publishes_stand_in_their_order(history, &mut faults);
    once_per_key(history, rules, &mut faults);
    let acknowledged = acknowledged(history);
    for (number, chain) in history.chains.iter().enumerate() {
        let mut fault = |what: String| faults.push(format!("subscriber {number}: {what}"));
        nothing_skipped(chain, &log, &mut fault);
        beginning::nothing_passed(chain, history, &acknowledged, rules, &mut fault);
        progress::published_is_there(chain, history, &acknowledged, rules, &mut fault);
        missed_for_a_reason(chain, history, &acknowledged, rules, &mut fault);
    }
    for glimpse in &history.glimpses {
        beginning::nothing_overlooked(glimpse, history, &log, &acknowledged, rules, &mut |what| faults.push(what));
    }
    durable(history, &acknowledged, rules, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Every known message, by epoch and offset.
type Log = BTreeMap<(u64, u64), String>;

/// Acknowledged messages, by their position: first sent at `begun`, and first acknowledged at `ended`.
type Acknowledged = BTreeMap<(u64, u64), Publish>;

fn place(cursor: Cursor) -> (u64, u64) {
    (cursor.epoch(), cursor.offset())
}

fn acknowledged(history: &History) -> Acknowledged {
    let mut first_sent = HashMap::new();
    for publish in &history.publishes {
        let first = first_sent.entry(&publish.text).or_insert(publish.begun);
        *first = publish.begun.min(*first);
    }
    let mut acknowledged = Acknowledged::new();
    for publish in &history.publishes {
        if let Some(id) = publish.id {
            let begun = first_sent[&publish.text];
            let first = acknowledged.entry(place(id)).or_insert_with(|| Publish { begun, ..publish.clone() });
            first.ended = first.ended.min(publish.ended);
        }
    }
    acknowledged
}

impl Publish {
    /// Whether it was still retained when a poll was answered, however wrong the clocks are.
    fn retained_at(&self, poll: &Poll, rules: Rules) -> bool {
        self.begun.saturating_add(self.kept.min(poll.kept)) > poll.ended + rules.skew
    }
}

/// Everybody who knows a position knows the same message there, and no message is at two positions, unless it was
/// published again after the first one had expired.
fn one_order(history: &History, rules: Rules, faults: &mut Vec<String>) -> Log {
    let acknowledged = history.publishes.iter().filter_map(|publish| Some((publish.id?, &publish.text)));
    let polls = history.chains.iter().flat_map(|chain| &chain.polls);
    let polls = polls.chain(history.glimpses.iter().map(|glimpse| &glimpse.poll));
    let delivered = polls.flat_map(|poll| &poll.messages).map(|(id, text)| (*id, text));
    let mut log = Log::new();
    let mut places = HashMap::new();
    for (id, text) in acknowledged.chain(delivered) {
        let known = log.entry(place(id)).or_insert_with(|| text.clone());
        if known != text {
            faults.push(format!("at {id} stands both {known:?} and {text:?}"));
        }
        let first = *places.entry(text).or_insert(id);
        if first != id && !outlived(history, text, rules) {
            faults.push(format!("{text:?} stands both at {first} and at {id}"));
        }
    }
    log
}

/// Whether the attempts to publish a message took longer than its retention.
fn outlived(history: &History, text: &str, rules: Rules) -> bool {
    let tries = || history.publishes.iter().filter(|publish| publish.text == text);
    let span = tries().map(|publish| publish.ended).max().zip(tries().map(|publish| publish.begun).min());
    let kept = tries().map(|publish| publish.kept).min();
    span.zip(kept).is_some_and(|((ended, begun), kept)| ended - begun + rules.skew >= kept)
}

/// A message whose publish began after another one was answered comes after that one. A repeat counts from its first
/// attempt.
fn publishes_stand_in_their_order(history: &History, faults: &mut Vec<String>) {
    let mut begun = HashMap::new();
    for publish in &history.publishes {
        let first = begun.entry(&publish.text).or_insert(publish.begun);
        *first = publish.begun.min(*first);
    }
    let mut by_place: Vec<_> = history.publishes.iter().filter(|publish| publish.id.is_some()).collect();
    by_place.sort_by_key(|publish| publish.id.map(place));
    let mut earliest_end_above: Option<&Publish> = None;
    for publish in by_place.iter().rev() {
        earliest_end_above =
            earliest_end_above.filter(|above| above.id.map(Cursor::epoch) == publish.id.map(Cursor::epoch));
        if let Some(above) = earliest_end_above
            && above.text != publish.text
            && begun.get(&publish.text).is_some_and(|begun| above.ended < *begun)
        {
            faults.push(format!("{:?} began after {:?} was answered, and stands below", publish.text, above.text));
        }
        if earliest_end_above.is_none_or(|above| publish.ended < above.ended) {
            earliest_end_above = Some(publish);
        }
    }
}

/// While its message is retained, a key identifies one message, at one position.
fn once_per_key(history: &History, rules: Rules, faults: &mut Vec<String>) {
    let mut answers: HashMap<&str, Vec<&Publish>> = HashMap::new();
    for publish in history.publishes.iter().filter(|publish| publish.id.is_some()) {
        if let Some(key) = &publish.key {
            let earlier = answers.entry(key).or_default();
            let kept = |other: &&Publish| {
                let lost = history.losses.iter().any(|loss| (other.ended..=publish.begun).contains(loss));
                other.begun.saturating_add(other.kept) > publish.ended + rules.skew && !lost
            };
            if let Some(other) = earlier.iter().find(|other| other.id != publish.id && kept(other)) {
                faults.push(format!("the key {key:?} was answered {:?} and {:?}", other.id, publish.id));
            }
            earlier.push(publish);
        }
    }
}

/// A chain has every known message between its beginning and its end, once and in order.
fn nothing_skipped(chain: &Chain, log: &Log, fault: &mut impl FnMut(String)) {
    let mut stands = chain.start.cursor();
    for poll in &chain.polls {
        let delivered: Vec<_> = poll.messages.iter().map(|(id, text)| (place(*id), text)).collect();
        let first_delivered = delivered.first().map(|((epoch, offset), _)| (*epoch, offset.saturating_sub(1)));
        let end = place(poll.cursor);
        let after = match stands.map(place) {
            // After `missed`, only the server knows from where on messages are still there.
            _ if poll.missed => first_delivered,
            None => first_delivered,
            Some((0, 0)) => Some((end.0, 0)),
            Some((epoch, _)) if epoch != end.0 => {
                fault(format!("came to another log at {} and was not told", poll.cursor));
                first_delivered
            }
            Some(start) => Some(start),
        };
        let after = after.unwrap_or(end);
        if after > end {
            fault(format!("went back to {}", poll.cursor));
        } else {
            let expected = log.range((Bound::Excluded(after), Bound::Included(end)));
            let expected: Vec<_> = expected.map(|(place, text)| (*place, text)).collect();
            if delivered != expected {
                fault(format!("from {stands:?} to {} got {delivered:?} and not {expected:?}", poll.cursor));
            }
        }
        stands = Some(poll.cursor);
    }
}

/// Within one log, `missed` may be answered only if a message may have expired. Then the poll also has all messages
/// that are still there.
fn missed_for_a_reason(
    chain: &Chain,
    history: &History,
    acknowledged: &Acknowledged,
    rules: Rules,
    fault: &mut impl FnMut(String),
) {
    let mut stands = chain.start.cursor();
    for poll in &chain.polls {
        let one_log = stands.filter(|cursor| cursor.epoch() == poll.cursor.epoch());
        if poll.missed && stands.is_none() && !poll.held {
            fault(format!("began at {} and was told that it missed something", poll.cursor));
        } else if poll.missed {
            // By the shortest retention that anybody has: a publisher's clock may be off, or its retention different.
            let may_be_gone = |publish: &Publish| {
                publish.begun.saturating_add(publish.kept.min(poll.kept)) <= poll.ended + rules.skew
            };
            if one_log.is_some() && !history.publishes.iter().any(may_be_gone) {
                fault(format!("was told that it missed something at {}, and nothing had expired", poll.cursor));
            }
            let to = poll.messages.first().map_or(place(poll.cursor), |(id, _)| (id.epoch(), id.offset() - 1));
            let from = one_log.map_or((poll.cursor.epoch(), 0), place);
            let mut passed = acknowledged.range((Bound::Excluded(from), Bound::Included(to.max(from))));
            let there = |publish: &Publish| publish.ended < poll.begun && publish.retained_at(poll, rules);
            if let Some((place, _)) = passed.find(|(_, publish)| there(publish)) {
                fault(format!("was told that it missed something at {}, and was not given {place:?}", poll.cursor));
            }
        }
        stands = Some(poll.cursor);
    }
}

/// What was acknowledged is there in the end, unless it has expired or its log was lost.
fn durable(history: &History, acknowledged: &Acknowledged, rules: Rules, faults: &mut Vec<String>) {
    let Some((at, audit)) = &history.audit else { return };
    let there: HashSet<_> = audit.iter().map(|(id, _)| place(*id)).collect();
    let Some((epoch, _)) = there.iter().max() else { return };
    for (place, publish) in acknowledged.range((*epoch, 0)..=(*epoch, u64::MAX)) {
        let kept = publish.begun.saturating_add(publish.kept) > at.saturating_add(rules.skew);
        if kept && publish.ended < *at && !there.contains(place) {
            faults.push(format!("{:?} was answered {place:?} and is not there", publish.text));
        }
    }
}

impl Begin {
    /// The cursor that it begins with, if there is one.
    fn cursor(self) -> Option<Cursor> {
        match self {
            Self::After(cursor) => Some(cursor),
            Self::Latest | Self::Last(_) | Self::Earliest => None,
        }
    }
}
