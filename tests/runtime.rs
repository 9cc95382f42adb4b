//! A runtime API of Lambda with an HTTP API before it: just enough to run the functions' own binaries.

use std::{
    collections::HashMap,
    env,
    fs::File,
    path::PathBuf,
    process::{Command as StdCommand, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pubsub::clock::Clock;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::Child,
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::timeout,
};

use crate::{canary, server::ROOT};

/// The settings of a function.
pub(crate) struct Settings<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) table: &'a str,
    /// How many invocations it takes at once.
    pub(crate) concurrency: u32,
    /// How long each invocation has.
    pub(crate) deadline: Duration,
    pub(crate) environment: &'a [(&'a str, &'a str)],
}

/// One function: its process, and the runtime API that it polls.
pub(crate) struct Function {
    process: Child,
    runtime: Arc<Runtime>,
    /// The path of its log, if that is a file.
    log: Option<PathBuf>,
}

impl Drop for Function {
    fn drop(&mut self) {
        self.log.iter().for_each(|log| canary::check_and_remove(log));
    }
}

struct Runtime {
    deadline: Duration,
    invoke: mpsc::UnboundedSender<Invocation>,
    invocations: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Result<Value, Value>>>>,
    next_id: AtomicU64,
}

struct Invocation {
    id: String,
    event: Value,
}

type Reply = Response<Full<Bytes>>;

impl Function {
    /// Starts the binary that `sam build` made, such as `Publish`.
    pub(crate) async fn start(name: &str, settings: &Settings<'_>) -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let number = STARTED.fetch_add(1, Relaxed);
        let path = env::temp_dir().join(format!("linger-{name}-{}-{number}.log", std::process::id()));
        let log = File::create(&path).expect("a log file");
        let mut function = Self::start_logging(name, settings, log.into()).await;
        function.log = Some(path);
        function
    }

    /// Starts one with this log.
    pub(crate) async fn start_logging(name: &str, settings: &Settings<'_>, log: Stdio) -> Self {
        let (invoke, invocations) = mpsc::unbounded_channel();
        let runtime = Arc::new(Runtime {
            deadline: settings.deadline,
            invoke,
            invocations: AsyncMutex::new(invocations),
            answers: Mutex::default(),
            next_id: AtomicU64::new(1),
        });
        let address = serve(Arc::clone(&runtime), Runtime::answer).await;
        let process = command(name)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_MAX_CONCURRENCY", settings.concurrency.to_string())
            .env("AWS_ENDPOINT_URL_DYNAMODB", settings.endpoint)
            .env("LINGER_TABLE", settings.table)
            .envs(settings.environment.iter().copied())
            .stdout(log)
            .spawn()
            .expect("the function starts");
        Self { process, runtime, log: None }
    }

    /// Invokes it, and returns its answer or its error.
    pub(crate) async fn invoke(&self, event: Value) -> Result<Value, Value> {
        self.runtime.invoke(event).await
    }

    /// Sends its process a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        let sent = StdCommand::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Whether its process is still there.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }
}

/// A function's binary with the variables that Lambda sets, and no others.
pub(crate) fn command(name: &str) -> tokio::process::Command {
    let binary = ROOT.join("target/sam").join(name).join("bootstrap");
    assert!(binary.exists(), "{} is missing: tests/run builds it", binary.display());
    let mut command = tokio::process::Command::new(binary);
    command
        .env_clear()
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Runtime {
    async fn invoke(&self, event: Value) -> Result<Value, Value> {
        let id = format!("00000000-0000-4000-8000-{:012}", self.next_id.fetch_add(1, Relaxed));
        let (answer, answered) = oneshot::channel();
        self.answers.lock().unwrap().insert(id.clone(), answer);
        self.invoke.send(Invocation { id, event }).expect("the runtime API is there");
        let answered = timeout(self.deadline + Duration::from_secs(60), answered).await;
        answered.map_err(|_| json!("no answer"))?.map_err(|_| json!("never answered"))?
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let steps: Vec<_> = path.trim_start_matches("/2018-06-01/runtime/").split('/').collect();
        match steps[..] {
            ["invocation", "next"] => self.next().await,
            ["invocation", id, outcome] => {
                let body = body(request).await;
                let value = serde_json::from_slice(&body).expect("JSON");
                let answer = self.answers.lock().unwrap().remove(id).expect("an invocation is answered once");
                let _ = answer.send(if outcome == "response" { Ok(value) } else { Err(value) });
                status(StatusCode::ACCEPTED)
            }
            _ => status(StatusCode::ACCEPTED),
        }
    }

    async fn next(&self) -> Reply {
        let invocation = self.invocations.lock().await.recv().await.expect("the sender is kept");
        let deadline = Clock::System.unix_ms() + u64::try_from(self.deadline.as_millis()).unwrap();
        Response::builder()
            .header("lambda-runtime-aws-request-id", invocation.id)
            .header("lambda-runtime-deadline-ms", deadline)
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:linger")
            .body(Full::from(invocation.event.to_string()))
            .unwrap()
    }
}

/// Both functions behind an HTTP API, which is behind CloudFront.
pub(crate) struct Functions {
    /// The address of CloudFront, which sends the first of `LINGER_ORIGIN_SECRETS` if there are any.
    pub(crate) base: String,
    /// The API's own.
    pub(crate) direct: String,
    pub(crate) publish: Arc<Function>,
    pub(crate) subscribe: Arc<Function>,
}

impl Functions {
    pub(crate) async fn start(settings: &Settings<'_>) -> Self {
        let publish = Arc::new(Function::start("Publish", settings).await);
        let subscribe = Arc::new(Function::start("Subscribe", settings).await);
        let variable = settings.environment.iter().find(|(name, _)| *name == "LINGER_ORIGIN_SECRETS");
        let secret = variable.and_then(|(_, secrets)| secrets.split(',').next()).map(str::to_owned);
        let mut addresses = Vec::new();
        for secret in [secret, None] {
            let gateway = Gateway { publish: Arc::clone(&publish), subscribe: Arc::clone(&subscribe), secret };
            addresses.push(serve(Arc::new(gateway), async |gateway, request| gateway.answer(request).await).await);
        }
        let [base, direct] = [0, 1].map(|number| format!("http://{}", addresses[number]));
        Self { base, direct, publish, subscribe }
    }
}

/// An HTTP API: it makes an event of version 2 for the function, and an answer of what the function returns.
struct Gateway {
    publish: Arc<Function>,
    subscribe: Arc<Function>,
    /// The header that CloudFront adds to each request.
    secret: Option<String>,
}

impl Gateway {
    async fn answer(&self, mut request: Request<Incoming>) -> Reply {
        if let Some(secret) = &self.secret {
            request.headers_mut().insert("linger-origin", secret.parse().expect("a header"));
        }
        let function = match request.uri().path() {
            "/pub" => &self.publish,
            "/sub" => &self.subscribe,
            _ => return status(StatusCode::NOT_FOUND),
        };
        forward(function, request).await
    }
}

async fn forward(function: &Function, request: Request<Incoming>) -> Reply {
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    let body = body(request).await;
    let event = event(&method, uri.path(), uri.query().unwrap_or_default(), &headers, &body);
    let Ok(answer) = function.invoke(event).await else {
        return status(StatusCode::BAD_GATEWAY);
    };
    let code = answer["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok()).expect("a status");
    let mut response = Response::builder().status(code);
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        response = response.header(name, value.as_str().expect("a header"));
    }
    assert_eq!(answer["isBase64Encoded"], false, "an answer is text");
    response.body(Full::from(answer["body"].as_str().unwrap_or_default().to_owned())).unwrap()
}

/// An event of version 2. Its body is in base64, as that of a form is.
pub(crate) fn event(method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Value {
    let headers: HashMap<_, _> = headers
        .keys()
        .map(|name| {
            let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
            (name.as_str(), values.join(","))
        })
        .collect();
    json!({
        "version": "2.0",
        "routeKey": format!("ANY {path}"),
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "local.example",
            "http": {"method": method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            "requestId": "request",
            "stage": "$default",
            "timeEpoch": 0
        },
        "body": STANDARD.encode(body),
        "isBase64Encoded": true
    })
}

async fn body(request: Request<Incoming>) -> Bytes {
    request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

fn status(status: StatusCode) -> Reply {
    let mut response = Reply::default();
    *response.status_mut() = status;
    response
}

/// Serves on loopback, and returns the address.
async fn serve<S, F, R>(shared: Arc<S>, answer: F) -> String
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, answer) = (Arc::clone(&shared), answer.clone());
            let service = service_fn(move |request| {
                let answered = answer(Arc::clone(&shared), request);
                async move { Ok::<_, std::convert::Infallible>(answered.await) }
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}
