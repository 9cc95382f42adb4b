//! What each subscriber received, and what is wrong with it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::sent::Sent;

/// What one subscriber received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// The next number, for each publisher.
    due: Vec<u64>,
    /// Numbers that were skipped, and may still come.
    missing: BTreeSet<(usize, u64)>,
    repeated: u64,
    disordered: u64,
    /// A hash of all messages in their order. Another order gives another hash.
    order: u64,
}

/// What one publisher published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// The number of its next message.
    pub(crate) next: u64,
    /// Messages that the server did not accept. It may deliver them all the same.
    pub(crate) refused: BTreeSet<u64>,
}

/// The faults of all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Accepted, but not delivered to a subscriber.
    pub(crate) lost: u64,
    /// Delivered to a subscriber again.
    pub(crate) repeated: u64,
    /// Delivered after a later one of the same publisher, or in another order than to the first subscriber.
    pub(crate) disordered: u64,
}

impl Tally {
    /// Takes a message that came.
    pub(crate) fn hear(&mut self, sent: Sent) {
        let Sent { publisher, sequence, .. } = sent;
        if publisher >= self.due.len() {
            self.due.resize(publisher + 1, 0);
        }
        // An odd factor loses no bits.
        self.order = (self.order ^ ((sequence << 16) | publisher as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let Some(due) = self.due.get_mut(publisher) else { return };
        if sequence >= *due {
            self.missing.extend((*due..sequence).map(|passed| (publisher, passed)));
            *due = sequence + 1;
        } else if self.missing.remove(&(publisher, sequence)) {
            self.disordered += 1;
        } else {
            self.repeated += 1;
        }
    }

    /// How many published messages never came.
    pub(crate) fn lost(&self, published: &[Published]) -> u64 {
        let refused = |(publisher, number): &&(usize, u64)| {
            published.get(*publisher).is_none_or(|published| published.refused.contains(number))
        };
        let passed = (self.missing.len() - self.missing.iter().filter(refused).count()) as u64;
        let rest = |(publisher, published): (usize, &Published)| {
            let due = self.due.get(publisher).copied().unwrap_or(0).min(published.next);
            published.next - due - published.refused.range(due..).count() as u64
        };
        passed + published.iter().enumerate().map(rest).sum::<u64>()
    }
}

impl Verdict {
    /// Compares what subscribers received with what was published.
    pub(crate) fn of<'a>(tallies: impl Iterator<Item = &'a Tally> + Clone, published: &[Published]) -> Self {
        let mut verdict = Self::default();
        for tally in tallies.clone() {
            verdict.lost += tally.lost(published);
            verdict.repeated += tally.repeated;
            verdict.disordered += tally.disordered;
        }
        // The orders of subscribers who received different messages can't be compared.
        let refused = published.iter().any(|published| !published.refused.is_empty());
        if verdict.is_clean() && !refused {
            let mut orders = tallies.map(|tally| tally.order);
            let first = orders.next();
            verdict.disordered = orders.filter(|order| Some(*order) != first).count() as u64;
        }
        verdict
    }

    /// Whether all subscribers received everything, once and in order.
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn had(messages: &[(usize, u64)]) -> Tally {
        let mut tally = Tally::default();
        for &(publisher, sequence) in messages {
            tally.hear(Sent { publisher, sequence, at: Duration::ZERO });
        }
        tally
    }

    fn published(next: u64, refused: &[u64]) -> Published {
        Published { next, refused: refused.iter().copied().collect() }
    }

    fn verdict(tallies: &[Tally], published: &[Published]) -> (u64, u64, u64) {
        let Verdict { lost, repeated, disordered } = Verdict::of(tallies.iter(), published);
        (lost, repeated, disordered)
    }

    #[test]
    fn what_never_came_is_lost_wherever_it_stood() {
        let three = [published(3, &[])];
        assert_eq!(verdict(&[had(&[(0, 0), (0, 1), (0, 2)])], &three), (0, 0, 0));
        for kept in [[1, 2], [0, 2], [0, 1]] {
            assert_eq!(verdict(&[had(&kept.map(|number| (0, number)))], &three), (1, 0, 0), "{kept:?}");
        }
        assert_eq!(verdict(&[had(&[])], &three), (3, 0, 0));
        assert_eq!(verdict(&[had(&[(0, 0), (0, 1), (0, 2)])], &[published(3, &[]), published(2, &[])]), (2, 0, 0));
    }

    #[test]
    fn what_was_refused_may_come_or_not() {
        assert_eq!(
            verdict(&[had(&[(0, 0), (0, 2)]), had(&[(0, 0), (0, 1), (0, 2)])], &[published(3, &[1])]),
            (0, 0, 0)
        );
        assert_eq!(verdict(&[had(&[(0, 0)])], &[published(2, &[1])]), (0, 0, 0));
    }

    #[test]
    fn again_is_repeated_and_late_is_disordered() {
        assert_eq!(verdict(&[had(&[(0, 0), (0, 0), (0, 1)])], &[published(2, &[])]), (0, 1, 0));
        assert_eq!(verdict(&[had(&[(0, 1), (0, 0), (0, 2)])], &[published(3, &[])]), (0, 0, 1));
    }

    #[test]
    fn all_have_one_order() {
        let both = [published(1, &[]), published(1, &[])];
        assert_eq!(verdict(&[had(&[(0, 0), (1, 0)]), had(&[(0, 0), (1, 0)])], &both), (0, 0, 0));
        assert_eq!(verdict(&[had(&[(0, 0), (1, 0)]), had(&[(1, 0), (0, 0)])], &both), (0, 0, 1));
    }
}
