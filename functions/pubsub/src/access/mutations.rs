//! Tokens that are nearly valid.

use std::sync::{Arc, LazyLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};

use super::{
    tests::{NOW_MS, SECRET, access, base64url, claims, guarded, hs256, refused, token},
    *,
};

/// Keys of two algorithms, and a valid token of each.
static GOOD: LazyLock<(Access, [String; 2])> = LazyLock::new(|| {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let content = format!("{}.{}", base64url(r#"{"alg":"EdDSA","kid":"e"}"#), base64url(claims()));
    let eddsa = format!("{content}.{}", base64url(pair.sign(content.as_bytes())));
    let keys = format!(
        r#"{{"kty":"oct","k":"{}","kid":"h"}},{{"kty":"OKP","crv":"Ed25519","x":"{}","kid":"e"}}"#,
        base64url(SECRET),
        base64url(pair.public_key())
    );
    let clock = Clock::Virtual { origin: crate::clock::now(), unix_ms: Arc::new(NOW_MS.into()) };
    let hs256 = hs256(SECRET, r#"{"alg":"HS256","kid":"h"}"#, &claims());
    (access(&keys, Expected::default(), &clock).unwrap(), [hs256, eddsa])
});

#[test]
fn every_truncation_and_every_addition_is_refused() {
    let (guard, good) = &*GOOD;
    for token in good {
        assert_eq!(refused(guard, token), None);
        for end in 0..token.len() {
            assert!(refused(guard, &token[..end]).is_some(), "{}", &token[..end]);
            assert!(refused(guard, &token[end + 1..]).is_some());
        }
        let signature = token.rsplit_once('.').unwrap().1;
        for more in ["=", "==", ".", " ", "\n", ".e30", "A", "AA", "AAAA", &format!(".{signature}")] {
            assert!(refused(guard, &format!("{token}{more}")).is_some(), "{more:?}");
            assert!(refused(guard, &format!("{more}{token}")).is_some(), "{more:?}");
        }
        let json = format!(r#"{{"payload":"{}","signatures":[{{}},{{}}]}}"#, base64url(claims()));
        assert!(refused(guard, &json).is_some(), "two signatures take JSON, which is not taken");
    }
    let nine_kib = token(&format!(r#"{{"exp":1763946000,"x":"{}"}}"#, "x".repeat(9 * 1024)));
    assert_eq!(refused(guard, &nine_kib), Some(InvalidToken::TooLarge));
    let deep = format!(r#"{{"exp":1763946000,"x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let single = guarded(&Clock::System);
    assert!(matches!(refused(&single, &token(&deep)), Some(InvalidToken::Malformed(_))));
}

/// The ways to change a token.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, char),
    Insert(usize, char),
    Remove(usize, usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    /// A part of a token, decoded, changed and encoded again.
    Inside(usize, usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let sign =
        prop_oneof![Just('.'), Just('='), Just('-'), "[A-Za-z0-9_]".prop_map(|text| text.chars().next().unwrap())];
    let at = 0..400_usize;
    prop_oneof![
        (at.clone(), sign.clone()).prop_map(|(at, sign)| Change::Set(at, sign)),
        (at.clone(), sign).prop_map(|(at, sign)| Change::Insert(at, sign)),
        (at.clone(), 1..20_usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (at.clone(), 1..20_usize).prop_map(|(at, len)| Change::Repeat(at, len)),
        (at.clone(), at.clone()).prop_map(|(one, other)| Change::Swap(one, other)),
        (0..3_usize, at, any::<u8>()).prop_map(|(part, at, byte)| Change::Inside(part, at, byte)),
    ]
}

fn changed(token: &str, change: &Change) -> String {
    let mut signs: Vec<char> = token.chars().collect();
    let len = signs.len();
    match *change {
        Change::Set(at, sign) => signs[at % len] = sign,
        Change::Insert(at, sign) => signs.insert(at % len, sign),
        Change::Remove(at, count) => drop(signs.drain(at % len..(at % len + count).min(len))),
        Change::Repeat(at, count) => {
            let more = signs[at % len..(at % len + count).min(len)].to_vec();
            signs.splice(at % len..at % len, more);
        }
        Change::Swap(one, other) => signs.swap(one % len, other % len),
        Change::Inside(part, at, byte) => {
            let mut parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
            let at = at % parts[part].len();
            parts[part][at] ^= byte;
            return parts.iter().map(base64url).collect::<Vec<_>>().join(".");
        }
    }
    signs.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]
    #[test]
    fn no_changed_token_is_good(which in prop_oneof![9 => Just(0), 1 => Just(1)], change in change()) {
        let (guard, good) = &*GOOD;
        let token = &good[which];
        let changed = changed(token, &change);
        if changed != *token {
            prop_assert!(refused(guard, &changed).is_some(), "{changed}");
        }
    }
}
