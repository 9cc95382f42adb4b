//! Which path leads where, and what happens on the way.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::get,
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use pubsub::{
    api::{Api, Counted, Problem},
    channel::Channel,
    memory::Memory,
};
use tower::{Layer, ServiceExt, service_fn};
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
    gate: Gate,
    api: Api,
    metrics: Arc<Metrics>,
    /// All but the API.
    router: TowerToHyperService<Router>,
    /// Lets pages of other origins use the API, where there are some.
    cors: Option<CorsLayer>,
}

impl Front {
    /// The API, the page, and what is for whoever runs it.
    pub(crate) fn new(api: Api, page: Page, gate: Gate, metrics: Arc<Metrics>, origins: &[HeaderValue]) -> Self {
        let router = TowerToHyperService::new(router(page, &metrics));
        Self { gate, api, metrics, router, cors: (!origins.is_empty()).then(|| cors(origins)) }
    }

    /// Answers a request. What is done for each of them is done here, by plain calls: a layer of the router would cost
    /// each of them a microsecond or two. Polls wait by the ten thousand, so the future of this has in it only what they
    /// need, and what else there is stands in boxes.
    pub(crate) async fn answer(&self, request: Box<Request>, ends: &Ends) -> Response {
        let line = Line::begin(&request, Arc::clone(&self.metrics));
        let gzip = takes_gzip(request.headers());
        let (request, rest) = lend(request);
        let response = match (self.gate.hosts.check(&request, ends), &self.cors) {
            (Ok(()), None) => self.route(request, ends).await,
            (Ok(()), Some(cors)) => {
                let route = service_fn(async |request| Ok::<_, Infallible>(self.route(Box::new(request), ends).await));
                Box::pin(cors.layer(route).oneshot(*request)).await.unwrap_or_else(|never| match never {})
            }
            (Err(problem), _) => {
                drop(request);
                refuse(problem)
            }
        };
        let mut response = self.gate.answers.send(gzip, response).await;
        rest.read(&mut response).await;
        line.end(&mut response);
        response
    }

    async fn route(&self, request: Box<Request>, ends: &Ends) -> Response {
        match request.uri().path() {
            "/sub" => self.subscribe(request, ends).await,
            "/pub" => Box::pin(self.publish(request, ends)).await,
            _ => Box::pin(self.router.call(*request)).await.unwrap_or_else(|never| match never {}),
        }
    }

    /// Counts what an address publishes, before anything is done for it.
    async fn publish(&self, request: Box<Request>, ends: &Ends) -> Response {
        let Gate { addresses, memory, proxies, .. } = &self.gate;
        let client = proxies.client(ends.client, request.headers());
        if request.method() == Method::POST
            && let Err(problem) = addresses.publish(client)
        {
            return refuse(problem);
        }
        let admit = |channel: &Channel| {
            let new = memory.as_ref().is_some_and(|memory| !memory.knows(channel));
            if new { addresses.begin_channel(client) } else { Ok(()) }
        };
        self.api.publish(*request, &admit).await.map(Body::from)
    }

    /// Counts the channels that an address polls: each takes as much as a poll of its own.
    async fn subscribe(&self, request: Box<Request>, ends: &Ends) -> Response {
        let client = self.gate.proxies.client(ends.client, request.headers());
        let count = |channels| {
            let counted = self.gate.addresses.poll(client, channels)?;
            Ok(counted.map(|counted| Box::new(counted) as Counted))
        };
        self.api.subscribe(*request, None, &count).await.map(Body::from)
    }
}

fn router(page: Page, metrics: &Arc<Metrics>) -> Router {
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
    files.merge(operations)
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
