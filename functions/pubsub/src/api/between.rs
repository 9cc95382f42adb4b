//! Protects clients from what is between them and linger: caches that mix up answers, and browsers that queue polls.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::form;
use crate::message::Key;

/// Which request an answer belongs to. A cache that ignores the query gives a client the answer to another request, and
/// by this header the client notices.
pub(super) const LINGER_FOR: HeaderName = HeaderName::from_static("linger-for");

/// The longest `Linger-For`. Twenty channels and positions take 2,100 bytes at most, so a longer query is a mistake.
const FOR_MAX_BYTES: usize = 2_200;

/// Headers that only browsers send: the first two on HTTPS and on localhost, the third by jQuery, on plain HTTP too.
const OF_BROWSERS: [&str; 3] = ["sec-fetch-mode", "sec-fetch-dest", "x-requested-with"];

/// `Linger-For` of a poll: the parameters that decide its answer, as they are in its query. Two requests that have the
/// same may share an answer.
pub(super) fn linger_for_poll(query: &str) -> Option<HeaderValue> {
    let mut asked = String::with_capacity(query.len() + 1);
    let decides = |name| matches!(name, "channel" | "channels" | "cursor" | "last" | "before");
    for (_, pair) in pairs(query).filter(|(name, _)| decides(*name)) {
        asked.push_str(pair);
        asked.push('&');
    }
    asked.pop();
    let short = (1..=FOR_MAX_BYTES).contains(&asked.len());
    short.then(|| HeaderValue::try_from(asked).ok()).flatten()
}

/// `Linger-For` of a publish: its key.
pub(super) fn linger_for_key(key: &Key) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("key={}", key.as_str())).ok()
}

/// Where a poll of 2013 is redirected to, if a browser sent it without a `_`: the same address with a random one.
///
/// A browser sends a second request to the same address only when the first one is answered. So of several tabs that
/// poll a bare `/sub`, only one would be held at a time. The address is relative, because a gateway may have another
/// path for it.
pub(super) fn own_address(headers: &HeaderMap, query: &str) -> Option<HeaderValue> {
    if pairs(query).any(|(name, _)| name == "_") || !OF_BROWSERS.iter().any(|name| headers.contains_key(*name)) {
        return None;
    }
    let separator = if query.is_empty() { "" } else { "&" };
    let random = RandomState::new().hash_one(());
    HeaderValue::try_from(format!("?{query}{separator}_={random:x}")).ok()
}

/// The names in a query, each with its whole pair.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    form::pieces(query).map(|pair| (form::cut(pair, b'=').map_or(pair, |(name, _)| name), pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_which_channel_and_position_it_is_for() {
        for (query, asked) in [
            ("channel=c&cursor=7-1&wait=25&_=3", Some("channel=c&cursor=7-1")),
            ("limit=5&last=10", Some("last=10")),
            ("cursor=%zz&before=", Some("cursor=%zz&before=")),
            ("cursors=7-1&wait=0", None),
            ("", None),
            (&"channel=c&".repeat(250), None),
        ] {
            assert_eq!(linger_for_poll(query).as_ref().map(|header| header.to_str().unwrap()), asked, "{query}");
        }
    }

    #[test]
    fn only_browsers_are_redirected_and_once() {
        let sent_by =
            |name: &'static str| HeaderMap::from_iter([(HeaderName::from_static(name), "x".parse().unwrap())]);
        let browser = sent_by("sec-fetch-mode");
        for (query, target) in [("", "?_="), ("channel=c", "?channel=c&_="), ("a=b&c", "?a=b&c&_=")] {
            let first = own_address(&browser, query).unwrap();
            assert!(first.to_str().unwrap().starts_with(target), "{first:?}");
            assert_ne!(Some(first), own_address(&browser, query));
            assert!(own_address(&sent_by("x-requested-with"), query).is_some());
            assert_eq!(own_address(&sent_by("user-agent"), query), None);
        }
        for query in ["_=1", "channel=c&_"] {
            assert_eq!(own_address(&browser, query), None, "{query}");
        }
    }
}
