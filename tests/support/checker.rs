//! What a history of publishes and polls must be, whoever kept the log and however they were asked.
//!
//! A history is what clients saw of one channel: each publish with its answer, and each subscriber's chain of polls. It
//! is checked for the promises that `pubsub::store` makes. Texts are unlike each other, so that a text names its message.
//! A simulation knows more than clients do, and says it: when each slot was written, when the log was lost, and how long
//! a poll's process was disturbed.

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
    /// What was published; unlike all others, but for repeats with the same key.
    pub text: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// When it was sent.
    pub begun: Duration,
    /// When its answer came, or was given up.
    pub ended: Duration,
    /// Where it stands, if it was answered 200.
    pub id: Option<Cursor>,
    /// For how long it is kept.
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
    /// Whether it may wait.
    pub held: bool,
    /// Whether it was answered because of another channel, and this one had nothing to say.
    pub aside: bool,
    /// For how long messages are kept, as far as its process knows.
    pub kept: Duration,
    /// For how long, while it lasted, something went wrong between its process and the table.
    pub trouble: Duration,
}

/// Where a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// After a cursor.
    After(Cursor),
    /// At the end, as a bare poll does too.
    Latest,
    /// So many messages before the end.
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

/// Messages before a position, as somebody was told who asked for the newest of them.
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
    /// All looks back.
    pub glimpses: Vec<Glimpse>,
    /// When the log was lost.
    pub losses: Vec<Duration>,
    /// When each slot was written, if that is known.
    pub written: Option<BTreeMap<(u64, u64), Duration>>,
    /// Slots that this version can't read: whoever asks for what came last is not given what stands below.
    pub unreadable: BTreeSet<(u64, u64)>,
    /// Everything that was there in the end, and when that was.
    pub audit: Option<(Duration, Vec<(Cursor, String)>)>,
}

/// How strict to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// For how long a message may stay unseen by somebody who holds: zero unless publishers crash and stores fail.
    pub patience: Duration,
    /// And by somebody who only looks.
    pub patience_of_looks: Duration,
    /// How long a poll may take to notice that its log was lost and another one has begun.
    pub patience_of_losses: Duration,
    /// How far clocks are apart.
    pub skew: Duration,
}

/// Checks a history, and says everything that is wrong with it.
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

/// Every message that anybody knows of, by epoch and offset.
type Log = BTreeMap<(u64, u64), String>;

/// Messages that were acknowledged, by their place: sent for the first time when they `begun`, and acknowledged for the
/// first time when they `ended`.
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
    /// Whether it was still kept when a poll was answered, whatever clocks say.
    fn retained_at(&self, poll: &Poll, rules: Rules) -> bool {
        self.begun.saturating_add(self.kept.min(poll.kept)) > poll.ended + rules.skew
    }
}

/// Whoever knows of a place knows of the same message there, and no message stands in two, unless it was published again
/// when the first of them had expired.
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

/// Whether a message was tried over a longer time than it is kept.
fn outlived(history: &History, text: &str, rules: Rules) -> bool {
    let tries = || history.publishes.iter().filter(|publish| publish.text == text);
    let span = tries().map(|publish| publish.ended).max().zip(tries().map(|publish| publish.begun).min());
    let kept = tries().map(|publish| publish.kept).min();
    span.zip(kept).is_some_and(|((ended, begun), kept)| ended - begun + rules.skew >= kept)
}

/// A publish that begins after another one was answered stands after it. A repeat counts from its first try.
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

/// While its message is kept a key names one message, at one place.
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

/// A chain has every known message between where it began and where it ends, once and in order.
fn nothing_skipped(chain: &Chain, log: &Log, fault: &mut impl FnMut(String)) {
    let mut stands = chain.start.cursor();
    for poll in &chain.polls {
        let delivered: Vec<_> = poll.messages.iter().map(|(id, text)| (place(*id), text)).collect();
        let first_delivered = delivered.first().map(|((epoch, offset), _)| (*epoch, offset.saturating_sub(1)));
        let end = place(poll.cursor);
        let after = match stands.map(place) {
            // What is gone is gone, and only the server knows from where on it is there.
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

/// In one log something is missed only when something that was there may have expired; and whoever is told so is given
/// all that is still there.
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
            // By the shortest time that anybody keeps messages for: a publisher's clock may be off, or set to another one.
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

/// What was answered is there in the end, unless it has expired or its log was lost.
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
