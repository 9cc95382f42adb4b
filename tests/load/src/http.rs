//! The part of HTTP/1.1 that answers need: a status, headers, and a body with a length or in chunks.

use std::borrow::Cow;

/// One answer of a server.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    head: &'a [u8],
    pub(crate) body: Cow<'a, [u8]>,
}

/// An answer that this parser does not understand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Response<'_> {
    /// The value of a header, or nothing where there is none.
    pub(crate) fn header(&self, name: &str) -> &[u8] {
        headers(self.head)
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map_or(b"", |(_, value)| value)
    }
}

/// The answer at the beginning of these bytes, and its length; nothing when it is not complete yet.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Response<'_>, usize)>, Malformed> {
    let Some(head_len) = end_of_head(bytes) else { return Ok(None) };
    let (head, rest) = bytes.split_at(head_len);
    let status = status(head).ok_or(Malformed)?;
    let (mut length, mut chunked) = (None, matches!(status, 204 | 304).then_some(false));
    for (name, value) in headers(head) {
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Some(number(value, 10).ok_or(Malformed)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = chunked.or(Some(true));
        }
    }
    let (body, len) = match (chunked, length) {
        (Some(false), _) => (Cow::Borrowed(&b""[..]), 0),
        (Some(true), _) => match chunks(rest)? {
            Some((body, len)) => (Cow::Owned(body), len),
            None => return Ok(None),
        },
        (None, Some(length)) => match rest.get(..length) {
            Some(body) => (Cow::Borrowed(body), length),
            None => return Ok(None),
        },
        // Such a body ends with the connection.
        (None, None) => return Err(Malformed),
    };
    Ok(Some((Response { status, head, body }, head_len + len)))
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let line = bytes.get(from..)?.iter().position(|byte| *byte == b'\n')?;
        from += line + 1;
        if line <= 1 {
            return Some(from);
        }
    }
}

/// `HTTP/1.1 200 OK`
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    u16::try_from(number(digits, 10)?).ok()
}

fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        Some((name, value.get(1..)?.trim_ascii()))
    })
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// A body in chunks and its length on the wire. Trailers are not expected.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let (mut body, mut from) = (Vec::new(), 0);
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let Some(line) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let size = rest.split(|byte| matches!(byte, b'\r' | b';' | b'\n')).next().unwrap_or_default();
        let size = number(size, 16).ok_or(Malformed)?;
        let Some(chunk) = rest.get(line + 1..).and_then(|rest| rest.get(..size.checked_add(2)?)) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk.strip_suffix(b"\r\n").ok_or(Malformed)?);
        from += line + 1 + chunk.len();
        if size == 0 {
            return Ok(Some((body, from)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the whole, after checking that no part of it parses.
    fn whole(bytes: &[u8]) -> (u16, Vec<u8>, usize) {
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).unwrap().is_none(), "{len} bytes");
        }
        let (response, len) = parse(bytes).unwrap().unwrap();
        (response.status, response.body.into_owned(), len)
    }

    #[test]
    fn a_body_has_a_length_or_comes_in_chunks() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(whole(bytes), (200, b"hello".to_vec(), bytes.len()));
        let bytes =
            b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nB;x=1\r\nlo, chunks!\r\n0\r\n\r\n";
        assert_eq!(whole(bytes), (503, b"hello, chunks!".to_vec(), bytes.len()));
        assert_eq!(whole(b"HTTP/1.1 304 Not Modified\r\n\r\n").0, 304);
    }

    #[test]
    fn what_follows_an_answer_is_left() {
        let bytes = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200";
        assert_eq!(parse(bytes).unwrap().unwrap().1, bytes.len() - 12);
    }

    #[test]
    fn headers_are_found_in_either_case() {
        let bytes = b"HTTP/1.1 200 OK\r\nEtag: 7\r\ncontent-length: 0\r\n\r\n";
        let (response, _) = parse(bytes).unwrap().unwrap();
        assert_eq!((response.header("etag"), response.header("date")), (&b"7"[..], &b""[..]));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\nuntil it closes",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            let parsed = parse(bytes).map(|parsed| parsed.is_some());
            assert_ne!(parsed, Ok(true), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
