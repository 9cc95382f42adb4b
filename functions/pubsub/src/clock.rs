//! The only place where time is read.

use tokio::time::Instant;

/// The wall clock, for what people see and for retention. Order and identity never rest on it.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The operating system's.
    System,
    /// Tokio's clock, for tests that pause it: it read `unix_ms` at `origin` and goes on from there.
    Virtual {
        /// When the clock was set.
        origin: Instant,
        /// What it was set to, in milliseconds since 1970.
        unix_ms: u64,
    },
}

impl Clock {
    /// A clock that reads `unix_ms` now and goes on as Tokio's does.
    #[must_use]
    pub fn starting_at(unix_ms: u64) -> Self {
        Self::Virtual { origin: now(), unix_ms }
    }

    /// Milliseconds since 1970; 0 for a clock that stands before it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    pub fn unix_ms(&self) -> u64 {
        let (since, base) = match self {
            Self::System => (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default(), 0),
            Self::Virtual { origin, unix_ms } => (now() - *origin, *unix_ms),
        };
        base + u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2)
    }
}

/// The monotonic clock, for deadlines and idle times.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Instant {
    Instant::now()
}
