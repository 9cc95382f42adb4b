use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use super::*;
use crate::channel::Channel;

/// From RFC 7515, appendix A: tokens that are valid until this second, and their keys.
const RFC_EXPIRES_MS: u64 = 1_300_819_380_000;
const RFC_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC_SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const RFC_MODULUS: &str = concat!(
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs",
    "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV",
    "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
);
const RFC_POINT: [&str; 2] =
    ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];

fn rfc_keys() -> [String; 3] {
    let [x, y] = RFC_POINT;
    [
        format!(r#"{{"kty":"oct","k":"{RFC_SECRET}"}}"#),
        format!(r#"{{"kty":"RSA","n":"{RFC_MODULUS}","e":"AQAB"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#),
    ]
}

fn rfc_tokens() -> [String; 3] {
    [
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            concat!(
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU",
                "Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d",
                "O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig",
                "cN_IoypGlUPQGe77Rw",
            ),
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ]
    .map(|(header, signature)| format!("{header}.{RFC_CLAIMS}.{signature}"))
}

pub(super) const NOW_MS: u64 = 1_763_942_400_000;
pub(super) const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// Claims that are valid, and grant something.
pub(super) fn claims() -> String {
    let entry = r#"{"type":"linger","actions":["publish"],"channels":["news"]}"#;
    format!(r#"{{"exp":1763946000,"iss":"joe","aud":["a","b"],"authorization_details":[{entry}]}}"#)
}

pub(super) fn base64url(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub(super) fn access(jwk: &str, expected: Expected, clock: &Clock) -> Result<Access, String> {
    let set = format!(r#"{{"keys":[{jwk}]}}"#);
    Access::guarded([set.as_str()], expected, clock.clone()).map_err(|error| error.to_string())
}

fn secret_jwk() -> String {
    format!(r#"{{"kty":"oct","k":"{}"}}"#, base64url(SECRET))
}

/// Access with `SECRET` as its key.
pub(super) fn guarded(clock: &Clock) -> Access {
    access(&secret_jwk(), Expected::default(), clock).unwrap()
}

pub(super) fn hs256(secret: &[u8], header: &str, claims: &str) -> String {
    let content = format!("{}.{}", base64url(header), base64url(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), content.as_bytes());
    format!("{content}.{}", base64url(signature))
}

pub(super) fn token(claims: &str) -> String {
    hs256(SECRET, r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

pub(super) fn refused(access: &Access, token: &str) -> Option<InvalidToken> {
    access.rights(Some(token)).err()
}

#[tokio::test]
async fn tokens_of_the_rfc_are_good_until_they_expire_each_by_its_key() {
    let clock = Clock::starting_at(RFC_EXPIRES_MS + 59_000);
    let guards = rfc_keys().map(|jwk| access(&jwk, Expected::default(), &clock).unwrap());
    for (own, guard) in guards.iter().enumerate() {
        for (index, token) in rfc_tokens().iter().enumerate() {
            let expected = (index != own).then_some(InvalidToken::WrongAlgorithm);
            assert_eq!(refused(guard, token), expected, "{own} {index}");
        }
    }
    clock.advance(Duration::from_secs(2));
    for (guard, token) in guards.iter().zip(rfc_tokens()) {
        assert_eq!(refused(guard, &token), Some(InvalidToken::Expired), "one that was verified before expires, too");
    }
}

#[tokio::test]
async fn without_keys_everybody_may_do_everything_and_with_keys_nobody_without_a_token() {
    let lobby = Channel::default();
    let everything = Access::open().rights(Some("nonsense")).unwrap();
    assert!(everything.allow(Action::Publish, &lobby) && everything.allow(Action::Subscribe, &lobby));
    let guard = guarded(&Clock::starting_at(NOW_MS));
    assert_eq!(guard.rights(None).err(), Some(InvalidToken::Absent));
    let rights = guard.rights(Some(&token(&claims()))).unwrap();
    assert!(!rights.allow(Action::Publish, &lobby));
    assert!(rights.allow(Action::Publish, &Channel::parse("news").unwrap()));
}

#[tokio::test]
async fn a_header_that_says_anything_else_is_refused() {
    let guard = guarded(&Clock::starting_at(NOW_MS));
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","b64":true}"#,
        r#"{"alg":"HS256","zip":"DEF"}"#,
        r#"{"alg":"HS256","cty":"JWT"}"#,
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#,
        r#"{"alg":"HS256","jku":"https://example.com/keys"}"#,
        r#"{"alg":"HS256","x5c":[]}"#,
        r#"{"alg":"HS256","x5u":"https://example.com/cert"}"#,
        r#"{"alg":"HS256","typ":"JOSE"}"#,
        r#"{"alg":"HS256","typ":7}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","\u0061lg":"HS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"["HS256"]"#,
        "",
    ] {
        let refused = refused(&guard, &hs256(SECRET, header, &claims()));
        assert!(matches!(refused, Some(InvalidToken::Malformed(_))), "{header}: {refused:?}");
    }
    for header in [r#"{"alg":"HS256"}"#, r#"{"typ":"at+JWT","alg":"HS256"}"#] {
        assert_eq!(refused(&guard, &hs256(SECRET, header, &claims())), None, "{header}");
    }
}

#[tokio::test]
async fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let clock = Clock::starting_at(NOW_MS);
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"hs256"}"#, r#"{"alg":"HS384"}"#, "{}"] {
        for signature in [String::new(), base64url(SECRET)] {
            let token = format!("{}.{}.{signature}", base64url(header), base64url(claims()));
            assert_eq!(refused(&guarded(&clock), &token), Some(InvalidToken::WrongAlgorithm), "{header}");
        }
    }
    // A public key, used as the secret of HS256, in each of its forms.
    for jwk in rfc_keys().iter().skip(1) {
        let guard = access(jwk, Expected::default(), &clock).unwrap();
        for public in [jwk.clone().into_bytes(), URL_SAFE_NO_PAD.decode(RFC_MODULUS).unwrap(), RFC_MODULUS.into()] {
            let token = hs256(&public, r#"{"alg":"HS256"}"#, &claims());
            assert_eq!(refused(&guard, &token), Some(InvalidToken::WrongAlgorithm));
        }
    }
}

#[tokio::test]
async fn a_time_is_a_number_and_counts_with_a_minute_of_leeway() {
    let clock = Clock::starting_at(NOW_MS);
    let guard = guarded(&clock);
    for (times, expected) in [
        (r#""exp":1763942341"#, None),
        (r#""exp":1763942340"#, Some(InvalidToken::Expired)),
        (r#""exp":1763942340.5"#, None),
        (r#""exp":-1"#, Some(InvalidToken::Expired)),
        (r#""exp":1763946000,"nbf":1763942460"#, None),
        (r#""exp":1763946000,"nbf":1763942461"#, Some(InvalidToken::NotYetValid)),
    ] {
        assert_eq!(refused(&guard, &token(&format!("{{{times}}}"))), expected, "{times}");
    }
    for times in [
        r#""iat":1"#,
        r#""exp":1763946000000"#,
        r#""exp":"1763946000""#,
        r#""exp":null"#,
        r#""exp":true"#,
        r#""exp":[1763946000]"#,
        r#""exp":1e999"#,
        r#""exp":1763946000,"nbf":"1""#,
        r#""exp":1763946000,"exp":1763946000"#,
        r#""exp":1763946000,"cnf":{"jkt":"a"}"#,
        r#""exp":1763946000,"x":{"a":1,"a":1}"#,
        r#""exp":1763946000,"authorization_details":7"#,
    ] {
        let refused = refused(&guard, &token(&format!("{{{times}}}")));
        assert!(matches!(refused, Some(InvalidToken::Malformed(_))), "{times}: {refused:?}");
    }
    let later = token(r#"{"exp":1763946000,"nbf":1763942461}"#);
    clock.advance(Duration::from_secs(1));
    assert_eq!(refused(&guard, &later), None);
}

#[tokio::test]
async fn issuer_and_audience_are_looked_at_where_they_are_said() {
    let clock = Clock::starting_at(NOW_MS);
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for (issuer, audience, expected) in [
        ("joe", "b", None),
        ("", "a", None),
        ("Joe", "", Some(InvalidToken::WrongIssuer)),
        ("", "c", Some(InvalidToken::WrongAudience)),
        ("", "A", Some(InvalidToken::WrongAudience)),
    ] {
        let expected_claims = Expected { issuer: said(issuer), audience: said(audience) };
        let guard = access(&secret_jwk(), expected_claims, &clock).unwrap();
        assert_eq!(refused(&guard, &token(&claims())), expected, "{issuer} {audience}");
        let neither = refused(&guard, &token(r#"{"exp":1763946000,"aud":{"a":"b"}}"#));
        assert!(neither.is_some(), "it has no issuer and no such audience");
    }
    let guard = access(&secret_jwk(), Expected { audience: said("a"), issuer: None }, &clock).unwrap();
    assert_eq!(refused(&guard, &token(r#"{"exp":1763946000,"aud":"a"}"#)), None);
}

#[tokio::test]
async fn a_kid_chooses_the_key_and_each_key_is_known_by_its_own() {
    let clock = Clock::starting_at(NOW_MS);
    let named = |kid: &str, secret: &[u8]| format!(r#"{{"kty":"oct","k":"{}","kid":"{kid}"}}"#, base64url(secret));
    let other = b"another secret of 32 bytes at least";
    let guard = access(&format!("{},{}", named("a", SECRET), named("b", other)), Expected::default(), &clock).unwrap();
    let signed = |kid: &str, secret| hs256(secret, &format!(r#"{{"alg":"HS256"{kid}}}"#), &claims());
    assert_eq!(refused(&guard, &signed(r#","kid":"a""#, SECRET)), None);
    assert_eq!(refused(&guard, &signed(r#","kid":"b""#, other)), None);
    assert_eq!(refused(&guard, &signed(r#","kid":"b""#, SECRET)), Some(InvalidToken::BadSignature));
    assert_eq!(refused(&guard, &signed(r#","kid":"c""#, SECRET)), Some(InvalidToken::UnknownKey));
    assert_eq!(refused(&guard, &signed("", SECRET)), Some(InvalidToken::NamesNoKey));
    let single = guarded(&clock);
    assert_eq!(refused(&single, &signed("", SECRET)), None);
    assert_eq!(refused(&single, &signed("", other)), Some(InvalidToken::BadSignature));
    assert_eq!(refused(&single, &signed(r#","kid":"a""#, SECRET)), Some(InvalidToken::UnknownKey));
}

#[test]
fn keys_that_can_not_be_used_are_refused_by_name_and_nothing_of_them_is_said() {
    let [x, y] = RFC_POINT;
    let short = base64url(&SECRET[..31]);
    let secret = base64url(SECRET);
    for (jwk, said) in [
        (r#"{"kty":"oct"}"#.to_owned(), "key 1 has no k"),
        (format!(r#"{{"kty":"oct","k":"{short}"}}"#), "key 1 is too short"),
        (format!(r#"{{"kty":"oct","k":"{secret}="}}"#), "key 1 has no k in base64url"),
        (format!(r#"{{"kty":"oct","k":"{secret}","alg":"HS512"}}"#), "key 1 has another alg"),
        (format!(r#"{{"kty":"oct","k":"{secret}","alg":"ES256"}}"#), "key 1 has another alg"),
        (format!(r#"{{"kty":"oct","k":"{secret}","use":"enc"}}"#), "key 1 is not for signatures"),
        (format!(r#"{{"kty":"oct","k":"{secret}","key_ops":["sign"]}}"#), "key 1 is not for checking"),
        (format!(r#"{{"kty":"oct","k":"{secret}","kid":7}}"#), "key 1 has a kid that is no text"),
        (format!(r#"{{"k":"{secret}"}}"#), "key 1 has no kty"),
        (r#"{"kty":"AKP"}"#.to_owned(), "key 1 is of another kind"),
        (r#"{"kty":"EC","crv":"P-521"}"#.to_owned(), "key 1 is of another kind"),
        (r#"{"kty":"OKP","crv":"X25519"}"#.to_owned(), "key 1 is of another kind"),
        (r#""key""#.to_owned(), "key 1 is no object"),
        (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#), "key 1 needs x and y"),
        (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#), "key 1 is no point of P-256"),
        (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","d":"{x}"}}"#), "key 1 is a private key"),
        (r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.to_owned(), "key 1 needs x"),
        (format!(r#"{{"kty":"RSA","n":"{x}","e":"AQAB"}}"#), "key 1 has an n"),
        (format!(r#"{{"kty":"RSA","n":"AA{RFC_MODULUS}","e":"AQAB"}}"#), "key 1 has an n"),
        (format!(r#"{{"kty":"RSA","n":"{RFC_MODULUS}","e":"AQ"}}"#), "key 1 has an e"),
        (format!(r#"{{"kty":"RSA","n":"{RFC_MODULUS}","e":"AAEAAQ"}}"#), "key 1 has an e"),
        (format!(r#"{{"kty":"RSA","n":"{RFC_MODULUS}","e":"AQAB","qi":""}}"#), "key 1 is a private key"),
        (format!(r#"{},{}"#, secret_jwk(), secret_jwk()), "key 1 has no kid, and there is more"),
        (
            format!(r#"{{"kty":"oct","k":"{secret}","kid":"a"}},{{"kty":"oct","k":"{secret}","kid":"a"}}"#),
            "key 2, \"a\", has the kid of another key",
        ),
        (String::new(), "there are 0 keys"),
        (r#"{"kty":"oct","kty":"oct"}"#.to_owned(), "the keys are no JWK set"),
    ] {
        let refused = access(&jwk, Expected::default(), &Clock::System).err().expect(&jwk);
        assert!(refused.starts_with(said), "{jwk}: {refused}");
        assert!(!refused.contains(&secret[..20]) && !refused.contains(&x[..20]), "{refused}");
    }
    for set in ["", "[]", "{}", r#"{"keys":{}}"#, &secret_jwk()] {
        assert!(Access::guarded([set], Expected::default(), Clock::System).is_err(), "{set}");
    }
    let sets = [r#"{"keys":[]}"#.to_owned(), format!(r#"{{"keys":[{}]}}"#, secret_jwk())];
    let both = Access::guarded(sets.iter().map(String::as_str), Expected::default(), Clock::System);
    assert!(both.is_ok(), "sets are one set");
}
