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
    assert_eq!(served.stopping.receiver_count(), 1, "a stop counts connections by their receivers");
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
