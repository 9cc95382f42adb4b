//! Which path leads where, and what happens on the way.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{any, get},
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use pubsub::{
    api::{Admission, Api, Polls, Problem},
    memory::Memory,
};
use tower_http::cors::CorsLayer;

use crate::{
    addresses::Addresses,
    answers::{Answers, refuse, takes_gzip},
    client::{Ends, Proxies},
    hosts::Hosts,
    metrics::{self, Metrics},
    observe::{Line, REQUEST_ID},
    page::Page,
    unread::lend,
};

/// The document of the API, for programs.
const OPENAPI: &str = include_str!("../../docs/openapi.yaml");

/// Who is let in, to do what.
pub(crate) struct Gate {
    pub(crate) hosts: Hosts,
    pub(crate) proxies: Proxies,
    pub(crate) addresses: Arc<Addresses>,
    /// The store that knows which channels are new, if it counts them.
    pub(crate) memory: Option<Arc<Memory>>,
    pub(crate) answers: Answers,
}

/// All that answers requests.
pub(crate) struct Front {
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    router: TowerToHyperService<Router>,
}

impl Front {
    /// The API, the page, and what is for whoever runs it.
    pub(crate) fn new(api: Api, page: Page, gate: Gate, metrics: Arc<Metrics>, origins: &[HeaderValue]) -> Self {
        let gate = Arc::new(gate);
        let mut router = router(api, page, &gate, &metrics);
        if !origins.is_empty() {
            router = router.layer(cors(origins));
        }
        Self { gate, metrics, router: TowerToHyperService::new(router) }
    }

    /// Answers a request. What is done for each of them is done here, by plain calls: a layer of the router would cost
    /// each of them a microsecond or two.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let line = Line::begin(&request, Arc::clone(&self.metrics));
        let gzip = takes_gzip(request.headers());
        let (request, rest) = lend(request);
        let response = match self.gate.hosts.check(&request) {
            Ok(()) => self.router.call(request).await.unwrap_or_else(|never: Infallible| match never {}),
            Err(problem) => {
                drop(request);
                refuse(problem)
            }
        };
        let mut response = self.gate.answers.send(gzip, response).await;
        rest.read(&mut response).await;
        line.end(&mut response);
        response
    }
}

fn router(api: Api, page: Page, gate: &Arc<Gate>, metrics: &Arc<Metrics>) -> Router {
    let endpoints = Router::new()
        .route("/pub", any(async |State((gate, api)): State<Endpoints>, request| publish(&gate, &api, request).await))
        .route("/sub", any(async |State((gate, api)): State<Endpoints>, request| subscribe(&gate, &api, request).await))
        .with_state((Arc::clone(gate), Arc::new(api)));
    let operations = Router::new()
        .route("/healthz", get(([(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#)))
        .route("/openapi.yaml", get(([(CONTENT_TYPE, "application/yaml"), (CACHE_CONTROL, "no-cache")], OPENAPI)))
        .route(
            "/metrics",
            get(async |State(metrics): State<Arc<Metrics>>| ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], metrics.text())),
        )
        .method_not_allowed_fallback(async || refuse(Problem::method_not_allowed("GET, HEAD")))
        .with_state(Arc::clone(metrics));
    let files = Router::new()
        .fallback(async |State(page): State<Arc<Page>>, request| page.answer(request).await)
        .with_state(Arc::new(page));
    files.merge(endpoints).merge(operations)
}

type Endpoints = (Arc<Gate>, Arc<Api>);

/// Counts what an address publishes, before anything is done for it.
async fn publish(gate: &Arc<Gate>, api: &Api, mut request: Request) -> Response {
    let client = gate.client(&request);
    if request.method() == Method::POST
        && let Err(problem) = gate.addresses.publish(client)
    {
        return refuse(problem);
    }
    let own = Arc::clone(gate);
    let admission = Admission(Arc::new(move |channel| {
        let new = own.memory.as_ref().is_some_and(|memory| !memory.knows(channel));
        if new { own.addresses.begin_channel(client) } else { Ok(()) }
    }));
    request.extensions_mut().insert(admission);
    api.publish(request).await.map(Body::from)
}

/// Counts the channels that an address polls: each takes as much as a poll of its own.
async fn subscribe(gate: &Arc<Gate>, api: &Api, mut request: Request) -> Response {
    let client = gate.client(&request);
    let own = Arc::clone(gate);
    let polls = Polls(Arc::new(move |channels| Ok(Box::new(own.addresses.poll(client, channels)?))));
    request.extensions_mut().insert(polls);
    api.subscribe(request, None).await.map(Body::from)
}

impl Gate {
    /// Whom a request comes from. A connection says so of each of its requests.
    fn client(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get().map_or(Ipv4Addr::UNSPECIFIED.into(), |ends: &Ends| ends.client);
        self.proxies.client(peer, request.headers())
    }
}

/// Lets pages of these origins use the API. Publishing a form needs no preflight; JSON, or a key or a
/// token in a header, does.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers([RETRY_AFTER, REQUEST_ID, WWW_AUTHENTICATE, HeaderName::from_static("linger-for")])
        .max_age(Duration::from_secs(7200))
}
