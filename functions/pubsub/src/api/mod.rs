//! HTTP to values and back, and the only place with status codes. Hosts carry what goes in and comes out here.

mod authorize;
mod body;
mod content;
mod fields;
mod form;
mod json;
mod problem;
mod publish;
mod strangers;
mod subscribe;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body::Body;
use tokio::time::Instant;

pub use self::problem::{Code, Problem};
use self::{body::Bodies, publish::Publication, subscribe::Asked};
use crate::{
    access::Access,
    channel::Channel,
    clock,
    service::{Place, Service, Wanted},
    store::Start,
};

/// The two endpoints.
pub struct Api {
    service: Arc<Service>,
    /// No poll is held for longer.
    wait_max: Duration,
    access: Access,
    bodies: Bodies,
}

/// What a host asks before a message is published: whether it may go to this channel.
pub type Admit<'a> = &'a (dyn Fn(&Channel) -> Result<(), Problem> + Sync);

/// What a host asks before a poll is answered: whether it may wait on so many channels. What is given counts until the poll
/// is answered.
pub type Count<'a> = &'a (dyn Fn(usize) -> Result<Option<Counted>, Problem> + Sync);

/// What counts until it is dropped.
pub type Counted = Box<dyn Any + Send>;

/// What a host's log line and counters say about an answer: an extension of each response.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The channels asked for, once they were known to be some.
    pub channels: Vec<Channel>,
    /// What was wrong.
    pub code: Option<Code>,
    /// Messages published or delivered.
    pub messages: usize,
    /// What it is an answer to, for the client.
    asked: Option<HeaderValue>,
}

impl Api {
    /// The endpoints of a service, which holds a poll for at most `wait_max`.
    #[must_use]
    pub fn new(service: Arc<Service>, wait_max: Duration, access: Access) -> Self {
        Self { service, wait_max, access, bodies: Bodies::default() }
    }

    /// `/pub`, which takes `POST`.
    pub async fn publish<B>(&self, request: Request<B>, admit: Admit<'_>) -> Response<Bytes>
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

    /// `/sub`, which takes `GET`, and `POST` with the same parameters as a form. No poll is held beyond `deadline`, if the
    /// host has one.
    pub async fn subscribe<B>(
        &self,
        request: Request<B>,
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
                // A poll is held without its head.
                let (head, _) = request.into_parts();
                let query = head.uri.query().unwrap_or_default();
                report.asked = strangers::poll(query);
                let asked = Asked::in_query(query, &head.headers, &self.access, &mut report);
                if let Ok(Asked::NextMessage { .. }) = asked
                    && let Some(location) = strangers::own_address(&head.headers, query)
                {
                    return redirect(location);
                }
                asked
            }
            Method::POST => Box::pin(Asked::in_form(request, &self.bodies, &self.access, &mut report)).await,
            Method::OPTIONS => return options(allow),
            _ => Err(Problem::method_not_allowed(allow)),
        };
        let answer = match asked {
            Ok(asked) => self.poll(asked, deadline, count, &mut report).await,
            Err(problem) => Err(problem),
        };
        respond(answer, report)
    }

    async fn try_publish<B>(&self, request: Request<B>, admit: Admit<'_>, report: &mut Report) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let parsed = publish::parse(request, &self.bodies, &self.access, report).await?;
        let (Publication { channel, draft, key }, _counted) = parsed;
        report.asked = key.as_ref().and_then(strangers::publication);
        admit(&channel)?;
        let appended = self.service.publish(&channel, draft, key).await?;
        report.messages = usize::from(!appended.repeated);
        Ok(json::sent(appended.id, &channel))
    }

    async fn poll(
        &self,
        asked: Asked,
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
                let batches = self.service.subscribe(&places, Wanted::Batch(limit), until(wait)).await?;
                report.messages = batches.iter().map(|batch| batch.messages().len()).sum();
                match batches.first() {
                    Some(batch) if !named => Ok(batch.encoded()),
                    _ => Ok(json::channels(&places, &batches)),
                }
            }
            Asked::History { channel, before, limit } => {
                let batch = self.service.history(&channel, before, limit).await?;
                report.messages = batch.messages().len();
                Ok(json::history(&batch))
            }
            Asked::NextMessage { channel } => {
                let place = Place { channel, start: Start::Latest };
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
    /// The channels asked for, with commas, if there are any.
    #[must_use]
    pub fn channels(&self) -> Option<String> {
        let names: Vec<_> = self.channels.iter().map(Channel::as_str).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

/// The answer that a host gives to what is not for these endpoints.
#[must_use]
pub fn refuse(problem: Problem) -> Response<Bytes> {
    respond(Err(problem), Report::default())
}

/// As many headers as most answers have, with those that hosts add.
const HEADERS_USUAL: usize = 6;

/// The one place where an answer gets its status and headers.
fn respond(answer: Result<Bytes, Problem>, mut report: Report) -> Response<Bytes> {
    let problem = answer.as_ref().err();
    report.code = problem.map(Problem::code);
    let status = problem.map_or(StatusCode::OK, Problem::status);
    let media_type = problem.map_or("application/json", |_| "application/problem+json");
    let retry_after = problem.and_then(Problem::retry_after);
    let allow = problem.and_then(Problem::allow);
    let accept_encoding = problem.and_then(Problem::accept_encoding);
    let authenticate = problem.and_then(Problem::authenticate);

    let mut response = Response::new(answer.unwrap_or_else(|problem| json::problem(&problem)));
    *response.status_mut() = status;
    let asked = report.asked.take();
    response.extensions_mut().insert(report);
    let headers = response.headers_mut();
    headers.reserve(HEADERS_USUAL);
    if let Some(asked) = asked {
        headers.insert(strangers::FOR, asked);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(encodings) = accept_encoding {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encodings));
    }
    if let Some(challenge) = authenticate {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(methods) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}

/// The answer to a poll that is to be made at another address.
fn redirect(location: HeaderValue) -> Response<Bytes> {
    let mut response = respond(Ok(Bytes::new()), Report::default());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The answer to `OPTIONS`, where the host has not answered it as a preflight.
fn options(allow: &'static str) -> Response<Bytes> {
    let mut response = respond(Ok(Bytes::new()), Report::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
