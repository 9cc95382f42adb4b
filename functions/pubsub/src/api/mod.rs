//! HTTP to values and back, and the only place with status codes. Hosts transport the requests and answers.

mod authorize;
mod between;
mod body;
mod content;
mod fields;
mod form;
mod json;
mod problem;
mod publish;
mod subscribe;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION},
};
use http_body::Body;
use tokio::time::Instant;

pub use self::problem::{Code, Problem};
use self::{body::Bodies, publish::Publication, subscribe::Asked};
use crate::{
    access::Access,
    channel::Channel,
    clock,
    service::{Each, Place, Service, Wanted},
    store::Start,
};

/// The two endpoints. They take requests in boxes, so that what is held of a poll is small.
pub struct Api {
    service: Arc<Service>,
    /// The longest time for which a poll is held.
    wait_max: Duration,
    access: Access,
    bodies: Bodies,
}

/// A host's own check before a publish: whether this client may publish to this channel now.
pub type Admit<'a> = &'a (dyn Fn(&Channel) -> Result<(), Problem> + Sync);

/// A host's own check before a poll is answered: whether this client may wait on so many channels. The returned value
/// counts until the poll is answered.
pub type Count<'a> = &'a (dyn Fn(usize) -> Result<Option<Counted>, Problem> + Sync);

/// Counts until it is dropped.
pub type Counted = Box<dyn Any + Send>;

/// What a host logs and counts of an answer. It is an extension of each response.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The channels of the request, once they are known to be valid.
    pub channels: Each<Channel>,
    /// The code of the problem.
    pub code: Option<Code>,
    /// Messages published or delivered.
    pub messages: usize,
    /// The value of `Linger-For`.
    asked: Option<HeaderValue>,
}

impl Api {
    /// The endpoints of a service. A poll is held for at most `wait_max`.
    #[must_use]
    pub fn new(service: Arc<Service>, wait_max: Duration, access: Access) -> Self {
        Self { service, wait_max, access, bodies: Bodies::default() }
    }

    /// `/pub`, which takes `POST`.
    pub async fn publish<B>(&self, request: Box<Request<B>>, admit: Admit<'_>) -> Response<Bytes>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let allow = "POST, OPTIONS";
        let mut report = Report::default();
        let answer = match *request.method() {
            Method::POST => self.try_publish(request, admit, &mut report).await,
            Method::OPTIONS => return options(allow),
            _ => Err(Problem::method_not_allowed(allow)),
        };
        respond(answer, report)
    }

    /// `/sub`, which takes `GET`, and `POST` with the same parameters as a form. A poll is never held beyond the host's
    /// `deadline`, if it has one.
    pub async fn subscribe<B>(
        &self,
        request: Box<Request<B>>,
        deadline: Option<Instant>,
        count: Count<'_>,
    ) -> Response<Bytes>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let allow = "GET, POST, OPTIONS";
        let mut report = Report::default();
        let asked = match *request.method() {
            Method::GET => {
                let query = request.uri().query().unwrap_or_default();
                report.asked = between::linger_for_poll(query);
                let asked = Asked::in_query(query, request.headers(), &self.access, &mut report);
                if let Ok(Asked::NextMessage { .. }) = asked
                    && let Some(location) = between::own_address(request.headers(), query)
                {
                    return bare(StatusCode::TEMPORARY_REDIRECT, LOCATION, location);
                }
                // A poll is held without its head.
                drop(request);
                asked
            }
            Method::POST => Box::pin(Asked::in_form(request, &self.bodies, &self.access, &mut report)).await,
            Method::OPTIONS => return options(allow),
            _ => Err(Problem::method_not_allowed(allow)),
        };
        let answer = match &asked {
            Ok(asked) => self.poll(asked, deadline, count, &mut report).await,
            Err(problem) => Err(problem.clone()),
        };
        respond(answer, report)
    }

    async fn try_publish<B>(
        &self,
        request: Box<Request<B>>,
        admit: Admit<'_>,
        report: &mut Report,
    ) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let parsed = publish::parse(request, &self.bodies, &self.access, report).await?;
        let (Publication { channel, draft, key }, _counted) = parsed;
        report.asked = key.as_ref().and_then(between::linger_for_key);
        admit(&channel)?;
        let appended = self.service.publish(&channel, draft, key).await?;
        report.messages = usize::from(!appended.repeated);
        Ok(json::sent(appended.id, &channel))
    }

    async fn poll(
        &self,
        asked: &Asked,
        deadline: Option<Instant>,
        count: Count<'_>,
        report: &mut Report,
    ) -> Result<Bytes, Problem> {
        let _counted = count(report.channels.len())?;
        let until = |wait: Option<Duration>| {
            let wanted = clock::now() + wait.map_or(self.wait_max, |wait| wait.min(self.wait_max));
            deadline.map_or(wanted, |deadline| deadline.min(wanted))
        };
        match asked {
            Asked::Batches { places, limit, wait, named } => {
                let batches = self.service.subscribe(places, Wanted::Batch(*limit), until(*wait)).await?;
                report.messages = batches.iter().map(|batch| batch.messages().len()).sum();
                match batches.first() {
                    Some(batch) if !named => Ok(batch.encoded()),
                    _ => Ok(json::channels(places, &batches)),
                }
            }
            Asked::History { channel, before, limit } => {
                let batch = self.service.history(channel, *before, *limit).await?;
                report.messages = batch.messages().len();
                Ok(json::history(&batch))
            }
            Asked::NextMessage { channel } => {
                let place = Place { channel: channel.clone(), start: Start::Latest };
                let batches = self.service.subscribe(&[place], Wanted::Message, until(None)).await?;
                let next = batches.first().and_then(|batch| Some((batch.messages().first()?, batch.cursor())));
                let (message, cursor) = next.ok_or_else(Problem::nothing_published)?;
                report.messages = 1;
                Ok(json::next_message(message, cursor))
            }
        }
    }
}

impl Report {
    /// The channels of the request, with commas, if there are any.
    #[must_use]
    pub fn channels(&self) -> Option<String> {
        let names: Vec<_> = self.channels.iter().map(Channel::as_str).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

/// The answer of a host to requests for other paths.
#[must_use]
pub fn refuse(problem: Problem) -> Response<Bytes> {
    respond(Err(problem), Report::default())
}

/// The number of headers that most answers have, with those that hosts add.
const HEADERS_USUAL: usize = 6;

/// Gives an answer its status and headers.
fn respond(answer: Result<Bytes, Problem>, mut report: Report) -> Response<Bytes> {
    let (status, media_type, body, problem) = match answer {
        Ok(body) => (StatusCode::OK, "application/json", body, None),
        Err(problem) => (problem.status(), "application/problem+json", json::problem(&problem), Some(problem)),
    };
    report.code = problem.as_ref().map(Problem::code);
    let asked = report.asked.take();

    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.extensions_mut().insert(report);
    let headers = response.headers_mut();
    headers.reserve(HEADERS_USUAL);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(asked) = asked {
        headers.insert(between::LINGER_FOR, asked);
    }
    if let Some(problem) = problem {
        headers.extend(problem.headers());
    }
    response
}

/// An answer without a body, and with one more header.
fn bare(status: StatusCode, name: HeaderName, value: HeaderValue) -> Response<Bytes> {
    let mut response = respond(Ok(Bytes::new()), Report::default());
    *response.status_mut() = status;
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(name, value);
    response
}

/// The answer to `OPTIONS`, where the host has not answered it as a preflight.
fn options(allow: &'static str) -> Response<Bytes> {
    bare(StatusCode::NO_CONTENT, ALLOW, HeaderValue::from_static(allow))
}
