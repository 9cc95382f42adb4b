//! Plain requests: nearly all that come. They are read and answered here, since a connection of hyper's takes three times
//! the memory and more of the processor.
//!
//! A request is plain if all of it is there when the socket is read, nothing is behind it, and it has nothing that
//! needs care, such as a body in chunks or another version of HTTP. Hyper gets the first other request of a connection,
//! and all that follow it.

use std::{
    cell::RefCell,
    future::{poll_fn, ready},
    io,
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
    let (head, body) = response.into_parts();
    let copied = body.len() <= COPIED_BYTES_MAX;
    let rest = BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        write_head(&head, body.len(), last, buffer);
        if copied {
            buffer.extend_from_slice(&body);
        }
        let written = match socket.try_write(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        Ok::<_, io::Error>(Bytes::copy_from_slice(buffer.get(written..).unwrap_or_default()))
    })?;
    if !copied || !rest.is_empty() {
        // A stream, because that closes the connection if its client is too slow.
        let mut stream = Stream::new(Arc::clone(socket), Bytes::new());
        stream.write_all(&rest).await?;
        if !copied {
            stream.write_all(&body).await?;
        }
    }
    Ok(())
}

/// Writes the head of an answer with a body of this length.
fn write_head(head: &Parts, len: usize, last: bool, out: &mut Vec<u8>) {
    let has_body = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
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
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use std::{convert::Infallible, sync::Mutex};
    use tokio::{
        io::{AsyncReadExt, duplex},
        net::TcpListener,
        time::timeout,
    };

    const POLL: &[u8] = b"GET /sub HTTP/1.1\r\nhost: linger\r\n\r\n";

    /// What one can tell of a request.
    type Seen = (Method, Uri, Vec<(HeaderName, HeaderValue)>, Bytes);

    async fn seen<B: http_body::Body<Data = Bytes>>(request: Request<B>) -> Option<Seen> {
        let (head, body) = request.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Some((head.method, head.uri, headers, body.collect().await.ok()?.to_bytes()))
    }

    async fn seen_by_hyper(sent: &[u8]) -> Vec<Option<Seen>> {
        let (mut client, server) = duplex(64 * 1024);
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let all = Mutex::new(Vec::new());
        let service = service_fn(async |request: Request<Incoming>| {
            let request = seen(request).await;
            all.lock().unwrap().push(request);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let _ = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service).await;
        all.into_inner().unwrap()
    }

    fn lines() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "host: linger\r\n",
            "Host: a\nHost: b\n",
            "connection: keep-alive\r\n",
            "connection: close\r\n",
            "Connection: Keep-Alive, Upgrade\r\n",
            "content-length: 2\r\n",
            "Content-Length: 2\r\n",
            "content-length: 0\r\n",
            "content-length: +2\r\n",
            "content-length: 2, 2\r\n",
            "content-length:\r\n",
            "content-length : 2\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "expect: 100-continue\r\n",
            "upgrade: h2c\r\n",
            "x: \t spaces \t\r\n",
            "x: a\r\n b\r\n",
            "x: \u{e9}\r\n",
            ": nothing\r\n",
            "no colon\r\n",
            "\r\n",
        ])
    }

    proptest! {
        #[test]
        fn what_is_read_here_hyper_reads_alike(
            method in prop::sample::select(vec!["GET", "POST", "POST", "HEAD", "get", ""]),
            target in prop::sample::select(vec!["/", "/sub?a=b%20", "*", "http://b/pub", "a", "/\u{e9}", "/ /", ""]),
            version in prop::sample::select(vec!["HTTP/1.1\r\n", "HTTP/1.1\r\n", "HTTP/1.0\r\n", "HTTP/2.0\r\n", "\n"]),
            lines in prop::collection::vec(lines(), 0..5),
            body in prop::sample::select(vec!["", "hi", "hi", "hi\r\n", "GET / HTTP/1.1\r\n\r\n"]),
            changed in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut sent = format!("{method} {target} {version}{}\r\n{body}", lines.concat()).into_bytes();
            if let Some((place, byte)) = changed {
                let place = place.index(sent.len());
                sent[place] = byte;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Some(request) = parse(&Bytes::copy_from_slice(&sent)) {
                let (here, there) = runtime.block_on(async { (seen(*request).await, seen_by_hyper(&sent).await) });
                prop_assert_eq!(vec![here], there);
            }
        }
    }

    #[test]
    fn a_request_is_plain_if_it_is_whole_and_alone_and_ordinary() {
        let is_plain = |text: &str| parse(&Bytes::copy_from_slice(text.as_bytes())).is_some();
        for text in [
            "GET /sub HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /sub HTTP/1.1\r\nhost: a\r\nConnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n",
            "POST /pub HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
            "POST /pub HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            assert!(is_plain(text), "{text}");
            assert!(!is_plain(&text[..text.len() - 1]), "{text}, cut");
            assert!(!is_plain(&format!("{text}G")), "{text}, and another one");
        }
        for text in [
            "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            &format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1)),
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }

    /// A connection, and what its server's end says when it has ended.
    struct Served {
        client: TcpStream,
        stopping: watch::Sender<bool>,
        end: tokio::task::JoinHandle<Option<Bytes>>,
    }

    impl Served {
        /// Each request is answered with its own path, as often as its query says.
        async fn begin() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let socket = Arc::new(listener.accept().await.unwrap().0);
            let (stopping, mut stops) = watch::channel(false);
            let end = tokio::spawn(async move {
                let answer = async |request: Box<Request<Body>>| {
                    let times = request.uri().query().map_or(1, |times| times.parse().unwrap());
                    sleep(Duration::from_millis(50)).await;
                    Ok(Response::new(request.uri().path().repeat(times).into()))
                };
                serve(&socket, Duration::from_secs(5), &mut stops, answer).await
            });
            Self { client, stopping, end }
        }

        async fn answer_ending_with(&mut self, end: &str) -> String {
            let mut text = String::new();
            while !text.ends_with(end) {
                let mut bytes = [0; 1024];
                let len = timeout(Duration::from_secs(60), self.client.read(&mut bytes)).await.unwrap().unwrap();
                assert!(len > 0, "{text}");
                text += str::from_utf8(&bytes[..len]).unwrap();
            }
            text
        }
    }

    #[tokio::test]
    async fn plain_requests_are_answered_until_another_one_comes_which_is_kept_whole() {
        let mut served = Served::begin().await;
        for path in ["/a", "/b", "/a"] {
            let sent = format!("GET {path} HTTP/1.1\r\nhost: linger\r\n\r\n");
            served.client.write_all(sent.as_bytes()).await.unwrap();
            let answer = served.answer_ending_with(path).await;
            let (head, _) = answer.split_once("\r\ndate: ").unwrap();
            assert_eq!(head, "HTTP/1.1 200 OK\r\ncontent-length: 2");
        }
        let other = b"HEAD / HTTP/1.1\r\nhost: linger\r\n\r\n";
        served.client.write_all(other).await.unwrap();
        assert_eq!(served.end.await.unwrap().as_deref(), Some(&other[..]));
    }

    #[tokio::test]
    async fn an_answer_that_the_socket_does_not_take_at_once_comes_whole() {
        let mut served = Served::begin().await;
        for times in [COPIED_BYTES_MAX / 2, COPIED_BYTES_MAX / 2 + 1, 8 << 20] {
            let sent = format!("GET /a?{times} HTTP/1.1\r\nhost: linger\r\n\r\n");
            served.client.write_all(sent.as_bytes()).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", 2 * times);
            let mut bytes = vec![0; head.len() + "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n".len() + 2 * times];
            served.client.read_exact(&mut bytes).await.unwrap();
            assert!(bytes.starts_with(head.as_bytes()) && bytes.ends_with("/a".repeat(times).as_bytes()), "{times}");
        }
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_client_or_when_it_is_idle() {
        let served = Served::begin().await;
        drop(served.client);
        assert_eq!(served.end.await.unwrap(), None);
        let mut served = Served::begin().await;
        served.client.write_all(POLL).await.unwrap();
        served.answer_ending_with("/sub").await;
        tokio::time::pause();
        let begun = clock::now();
        assert_eq!(served.end.await.unwrap(), None);
        assert_eq!((clock::now() - begun).as_secs(), 5);
    }

    #[tokio::test]
    async fn at_a_stop_who_waits_for_an_answer_gets_it_and_who_does_not_is_let_go() {
        let mut served = Served::begin().await;
        served.client.write_all(POLL).await.unwrap();
        sleep(Duration::from_millis(10)).await;
        served.stopping.send_replace(true);
        let answer = served.answer_ending_with("/sub").await;
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(served.end.await.unwrap(), None);
        let served = Served::begin().await;
        sleep(Duration::from_millis(10)).await;
        served.stopping.send_replace(true);
        assert_eq!(served.end.await.unwrap(), None);
    }

    #[test]
    fn an_answer_that_can_have_no_body_has_no_length() {
        for (status, length) in [(200, true), (404, true), (304, false), (204, false)] {
            let (head, ()) = Response::builder().status(status).body(()).unwrap().into_parts();
            let mut out = Vec::new();
            write_head(&head, 0, false, &mut out);
            assert_eq!(String::from_utf8(out).unwrap().contains("content-length"), length, "{status}");
        }
    }
}
