//! The linger server: linger in one process.

mod access;
mod addresses;
mod answers;
mod client;
mod connection;
mod development;
mod flags;
mod health;
mod hosts;
mod metrics;
mod names;
mod observe;
mod page;
mod plain;
mod router;
mod serve;
mod store;
mod stream;
mod unread;
mod workers;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use logging::Log;
use mimalloc::MiMalloc;
use pubsub::{
    api::Api,
    clock::Clock,
    limits::{self, InvalidSetting, Limits},
    service::Service,
};

use crate::{
    addresses::Addresses,
    answers::Answers,
    client::Proxies,
    flags::{Address, Command, Flags},
    hosts::Hosts,
    metrics::Metrics,
    page::Page,
    router::{Front, Gate},
    serve::Server,
    store::Opened,
    workers::Workers,
};

/// A delivery takes some twenty pieces of memory, and its thread gives back what another took.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The version, and in a release the commit that it was built from.
const VERSION: &str = env!("SHOWN_VERSION");

/// How long the process waits at its end until log lines are written.
const LAST_LINES_MAX: Duration = Duration::from_millis(200);

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error("there is no page at {0}: --static-dir must be a folder with index.html")]
    Page(io::Error),
    #[error("not healthy: {0}")]
    Health(io::Error),
    #[error("can't listen on {address}: {error}")]
    Listen { address: String, error: io::Error },
    #[error("--table and --create-table (LINGER_TABLE, LINGER_CREATE_TABLE) need --store dynamodb")]
    TableInMemory,
    #[cfg(not(feature = "dynamodb"))]
    #[error("this build has no DynamoDB: cargo run --features local/dynamodb -- --store dynamodb")]
    NoDynamoDb,
    #[cfg(feature = "dynamodb")]
    #[error("{0} is not set, and DynamoDB needs it")]
    Credentials(&'static str),
    #[cfg(feature = "dynamodb")]
    #[error("can't make the table: {0}")]
    Table(String),
    #[cfg(feature = "dynamodb")]
    #[error("not all logs begin anew, do it again: {0}")]
    Anew(String),
    #[error("{0} is no setting; there are LINGER_ACCESS_KEYS, LINGER_ACCESS_ISSUER and LINGER_ACCESS_AUDIENCE")]
    UnknownAccess(String),
    #[error(transparent)]
    Access(#[from] access::Failure),
    #[error(transparent)]
    Make(#[from] development::Failure),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    let flags = Flags::read();
    let log = Log::start(flags.log_format.into(), io::stderr());
    let ended = known_settings().and_then(|()| run(&flags, &log));
    log.flush(LAST_LINES_MAX);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed, nobody reads it.
            let _ = writeln!(io::stderr(), "linger: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Warns of misspelt settings. One of access would leave the server open to everybody, so that is an error.
fn known_settings() -> Result<(), Failure> {
    for variable in Flags::unknown_variables() {
        if access::is_meant_by(&variable) {
            return Err(Failure::UnknownAccess(variable));
        }
        tracing::warn!(variable, "no such setting");
    }
    Ok(())
}

fn run(flags: &Flags, log: &Log) -> Result<(), Failure> {
    match &flags.command {
        Some(Command::Health(Address { host, port })) => return health::check(host, *port).map_err(Failure::Health),
        Some(Command::Make(make)) => return Ok(make.run()?),
        None => {}
    }
    let limits = Limits::from_environment(limits::variable)?;
    let page = Page::new(flags.static_dir.clone()).map_err(Failure::Page)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    #[cfg(feature = "dynamodb")]
    if flags.begin_anew {
        let count = runtime.block_on(store::begin_anew(flags))?;
        writeln!(io::stdout(), "{count} channels begin anew in {}", flags.table())?;
        return Ok(());
    }
    let ended = runtime.block_on(serve(flags, log, limits, page));
    // A thread that waits for the file system does not delay the end.
    runtime.shutdown_background();
    ended
}

async fn serve(flags: &Flags, log: &Log, limits: Limits, page: Page) -> Result<(), Failure> {
    let Opened { store, meter, memory } = store::open(flags, limits.clone()).await?;
    let service = Arc::new(Service::new(store, Clock::System, &limits));
    let access = access::access(flags)?;
    let open = access.is_open();
    let api = Api::new(Arc::clone(&service), flags.wait_max, access);
    let workers = Arc::new(Workers::start(flags.workers)?);
    let metrics = Arc::new(Metrics::new(Arc::clone(&service), log.clone(), Arc::clone(&workers), meter));
    let connections_max = serve::connections_max()?;
    let addresses = Arc::new(Addresses::new(flags.allowed(connections_max)));
    let proxies = Proxies { trusted: flags.trusted_proxies.clone(), header: flags.proxy_header };
    let server = Server::bind(flags, connections_max, Arc::clone(&addresses), proxies.clone(), workers).await.map_err(
        |error| {
            let address = format!("{}:{}", flags.address.host, flags.address.port);
            Failure::Listen { address, error }
        },
    )?;
    let address = server.address()?;
    let loopback = address.ip().is_loopback();
    let hosts = Hosts { allowed: flags.allowed_names(loopback), loopback };
    let gate = Gate { hosts, proxies, addresses, memory, answers: Answers::new() };
    let front = Front::new(api, page, gate, metrics, &flags.allowed_origins);
    let who = if open {
        "everybody may publish and subscribe; --access-keys changes that"
    } else {
        "each request needs a token"
    };
    say(format!("linger is at http://{address}\n{who}"));
    server.run(front, || service.close()).await?;
    Ok(())
}

/// Prints a line on standard output, without waiting until it is read.
fn say(line: String) {
    let write = move || {
        let _ = writeln!(io::stdout(), "{line}");
    };
    let _ = thread::Builder::new().spawn(write);
}
