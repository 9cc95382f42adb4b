//! The emulator: linger on one machine, in one process.

mod flags;
mod metrics;
mod observe;
mod router;
mod serve;
mod store;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use pubsub::{
    api::Api,
    clock::Clock,
    limits::{InvalidSetting, Limits},
    service::Service,
};

use crate::{flags::Flags, metrics::Metrics, serve::Server};

/// Why the emulator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error("there is no page at {0}: --static-dir must be a folder with index.html")]
    Page(String),
    #[error("can't listen on {address}: {error}")]
    Listen { address: String, error: io::Error },
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
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    flags.log_format.start();
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody reads it where standard error is closed.
            let _ = writeln!(io::stderr(), "linger: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), Failure> {
    let limits = Limits::from_environment(|name| std::env::var(name).ok())?;
    if !flags.static_dir.join("index.html").is_file() {
        return Err(Failure::Page(flags.static_dir.display().to_string()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    #[cfg(feature = "dynamodb")]
    if flags.begin_anew {
        let count = runtime.block_on(store::begin_anew(flags))?;
        writeln!(io::stdout(), "{count} channels begin anew in {}", flags.table)?;
        return Ok(());
    }
    runtime.block_on(async {
        let holds_max = limits.holds_max;
        let (store, meter) = store::open(flags, limits).await?;
        let service = Arc::new(Service::new(store, Clock::System, holds_max));
        let api = Api::new(Arc::clone(&service), flags.wait_max);
        let router = router::router(flags, api, Arc::new(Metrics::new(Arc::clone(&service), meter)));
        let server = Server::bind(&flags.host, flags.port).await.map_err(|error| {
            let address = format!("{}:{}", flags.host, flags.port);
            Failure::Listen { address, error }
        })?;
        writeln!(io::stdout(), "linger is at http://{}", server.address()?)?;
        server.run(router, || service.close()).await?;
        Ok(())
    })
}
