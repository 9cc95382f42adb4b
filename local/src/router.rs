//! Which path leads where, and what happens on the way.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::{any, get},
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use pubsub::{
    api::{Admission, Api, Problem},
    memory::Memory,
};
use tower_http::cors::CorsLayer;

use crate::{
    addresses::Addresses,
    answers::{Answers, refuse, takes_gzip},
    client::{Ends, Proxies},
    hosts::Hosts,
    metrics::{self, Metrics},
    observe::{REQUEST_ID, observe},
    page::Page,
    unread::read_the_rest,
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
}

/// The API, the page, and what is for whoever runs it.
pub(crate) fn router(api: Api, page: Page, gate: Gate, metrics: Arc<Metrics>, origins: &[HeaderValue]) -> Router {
    let gate = Arc::new(gate);
    let endpoints = Router::new()
        .route("/pub", any(async |State(api): State<Arc<Api>>, request| api.publish(request).await.map(Body::from)))
        .route(
            "/sub",
            any(async |State(api): State<Arc<Api>>, request| api.subscribe(request, None).await.map(Body::from)),
        )
        .layer(from_fn_with_state(Arc::clone(&gate), let_in))
        .with_state(Arc::new(api));
    let operations = Router::new()
        .route("/healthz", get(([(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#)))
        .route("/openapi.yaml", get(([(CONTENT_TYPE, "application/yaml"), (CACHE_CONTROL, "no-cache")], OPENAPI)))
        .route(
            "/metrics",
            get(async |State(metrics): State<Arc<Metrics>>| ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], metrics.text())),
        )
        .method_not_allowed_fallback(async || refuse(Problem::method_not_allowed("GET, HEAD")))
        .with_state(Arc::clone(&metrics));
    let files = Router::new()
        .fallback(async |State(page): State<Arc<Page>>, request| page.answer(request).await)
        .with_state(Arc::new(page));
    let mut router = files
        .merge(endpoints)
        .merge(operations)
        .layer(from_fn_with_state(gate, check_host))
        .layer(from_fn_with_state(Arc::new(Answers::new()), send))
        .layer(from_fn(read_the_rest));
    if !origins.is_empty() {
        router = router.layer(cors(origins));
    }
    router.layer(from_fn_with_state(metrics, observe))
}

async fn check_host(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => refuse(problem),
    }
}

/// Counts what an address does, before anything is done for it.
async fn let_in(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let Some(client) = gate.client(&request) else {
        return refuse(Problem::internal());
    };
    let counted = match *request.method() {
        Method::POST => gate.addresses.publish(client).map(|()| None),
        Method::GET => gate.addresses.hold(client),
        _ => Ok(None),
    };
    let _counted = match counted {
        Ok(counted) => counted,
        Err(problem) => return refuse(problem),
    };
    let addresses = Arc::clone(&gate);
    let admission = Admission(Arc::new(move |channel| {
        let new = addresses.memory.as_ref().is_some_and(|memory| !memory.knows(channel));
        if new { addresses.addresses.begin_channel(client) } else { Ok(()) }
    }));
    request.extensions_mut().insert(admission);
    next.run(request).await
}

async fn send(State(answers): State<Arc<Answers>>, request: Request, next: Next) -> Response {
    let gzip = takes_gzip(request.headers());
    let response = next.run(request).await;
    answers.send(gzip, response).await
}

impl Gate {
    fn client(&self, request: &Request) -> Option<IpAddr> {
        let ends: &Ends = request.extensions().get()?;
        Some(self.proxies.client(ends.client, request.headers()))
    }
}

/// Lets pages of these origins use the API. Publishing a form needs no preflight; JSON, or a key in the header, does.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers([RETRY_AFTER, REQUEST_ID])
        .max_age(Duration::from_secs(7200))
}
