//! Log lines, through a bounded queue: logging never stops what it logs.
//!
//! A thread of its own writes them. If the disk is full, or the reader is gone or does not read, lines are lost and
//! counted. Logging neither waits nor fails.

mod lines;

use std::{
    io::Write,
    panic,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use lines::Lines;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Not at all.
    Off,
}

/// The process's log.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Lines,
}

static PANICS: AtomicU64 = AtomicU64::new(0);

impl Log {
    /// Begins to write the process's log. Panics are logged as lines too, because printing one could block on a reader
    /// that does not read.
    pub fn start(format: Format, output: impl Write + Send + 'static) -> Self {
        let log = Self { lines: Lines::to(output) };
        let lines = log.lines.clone();
        let builder = tracing_subscriber::fmt().with_writer(move || lines.clone()).with_target(false);
        // Otherwise it would print its own errors.
        let builder = builder.log_internal_errors(false);
        match format {
            Format::Text => builder.compact().init(),
            // Otherwise two thirds of each line would be the runtime's own spans.
            Format::Json => {
                let json = builder.json().flatten_event(true);
                json.with_current_span(false).with_span_list(false).init();
            }
            Format::Off => {}
        }
        panic::set_hook(Box::new(|panic| {
            PANICS.fetch_add(1, Relaxed);
            tracing::error!(%panic, "a fault of the program");
        }));
        log
    }

    /// Lines that were not written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lines.lost()
    }

    /// Panics so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        PANICS.load(Relaxed)
    }

    /// Whether lines are waiting to be written.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.lines.are_behind()
    }

    /// Waits until all lines are written, at most for this long.
    pub fn flush(&self, patience: Duration) {
        self.lines.flush(patience);
    }
}
