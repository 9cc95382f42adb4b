//! How the channels of one poll share its answer.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use crate::{batch::Batch, hold::Each, limits::BATCH_BYTES_MAX};

/// Cuts batches so that all their messages together have at most 512 KiB. Each channel gives one message in turn, so
/// that a quiet one does not wait behind a busy one. The first one is chosen at random, so that none always comes last.
pub(crate) fn share(batches: Each<Arc<Batch>>) -> Each<Arc<Batch>> {
    let bytes: usize = batches.iter().map(|batch| batch.bytes()).sum();
    if batches.len() == 1 || bytes <= BATCH_BYTES_MAX {
        return batches;
    }
    let mut shares: Vec<_> = batches.iter().map(|batch| (batch, 0)).collect();
    let mut turns: VecDeque<_> = (0..shares.len()).collect();
    turns.rotate_left(any_below(shares.len()));
    let mut room = BATCH_BYTES_MAX;
    while let Some(turn) = turns.pop_front() {
        if let Some((batch, count)) = shares.get_mut(turn)
            && let Some(message) = batch.messages().get(*count)
            && let Some(rest) = room.checked_sub(message.encoded_len() + 1)
        {
            room = rest;
            *count += 1;
            turns.push_back(turn);
        }
    }
    shares.into_iter().map(|(batch, count)| batch.first(count)).collect()
}

fn any_below(bound: usize) -> usize {
    let random = RandomState::new().hash_one(()) % bound as u64;
    usize::try_from(random).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::Limit,
        channel::Channel,
        cursor::Cursor,
        message::{Draft, Message, Text},
    };
    use proptest::prelude::*;
    use smallvec::smallvec;

    fn batch(sizes: &[usize]) -> Arc<Batch> {
        let message = |(offset, size): (u64, &usize)| {
            let draft = Draft { nick: None, text: Text::parse("x".repeat(*size)).unwrap() };
            Arc::new(Message::new(Cursor::new(7, offset), Channel::default(), draft, 0))
        };
        let end = Cursor::new(7, sizes.len() as u64);
        Arc::new(Batch::new(Cursor::new(7, 0), (1..).zip(sizes).map(message), end, false, Limit::MAX))
    }

    fn counts(batches: &[Arc<Batch>]) -> Vec<usize> {
        batches.iter().map(|batch| batch.messages().len()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn each_gives_a_piece_from_its_beginning_and_all_of_them_fit(
            sizes in prop::collection::vec(prop::collection::vec(1..32_769_usize, 0..30), 1..21)
        ) {
            let whole: Vec<_> = sizes.iter().map(|sizes| batch(sizes)).collect();
            let shared = share(whole.clone().into());
            let bytes = |batches: &[Arc<Batch>]| batches.iter().map(|batch| batch.bytes()).sum::<usize>();
            prop_assert!(bytes(&shared) <= BATCH_BYTES_MAX);
            for (whole, part) in whole.iter().zip(&shared) {
                let count = part.messages().len();
                prop_assert_eq!(part.messages(), &whole.messages()[..count]);
                let cut = whole.messages().get(count).is_some();
                let last = part.messages().last().map_or(whole.after(), |last| last.id());
                prop_assert_eq!(part.cursor(), if cut { last } else { whole.cursor() });
            }
            prop_assert!(bytes(&whole) > BATCH_BYTES_MAX || counts(&shared) == counts(&whole));
        }
    }

    #[test]
    fn a_quiet_channel_does_not_wait_behind_busy_ones() {
        let busy = batch(&[5_000; 100]);
        for _ in 0..20 {
            let shared = counts(&share(smallvec![busy.clone(), batch(&[5_000]), busy.clone(), batch(&[20; 3])]));
            assert_eq!((shared[1], shared[3]), (1, 3));
            assert!(shared[0].abs_diff(shared[2]) <= 1 && shared[0] > 45, "{shared:?}");
        }
    }

    #[test]
    fn of_many_that_do_not_fit_together_each_has_its_chance() {
        let large: Vec<_> = (0..20).map(|_| batch(&[32_768; 2])).collect();
        let mut given = [0; 20];
        for _ in 0..400 {
            let shared = counts(&share(large.clone().into()));
            assert_eq!(shared.iter().sum::<usize>(), 15);
            given.iter_mut().zip(shared).for_each(|(given, count)| *given += count);
        }
        assert!(given.iter().all(|given| *given > 0), "{given:?}");
    }

    #[test]
    fn who_has_missed_something_and_gives_nothing_is_told_later() {
        let full = || batch(&[32_768; 15]);
        let at = Cursor::new(3, 9);
        let missed = Batch::new(at, batch(&[32_768]).messages().iter().cloned(), Cursor::new(7, 1), true, Limit::MAX);
        let missed = Arc::new(missed);
        let part =
            (0..100).map(|_| share(smallvec![full(), full(), Arc::clone(&missed)]).remove(2)).find(|p| p.is_empty());
        assert!(part.is_none_or(|part| part.cursor() == at));
        assert_eq!(missed.first(0).cursor(), at);
    }
}
