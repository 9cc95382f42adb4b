//! The answer to a poll: a piece of a log.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    cursor::Cursor,
    limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX},
    message::Message,
};

/// How many messages one batch may have: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// A batch with one message.
    pub const ONE: Self = Self(1);
    /// A full batch.
    pub const MAX: Self = Self(BATCH_MESSAGES_MAX);

    /// This many, at most 100; none for 0.
    #[must_use]
    pub fn clamped(number: u64) -> Option<Self> {
        match usize::try_from(number).unwrap_or(usize::MAX) {
            0 => None,
            number => Some(Self(number.min(BATCH_MESSAGES_MAX))),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

/// A contiguous piece of one channel's log. Its serialized form is that of the HTTP API.
#[derive(Debug, Serialize)]
pub struct Batch {
    /// Its beginning. Every hold with this position can share it.
    #[serde(skip)]
    after: Cursor,
    messages: Vec<Arc<Message>>,
    /// Its end, after offsets without a message too.
    cursor: Cursor,
    missed: bool,
    /// The first hold encodes it, and ten thousand clone the bytes.
    #[serde(skip)]
    encoded: OnceLock<Bytes>,
}

/// What a batch has for a reader at a cursor.
#[derive(Debug)]
pub enum Following {
    /// What comes after the cursor, as much as was asked for.
    Batch(Arc<Batch>),
    /// The batch ends at the cursor or below it: a later batch has what comes next.
    NothingYet,
    /// The batch begins above the cursor, or is of another log: only the store knows what comes next.
    Unknown,
}

impl Batch {
    /// What comes after `after`, up to `end`: as many of `messages`, oldest first, as `limit` and 512 KiB allow.
    #[must_use]
    pub fn new(
        after: Cursor,
        messages: impl IntoIterator<Item = Arc<Message>>,
        end: Cursor,
        missed: bool,
        limit: Limit,
    ) -> Self {
        let mut rest = messages.into_iter().peekable();
        let messages = fitting(&mut rest, limit);
        let cut_off = rest.peek().and(messages.last());
        Self { after, cursor: cut_off.map_or(end, |last| last.id()), messages, missed, encoded: OnceLock::new() }
    }

    /// What comes before `end`: as many of `messages`, newest first, as `limit` and 512 KiB allow.
    #[must_use]
    pub fn before(end: Cursor, messages: impl IntoIterator<Item = Arc<Message>>, missed: bool, limit: Limit) -> Self {
        let mut messages = fitting(&mut messages.into_iter().peekable(), limit);
        messages.reverse();
        let after = messages.first().map_or(end, |first| Cursor::new(first.id().epoch(), first.id().offset() - 1));
        Self { after, messages, cursor: end, missed, encoded: OnceLock::new() }
    }

    /// An empty batch for a reader at `at`.
    #[must_use]
    pub fn empty(at: Cursor) -> Self {
        Self::new(at, [], at, false, Limit::MAX)
    }

    /// Whether it is empty: no message, and none missed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.missed
    }

    /// Its beginning.
    #[must_use]
    pub fn after(&self) -> Cursor {
        self.after
    }

    /// Its messages, in the order of the log.
    #[must_use]
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// Its end, which is the cursor of a reader that has read it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether a message after its beginning is gone.
    #[must_use]
    pub fn missed(&self) -> bool {
        self.missed
    }

    /// The length of its messages as JSON, each with a comma.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.encoded_len() + 1).sum()
    }

    /// Its first messages, this many. Without any it ends where it begins, and `missed` comes with the first of them.
    pub(crate) fn first(self: &Arc<Self>, count: usize) -> Arc<Self> {
        match Limit::clamped(count as u64) {
            _ if count == self.messages.len() => Arc::clone(self),
            None => Arc::new(Self::empty(self.after)),
            Some(limit) => {
                Arc::new(Self::new(self.after, self.messages.iter().cloned(), self.cursor, self.missed, limit))
            }
        }
    }

    /// Its JSON, made once.
    #[must_use]
    pub fn encoded(&self) -> Bytes {
        let encode = || serde_json::to_vec(self).unwrap_or_default().into();
        self.encoded.get_or_init(encode).clone()
    }

    /// What it has for a reader at `at` that takes `limit` messages.
    #[must_use]
    pub fn following(self: &Arc<Self>, at: Cursor, limit: Limit) -> Following {
        if at == self.after && (self.missed || at != self.cursor) {
            // Made for this position, also if it leads from one log into the next.
            return Following::Batch(self.first(limit.get().min(self.messages.len())));
        }
        if at.epoch() != self.cursor.epoch() {
            return Following::Unknown;
        }
        if at.offset() >= self.cursor.offset() {
            return Following::NothingYet;
        }
        // Whether something was missed since `at`, and not only since the beginning of the batch: only the store knows.
        let within = at.epoch() == self.after.epoch() && at.offset() > self.after.offset() && !self.missed;
        if !within {
            return Following::Unknown;
        }
        let rest = self.messages.iter().skip_while(|message| message.id().offset() <= at.offset()).cloned();
        Following::Batch(Arc::new(Self::new(at, rest, self.cursor, false, limit)))
    }
}

/// Takes as many messages as fit into one batch. One always fits, however large.
fn fitting(messages: &mut std::iter::Peekable<impl Iterator<Item = Arc<Message>>>, limit: Limit) -> Vec<Arc<Message>> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while taken.len() < limit.get()
        && let Some(message) = messages.next_if(|m| {
            bytes += m.encoded_len() + 1;
            taken.is_empty() || bytes <= BATCH_BYTES_MAX
        })
    {
        taken.push(message);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channel::Channel,
        message::{Draft, Text},
    };
    use proptest::prelude::*;

    const EPOCH: u64 = 7;

    fn at(offset: u64) -> Cursor {
        Cursor::new(EPOCH, offset)
    }

    fn message(offset: u64, bytes: usize) -> Arc<Message> {
        let text = Text::parse("x".repeat(bytes)).unwrap();
        Arc::new(Message::new(at(offset), Channel::default(), Draft { nick: None, text }, 0))
    }

    fn offsets(batch: &Batch) -> Vec<u64> {
        batch.messages().iter().map(|message| message.id().offset()).collect()
    }

    /// After 4: messages at 5, 6 and 8, a filler at 7 and at 9.
    fn batch(missed: bool) -> Arc<Batch> {
        Arc::new(Batch::new(at(4), [5, 6, 8].map(|offset| message(offset, 1)), at(9), missed, Limit::MAX))
    }

    #[test]
    fn a_batch_ends_at_its_end_unless_it_was_cut_off() {
        let limit = |number| Limit::clamped(number).unwrap();
        let cut = |number| Batch::new(at(4), [5, 6].map(|offset| message(offset, 1)), at(9), false, limit(number));
        assert_eq!(cut(1).cursor(), at(5));
        assert_eq!(cut(2).cursor(), at(9));
    }

    #[test]
    fn the_largest_message_is_never_too_large_alone() {
        let full = [5, 6, 7].map(|offset| {
            let text = Text::parse("\u{1}".repeat(32_768)).unwrap();
            Arc::new(Message::new(at(offset), Channel::default(), Draft { nick: None, text }, 0))
        });
        let batch = Batch::new(at(4), full, at(7), false, Limit::MAX);
        assert_eq!(offsets(&batch), [5, 6], "two of 197 KB fit 512 KiB, three do not");
        assert_eq!(batch.cursor(), at(6));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_batch_is_the_longest_piece_that_fits(
            sizes in prop::collection::vec(1..32_769_usize, 0..120), limit in 1..=100_u64, missed: bool
        ) {
            let messages: Vec<_> = (1..).zip(&sizes).map(|(offset, bytes)| message(offset, *bytes)).collect();
            let end = at(messages.len() as u64);
            let limit = Limit::clamped(limit).unwrap();
            let batch = Batch::new(at(0), messages.clone(), end, missed, limit);

            let count = batch.messages().len();
            prop_assert_eq!(batch.messages(), &messages[..count]);
            let ends_at = messages[..count].last().map_or(end, |last| last.id());
            prop_assert_eq!(batch.cursor(), if count == messages.len() { end } else { ends_at });
            let size = |count: usize| messages[..count].iter().map(|m| m.encoded_len() + 1).sum::<usize>();
            prop_assert!(count <= limit.get() && (count <= 1 || size(count) <= BATCH_BYTES_MAX));
            let whole = count == messages.len() || count == limit.get();
            prop_assert!(whole || size(count + 1) > BATCH_BYTES_MAX);
            prop_assert!(batch.encoded().len() < BATCH_BYTES_MAX + 200);

            let backwards = Batch::before(end, messages.iter().rev().cloned(), missed, limit);
            let from = messages.len() - backwards.messages().len();
            prop_assert_eq!(backwards.messages(), &messages[from..]);
            prop_assert_eq!(backwards.after(), at(from as u64));
        }

        #[test]
        fn whoever_follows_batches_gets_every_message_once(
            gaps in prop::collection::vec(1..4_u64, 1..20), limits in prop::collection::vec(1..5_u64, 40)
        ) {
            let ids: Vec<_> = gaps.iter().scan(4, |id, gap| { *id += gap; Some(*id) }).collect();
            let end = at(ids.last().unwrap() + 2);
            let batch = Arc::new(Batch::new(at(4), ids.iter().map(|id| message(*id, 1)), end, false, Limit::MAX));
            let (mut cursor, mut got) = (at(4), Vec::new());
            for limit in limits {
                if let Following::Batch(part) = batch.following(cursor, Limit::clamped(limit).unwrap()) {
                    got.extend(offsets(&part));
                    cursor = part.cursor();
                }
            }
            prop_assert_eq!(got, ids);
            prop_assert_eq!(cursor, end);
        }
    }

    #[test]
    fn a_batch_serves_whom_it_can() {
        let served = |batch: &Arc<Batch>, cursor: Cursor| match batch.following(cursor, Limit::MAX) {
            Following::Batch(part) => Some(offsets(&part)),
            Following::NothingYet => Some(vec![]),
            Following::Unknown => None,
        };
        let plain = batch(false);
        assert_eq!(served(&plain, at(3)), None, "what stands at 4 is not in it");
        assert_eq!(served(&plain, at(4)), Some(vec![5, 6, 8]));
        assert_eq!(served(&plain, at(5)), Some(vec![6, 8]));
        assert_eq!(served(&plain, at(7)), Some(vec![8]), "a filler's offset is a position too");
        for ahead in [9, 10] {
            assert_eq!(served(&plain, at(ahead)), Some(vec![]));
        }
        assert_eq!(served(&plain, Cursor::new(EPOCH + 1, 5)), None);

        let missed = batch(true);
        assert_eq!(served(&missed, at(4)), Some(vec![5, 6, 8]));
        assert_eq!(served(&missed, at(5)), None, "whether this one missed something only the store knows");
        assert_eq!(served(&missed, at(9)), Some(vec![]));
    }

    #[test]
    fn a_batch_over_two_logs_serves_only_whom_it_was_made_for() {
        let old = Cursor::new(1, 5);
        let batch = Arc::new(Batch::new(old, [1, 2].map(|offset| message(offset, 1)), at(2), true, Limit::MAX));
        let Following::Batch(whole) = batch.following(old, Limit::MAX) else { panic!("it was made for them") };
        assert!(Arc::ptr_eq(&whole, &batch));
        assert!(matches!(batch.following(at(1), Limit::MAX), Following::Unknown));
        assert!(matches!(batch.following(at(2), Limit::MAX), Following::NothingYet));
        let Following::Batch(first) = batch.following(old, Limit::ONE) else { panic!("one of two") };
        assert!(first.missed() && first.cursor() == at(1));
    }

    #[test]
    fn a_batch_is_encoded_once() {
        let batch = batch(false);
        assert_eq!(batch.encoded().as_ptr(), batch.encoded().as_ptr());
        assert_eq!(&Batch::empty(at(4)).encoded()[..], br#"{"messages":[],"cursor":"7-4","missed":false}"#);
    }
}
