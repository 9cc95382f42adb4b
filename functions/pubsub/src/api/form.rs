//! `application/x-www-form-urlencoded`, for bodies and queries. Stricter than browsers are: a `%` that begins no
//! escape is refused, not guessed at.

use std::borrow::Cow;

/// A `%` without two hexadecimal digits behind it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a '%' must be followed by two hexadecimal digits; '%' itself is written %25 (curl: --data-urlencode writes it so)"
)]
pub(super) struct MalformedEscape;

/// A name and a value.
pub(super) type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The decoded names and values, in their order. Most are what they were encoded as, and are not copied.
pub(super) fn pairs(encoded: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, MalformedEscape>> {
    let pieces = encoded.split(|b| *b == b'&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| {
        let mut halves = piece.splitn(2, |b| *b == b'=');
        let mut half = || decode(halves.next().unwrap_or_default());
        Ok((half()?, half()?))
    })
}

/// A value as text, if it is any.
pub(super) fn text(value: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match value {
        Cow::Borrowed(value) => str::from_utf8(value).ok().map(Cow::Borrowed),
        Cow::Owned(value) => String::from_utf8(value).ok().map(Cow::Owned),
    }
}

fn decode(encoded: &[u8]) -> Result<Cow<'_, [u8]>, MalformedEscape> {
    if !encoded.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Ok(Cow::Borrowed(encoded));
    }
    let mut bytes = encoded.iter();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next())? << 4 | hex_digit(bytes.next())?,
            byte => *byte,
        });
    }
    Ok(Cow::Owned(decoded))
}

fn hex_digit(byte: Option<&u8>) -> Result<u8, MalformedEscape> {
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_browser_encodes_is_decoded(given in prop::collection::vec(("(?s).{1,9}", "(?s).{0,9}"), 0..5)) {
            let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&given).finish();
            let bytes = |(name, value): (String, String)| Ok((name.into_bytes().into(), value.into_bytes().into()));
            let decoded: Vec<_> = pairs(encoded.as_bytes()).collect();
            prop_assert_eq!(decoded, given.into_iter().map(bytes).collect::<Vec<_>>());
        }

        #[test]
        fn anything_is_refused_or_decoded_as_a_browser_would(encoded in "[a%&=+0-9A-Fx\\PC]{0,20}") {
            if let Ok(decoded) = pairs(encoded.as_bytes()).collect::<Result<Vec<_>, _>>() {
                let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let decoded = decoded.iter().map(|(name, value)| (lossy(name), lossy(value)));
                let expected = form_urlencoded::parse(encoded.as_bytes()).into_owned();
                prop_assert_eq!(decoded.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn half_an_escape_is_refused() {
        for encoded in ["a=%", "a=%4", "a=%4g", "%=a", "a=%%41", "b&a=100%"] {
            assert!(pairs(encoded.as_bytes()).any(|pair| pair == Err(MalformedEscape)), "{encoded}");
        }
    }
}
