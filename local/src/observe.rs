//! What is done for every request: its id, its log line, its counters.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header::X_CONTENT_TYPE_OPTIONS};
use pubsub::{api::Report, clock};
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The header with the id of the request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest method in a log line. A client may make one up.
const METHOD_CHARS_MAX: usize = 16;

/// The longest path in a log line, in characters.
const PATH_CHARS_MAX: usize = 256;

/// The log line of a request. It is written when this is dropped, because a request also ends when its client goes
/// away.
pub(crate) struct Line {
    id: HeaderValue,
    method: Method,
    path: Cow<'static, str>,
    begun: Instant,
    status: Option<StatusCode>,
    report: Report,
    metrics: Arc<Metrics>,
}

impl Line {
    /// Gives a request its id, whatever id came with it.
    pub(crate) fn begin(request: &Request, metrics: Arc<Metrics>) -> Self {
        Self {
            id: request_id(),
            method: request.method().clone(),
            path: shown(request.uri().path()),
            begun: clock::now(),
            status: None,
            report: Report::default(),
            metrics,
        }
    }

    /// Puts the id of the request into its answer.
    pub(crate) fn end(mut self, response: &mut Response<Bytes>) {
        self.status = Some(response.status());
        self.report = response.extensions_mut().remove().unwrap_or_default();
        if let Some(code) = self.report.code {
            self.metrics.count_error(code);
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REQUEST_ID, self.id.clone());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let usage = self.metrics.usage();
        tracing::info!(
            id = self.id.to_str().unwrap_or_default(),
            method = %self.method.as_str().get(..METHOD_CHARS_MAX).unwrap_or(self.method.as_str()),
            path = &*self.path,
            channel = self.report.channels(),
            status = self.status.map(|status| status.as_u16()),
            code = self.report.code.map(|code| code.as_str()),
            messages = self.report.messages,
            ms = clock::millis(self.begun.elapsed()),
            requests = usage.as_ref().map(|usage| usage.requests),
            read_units = usage.as_ref().map(|usage| usage.read_units),
            write_units = usage.as_ref().map(|usage| usage.write_units),
            "{}",
            if self.status.is_some() { "answered" } else { "client left" },
        );
    }
}

/// A path for a log line, cut where it is longer than any valid one.
fn shown(path: &str) -> Cow<'static, str> {
    match path {
        "/sub" => "/sub".into(),
        "/pub" => "/pub".into(),
        path => path.chars().take(PATH_CHARS_MAX).collect::<String>().into(),
    }
}

/// Unlike any other of this process, and most likely of any other.
fn request_id() -> HeaderValue {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(())));
    NEXT.fetch_add(1, Ordering::Relaxed).into()
}
