//! From slots to messages: what may be delivered, and where a reader must stop.

use std::{collections::BTreeMap, sync::Arc};

use pubsub::{channel::Channel, cursor::Cursor, message::Message};

use crate::item::Slot;

/// Any reader decides a hole when a slot above it is older than this, in milliseconds: its publisher has given up. The
/// same goes for a slot that is this far in the future: its publisher's clock is wrong, so its age is unknown.
pub(crate) const AGED_MS: u64 = 10_000;

/// How many holes are recorded together: those of one second of lost puts, at the highest rate of a channel.
pub(crate) const HOLES_MAX: usize = 2_000;

/// The position that a reader reached, and what it found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Everything up to here is decided, or has expired.
    pub(crate) position: u64,
    pub(crate) messages: Vec<Arc<Message>>,
    /// Whether something after the beginning has expired.
    pub(crate) missed: bool,
    /// The undecided slots above the position that have another slot above them, upward.
    pub(crate) holes: Vec<u64>,
    /// How many of these, from the lowest, have an old slot above them.
    pub(crate) aged: usize,
    /// Whether this version can't read the slot above the position.
    pub(crate) barred: bool,
}

/// The times that a walk uses, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) now: u64,
    /// Slots of this time or older have expired.
    pub(crate) horizon: u64,
}

impl Times {
    pub(crate) fn expired(&self, slot: &Slot) -> bool {
        slot.time() <= self.horizon
    }
}

impl Walk {
    /// A reader at `position`.
    pub(crate) fn from(position: u64) -> Self {
        Self { position, ..Self::default() }
    }

    /// Whether there is nothing to deliver, and nothing was missed.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.missed
    }

    /// Walks over the slots above the position, upward.
    pub(crate) fn over(&mut self, channel: &Channel, epoch: u64, slots: &BTreeMap<u64, Slot>, times: Times) {
        let mut below = self.position;
        for (&offset, slot) in slots.range(self.position + 1..) {
            let hole = offset > below + 1;
            // Nothing above a delivered message has expired, whatever the clock of its publisher was.
            if !self.has_stopped() && self.messages.is_empty() && times.expired(slot) {
                // A hole below has expired too. It may have been a message that was deleted first.
                self.missed |= hole || !matches!(slot, Slot::Filler { .. });
                self.position = offset;
            } else {
                if hole {
                    self.holes.extend((below + 1..offset).take(HOLES_MAX - self.holes.len()));
                }
                if !self.has_stopped() {
                    self.deliver(channel, Cursor::new(epoch, offset), slot);
                }
            }
            if times.now.abs_diff(slot.time()) > AGED_MS {
                self.aged = self.holes.len();
            }
            below = offset;
        }
    }

    fn has_stopped(&self) -> bool {
        !self.holes.is_empty() || self.barred
    }

    fn deliver(&mut self, channel: &Channel, id: Cursor, slot: &Slot) {
        self.barred = matches!(slot, Slot::Unknown { .. });
        if !self.barred {
            self.messages.extend(message(channel, id, slot));
            self.position = id.offset();
        }
    }
}

/// The message in a slot, if there is one.
pub(crate) fn message(channel: &Channel, id: Cursor, slot: &Slot) -> Option<Arc<Message>> {
    match slot {
        Slot::Filler { .. } | Slot::Unknown { .. } => None,
        Slot::Message { time, draft, .. } => Some(Arc::new(Message::new(id, channel.clone(), draft.clone(), *time))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pubsub::message::{Draft, Text};

    const TIMES: Times = Times { now: 1_000_000, horizon: 900_000 };
    const YOUNG: u64 = 995_000;
    const AGED: u64 = 980_000;
    const AHEAD: u64 = 1_300_000;
    const EXPIRED: u64 = 900_000;

    fn said(time: u64) -> Slot {
        let text = Text::parse("x".to_owned()).unwrap();
        Slot::Message { time, draft: Draft { nick: None, text }, key: None }
    }

    /// What a reader at 4 finds in these slots: its position, the messages, missed, holes, aged, barred.
    fn walked(slots: &[(u64, Slot)]) -> (u64, Vec<u64>, bool, Vec<u64>, usize, bool) {
        let mut walk = Walk::from(4);
        walk.over(&Channel::default(), 7, &slots.iter().cloned().collect(), TIMES);
        let offsets = walk.messages.iter().map(|message| message.id().offset()).collect();
        (walk.position, offsets, walk.missed, walk.holes, walk.aged, walk.barred)
    }

    #[test]
    fn what_is_decided_is_delivered_up_to_the_first_hole() {
        let filler = Slot::Filler { time: YOUNG };
        let slots = [(5, said(YOUNG)), (6, filler), (8, said(YOUNG)), (11, said(YOUNG))];
        assert_eq!(walked(&slots), (6, vec![5], false, vec![7, 9, 10], 0, false));
    }

    #[test]
    fn a_hole_below_something_old_is_aged() {
        assert_eq!(walked(&[(6, said(AGED)), (8, said(YOUNG))]), (4, vec![], false, vec![5, 7], 1, false));
        assert_eq!(walked(&[(6, said(YOUNG)), (8, said(AGED))]), (4, vec![], false, vec![5, 7], 2, false));
        assert_eq!(walked(&[(6, said(AHEAD))]), (4, vec![], false, vec![5], 1, false), "its clock is minutes ahead");
        for close in [TIMES.now - 10_000, TIMES.now + 10_000] {
            assert_eq!(walked(&[(6, said(close))]), (4, vec![], false, vec![5], 0, false));
        }
    }

    #[test]
    fn what_has_expired_was_missed_unless_it_was_nothing() {
        assert_eq!(walked(&[(5, said(EXPIRED)), (6, said(YOUNG))]), (6, vec![6], true, vec![], 0, false));
        assert_eq!(walked(&[(5, Slot::Filler { time: EXPIRED })]), (5, vec![], false, vec![], 0, false));
        assert_eq!(walked(&[(6, Slot::Filler { time: EXPIRED })]), (6, vec![], true, vec![], 0, false));
        assert_eq!(walked(&[(5, Slot::Unknown { time: EXPIRED })]), (5, vec![], true, vec![], 0, false));
        let behind = [(5, said(YOUNG)), (6, said(EXPIRED)), (8, said(EXPIRED))];
        assert_eq!(walked(&behind), (6, vec![5, 6], false, vec![7], 1, false), "a publisher's clock is behind");
    }

    #[test]
    fn what_can_not_be_read_bars_the_way_and_nothing_below_it() {
        let unknown = Slot::Unknown { time: YOUNG };
        let slots = [(5, said(YOUNG)), (6, unknown.clone()), (7, said(YOUNG))];
        assert_eq!(walked(&slots), (5, vec![5], false, vec![], 0, true));
        assert_eq!(walked(&[(6, unknown)]), (4, vec![], false, vec![5], 0, false), "the hole comes first");
    }

    #[test]
    fn a_great_many_holes_are_looked_at_in_turn() {
        for slots in [&[(9_000, said(YOUNG))][..], &[(1_500, said(YOUNG)), (4_000, said(YOUNG))]] {
            let (.., holes, _, _) = walked(slots);
            assert_eq!((holes.len(), holes[0]), (HOLES_MAX, 5));
        }
    }
}
