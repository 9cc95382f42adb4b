//! The routes, and what is done for every request.

use std::{convert::Infallible, future::ready, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    routing::get,
};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use pubsub::{
    api::{Api, Counted, Problem, refuse},
    channel::Channel,
    limits::BODY_UNCOUNTED_BYTES,
    memory::Memory,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use crate::{
    addresses::{self, Addresses},
    answers::{Answers, takes_gzip},
    client::{Ends, Proxies},
    hosts::Hosts,
    metrics::{self, Metrics},
    observe::{Line, REQUEST_ID},
    page::Page,
};

/// The API's description for programs.
const OPENAPI: &str = include_str!("../../docs/openapi.yaml");

/// Whom the limits let in.
pub(crate) struct Gate {
    pub(crate) hosts: Hosts,
    pub(crate) proxies: Proxies,
    pub(crate) addresses: Arc<Addresses>,
    /// The memory store, which knows the channels that exist. Only there are new ones limited.
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
    /// CORS, if there are allowed origins.
    cors: Option<CorsLayer>,
}

impl Front {
    /// The API, the page, and the paths for operators.
    pub(crate) fn new(api: Api, page: Page, gate: Gate, metrics: Arc<Metrics>, origins: &[HeaderValue]) -> Self {
        let router = TowerToHyperService::new(router(page, &metrics));
        Self { gate, api, metrics, router, cors: (!origins.is_empty()).then(|| cors(origins)) }
    }

    /// Answers a request. What is done for each request is done here, by plain calls: a layer of the router would cost
    /// each of them a microsecond or two. Ten thousand polls wait in this future, so it holds only what they need, and
    /// everything else is in boxes.
    pub(crate) async fn answer(&self, request: Box<Request>, ends: &Ends) -> Response<Bytes> {
        let line = Line::begin(&request, Arc::clone(&self.metrics));
        let gzip = takes_gzip(request.headers());
        let mut response = if let Err(problem) = self.gate.hosts.check(&request, ends) {
            refuse(problem)
        } else {
            self.for_pages(request, |request| self.route(gzip, request, ends)).await
        };
        line.end(&mut response);
        response
    }

    /// Answers a request of a connection that is one too many.
    pub(crate) async fn refuse(&self, request: Request, problem: Problem) -> Response<Bytes> {
        let line = Line::begin(&request, Arc::clone(&self.metrics));
        let mut response = self.for_pages(Box::new(request), |_| ready(refuse(problem.clone()))).await;
        line.end(&mut response);
        response
    }

    /// Lets pages of the allowed origins read an answer.
    async fn for_pages<F>(&self, request: Box<Request>, answer: impl Fn(Box<Request>) -> F) -> Response<Bytes>
    where
        F: Future<Output = Response<Bytes>>,
    {
        let Some(cors) = &self.cors else {
            return answer(request).await;
        };
        let answer = service_fn(async |request| Ok::<_, Infallible>(answer(Box::new(request)).await));
        Box::pin(cors.layer(answer).oneshot(*request)).await.unwrap_or_else(|never| match never {})
    }

    async fn route(&self, gzip: bool, request: Box<Request>, ends: &Ends) -> Response<Bytes> {
        let client = self.gate.proxies.client(ends.client, request.headers());
        let _large = match self.count_body(&request, client) {
            Ok(counted) => counted,
            Err(problem) => return refuse(problem),
        };
        let response = match request.uri().path() {
            "/sub" => self.subscribe(request, client).await,
            "/pub" => Box::pin(self.publish(request, client)).await,
            _ => Box::pin(self.operate(*request)).await,
        };
        self.gate.answers.send(gzip, self.gate.addresses.limited(client), response)
    }

    /// Counts the messages of an address, before anything is done for them.
    async fn publish(&self, request: Box<Request>, client: IpAddr) -> Response<Bytes> {
        let Gate { addresses, memory, .. } = &self.gate;
        if request.method() == Method::POST
            && let Err(problem) = addresses.publish(client)
        {
            return refuse(problem);
        }
        let admit = |channel: &Channel| {
            let new = memory.as_ref().is_some_and(|memory| !memory.knows(channel));
            if new { addresses.begin_channel(client) } else { Ok(()) }
        };
        self.api.publish(request, &admit).await
    }

    /// Counts the channels of an address's polls. Each costs as much as a poll of its own.
    async fn subscribe(&self, request: Box<Request>, client: IpAddr) -> Response<Bytes> {
        let count = |channels| {
            let counted = self.gate.addresses.poll(client, channels)?;
            Ok(counted.map(|counted| Box::new(counted) as Counted))
        };
        self.api.subscribe(request, None, &count).await
    }

    /// Answers a request for anything else.
    async fn operate(&self, request: Request) -> Response<Bytes> {
        let (head, body) = self.router.call(request).await.unwrap_or_else(|never| match never {}).into_parts();
        // All bodies are in one piece, so this neither waits nor copies.
        match body.collect().await {
            Ok(body) => Response::from_parts(head, body.to_bytes()),
            Err(_) => refuse(Problem::internal()),
        }
    }

    /// Counts a body that is large, or may become so. It counts until its request is answered.
    fn count_body(&self, request: &Request, client: IpAddr) -> Result<Option<addresses::Counted>, Problem> {
        let small = |bytes| bytes <= BODY_UNCOUNTED_BYTES as u64;
        if request.body().size_hint().upper().is_some_and(small) {
            return Ok(None);
        }
        self.gate.addresses.large_body(client)
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
        .method_not_allowed_fallback(async || refuse(Problem::method_not_allowed("GET, HEAD")).map(Body::from))
        .with_state(Arc::clone(metrics));
    let files = Router::new()
        .fallback(async |State(page): State<Arc<Page>>, request: Request| page.answer(request).await.map(Body::from))
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
