//! What both functions share: from an event of Lambda to the API, and back.
//!
//! The same binary serves classic Lambda, one invocation at a time, and Managed Instances, many at a time. A process
//! serves for minutes or days, and may be frozen between any two invocations.

mod event;
mod origin;

use std::{
    convert::Infallible, env, future::ready, io, panic::AssertUnwindSafe, pin::Pin, process::ExitCode,
    string::FromUtf8Error, sync::Arc, time::Duration,
};

use bytes::Bytes;
use dynamodb::{Client, DynamoDb, Roots, Settings};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Response, header::X_CONTENT_TYPE_OPTIONS};
use lambda_http::{Adapter, Body, IntoResponse, Request, Service};
use lambda_runtime::{LambdaEvent, service_fn};
use logging::{Format, Log};
use origin::Origin;
use pubsub::{
    access::{Access, Expected, InvalidKeys},
    api::{self, Api, Code, Problem, Report},
    clock::{self, Clock, millis},
    limits::{self, InvalidSetting, Limits},
    meter::{Meter, Usage},
    service::Service as Pubsub,
};
use serde_json::Value;
use tokio::{
    spawn,
    time::{Instant, sleep, timeout},
};

/// How long before the invocation's deadline an answer must be sent.
const DEADLINE_MARGIN_MS: u64 = 500;

/// The longest that a function may run. A deadline further away is not a real one.
const DEADLINE_MAX_MS: u64 = 15 * 60 * 1000;

/// How long an answer waits for its log line at most. A line is usually written within microseconds.
const LINES_WAIT_MAX: Duration = Duration::from_millis(10);
const LINES_LOOK: Duration = Duration::from_millis(1);

/// How long the first request waits for a table that is being made. After that it is told that the store can't be
/// reached.
const TABLE_WAIT_MAX: Duration = Duration::from_secs(5);
const TABLE_PAUSE: Duration = Duration::from_millis(200);

/// How long a function that can't run has to say why.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

/// The access settings: public keys, secret keys, which come from elsewhere, and what tokens must have.
const ACCESS: [&str; 4] =
    ["LINGER_ACCESS_KEYS", "LINGER_ACCESS_SECRET", "LINGER_ACCESS_ISSUER", "LINGER_ACCESS_AUDIENCE"];

/// Which half of the API a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// `POST /pub`.
    Publish,
    /// `GET /sub` and `POST /sub`.
    Subscribe,
}

/// Why a function did not start.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} is not set")]
    Unset(&'static str),
    #[error("LINGER_RETENTION {0}")]
    Retention(InvalidSetting),
    #[error("LINGER_ACCESS_…: {0}")]
    Access(#[from] InvalidKeys),
    #[error("{0} is no setting; there are {all}", all = ACCESS.join(", "))]
    UnknownAccess(String),
    #[error(transparent)]
    Limits(#[from] InvalidSetting),
    #[error("the runtime failed: {0}")]
    Runtime(String),
}

/// Answers invocations until the process is ended.
#[must_use]
pub fn run(half: Half) -> ExitCode {
    let log = Log::start(Format::Json, io::stdout());
    let ended = start(half, &log);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(%failure, "the function can't run");
            log.flush(LAST_LINES_MAX);
            ExitCode::FAILURE
        }
    }
}

/// Builds everything that can be built before the first invocation.
fn start(half: Half, log: &Log) -> Result<(), Failure> {
    let lookup = limits::variable;
    let table = lookup("LINGER_TABLE").ok_or(Failure::Unset("LINGER_TABLE"))?;
    let retention = lookup("LINGER_RETENTION").map(|text| limits::duration(&text)).transpose();
    let retention = retention.map_err(Failure::Retention)?.unwrap_or(limits::RETENTION);
    let limits = Limits::from_environment(lookup)?;
    let access = access(lookup)?;
    let mut settings = Settings::from_environment(table, None, lookup).map_err(Failure::Unset)?;
    let on_aws = settings.endpoint_url.is_none();
    if on_aws {
        settings.roots = Roots::Amazon;
    }
    let asked_for_table = lookup("LINGER_CREATE_TABLE").is_some_and(|value| value == "true");
    if asked_for_table && !cfg!(feature = "watch") {
        tracing::warn!("LINGER_CREATE_TABLE does nothing: only functions that cargo lambda watch builds make a table");
    }
    let failed = |error: &dyn ToString| Failure::Runtime(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| failed(&error))?.block_on(async {
        let meter = Arc::new(Meter::default());
        let client = Client::new(settings, Arc::clone(&meter));
        if cfg!(feature = "watch") && !on_aws && asked_for_table {
            let _ = timeout(TABLE_WAIT_MAX, spawn(make_table(client.clone()))).await;
        }
        let store = DynamoDb::new(client, Clock::System, retention);
        let service = Arc::new(Pubsub::new(Arc::new(store), Clock::System, &limits));
        let host = Arc::new(Host {
            half,
            api: Api::new(service, limits::WAIT_MAX, access),
            meter,
            log: log.clone(),
            origin: Origin::parse(&lookup("LINGER_ORIGIN_SECRETS").unwrap_or_default()),
            panics_at: lookup("LINGER_TEST_PANIC"),
        });
        let invoke = service_fn(move |event| invoke(Arc::clone(&host), event));
        lambda_runtime::run_concurrent(invoke).await.map_err(|error| failed(&error))
    })
}

/// Who may do what. A variable that is misspelt would leave the API open to all.
fn access(lookup: impl Fn(&str) -> Option<String>) -> Result<Access, Failure> {
    let mut names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(name) = names.find(|name| name.starts_with("LINGER_ACCES") && !ACCESS.contains(&name.as_str())) {
        return Err(Failure::UnknownAccess(name));
    }
    let [keys, secret, issuer, audience] = ACCESS.map(lookup);
    let key_sets: Vec<_> = keys.into_iter().chain(secret).collect();
    Ok(Access::new(&key_sets, Expected { issuer, audience }, Clock::System)?)
}

/// Makes the table once DynamoDB can be reached. Without it the function must not end, because cargo-lambda would not
/// start it again.
async fn make_table(client: Client) {
    let mut told = String::new();
    while let Err(error) = client.create_table().await {
        if error != told {
            tracing::error!(error, "the table can't be made yet");
            told = error;
        }
        sleep(TABLE_PAUSE).await;
    }
}

struct Host {
    half: Half,
    api: Api,
    meter: Arc<Meter>,
    log: Log,
    origin: Origin,
    /// The query that makes it panic, from `LINGER_TEST_PANIC`: for tests of what a panic does to other requests, in
    /// the binary that is deployed.
    panics_at: Option<String>,
}

/// Answers one invocation. An event that is no HTTP request at all is the sender's error.
async fn invoke(host: Arc<Host>, event: LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    let begun = clock::now();
    let LambdaEvent { payload, context } = event;
    let (id, deadline) = (context.request_id.clone(), deadline(context.deadline));
    let admitted = host.origin.admits(&payload);
    let (request, sound) = event::request(payload)?;
    let answer = service_fn(async |request: Request| {
        let response = match (admitted, sound) {
            (false, _) => api::refuse(Problem::new(Code::WrongHost, "this is not the address of the API")),
            (true, false) => api::refuse(host.unsound()),
            (true, true) => host.answer(request, deadline).await,
        };
        Ok::<_, Infallible>(Converted(host.finish(response, &id, begun)))
    });
    let answered = Adapter::from(answer).call(LambdaEvent::new(request, context)).await?;
    host.write_lines().await;
    Ok(serde_json::to_value(answered)?)
}

impl Host {
    /// A panic ends one request; the others in the process go on.
    async fn answer(&self, request: Request, deadline: Option<Instant>) -> Response<Bytes> {
        let answered = AssertUnwindSafe(async {
            if let Some(query) = &self.panics_at {
                assert!(request.uri().query() != Some(query), "on purpose");
            }
            match self.half {
                Half::Publish => self.api.publish(Box::new(request), &|_| Ok(())).await,
                Half::Subscribe => self.api.subscribe(Box::new(request), deadline, &|_| Ok(None)).await,
            }
        });
        answered.catch_unwind().await.unwrap_or_else(|_| api::refuse(Problem::internal()))
    }

    /// Waits a moment until the log is written, because the process may be frozen as soon as it has answered.
    async fn write_lines(&self) {
        let begun = clock::now();
        while self.log.is_behind() && begun.elapsed() < LINES_WAIT_MAX {
            sleep(LINES_LOOK).await;
        }
    }

    /// The problem of an event that can't be read.
    fn unsound(&self) -> Problem {
        let code = match self.half {
            Half::Publish => Code::MalformedBody,
            Half::Subscribe => Code::MalformedQuery,
        };
        Problem::new(code, "the path, the query, the Host or the body is not as HTTP has it")
    }

    /// Adds the host's own headers to an answer, and logs it.
    fn finish(&self, response: Response<Bytes>, id: &str, begun: Instant) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        let report: Report = parts.extensions.remove().unwrap_or_default();
        let Usage { requests, read_units, write_units } = self.meter.since_last();
        tracing::info!(
            id,
            route = if self.half == Half::Publish { "/pub" } else { "/sub" },
            channel = report.channels(),
            status = parts.status.as_u16(),
            code = report.code.map(|code| code.as_str()),
            messages = report.messages,
            ms = millis(begun.elapsed()),
            requests,
            read_units,
            write_units,
            "answered",
        );
        parts.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(id) {
            parts.headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        // Every body is JSON. Bytes that are no text would be sent as base64.
        let bytes = |error: FromUtf8Error| Body::Binary(error.into_bytes());
        let body = String::from_utf8(body.into()).map_or_else(bytes, Body::Text);
        Response::from_parts(parts, body)
    }
}

/// An answer that needs no conversion. To convert one of another type, `lambda_http` links a decoder of all charsets: 186 KB.
struct Converted(Response<Body>);

impl IntoResponse for Converted {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}

/// When an answer must be sent. A deadline in the past is ignored: `cargo lambda watch` sends one of 1970.
fn deadline(unix_ms: u64) -> Option<Instant> {
    let left = unix_ms.checked_sub(Clock::System.unix_ms())?;
    let left = (left <= DEADLINE_MAX_MS).then(|| left.saturating_sub(DEADLINE_MARGIN_MS))?;
    Some(clock::now() + Duration::from_millis(left))
}
