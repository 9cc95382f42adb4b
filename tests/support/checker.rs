//! What a history of publishes and polls must be, whoever kept the log and however they were asked.
//!
//! A history is what clients saw of one channel: each publish with its answer, and each subscriber's chain of polls.
//! It is checked for the promises that `pubsub::store` makes. Texts are unlike each other, so that a text names its
//! message.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
}

/// Polls of one subscriber, each with the cursor of the one before.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Where the first poll began; nothing where only the server knows, as with `latest`.
    pub start: Option<Cursor>,
    /// The polls.
    pub polls: Vec<Poll>,
}

/// What happened on one channel.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All publishes.
    pub publishes: Vec<Publish>,
    /// All subscribers.
    pub chains: Vec<Chain>,
    /// Everything that was there in the end, and when that was.
    pub audit: Option<(Duration, Vec<(Cursor, String)>)>,
}

/// How strict to be.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// For how long after its answer a message may stay unseen: zero unless publishers crash and stores fail.
    pub patience: Duration,
    /// For how long messages are kept.
    pub retention: Duration,
    /// How far clocks are apart.
    pub skew: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { patience: Duration::ZERO, retention: Duration::MAX, skew: Duration::ZERO }
    }
}

/// Checks a history, and says everything that is wrong with it.
///
/// # Errors
/// One sentence for each fault.
pub fn check(history: &History, rules: Rules) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    let log = one_order(history, &mut faults);
    publishes_stand_in_their_order(history, &mut faults);
    once_per_key(history, &log, &mut faults);
    for (number, chain) in history.chains.iter().enumerate() {
        let mut fault = |what: String| faults.push(format!("subscriber {number}: {what}"));
        nothing_skipped(chain, &log, &mut fault);
        published_is_there(chain, &history.publishes, rules, &mut fault);
        missed_for_a_reason(chain, &history.publishes, rules, &mut fault);
    }
    durable(history, rules, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Every message that anybody knows of, by epoch and offset.
type Log = BTreeMap<(u64, u64), String>;

fn place(cursor: Cursor) -> (u64, u64) {
    (cursor.epoch(), cursor.offset())
}

/// Whoever knows of a place knows of the same message there, and no message stands in two.
fn one_order(history: &History, faults: &mut Vec<String>) -> Log {
    let acknowledged = history.publishes.iter().filter_map(|publish| Some((publish.id?, &publish.text)));
    let polls = history.chains.iter().flat_map(|chain| &chain.polls);
    let delivered = polls.flat_map(|poll| &poll.messages).map(|(id, text)| (*id, text));
    let mut log = Log::new();
    let mut places = HashMap::new();
    for (id, text) in acknowledged.chain(delivered) {
        let known = log.entry(place(id)).or_insert_with(|| text.clone());
        if known != text {
            faults.push(format!("at {id} stands both {known:?} and {text:?}"));
        }
        let first = *places.entry(text).or_insert(id);
        if first != id {
            faults.push(format!("{text:?} stands both at {first} and at {id}"));
        }
    }
    log
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

/// A key names one message, at one place.
fn once_per_key(history: &History, log: &Log, faults: &mut Vec<String>) {
    let mut answers: HashMap<&str, Cursor> = HashMap::new();
    for publish in &history.publishes {
        if let (Some(key), Some(id)) = (&publish.key, publish.id) {
            let first = *answers.entry(key).or_insert(id);
            if first != id {
                faults.push(format!("the key {key:?} was answered {first} and {id}"));
            }
        }
    }
    let mut texts = HashSet::new();
    for text in log.values() {
        if !texts.insert(text) {
            faults.push(format!("{text:?} was published twice"));
        }
    }
}

/// A chain has every known message between where it began and where it ends, once and in order.
fn nothing_skipped(chain: &Chain, log: &Log, fault: &mut impl FnMut(String)) {
    let mut stands = chain.start;
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

/// A poll that begins after a publish was answered is not answered empty while that message is still to come.
fn published_is_there(chain: &Chain, publishes: &[Publish], rules: Rules, fault: &mut impl FnMut(String)) {
    let mut acknowledged: Vec<_> = publishes.iter().filter_map(|publish| Some((publish.ended, publish.id?))).collect();
    acknowledged.sort_by_key(|(ended, _)| *ended);
    for poll in chain.polls.iter().filter(|poll| poll.messages.is_empty() && !poll.missed) {
        let known = acknowledged.iter().take_while(|(ended, _)| *ended + rules.patience < poll.begun);
        let ahead = |id: &Cursor| id.epoch() == poll.cursor.epoch() && id.offset() > poll.cursor.offset();
        if let Some((_, id)) = known.into_iter().find(|(_, id)| ahead(id)) {
            fault(format!("was answered empty at {} though {id} had been published", poll.cursor));
        }
    }
}

/// In one log, something is missed only when something that was there may have expired.
fn missed_for_a_reason(chain: &Chain, publishes: &[Publish], rules: Rules, fault: &mut impl FnMut(String)) {
    let mut stands = chain.start;
    for poll in &chain.polls {
        let one_log = stands.is_some_and(|cursor| cursor.epoch() == poll.cursor.epoch());
        let expired = poll.ended.saturating_sub(rules.retention.saturating_sub(rules.skew));
        if poll.missed && one_log && !publishes.iter().any(|publish| publish.begun < expired) {
            fault(format!("was told that it missed something at {}, and nothing had expired", poll.cursor));
        }
        stands = Some(poll.cursor);
    }
}

/// What was answered is there in the end, unless it has expired or its log was lost.
fn durable(history: &History, rules: Rules, faults: &mut Vec<String>) {
    let Some((at, audit)) = &history.audit else { return };
    let there: HashSet<_> = audit.iter().map(|(id, _)| *id).collect();
    let epoch = audit.last().map(|(id, _)| id.epoch());
    let expired = at.saturating_sub(rules.retention.saturating_sub(rules.skew));
    for publish in &history.publishes {
        if let Some(id) = publish.id
            && Some(id.epoch()) == epoch
            && publish.begun > expired
            && !there.contains(&id)
        {
            faults.push(format!("{:?} was answered {id} and is not there", publish.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn at(offset: u64) -> Cursor {
        Cursor::new(7, offset)
    }

    fn publish(text: &str, offset: u64) -> Publish {
        let id = Some(at(offset));
        Publish { text: text.to_owned(), key: None, begun: ms(10 * offset), ended: ms(10 * offset + 5), id }
    }

    fn poll(begun: u64, messages: &[(u64, &str)], cursor: u64) -> Poll {
        let messages = messages.iter().map(|(offset, text)| (at(*offset), (*text).to_owned())).collect();
        Poll { begun: ms(begun), ended: ms(begun + 1), messages, cursor: at(cursor), missed: false }
    }

    /// Three messages, and a subscriber who got all of them.
    fn good() -> History {
        let polls = vec![poll(0, &[(1, "a"), (2, "b")], 2), poll(50, &[(3, "c")], 4), poll(60, &[], 4)];
        History {
            publishes: vec![publish("a", 1), publish("b", 2), publish("c", 3)],
            chains: vec![Chain { start: Some(at(0)), polls }],
            audit: Some((ms(70), vec![(at(1), "a".into()), (at(2), "b".into()), (at(3), "c".into())])),
        }
    }

    /// A good history, spoiled, has faults, the first of which says this.
    fn spoiled(spoil: impl FnOnce(&mut History), says: &str) {
        let mut history = good();
        spoil(&mut history);
        let faults = check(&history, Rules::default()).expect_err(says);
        assert!(faults.iter().any(|fault| fault.contains(says)), "{faults:?}");
    }

    #[test]
    fn a_good_history_has_no_fault() {
        assert_eq!(check(&good(), Rules::default()), Ok(()));
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        spoiled(|h| h.chains[0].polls[0].messages.truncate(1), "and not");
        spoiled(|h| h.chains[0].polls[1].messages.insert(0, (at(2), "b".into())), "and not");
        spoiled(|h| h.chains[0].polls[0].messages.reverse(), "and not");
        spoiled(|h| h.chains[0].polls[1].messages[0].1 = "d".into(), "stands both");
        spoiled(|h| h.chains[0].polls[1].messages.push((at(4), "a".into())), "stands both at 7-1 and at 7-4");
        spoiled(|h| h.chains[0].polls[1] = poll(50, &[], 2), "was answered empty at 7-2 though 7-3");
        spoiled(|h| h.chains[0].polls[2].cursor = at(3), "went back to 7-3");
        spoiled(|h| h.chains[0].polls[2].cursor = Cursor::new(8, 0), "was not told");
        spoiled(|h| h.publishes.push(publish("d", 4)), "and not");
        spoiled(|h| h.publishes[0].begun = ms(40), "\"a\" began after \"b\" was answered, and stands below");
        spoiled(|h| h.audit.as_mut().unwrap().1.truncate(2), "\"c\" was answered 7-3 and is not there");
        spoiled(|h| h.chains[0].polls[1].missed = true, "nothing had expired");
        spoiled(
            |h| {
                for publish in &mut h.publishes[..2] {
                    publish.key = Some("k".into());
                }
            },
            "the key \"k\" was answered 7-1 and 7-2",
        );
    }

    #[test]
    fn what_has_expired_may_be_missing_when_it_is_said_to_be_missed() {
        let mut history = good();
        history.chains[0].polls[0] = Poll { missed: true, ..poll(40, &[(2, "b")], 2) };
        let rules = Rules { retention: ms(25), ..Rules::default() };
        assert_eq!(check(&history, rules), Ok(()));
    }
}
