//! What protects a client from those between it and linger: caches that mix up answers, and browsers that queue polls.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::message::Key;

/// What an answer is an answer to. A cache that ignores the query gives it with the answer to another request, and so
/// the client sees that.
pub(super) const FOR: HeaderName = HeaderName::from_static("linger-for");

/// The parameters that say which answer is asked for: two requests that have the same of these may share an answer.
const IDENTIFYING: [&[u8]; 5] = [b"channel", b"channels", b"cursor", b"last", b"before"];

/// Twenty channels and positions take 2,100 bytes at most. A longer query is a mistake, and is not worth a long header.
const FOR_MAX_BYTES: usize = 2_200;

/// What only browsers send: the first two on HTTPS and on localhost, the third by jQuery, on plain HTTP too.
const OF_BROWSERS: [&str; 3] = ["sec-fetch-mode", "sec-fetch-dest", "x-requested-with"];

/// `Linger-For` of a poll: the identifying parameters of its query, as they stand there.
pub(super) fn poll(query: &str) -> Option<HeaderValue> {
    let mut asked = Vec::with_capacity(query.len() + 1);
    for (_, pair) in pairs(query).filter(|(name, _)| IDENTIFYING.contains(name)) {
        asked.extend_from_slice(pair);
        asked.push(b'&');
    }
    asked.pop();
    let short = (1..=FOR_MAX_BYTES).contains(&asked.len());
    short.then(|| HeaderValue::try_from(asked).ok()).flatten()
}

/// `Linger-For` of a publication: its key.
pub(super) fn publication(key: &Key) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("key={}", key.as_str())).ok()
}

/// Where a poll of 2013 is redirected to, if a browser sent it without a `_`: the same address with a random one.
///
/// A browser sends requests for one address one after the other, each when the one before it has its headers. Tabs that
/// poll a bare `/sub` would be held one at a time. What is redirected to is relative, since a gateway may know this path
/// by another name.
pub(super) fn own_address(headers: &HeaderMap, query: &str) -> Option<HeaderValue> {
    if pairs(query).any(|(name, _)| name == b"_") || !OF_BROWSERS.iter().any(|name| headers.contains_key(*name)) {
        return None;
    }
    let separator = if query.is_empty() { "" } else { "&" };
    let random = RandomState::new().hash_one(());
    HeaderValue::try_from(format!("?{query}{separator}_={random:x}")).ok()
}

/// The names in a query, each with the pair that it begins.
fn pairs(query: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = query.as_bytes().split(|byte| *byte == b'&');
    pairs.map(|pair| (pair.split(|byte| *byte == b'=').next().unwrap_or_default(), pair))
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
            assert_eq!(poll(query).as_ref().map(|header| header.to_str().unwrap()), asked, "{query}");
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
