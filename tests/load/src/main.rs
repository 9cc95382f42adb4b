//! Load for any server that linger is compared with.
//!
//! One thread serves all connections, from one event loop. Requests are made once, and an answer that many clients get
//! is parsed once, so that the tool costs less than what it measures. It reports what it costs.
//!
//! `target` connects, `wire` sends requests and receives answers, `http` parses them, `talk` knows the servers' APIs,
//! `crowd` is subscribers and publishers, `tally` finds what is lost, repeated or out of order, and each of `commands`
//! is one measurement. Results are JSON, one line each, on standard output.

mod clock;
mod commands;
mod crowd;
mod durations;
mod http;
mod metrics;
mod process;
mod publisher;
mod sent;
mod talk;
mod tally;
mod target;
mod wire;

use std::{
    error::Error,
    fmt::Arguments,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::{crowd::Crowd, process::Usage, talk::Dialect, tally::Verdict, target::Target};

/// Errors are texts for people.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Load for a server of long polls. Prints one line of JSON for each result.
///
/// Exits with 1 when a message was lost, repeated or out of order, and with 2 when nothing could be measured.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// When many who are held have one message
    FanOut(commands::fan_out::Options),
    /// How much is accepted and delivered while publishers publish as fast as they are answered
    Throughput(commands::throughput::Options),
    /// What a held poll takes while nothing happens
    Idle(commands::idle::Options),
    /// What is left of held polls whose clients break off
    Abort(commands::abort::Options),
    /// Many who poll again at once
    Herd(commands::herd::Options),
    /// What messages and held polls cost in a table of DynamoDB, by linger's own metrics
    Table(commands::table::Options),
}

/// The options of all measurements.
#[derive(Args, Clone, Debug)]
struct Common {
    /// The server, such as http://127.0.0.1:3000
    #[arg(value_parser = Target::parse)]
    target: Target,

    /// What it speaks
    #[arg(long, value_enum, default_value = "linger")]
    dialect: Dialect,

    /// Its process, of which processor, memory and descriptors are read
    #[arg(long)]
    pid: Option<u32>,

    /// The length of a message
    #[arg(long, default_value_t = 100)]
    bytes: usize,

    /// Seconds without anything, after which what is due counts as lost
    #[arg(long = "patience", default_value_t = 10.0)]
    patience_seconds: f64,
}

impl Common {
    /// A channel that nobody has used.
    fn new_channel(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        format!("load-{}-{}-{}", std::process::id(), clock::now().as_nanos(), MADE.fetch_add(1, Relaxed))
    }

    fn patience(&self) -> Outcome<Duration> {
        Ok(Duration::try_from_secs_f64(self.patience_seconds)?)
    }

    /// Has the server answer once, since some things happen only once, and waits until it has forgotten clients that
    /// left.
    fn at_rest(&self) -> Outcome<()> {
        drop(Crowd::gather(self, 1, 1)?);
        let until = clock::now() + self.patience()?;
        let mut descriptors = None;
        loop {
            // Longer than a server may wait for a client that has closed its sending half.
            std::thread::sleep(Duration::from_millis(300));
            let now = self.usage()?.map(|usage| usage.descriptors);
            if now == descriptors || clock::now() >= until {
                return Ok(());
            }
            descriptors = now;
        }
    }

    /// What the server uses; nothing when its process was not named.
    fn usage(&self) -> Outcome<Option<Usage>> {
        let Some(pid) = self.pid else { return Ok(None) };
        Ok(Some(Usage::of(pid).map_err(|error| format!("process {pid}: {error}"))?))
    }
}

fn main() -> ExitCode {
    clock::now();
    let done = run(&Flags::parse().command);
    progress(format_args!(""));
    match done {
        Ok(verdict) if verdict.is_clean() => ExitCode::SUCCESS,
        Ok(Verdict { lost, repeated, disordered }) => {
            let _ = writeln!(io::stderr(), "lost {lost}, repeated {repeated}, out of order {disordered}");
            ExitCode::from(1)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "load: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> Outcome<Verdict> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    match command {
        Command::FanOut(options) => options.run(),
        Command::Throughput(options) => options.run(),
        Command::Idle(options) => options.run(),
        Command::Abort(options) => options.run(),
        Command::Herd(options) => options.run(),
        Command::Table(options) => options.run(),
    }
}

/// Prints a result: what was measured, by which command and of whom.
fn report(command: &str, common: &Common, measured: Value) -> Outcome<()> {
    let mut line = json!({ "command": command, "dialect": common.dialect, "bytes": common.bytes });
    if let (Some(line), Value::Object(measured)) = (line.as_object_mut(), measured) {
        line.extend(measured);
    }
    progress(format_args!(""));
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Shows the progress on a terminal, in place of what was there before. At most ten times a second.
fn progress(what: Arguments<'_>) {
    static SAID: AtomicU32 = AtomicU32::new(0);
    let tenths = u32::try_from(clock::now().as_millis() / 100).unwrap_or(u32::MAX);
    let last = what.as_str() == Some("");
    if (last || SAID.swap(tenths, Relaxed) != tenths) && io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K{what}");
    }
}

/// A share of a duration in microseconds.
fn micros_each(duration: Duration, number: u64) -> Option<f64> {
    (number > 0).then(|| (duration.as_secs_f64() * 1e9 / number as f64).round() / 1e3)
}
