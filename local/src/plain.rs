//! Plain requests: nearly all that come. They are read and answered here, since a connection of hyper's takes three times
//! the memory and more of the processor.
//!
//! A request is plain if all of it is there when the socket is read, nothing is behind it, and it has nothing that
//! needs care, such as a body in chunks or another version of HTTP. Hyper gets the first other request of a connection,
//! and all that follow it.

use std::{
    cell::RefCell,
    future::{poll_fn, ready},
    io, mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, UNIX_EPOCH},
};

use axum::body::Body;
use bytes::{BufMut, Bytes};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE},
    response::Parts,
};
use httparse::{EMPTY_HEADER, Status};
use httpdate::HttpDate;
use pubsub::clock::{self, Clock};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch, time::sleep};

use crate::stream::{self, Stream};

/// A plain request has at most this many bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// And at most this many headers. Browsers send some twenty.
const HEADERS_MAX: usize = 32;

/// A request with one of these is not plain.
const HEADERS_OF_OTHERS: [HeaderName; 3] = [EXPECT, TRANSFER_ENCODING, UPGRADE];

/// Answers with one of these have no body, and no length.
const BODILESS: [StatusCode; 2] = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];

/// A body of this size or less is copied behind its head, and both are written at once.
const COPIED_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    /// All that is read and written passes through this, so that a connection needs no buffer while it waits.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(2 * REQUEST_BYTES_MAX));

    /// The last second, since 1970, and its text in a header.
    static DATE: RefCell<(u64, String)> = RefCell::default();
}

/// Answers plain requests. Returns what was read of another one, or nothing if the connection should be closed.
pub(crate) async fn serve<F>(
    socket: &Arc<TcpStream>,
    keep_alive: Duration,
    stopping: &mut watch::Receiver<bool>,
    answer: impl Fn(Box<Request<Body>>) -> F,
) -> Option<Bytes>
where
    F: Future<Output = io::Result<Response<Bytes>>>,
{
    let late = *stopping.borrow_and_update();
    let mut stopped = pin!(stopping.changed());
    let mut idle = pin!(sleep(keep_alive));
    loop {
        let idle_until = clock::now() + keep_alive;
        let read = poll_fn(|context| {
            if let Poll::Ready(read) = poll_read(socket, context) {
                return Poll::Ready(read.ok());
            }
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            // The timer is set anew when it fires, and not for each request.
            while idle.as_mut().poll(context).is_ready() {
                if clock::now() >= idle_until {
                    return Poll::Ready(None);
                }
                idle.as_mut().reset(idle_until);
            }
            Poll::Pending
        });
        let read = read.await.filter(|read| !read.is_empty())?;
        let Some(request) = parse(&read) else {
            return Some(read);
        };
        drop(read);
        let response = answer(request).await.ok()?;
        let last = late || tokio::select! { biased; _ = &mut stopped => true, () = ready(()) => false };
        write(socket, response, last).await.ok()?;
        if last {
            return None;
        }
    }
}

/// What has come, or nothing at the end.
fn poll_read(socket: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let read = stream::poll_read(socket, context, &mut BufMut::limit(&mut *buffer, REQUEST_BYTES_MAX));
        read.map_ok(|()| Bytes::copy_from_slice(buffer))
    })
}

/// The request, if it is plain. Its parts are pieces of what was read.
fn parse(read: &Bytes) -> Option<Box<Request<Body>>> {
    let mut found = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut found);
    let Ok(Status::Complete(head_len)) = head.parse(read) else {
        return None;
    };
    let body = read.slice(head_len..);
    let mut request = Box::new(Request::new(Body::empty()));
    *request.method_mut() = match (head.method?, head.version?) {
        ("GET", 1) => Method::GET,
        ("POST", 1) => Method::POST,
        _ => return None,
    };
    *request.uri_mut() = Uri::from_maybe_shared(read.slice_ref(head.path?.as_bytes())).ok()?;
    let mut len = None;
    request.headers_mut().reserve(head.headers.len());
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if name == CONTENT_LENGTH && len.replace(number(header.value)?).is_some()
            || name == CONNECTION && !header.value.eq_ignore_ascii_case(b"keep-alive")
            || HEADERS_OF_OTHERS.contains(&name)
        {
            return None;
        }
        let value = HeaderValue::from_maybe_shared(read.slice_ref(header.value)).ok()?;
        request.headers_mut().append(name, value);
    }
    if len.unwrap_or(0) != body.len() {
        return None;
    }
    if !body.is_empty() {
        *request.body_mut() = Body::from(body);
    }
    Some(request)
}

fn number(digits: &[u8]) -> Option<usize> {
    let digits = str::from_utf8(digits).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Writes an answer: nearly always at once.
async fn write(socket: &Arc<TcpStream>, response: Response<Bytes>, last: bool) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    if BODILESS.contains(&head.status) {
        body.clear();
    }
    let rest = BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        write_head(&head, body.len(), last, buffer);
        if body.len() <= COPIED_BYTES_MAX {
            buffer.extend_from_slice(&mem::take(&mut body));
        }
        let written = match socket.try_write(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        Ok::<_, io::Error>(Bytes::copy_from_slice(buffer.get(written..).unwrap_or_default()))
    })?;
    drop(head);
    if rest.is_empty() && body.is_empty() {
        return Ok(());
    }
    // A stream, because that closes the connection if its client is too slow.
    let mut stream = Stream::new(Arc::clone(socket), Bytes::new());
    stream.write_all(&rest).await?;
    stream.write_all(&body).await
}

/// Writes the head of an answer with a body of this length.
fn write_head(head: &Parts, len: usize, last: bool, out: &mut Vec<u8>) {
    let has_body = !BODILESS.contains(&head.status);
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut line = |pieces: [&[u8]; 4]| pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    line([b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", reason.as_bytes()]);
    for (name, value) in head.headers.iter().filter(|(name, _)| has_body || *name != CONTENT_LENGTH) {
        line([b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    if has_body && !head.headers.contains_key(CONTENT_LENGTH) {
        line([b"\r\ncontent-length: ", itoa::Buffer::new().format(len).as_bytes(), b"", b""]);
    }
    if last {
        line([b"\r\nconnection: close", b"", b"", b""]);
    }
    DATE.with_borrow_mut(|(second, text)| {
        let now = Clock::System.unix_ms() / 1000;
        if *second != now {
            (*second, *text) = (now, HttpDate::from(UNIX_EPOCH + Duration::from_secs(now)).to_string());
        }
        line([b"\r\ndate: ", text.as_bytes(), b"\r\n\r\n", b""]);
    });
}

#[cfg(test)]
mod tests;
