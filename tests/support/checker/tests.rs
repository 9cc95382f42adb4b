//! The checker itself: good histories have no fault, and every kind of fault is found.

use super::*;

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn at(offset: u64) -> Cursor {
    Cursor::new(7, offset)
}

fn publish(text: &str, offset: u64) -> Publish {
    let (begun, ended, kept) = (ms(10 * offset), ms(10 * offset + 5), Duration::MAX);
    Publish { text: text.to_owned(), key: None, begun, ended, id: Some(at(offset)), kept }
}

fn poll(begun: u64, messages: &[(u64, &str)], cursor: u64) -> Poll {
    let messages = messages.iter().map(|(offset, text)| (at(*offset), (*text).to_owned())).collect();
    let (begun, ended, cursor) = (ms(begun), ms(begun + 1), at(cursor));
    Poll {
        begun,
        ended,
        messages,
        cursor,
        missed: false,
        held: false,
        aside: false,
        kept: Duration::MAX,
        trouble: Duration::ZERO,
    }
}

/// Three messages, and a subscriber who got all of them.
fn good() -> History {
    let polls = vec![poll(0, &[(1, "a"), (2, "b")], 2), poll(50, &[(3, "c")], 4), poll(60, &[], 4)];
    History {
        publishes: vec![publish("a", 1), publish("b", 2), publish("c", 3)],
        chains: vec![Chain { start: Begin::After(at(0)), polls }],
        audit: Some((ms(70), vec![(at(1), "a".into()), (at(2), "b".into()), (at(3), "c".into())])),
        ..History::default()
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
    spoiled(|h| h.chains[0].polls[1] = poll(50, &[], 2), "was answered empty at 7-2 though (7, 3)");
    spoiled(|h| h.chains[0].polls[2].cursor = at(3), "went back to 7-3");
    spoiled(|h| h.chains[0].polls[2].cursor = Cursor::new(8, 0), "was not told");
    spoiled(|h| h.publishes.push(publish("d", 4)), "and not");
    spoiled(|h| h.publishes[0].begun = ms(40), "\"a\" began after \"b\" was answered, and stands below");
    spoiled(|h| h.audit.as_mut().unwrap().1.truncate(2), "\"c\" was answered (7, 3) and is not there");
    spoiled(|h| h.chains[0].polls[1].missed = true, "nothing had expired");
    spoiled(
        |h| {
            for publish in &mut h.publishes[..2] {
                publish.key = Some("k".into());
            }
        },
        "the key \"k\" was answered Some(7-1) and Some(7-2)",
    );
}

#[test]
fn what_has_expired_may_be_missing_when_it_is_said_to_be_missed() {
    let mut history = good();
    history.publishes[0].kept = ms(25);
    history.chains[0].polls[0] = Poll { missed: true, ..poll(40, &[(2, "b")], 2) };
    assert_eq!(check(&history, Rules::default()), Ok(()));
}

/// A poll that holds from a moment to another one, and is answered empty.
fn held(begun: u64, ended: u64, cursor: u64) -> Poll {
    Poll { ended: ms(ended), held: true, ..poll(begun, &[], cursor) }
}

/// A good history with a beginning in it.
fn begun(start: Begin, first: Poll) -> History {
    let mut history = good();
    history.chains = vec![Chain { start, polls: vec![first] }];
    history
}

#[test]
fn a_beginning_passes_nothing_that_comes_after_it() {
    let fine = [
        begun(Begin::Latest, poll(36, &[], 3)),
        begun(Begin::Latest, poll(22, &[], 2)),
        begun(Begin::Last(1), poll(36, &[(3, "c")], 3)),
        begun(Begin::Last(9), poll(36, &[(1, "a"), (2, "b"), (3, "c")], 3)),
        begun(Begin::Earliest, poll(36, &[(1, "a"), (2, "b")], 2)),
    ];
    for history in fine {
        assert_eq!(check(&history, Rules::default()), Ok(()), "{:?}", history.chains);
    }
    for (history, says) in [
        (begun(Begin::Latest, poll(22, &[], 3)), "began Latest at 7-3, and (7, 3) came after that"),
        (begun(Begin::Last(1), poll(22, &[], 3)), "(7, 3) came after that"),
        (begun(Begin::Last(3), poll(36, &[(2, "b"), (3, "c")], 3)), "was not given (7, 1)"),
        (begun(Begin::Earliest, poll(36, &[(2, "b")], 2)), "was not given (7, 1)"),
        (begun(Begin::Latest, Poll { missed: true, ..poll(36, &[], 3) }), "began at 7-3 and was told"),
    ] {
        let faults = check(&history, Rules::default()).expect_err(says);
        assert!(faults.iter().any(|fault| fault.contains(says)), "{faults:?}");
    }
}

#[test]
fn a_beginning_is_judged_by_when_slots_were_written() {
    let mut history = begun(Begin::Latest, poll(12, &[], 1));
    history.written = Some([((7, 1), ms(14)), ((7, 2), ms(24)), ((7, 3), ms(34))].into());
    assert!(check(&history, Rules::default()).is_err(), "it was given out before, and written after");
    history.written = Some([((7, 1), ms(12)), ((7, 2), ms(24)), ((7, 3), ms(34))].into());
    assert_eq!(check(&history, Rules::default()), Ok(()));
}

#[test]
fn whoever_missed_something_is_given_all_that_is_left() {
    let rules = Rules { skew: ms(2), ..Rules::default() };
    let mut history = begun(Begin::After(at(0)), Poll { missed: true, ..poll(36, &[(3, "c")], 3) });
    history.publishes[0].kept = ms(15);
    let faults = check(&history, rules).expect_err("b is still there");
    assert!(faults.iter().any(|fault| fault.contains("was not given (7, 2)")), "{faults:?}");
    history.publishes[1].kept = ms(15);
    assert_eq!(check(&history, rules), Ok(()));
}

#[test]
fn a_look_back_has_the_newest_without_a_gap() {
    let glimpse = |limit, messages: &[(u64, &str)]| {
        let mut history = good();
        history.glimpses = vec![Glimpse { before: at(3), limit, poll: poll(50, messages, 3) }];
        check(&history, Rules::default())
    };
    assert_eq!(glimpse(9, &[(1, "a"), (2, "b")]), Ok(()));
    assert_eq!(glimpse(1, &[(2, "b")]), Ok(()));
    for (limit, messages) in
        [(9, &[(2, "b")][..]), (1, &[(1, "a")]), (9, &[(1, "a")]), (9, &[]), (9, &[(2, "b"), (1, "a")])]
    {
        assert!(glimpse(limit, messages).is_err(), "{limit} {messages:?}");
    }
}

#[test]
fn patience_has_an_end() {
    let rules = Rules { patience: ms(10), patience_of_looks: ms(20), patience_of_losses: ms(25), ..Rules::default() };
    let slots = |undecided: bool| {
        let mut history = begun(Begin::After(at(2)), held(40, 45, 2));
        history.publishes[2].id = Some(at(4));
        history.audit = None;
        let below = (!undecided).then_some(((7, 3), ms(30)));
        history.written = Some([((7, 4), ms(34))].into_iter().chain(below).collect());
        history
    };
    assert!(check(&slots(false), rules).is_err(), "all was decided before it began");
    assert_eq!(check(&slots(true), rules), Ok(()));
    let with = |poll: Poll| {
        let mut history = slots(true);
        history.chains[0].polls = vec![poll];
        check(&history, rules)
    };
    assert!(with(held(40, 51, 2)).is_err(), "it held for longer than it takes to decide");
    assert_eq!(with(Poll { trouble: ms(5), ..held(40, 51, 2) }), Ok(()));
    assert_eq!(with(poll(54, &[], 2)), Ok(()));
    assert!(with(poll(56, &[], 2)).is_err(), "it looked long after");
}

#[test]
fn nobody_is_left_in_a_log_that_was_lost() {
    let rules = Rules { patience: ms(10), patience_of_losses: ms(25), ..Rules::default() };
    let mut history = good();
    let next = Publish { id: Some(Cursor::new(8, 1)), begun: ms(45), ended: ms(50), ..publish("d", 9) };
    history.publishes.push(next);
    history.losses = vec![ms(40)];
    history.audit = None;
    let with = |poll: Poll| {
        let mut history = history.clone();
        history.chains[0].polls = vec![Poll { cursor: Cursor::new(7, 3), ..poll }];
        history.chains[0].start = Begin::After(at(3));
        check(&history, rules)
    };
    assert_eq!(with(held(74, 80, 3)), Ok(()));
    assert!(with(held(76, 80, 3)).is_err());
    assert!(with(poll(61, &[], 3)).is_err(), "who only looks reads the head");
}

#[test]
fn a_key_may_come_again_when_its_message_has_expired() {
    let again = |begun: u64| {
        let mut history = good();
        history.publishes[0].key = Some("k".into());
        history.publishes[0].kept = ms(30);
        let id = Some(at(4));
        let (begun, ended, key) = (ms(begun), ms(begun + 1), Some("k".into()));
        history.publishes.push(Publish { text: "d".into(), key, begun, ended, id, kept: Duration::MAX });
        history.chains.clear();
        history.audit = None;
        check(&history, Rules::default())
    };
    assert!(again(38).is_err());
    assert_eq!(again(41), Ok(()));
}
