//! A history, for people.

use std::fmt::Write;

use tests::checker::{Glimpse, History, Poll, Publish};

/// What everybody saw of one channel.
pub(super) fn story(history: &History) -> String {
    let mut story = String::new();
    for Publish { text, key, begun, ended, id, .. } in &history.publishes {
        let _ = writeln!(story, "{begun:?} – {ended:?} publish {text} {key:?} → {id:?}");
    }
    for (number, chain) in history.chains.iter().enumerate() {
        let _ = writeln!(story, "subscriber {number} from {:?}", chain.start);
        for Poll { begun, ended, messages, cursor, missed, aside, .. } in &chain.polls {
            let aside = if *aside { "aside " } else { "" };
            let _ = writeln!(story, "  {begun:?} – {ended:?} → {aside}{cursor} {missed} {messages:?}");
        }
    }
    for Glimpse { before, limit, poll } in &history.glimpses {
        let _ = writeln!(story, "{:?} {limit} before {before}: {:?}", poll.begun, poll.messages);
    }
    let _ = writeln!(story, "lost {:?} audit {:?}", history.losses, history.audit);
    let _ = writeln!(story, "written {:?}", history.written);
    story
}
