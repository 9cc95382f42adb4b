//! The head of a log: its beginning, its end, and how much of it has expired.
//!
//! A slot that the table has deleted looks like one that was never written. So the head must say up to which offset
//! everything has expired. For this it has a *mark*: an offset, and the time at which everything up to there will have
//! expired. When that time has come, the mark becomes the base, and the newest offset becomes the next mark. So while a
//! channel is used, everything above its base is at most three times as old as the silence that ends a log. Slots are
//! kept for five times that, so no slot above the base was ever deleted.

use pubsub::{clock::millis, cursor::Cursor, limits::SILENCE_MARGIN};

/// How far the head's time may be ahead of a publisher's clock, in milliseconds. Each of two clocks may be 15 minutes
/// off before DynamoDB refuses its signatures, and a request may land 15 minutes after it was signed. Beyond that the
/// publisher's clock is wrong, or its process was frozen, and it must not set the head's time back.
const AHEAD_MAX_MS: u64 = 45 * 60 * 1000;

/// How long slots are kept, in multiples of the silence that ends a log. After three, the base has passed them, or
/// after four when the retention is raised in between. The fifth is a margin.
const LIFETIMES: u64 = 5;

/// The head item of a channel. It never expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// When this log began, in milliseconds since 1970. Compared for equality only.
    pub(crate) epoch: u64,
    /// The highest offset given out.
    pub(crate) last: u64,
    /// When that was.
    pub(crate) time: u64,
    /// Everything up to here has expired, whether or not it was deleted.
    pub(crate) base: u64,
    /// Everything up to here will have expired …
    pub(crate) mark: u64,
    /// … at this time.
    pub(crate) due: u64,
    /// The retention of what stands up to the mark, in milliseconds.
    pub(crate) kept: u64,
    /// The retention of what comes, in milliseconds.
    pub(crate) retention: u64,
}

/// The conditions under which an offset is taken by only counting up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) now: u64,
    /// The head's time must be later than this. Otherwise the log was silent, and a new one may have to begin.
    pub(crate) quiet: u64,
    /// And it must be earlier than this.
    pub(crate) ahead: u64,
    /// The head's retention must be at least this, or one that is being raised already.
    pub(crate) retention: u64,
}

/// A log that was silent for this long has no messages left, and no request from before can still land: the margin is
/// longer than a signature is valid (15 minutes) plus the error of two clocks.
fn silence(retention: u64) -> u64 {
    retention + millis(SILENCE_MARGIN)
}

impl Terms {
    pub(crate) fn new(now: u64, retention: u64) -> Self {
        Self { now, quiet: now.saturating_sub(silence(retention)), ahead: now + AHEAD_MAX_MS, retention }
    }
}

impl Head {
    /// The head of a log that begins with its first offset.
    pub(crate) fn first(Terms { now, retention, .. }: Terms) -> Self {
        let due = now + silence(retention);
        Self { epoch: now, last: 1, time: now, base: 0, mark: 0, due, kept: retention, retention }
    }

    /// The head after the next offset is taken, with whatever else has to change; nothing when the publisher's clock
    /// must be wrong.
    pub(crate) fn next(self, Terms { now, ahead, retention, .. }: Terms) -> Option<Self> {
        if self.time >= ahead {
            return None;
        }
        let head = Self { last: self.last + 1, time: now, base: self.floor(now), ..self };
        let marked = |kept, retention| Self { mark: self.last, due: now + silence(kept), kept, retention, ..head };
        Some(if self.is_silent(now) {
            marked(retention, retention)
        } else if self.due <= now {
            marked(self.retention, retention)
        } else if retention > self.retention && self.kept >= self.retention {
            // These slots are deleted by the shorter retention, so they must expire by it.
            marked(self.kept, retention)
        } else {
            head
        })
    }

    /// Everything up to here has expired.
    pub(crate) fn floor(&self, now: u64) -> u64 {
        if self.is_silent(now) {
            self.last
        } else if self.due <= now {
            self.mark
        } else {
            self.base
        }
    }

    fn is_silent(&self, now: u64) -> bool {
        self.time + self.silence() <= now
    }

    /// How long, in milliseconds, until nothing that is written now is left.
    pub(crate) fn silence(&self) -> u64 {
        silence(self.retention.max(self.kept))
    }

    /// When the table may delete a slot of this time, in seconds since 1970.
    pub(crate) fn expires(&self, time: u64) -> u64 {
        (time + LIFETIMES * self.silence()) / 1000
    }

    pub(crate) fn at(&self, offset: u64) -> Cursor {
        Cursor::new(self.epoch, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;
    const BEGUN: u64 = 1_000_000_000_000;

    fn terms(now: u64, retention: u64) -> Terms {
        Terms::new(now, retention)
    }

    /// Takes an offset at each of these times with these retentions. Returns when each was given out and deleted.
    fn given(gaps: &[(u64, u64)]) -> (Vec<Head>, Vec<(u64, u64)>) {
        let mut now = BEGUN;
        let mut heads = vec![Head::first(terms(now, gaps[0].1))];
        let mut slots = vec![(now, heads[0].expires(now))];
        for (gap, retention) in &gaps[1..] {
            now += gap;
            let (head, terms) = (heads[heads.len() - 1], terms(now, *retention));
            let next = head.next(terms).unwrap();
            if terms.allow(&head) {
                assert_eq!(next, Head { last: head.last + 1, time: now, ..head }, "it merely counts up");
            }
            // The slots of a publisher with a longer retention than the head's are kept by the longer one.
            slots.push((now, next.expires(now)));
            heads.push(next);
        }
        (heads, slots)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_slot_above_the_floor_is_deleted_and_none_below_it_is_retained(
            gaps in prop::collection::vec((
                prop_oneof![0..HOUR, 20 * HOUR..30 * HOUR, 0..80 * HOUR],
                prop_oneof![4 => Just(24 * HOUR), 1 => Just(HOUR), 1 => Just(7 * 24 * HOUR), 1 => Just(2 * HOUR)],
            ), 1..40),
            later in 0..200 * HOUR,
        ) {
            let (heads, slots) = given(&gaps);
            for (index, head) in heads.iter().enumerate() {
                let next = heads.get(index + 1).map_or(u64::MAX, |next| next.time);
                let now = (head.time + later).min(next - 1);
                let floor = usize::try_from(head.floor(now)).unwrap();
                prop_assert!(floor <= index + 1);
                for (time, expires) in &slots[floor..=index] {
                    prop_assert!(expires * 1000 > now, "given out at {time}, deleted at {expires}, at {now} {head:?}");
                }
                for (offset, (time, _)) in slots[..floor].iter().enumerate() {
                    let promised = heads[offset].retention;
                    prop_assert!(time + promised <= now, "{offset} of {time} is passed over at {now}");
                }
                prop_assert!(heads.get(index + 1).is_none_or(|next| next.base >= head.base && next.mark >= head.mark));
            }
        }
    }

    #[test]
    fn a_time_that_can_not_be_is_refused() {
        let head = Head::first(terms(BEGUN, 24 * HOUR));
        for behind in [AHEAD_MAX_MS, 26 * HOUR] {
            let late = terms(BEGUN - behind, 24 * HOUR);
            assert!(!late.allow(&head) && head.next(late).is_none(), "{behind} ms behind the head");
        }
        let late = terms(BEGUN - AHEAD_MAX_MS + 1, 24 * HOUR);
        assert!(late.allow(&head) && head.next(late).is_some());
    }

    #[test]
    fn a_shorter_retention_changes_nothing_until_the_mark_is_due() {
        let head = Head::first(terms(BEGUN, 24 * HOUR));
        let lower = terms(BEGUN + HOUR, HOUR);
        assert!(lower.allow(&head));
        assert_eq!(head.next(lower).unwrap().retention, 24 * HOUR);
        let due = terms(BEGUN + 25 * HOUR, HOUR);
        assert!(!due.allow(&head));
        let (head, now) = (Head { time: BEGUN + 24 * HOUR, ..head }, due.now);
        let head = head.next(due).unwrap();
        assert_eq!((head.retention, head.kept, head.due), (HOUR, 24 * HOUR, now + 25 * HOUR));
    }
}
