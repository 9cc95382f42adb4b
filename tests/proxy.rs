//! A proxy between a store and DynamoDB that cuts, on command.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reqwest::Client;
use tokio::{net::TcpListener, sync::watch, time::sleep};

/// The requests of the store, by their HTTP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    GiveOut,
    PutMessage,
    PutFiller,
    PutKey,
    MoveKey,
    Query,
    Head,
    Other,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// It never arrives, and the connection breaks.
    DropRequest,
    /// It arrives, but the answer does not.
    DropResponse,
    /// The connection breaks, and the request arrives this much later.
    ForwardLater(Duration),
    /// It is answered this much later.
    Delay(Duration),
    /// It never arrives, and there is never an answer.
    Stall,
}

/// A running proxy.
pub(crate) struct Proxy {
    /// Its address for the store.
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Counts up each time that all connections must break.
    breaks: watch::Sender<u64>,
    upstream: String,
    http: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: HashMap<Kind, u64>,
    /// What happens to the next requests of each kind.
    cuts: HashMap<Kind, VecDeque<Cut>>,
    /// Whether nothing gets through at all.
    down: bool,
}

/// The connection must be closed without an answer.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Broken {}

impl Proxy {
    /// Starts one in front of an endpoint.
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (upstream, state) = (upstream.to_owned(), Mutex::default());
        let shared = Arc::new(Shared { breaks: watch::Sender::new(0), upstream, http: Client::new(), state });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { endpoint, shared }
    }

    /// Cuts the next request of a kind. Called again, it also cuts the one after that.
    pub(crate) fn cut(&self, kind: Kind, cut: Cut) {
        self.shared.state.lock().unwrap().cuts.entry(kind).or_default().push_back(cut);
    }

    /// Lets nothing through from now on, or everything again.
    pub(crate) fn set_down(&self, down: bool) {
        self.shared.state.lock().unwrap().down = down;
    }

    /// Breaks all connections that there are.
    pub(crate) fn break_connections(&self) {
        self.shared.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// How many requests of a kind have come.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.shared.state.lock().unwrap().counts.get(&kind).copied().unwrap_or_default()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        let mut breaks = shared.breaks.subscribe();
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { shared.pass(request).await }
        });
        tokio::spawn(async move {
            tokio::select! {
                _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
                _ = breaks.changed() => {}
            }
        });
    }
}

impl Shared {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Broken> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let kind = Kind::of(target, &body);
        let cut = {
            let mut state = self.state.lock().unwrap();
            *state.counts.entry(kind).or_default() += 1;
            let down = state.down.then_some(Cut::Stall);
            down.or_else(|| state.cuts.get_mut(&kind).and_then(VecDeque::pop_front))
        };
        let forward = self.http.post(&self.upstream).headers(parts.headers).body(body);
        match cut {
            None => {}
            Some(Cut::Delay(by)) => sleep(by).await,
            Some(Cut::DropRequest) => return Err(Broken),
            Some(Cut::DropResponse) => {
                let _ = forward.send().await;
                return Err(Broken);
            }
            Some(Cut::ForwardLater(by)) => {
                tokio::spawn(async move {
                    sleep(by).await;
                    let _ = forward.send().await;
                });
                return Err(Broken);
            }
            Some(Cut::Stall) => std::future::pending().await,
        }
        let answer = forward.send().await.map_err(|_| Broken)?;
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
            response = response.header(name, value);
        }
        let body = answer.bytes().await.map_err(|_| Broken)?;
        response.body(Full::new(body)).map_err(|_| Broken)
    }
}

impl Kind {
    fn of(target: &str, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        match target.rsplit('.').next() {
            Some("UpdateItem") if body.contains(":from") => Self::MoveKey,
            Some("UpdateItem") => Self::GiveOut,
            Some("PutItem") if body.contains(r#""filler""#) => Self::PutFiller,
            Some("PutItem") if body.contains(r#""slot""#) => Self::PutKey,
            Some("PutItem") => Self::PutMessage,
            Some("Query") => Self::Query,
            Some("GetItem") => Self::Head,
            _ => Self::Other,
        }
    }
}
