//! `application/x-www-form-urlencoded`, for bodies and queries. Stricter than browsers: a `%` that begins no escape is
//! refused.

use std::iter::from_fn;

use memchr::{memchr, memchr2};

use super::fields::Value;

/// A `%` without two hexadecimal digits behind it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a '%' must be followed by two hexadecimal digits; '%' itself is written %25 (curl: --data-urlencode writes it so)"
)]
pub(super) struct MalformedEscape;

/// The names and values, in their order, as they are written.
pub(super) fn pairs(encoded: &str) -> impl Iterator<Item = (&str, &str)> {
    pieces(encoded).filter(|piece| !piece.is_empty()).map(|piece| cut(piece, b'=').unwrap_or((piece, "")))
}

/// The pieces between `&`.
pub(super) fn pieces(encoded: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(encoded);
    from_fn(move || {
        let whole = rest.take()?;
        let Some((piece, behind)) = cut(whole, b'&') else {
            return Some(whole);
        };
        rest = Some(behind);
        Some(piece)
    })
}

/// What is before a separator, and what is behind it. `split_once` takes several times as long for texts as short as
/// those of a query.
pub(super) fn cut(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = memchr(separator, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A name or a value. It is not copied if it has no escape.
pub(super) fn decode(encoded: &str) -> Result<Value<'_>, MalformedEscape> {
    if memchr2(b'+', b'%', encoded.as_bytes()).is_none() {
        return Ok(Value::Text(encoded.into()));
    }
    let mut bytes = encoded.bytes();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next())? << 4 | hex_digit(bytes.next())?,
            byte => byte,
        });
    }
    Ok(String::from_utf8(decoded).map_or(Value::NotText, |text| Value::Text(text.into())))
}

fn hex_digit(byte: Option<u8>) -> Result<u8, MalformedEscape> {
    match byte {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        _ => Err(MalformedEscape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    use proptest::prelude::*;

    fn decoded(encoded: &str) -> Result<Vec<(Value<'_>, Value<'_>)>, MalformedEscape> {
        pairs(encoded).map(|(name, value)| Ok((decode(name)?, decode(value)?))).collect()
    }

    proptest! {
        #[test]
        fn what_a_browser_encodes_is_decoded(given in prop::collection::vec(("(?s).{1,9}", "(?s).{0,9}"), 0..5)) {
            let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&given).finish();
            let text = |text: String| Value::Text(text.into());
            let given = given.into_iter().map(|(name, value)| (text(name), text(value)));
            prop_assert_eq!(decoded(&encoded), Ok(given.collect::<Vec<_>>()));
        }

        #[test]
        fn anything_is_refused_or_decoded_as_a_browser_would(encoded in "[a%&=+0-9A-Fx\\PC]{0,20}") {
            if let Ok(ours) = decoded(&encoded) {
                // A browser writes U+FFFD for what is no UTF-8.
                let same = |ours, theirs: Cow<'_, str>| match ours {
                    Value::Text(text) => text == theirs,
                    _ => theirs.contains('\u{FFFD}'),
                };
                let theirs: Vec<_> = form_urlencoded::parse(encoded.as_bytes()).collect();
                prop_assert_eq!(ours.len(), theirs.len());
                let mut both = ours.into_iter().zip(theirs);
                prop_assert!(both.all(|(ours, theirs)| same(ours.0, theirs.0) && same(ours.1, theirs.1)));
            }
        }
    }

    #[test]
    fn half_an_escape_is_refused() {
        for encoded in ["a=%", "a=%4", "a=%4g", "%=a", "a=%%41", "b&a=100%"] {
            assert_eq!(decoded(encoded), Err(MalformedEscape), "{encoded}");
        }
    }
}
