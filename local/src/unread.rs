//! Request bodies that nobody read: the rest must not be taken for the next request.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, EXPECT},
};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use pubsub::limits::BODY_DRAIN_BYTES_MAX;
use tokio::time::timeout;

/// How long the rest of a body is read and thrown away, so that its sender gets to read the answer.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Takes a body that is dropped before its end.
type Returned = Arc<Mutex<Option<Body>>>;

/// What may be left of a request's body after the answer.
pub(crate) struct Rest {
    place: Option<Returned>,
    /// A client that waits for `100 Continue` has not sent it, and should not.
    waits: bool,
}

struct Lent {
    body: Option<Body>,
    rest: Returned,
}

/// A request whose body is returned if it is not read to its end.
pub(crate) fn lend(mut request: Box<Request>) -> (Box<Request>, Rest) {
    if request.body().is_end_stream() {
        return (request, Rest { place: None, waits: false });
    }
    let (place, waits) = (Returned::default(), request.headers().contains_key(EXPECT));
    let (body, rest) = (Some(mem::take(request.body_mut())), Arc::clone(&place));
    *request.body_mut() = Body::new(Lent { body, rest });
    (request, Rest { place: Some(place), waits })
}

impl Rest {
    /// Reads the rest of the body, or announces in the answer that the connection ends.
    pub(crate) async fn read(self, response: &mut Response<Bytes>) {
        let unread = self.place.and_then(|place| place.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(unread) = unread else { return };
        let slow = response.status() == StatusCode::REQUEST_TIMEOUT;
        if self.waits || slow || !timeout(DRAIN_MAX, drain(unread)).await.unwrap_or(false) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether the body was read to its end.
async fn drain(mut body: Body) -> bool {
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        len += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
        if frame.is_err() || len > BODY_DRAIN_BYTES_MAX {
            return false;
        }
    }
    true
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}
