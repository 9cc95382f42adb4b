//! Which path leads where.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware,
    response::Response,
    routing::{MethodRouter, any, get},
};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use pubsub::api::{self, Api, Problem};
use tower_http::{cors::CorsLayer, services::ServeDir, set_header::SetResponseHeaderLayer};

use crate::{
    flags::Flags,
    metrics::{self, Metrics},
    observe::{REQUEST_ID, observe},
};

/// The API, the page, and what is for whoever runs it.
pub(crate) fn router(flags: &Flags, api: Api, metrics: Arc<Metrics>) -> Router {
    let endpoints = Router::new()
        .route("/pub", any(async |State(api): State<Arc<Api>>, request| api.publish(request).await.map(Body::from)))
        .route(
            "/sub",
            any(async |State(api): State<Arc<Api>>, request| api.subscribe(request, None).await.map(Body::from)),
        )
        .with_state(Arc::new(api));
    let operations = Router::new()
        .route("/healthz", get(([(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#)))
        .route(
            "/metrics",
            get(async |State(metrics): State<Arc<Metrics>>| ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], metrics.text())),
        )
        .method_not_allowed_fallback(not_allowed)
        .with_state(Arc::clone(&metrics));
    let files = ServeDir::new(&flags.static_dir).fallback(any(async || refuse(Problem::not_found())));
    let no_cache = HeaderValue::from_static("no-cache");
    let page = Router::new()
        .fallback(async |State(files): State<Files>, request| file(files, request).await)
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, no_cache))
        .with_state(files);
    let mut router = page.merge(endpoints).merge(operations);
    if !flags.allowed_origins.is_empty() {
        router = router.layer(cors(&flags.allowed_origins));
    }
    router.layer(middleware::from_fn_with_state(metrics, observe))
}

/// The page's folder; what is not in it is answered as a problem.
type Files = ServeDir<MethodRouter>;

async fn file(mut files: Files, mut request: Request) -> Response {
    // What is not there is not found, whatever was to be done with it.
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !reads {
        *request.method_mut() = Method::GET;
    }
    match files.try_call(request).await {
        Ok(response) if !reads && response.status() != StatusCode::NOT_FOUND => not_allowed().await,
        Ok(response) => response.map(Body::new),
        // A name so long that no file can have it.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => refuse(Problem::not_found()),
        Err(error) => {
            tracing::error!(%error, "a file can't be read");
            refuse(Problem::internal())
        }
    }
}

async fn not_allowed() -> Response {
    refuse(Problem::method_not_allowed("GET, HEAD"))
}

fn refuse(problem: Problem) -> Response {
    api::refuse(problem).map(Body::from)
}

/// Lets pages of these origins use the API. Publishing a form needs no preflight; JSON, or a key in the header, does.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers([RETRY_AFTER, REQUEST_ID, HeaderName::from_static("linger-for")])
        .max_age(Duration::from_secs(7200))
}
