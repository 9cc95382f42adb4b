//! Who begins without a cursor is given all that is acknowledged afterwards, and as much of what came before as they
//! asked for.

use std::{ops::Bound, time::Duration};

use super::{Acknowledged, Begin, Chain, Glimpse, History, Log, Rules, place};

/// A beginning is looked up within this time, or it fails.
const LOOKED_UP: Duration = Duration::from_secs(3);

/// Nothing that a chain's beginning leaves behind was written after it, and none that it should have had.
pub(super) fn nothing_passed(
    chain: &Chain,
    history: &History,
    acknowledged: &Acknowledged,
    rules: Rules,
    fault: &mut impl FnMut(String),
) {
    let Some(first) = chain.polls.first().filter(|_| chain.start.cursor().is_none()) else { return };
    let looked_up = first.ended.min(first.begun + LOOKED_UP);
    let end = first.messages.first().map_or(place(first.cursor), |(id, _)| (id.epoch(), id.offset() - 1));
    let beginning = (end.0, 0);
    for (place, publish) in acknowledged.range((Bound::Excluded(beginning), Bound::Included(end.max(beginning)))) {
        let written = match &history.written {
            Some(written) => written.get(place).copied().unwrap_or_default(),
            None => publish.begun,
        };
        // A hold may last longer than messages are kept, if its process was frozen; a bare one is not told then.
        let gone = !publish.retained_at(first, rules);
        if written > looked_up && !gone {
            fault(format!("began {:?} at {}, and {place:?} came after that", chain.start, first.cursor));
        }
        let wanted = match chain.start {
            Begin::Earliest => true,
            Begin::Last(count) => first.messages.len() < count && !is_barred(history, *place, end),
            Begin::Latest | Begin::After(_) => false,
        };
        if wanted && publish.ended < first.begun && publish.retained_at(first, rules) {
            fault(format!("began {:?} at {}, and was not given {place:?}", chain.start, first.cursor));
        }
    }
}

/// Whether something that can't be read stands between a message and whoever looks down at it.
fn is_barred(history: &History, below: (u64, u64), above: (u64, u64)) -> bool {
    history.unreadable.range(below..=above.max(below)).next().is_some()
}

/// A look back has the newest messages before its position, without a gap, and as many as were asked for.
pub(super) fn nothing_overlooked(
    glimpse: &Glimpse,
    history: &History,
    log: &Log,
    acknowledged: &Acknowledged,
    rules: Rules,
    fault: &mut impl FnMut(String),
) {
    let Glimpse { before, limit, poll } = glimpse;
    let (from, to) = ((before.epoch(), 0), place(*before));
    if poll.missed || from >= to {
        return;
    }
    let oldest = poll.messages.first().map(|(id, _)| place(*id));
    for (place, publish) in acknowledged.range((Bound::Excluded(from), Bound::Excluded(to))) {
        let there = publish.ended < poll.begun && publish.retained_at(poll, rules);
        let given = poll.messages.iter().any(|(id, _)| self::place(*id) == *place);
        let wanted = poll.messages.len() < *limit || oldest.is_some_and(|oldest| *place > oldest);
        if there && wanted && !given && !is_barred(history, *place, to) {
            fault(format!("a look before {before} was not given {place:?}"));
        }
    }
    let mut given = poll.messages.iter().map(|(id, _)| place(*id));
    if !given.clone().is_sorted() || given.any(|place| place >= to || !log.contains_key(&place)) {
        fault(format!("a look before {before} was given {:?}", poll.messages));
    }
}
