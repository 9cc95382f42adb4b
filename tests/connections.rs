//! HTTP, byte for byte, and what happens to the connection.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command, time::Duration};

use crate::server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const FORM: &str = "host: linger\r\ncontent-type: application/x-www-form-urlencoded\r\n";

pub(crate) async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address()).await.unwrap()
}

/// Sends something, and reads until the server closes the connection.
async fn exchange(server: &Server, sent: impl AsRef<[u8]>) -> String {
    let mut stream = connect(server).await;
    // The server may close the connection before everything is written.
    let _ = stream.write_all(sent.as_ref()).await;
    rest(&mut stream).await
}

pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(15), stream.read_to_end(&mut bytes)).await;
    read.expect("the connection is closed").unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

async fn published(server: &Server, channel: &str) -> usize {
    let url = server.url(&format!("/sub?channel={channel}&cursor=earliest&wait=0"));
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.matches("\"id\"").count()
}

#[tokio::test]
async fn a_body_that_nobody_reads_never_costs_the_next_request() {
    let (server, foreign) = (Server::start(&[]).await, Server::start(&["--allowed-origin", "https://a.example"]).await);
    let next = "GET /healthz HTTP/1.1\r\nhost: linger\r\nconnection: close\r\n\r\n";
    let preflight = "OPTIONS /pub HTTP/1.1\r\norigin: https://a.example\r\naccess-control-request-method: POST";
    let bodies = [
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "content-length: 5\r\n\r\nhello".to_owned(),
        format!("content-length: 200000\r\n\r\n{}", "x".repeat(200_000)),
        format!("transfer-encoding: chunked\r\n\r\n30D40\r\n{}\r\n0\r\n\r\n", "x".repeat(200_000)),
    ];
    for (address, line, status) in [
        (&server, "POST /nope HTTP/1.1", "404"),
        (&server, "PUT /pub HTTP/1.1", "405"),
        (&server, "POST /sub HTTP/1.1", "415"),
        (&server, "POST /healthz HTTP/1.1", "405"),
        (&server, "POST /pub HTTP/1.1", "415"),
        (&server, "OPTIONS /pub HTTP/1.1", "204"),
        (&foreign, preflight, "200"),
        (&server, "GET /sub?wait=0 HTTP/1.1", "200"),
        (&server, "GET /metrics HTTP/1.1", "200"),
        (&server, "GET / HTTP/1.1", "200"),
    ] {
        for body in &bodies {
            let answers = exchange(address, format!("{line}\r\nhost: linger\r\n{body}{next}")).await;
            assert_eq!(statuses(&answers), [status, "200"], "{line}: {answers}");
        }
    }
}

#[tokio::test]
async fn a_body_too_long_to_be_thrown_away_ends_the_connection_and_says_so() {
    let server = Server::start(&[]).await;
    let long = "x".repeat(3 << 20);
    let next = "GET /healthz HTTP/1.1\r\nhost: linger\r\n\r\n";
    for line in ["POST /nope", "POST /pub"] {
        let head = format!("{line} HTTP/1.1\r\n{FORM}content-length: {}\r\n\r\n", long.len());
        let answers = exchange(&server, format!("{head}{long}{next}")).await;
        assert_eq!(statuses(&answers).len(), 1, "{line}: {answers}");
        assert!(answers.contains("connection: close\r\n"), "{line}: {answers}");
    }
    // A client with `Expect: 100-continue` is refused at once, and its body is not waited for.
    let asks = format!("POST /nope HTTP/1.1\r\n{FORM}expect: 100-continue\r\ncontent-length: 9\r\n\r\n");
    let answers = exchange(&server, asks).await;
    assert_eq!(statuses(&answers), ["404"]);
    assert!(answers.contains("connection: close\r\n"), "{answers}");
}

#[tokio::test]
async fn a_request_that_was_read_is_carried_out_though_its_client_sends_no_more() {
    let server = Server::start(&[]).await;
    for number in 0..20 {
        let body = format!("channel=fin&message={number}");
        let request = format!("POST /pub HTTP/1.1\r\n{FORM}content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = connect(&server).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "), "half a connection is enough for an answer");
    }
    assert_eq!(published(&server, "fin").await, 20);
    for path in ["/", "/healthz", "/metrics", "/sub?wait=0", "/sub?channel=fin&cursor=earliest"] {
        let mut stream = connect(&server).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: linger\r\n\r\n").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "), "{path}");
    }
    // Half a request is not carried out.
    let mut stream = connect(&server).await;
    let half = format!("POST /pub HTTP/1.1\r\n{FORM}content-length: 99\r\n\r\nchannel=half&message=x");
    stream.write_all(half.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    assert_eq!(published(&server, "half").await, 0);
}

#[tokio::test]
async fn a_poll_whose_client_left_is_let_go_though_more_was_sent() {
    let server = Server::start(&[]).await;
    let poll = "GET /sub?wait=25 HTTP/1.1\r\nhost: linger\r\n\r\n";
    for sent in [poll.to_owned(), poll.repeat(2)] {
        let mut stream = connect(&server).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        while server.metric("linger_holds").await < 1 {
            sleep(Duration::from_millis(5)).await;
        }
        drop(stream);
        let gone = async {
            while server.metric("linger_holds").await > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.expect("long before its 25 s are over");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_408() {
    let server = Server::start(&[]).await;
    let mut stream = connect(&server).await;
    let head = format!("POST /pub HTTP/1.1\r\n{FORM}content-length: 99\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answer = [0; 4096];
    let trickle = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            let _ = write.write_all(b"m").await;
        }
    };
    let len = tokio::select! {
        len = read.read(&mut answer) => len.unwrap(),
        () = trickle => unreachable!(),
    };
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"slow_body\""), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn no_target_is_a_500_and_none_leads_to_another_host() {
    let server = Server::start(&[]).await;
    for (line, status) in [
        ("HEAD /%00", "404"),
        ("GET /%00", "404"),
        ("GET /a%00b", "404"),
        ("GET nope", "400"),
        ("GET healthz", "400"),
        ("CONNECT example.com:443", "400"),
        ("OPTIONS *", "404"),
        ("GET *", "404"),
        ("GET http://127.0.0.1/healthz", "200"),
        ("GET http://127.0.0.1", "200"),
        ("GET ?x", "400"),
        ("GET //client", "404"),
        ("GET //example.com/..", "404"),
        ("GET //example.com/%2e%2e", "404"),
        ("GET /%2f%2fexample.com", "404"),
        ("GET /\\example.com", "404"),
        ("HEAD //", "404"),
    ] {
        let answer = exchange(&server, format!("{line} HTTP/1.1\r\nhost: linger\r\nconnection: close\r\n\r\n")).await;
        assert!(!answer.contains("location:"), "{line}: {answer}");
        assert_eq!(statuses(&answer), [status], "{line}: {answer}");
    }
}

#[tokio::test]
async fn there_is_one_host_and_it_is_this_servers() {
    let server = Server::start(&["--allowed-host", "chat.example"]).await;
    let ask = async |version: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        let request = format!("GET /healthz HTTP/1.{version}\r\n{hosts}connection: close\r\n\r\n");
        let answer = exchange(&server, request).await;
        let code = ["malformed_request", "wrong_host"].into_iter().find(|code| answer.contains(code));
        (answer.split(' ').nth(1).unwrap_or_default().to_owned(), code)
    };
    for hosts in [&[][..], &["linger", "linger"], &["a b"], &["a@b"], &["a/b"]] {
        assert_eq!(ask("1", hosts).await, ("400".to_owned(), Some("malformed_request")), "{hosts:?}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "evil.example:3000", "localhost.evil.example", ""] {
        assert_eq!(ask("1", &[host]).await, ("421".to_owned(), Some("wrong_host")), "{host}");
    }
    for host in ["localhost", "127.0.0.1:80", "[::1]:3000", "chat.example", "CHAT.example:443", "app.localhost"] {
        assert_eq!(ask("1", &[host]).await, ("200".to_owned(), None), "{host}");
    }
    assert_eq!(ask("0", &[]).await, ("200".to_owned(), None), "HTTP/1.0 has no Host");
}

#[tokio::test]
async fn a_body_is_taken_as_it_is() {
    let server = Server::start(&[]).await;
    for encoding in ["gzip", "identity", "br, gzip", ""] {
        let request = reqwest::Client::new().post(server.url("/pub")).header("content-encoding", encoding);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body("message=a");
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["accept-encoding"]),
            (415, &"identity".parse().unwrap())
        );
    }
    assert_eq!(published(&server, "lobby").await, 0);
}

#[tokio::test]
async fn a_connection_is_kept_for_as_long_as_it_is_said() {
    let server = Server::start(&["--keep-alive", "1s"]).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: linger\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&rest(&mut stream).await), ["200"]);
    let help = Command::new(&*crate::server::BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("[env: LINGER_KEEP_ALIVE=] [default: 75s]"), "longer than balancers keep theirs: {help}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_request_after_request_does_not_keep_others_waiting() {
    let server = Server::start(&["--workers", "1", "--log-format", "off"]).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: linger\r\n\r\n";
    let (mut answers, mut requests) = connect(&server).await.into_split();
    let sending =
        tokio::spawn(async move { while requests.write_all(request.repeat(1000).as_bytes()).await.is_ok() {} });
    let reading = tokio::spawn(async move { while answers.read(&mut [0; 65536]).await.is_ok_and(|len| len > 0) {} });
    sleep(Duration::from_millis(200)).await;
    // Each waits for as long as the worker does not look at its sockets, which was 150 ms.
    let others = async {
        for _ in 0..200 {
            let mut stream = connect(&server).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        }
    };
    timeout(Duration::from_secs(15), others).await.expect("200 answers");
    assert!(!sending.is_finished() && !reading.is_finished());
    sending.abort();
    reading.abort();
}

#[tokio::test]
async fn an_answer_over_a_kilobyte_is_compressed_where_asked() {
    let server = Server::start(&[]).await;
    let body = format!("channel=long&message={}", "long ".repeat(1000));
    let request = reqwest::Client::new().post(server.url("/pub")).body(body);
    request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    for path in ["/sub?channel=long&cursor=earliest", "/chat.js", "/"] {
        let get = async |encodings: &str| {
            let request = reqwest::Client::new().get(server.url(path)).header("accept-encoding", encodings);
            let answer = request.send().await.unwrap();
            let headers = answer.headers().clone();
            (headers, answer.bytes().await.unwrap())
        };
        let (headers, small) = get("br, gzip").await;
        assert_eq!(
            (&headers["content-encoding"], &headers["vary"]),
            (&"gzip".parse().unwrap(), &"accept-encoding".parse().unwrap())
        );
        let (headers, plain) = get("gzip;q=0, *").await;
        let (unasked, again) = get("identity").await;
        assert!(!headers.contains_key("content-encoding") && !unasked.contains_key("content-encoding"));
        assert_eq!(unasked["vary"], "accept-encoding", "caches are told");
        assert!(plain == again && small.len() < plain.len(), "{path}");
    }
}

/// A page of one's own, with files in it and around it that must not be served.
fn own_page() -> PathBuf {
    let root = std::env::temp_dir().join(format!("linger-page-{}", std::process::id()));
    let page = root.join("page");
    fs::create_dir_all(page.join("more")).unwrap();
    fs::create_dir_all(page.join(".git")).unwrap();
    fs::create_dir_all(page.join("empty")).unwrap();
    for (file, text) in [
        ("index.html", "own"),
        ("more/index.html", "more"),
        (".env", "secret"),
        ("linger-private.json", "secret"),
        ("linger-keys.json", "secret"),
        (".git/config", "secret"),
        ("../outside", "secret"),
    ] {
        fs::write(page.join(file), text).unwrap();
    }
    for (to, link) in [("../outside", "out"), ("more", "in"), (".env", "shown"), ("..", "up"), ("loop", "loop")] {
        let _ = symlink(to, page.join(link));
    }
    let _ = Command::new("mkfifo").arg(page.join("pipe")).status();
    page
}

#[tokio::test]
async fn a_page_of_ones_own_is_served_and_nothing_around_it() {
    let page = own_page();
    let server = Server::start(&["--static-dir", page.to_str().unwrap()]).await;
    let ask = async |path: &str| {
        exchange(&server, format!("GET {path} HTTP/1.1\r\nhost: linger\r\nconnection: close\r\n\r\n")).await
    };
    for (path, text) in
        [("/", "own"), ("/index.html", "own"), ("/more/", "more"), ("/in/index.html", "more"), ("/?x", "own")]
    {
        let answer = ask(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(text), "{path}: {answer}");
        assert!(answer.contains("cache-control: no-cache\r\n") && answer.contains("etag: W/\""), "{path}: {answer}");
    }
    let folder = ask("/more").await;
    assert!(folder.starts_with("HTTP/1.1 308 ") && folder.contains("location: /more/\r\n"), "{folder}");
    for path in [
        "//more",
        "///more",
        "/./more",
        "/x/../more",
        "/.env",
        "/linger-private.json",
        "/linger-keys.json",
        "/%6cinger-private.json",
        "/.git/config",
        "/%2egit/config",
        "/out",
        "/up/outside",
        "/shown",
        "/loop",
        "/pipe",
        "/pipe/",
        "/empty",
        "/empty/",
        "/more/index.html/",
        "/nope",
    ] {
        let answer = timeout(Duration::from_secs(5), ask(path)).await.expect("at once");
        assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("secret"), "{path}: {answer}");
    }
    let _ = fs::remove_dir_all(page.parent().unwrap());
}
