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

/// The log line of a request. Written by `end`, or when this is dropped without it, because the client went away.
pub(crate) struct Line {
    id: u64,
    method: Method,
    path: Cow<'static, str>,
    begun: Instant,
    metrics: Arc<Metrics>,
    ended: bool,
}

impl Line {
    /// Gives a request its id, whatever id came with it.
    pub(crate) fn begin(request: &Request, metrics: Arc<Metrics>) -> Self {
        Self {
            id: request_id(),
            method: request.method().clone(),
            path: shown(request.uri().path()),
            begun: clock::now(),
            metrics,
            ended: false,
        }
    }

    /// Puts the id of the request into its answer.
    pub(crate) fn end(mut self, response: &mut Response<Bytes>) {
        let report: Report = response.extensions_mut().remove().unwrap_or_default();
        if let Some(code) = report.code {
            self.metrics.count_error(code);
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REQUEST_ID, self.id.into());
        self.ended = true;
        self.write(Some(response.status()), &report);
    }

    fn write(&self, status: Option<StatusCode>, report: &Report) {
        let usage = self.metrics.usage();
        tracing::info!(
            id = &*self.id.to_string(),
            method = %self.method.as_str().get(..METHOD_CHARS_MAX).unwrap_or(self.method.as_str()),
            path = &*self.path,
            channel = report.channels(),
            status = status.map(|status| status.as_u16()),
            code = report.code.map(|code| code.as_str()),
            messages = report.messages,
            ms = clock::millis(self.begun.elapsed()),
            requests = usage.as_ref().map(|usage| usage.requests),
            read_units = usage.as_ref().map(|usage| usage.read_units),
            write_units = usage.as_ref().map(|usage| usage.write_units),
            "{}",
            if status.is_some() { "answered" } else { "client left" },
        );
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.ended {
            self.write(None, &Report::default());
        }
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
fn request_id() -> u64 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(())));
    NEXT.fetch_add(1, Ordering::Relaxed)
}
