//! Variants of the protocol that are wrong, to see that the simulation catches them.

use std::collections::BTreeMap;

use pubsub::channel::Channel;

use crate::{
    DynamoDb,
    item::{Head, Slot},
};

/// One way to do it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A reader passes over a slot that is not decided.
    DeliverPastHoles,
    /// A slot is written whatever stands there.
    WriteUnconditionally,
    /// A publisher whose put was not answered takes another offset.
    TakeAnotherUndecided,
    /// A key is moved from a slot that may still be written.
    MoveKeyUndecided,
    /// A reader takes a hole for a filler whatever its put got back.
    IgnoreWhatTheFillerGot,
    /// What was missed is told from a head that was read earlier.
    MissedByStaleHead,
    /// Every offset given out sets the base.
    BaseUnconditionally,
    /// A reader that finds nothing goes on from the end.
    AdvanceOnNothing,
}

impl Wrong {
    pub(crate) const ALL: [Self; 8] = [
        Self::DeliverPastHoles,
        Self::WriteUnconditionally,
        Self::TakeAnotherUndecided,
        Self::MoveKeyUndecided,
        Self::IgnoreWhatTheFillerGot,
        Self::MissedByStaleHead,
        Self::BaseUnconditionally,
        Self::AdvanceOnNothing,
    ];
}

impl<T> DynamoDb<T> {
    /// The head as it was when it was last looked at.
    pub(crate) fn perhaps_stale(&self, channel: &Channel, head: Option<Head>) -> Option<Head> {
        if self.wrong != Some(Wrong::MissedByStaleHead) {
            return head;
        }
        let earlier = self.earlier_heads.lock().unwrap().insert(channel.clone(), head);
        earlier.unwrap_or(head)
    }

    /// The slots with fillers in all holes.
    pub(crate) fn perhaps_without_holes(&self, position: u64, slots: &BTreeMap<u64, Slot>) -> BTreeMap<u64, Slot> {
        let mut slots = slots.clone();
        if self.wrong == Some(Wrong::DeliverPastHoles)
            && let Some((last, slot)) = slots.last_key_value()
        {
            let (last, time) = (*last, slot.time());
            for offset in position + 1..last {
                slots.entry(offset).or_insert(Slot::Filler { time });
            }
        }
        slots
    }
}
