//! What was published is there for whoever polls afterwards.

use std::{collections::BTreeMap, time::Duration};

use pubsub::cursor::Cursor;

use super::{Acknowledged, Begin, Chain, History, Poll, Publish, Rules, place};

/// No poll is answered empty while a message that was acknowledged before it began is to come: not at all, if all that
/// stands below that message was decided; else not for longer than it takes to decide it.
pub(super) fn published_is_there(
    chain: &Chain,
    history: &History,
    acknowledged: &Acknowledged,
    rules: Rules,
    fault: &mut impl FnMut(String),
) {
    let mut stands = chain.start.cursor();
    for poll in &chain.polls {
        // Who begins at the end was not promised what had been acknowledged before, and may stand below it.
        let promised = stands.is_some() || chain.start != Begin::Latest;
        let stood = stands.replace(poll.cursor).unwrap_or(poll.cursor);
        // What could not be read while another channel answered says nothing.
        let unread = poll.aside && (!poll.trouble.is_zero() || !history.unreadable.is_empty());
        if !poll.messages.is_empty() || poll.missed || unread {
            continue;
        }
        let (epoch, offset) = place(poll.cursor);
        // Nobody comes past what can't be read.
        let barred = history.unreadable.range((epoch, offset + 1)..=(epoch, u64::MAX)).next().copied();
        let above = acknowledged.range((epoch, offset + 1)..=barred.unwrap_or((epoch, u64::MAX)));
        let late = above.map(|(place, publish)| (*place, publish)).find(|(place, publish)| match &history.written {
            None => publish.ended + rules.patience < poll.begun && !poll.aside,
            // It does not say that nothing is there; but what is there is not left out for ever.
            Some(_) if poll.aside => left_out(publish, poll, rules),
            Some(written) => {
                let at_once = publish.ended < poll.begun && decided(written, stood, poll, *place);
                at_once || (promised && waited_too_long(publish, poll, rules))
            }
        });
        if let Some((place, _)) = late {
            fault(format!("was answered empty at {} though {place:?} had been published", poll.cursor));
        }
        if let Some(place) = stuck(history, acknowledged, poll, rules) {
            fault(format!("was left at {} though the log goes on at {place:?}", poll.cursor));
        }
    }
}

/// Whether every slot from where the poll stood to this place was decided before the poll began.
fn decided(written: &BTreeMap<(u64, u64), Duration>, stood: Cursor, poll: &Poll, (epoch, offset): (u64, u64)) -> bool {
    let above = if stood.epoch() == epoch { stood.offset() + 1 } else { 1 };
    let mut slots = written.range((epoch, above)..=(epoch, offset));
    let none_is_missing = slots.clone().count() as u64 == offset + 1 - above;
    none_is_missing && slots.all(|(_, written)| *written < poll.begun)
}

fn waited_too_long(publish: &Publish, poll: &Poll, rules: Rules) -> bool {
    if poll.held {
        poll.ended.saturating_sub(publish.ended.max(poll.begun)) > rules.patience + poll.trouble
    } else {
        left_out(publish, poll, rules)
    }
}

fn left_out(publish: &Publish, poll: &Poll, rules: Rules) -> bool {
    publish.ended + rules.patience_of_looks + poll.trouble < poll.begun
}

/// A message of another log than the one that a poll was left in, though that is the log now.
fn stuck(history: &History, acknowledged: &Acknowledged, poll: &Poll, rules: Rules) -> Option<(u64, u64)> {
    let lost = history.losses.iter().filter(|loss| **loss <= poll.ended).max().copied().unwrap_or_default();
    let patience = if poll.held && poll.cursor.epoch() != 0 { rules.patience_of_losses } else { rules.patience };
    let patience = patience + poll.trouble;
    let current =
        acknowledged.iter().filter(|(_, publish)| publish.begun >= lost && publish.ended + patience < poll.begun);
    let ((epoch, offset), _) = current.max_by_key(|(_, publish)| publish.ended)?;
    (*epoch != poll.cursor.epoch()).then_some((*epoch, *offset))
}
