//! The only place where time is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// The wall clock, for what people see and for retention. Order and identity never depend on it. Clones share one
/// clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The operating system's.
    System,
    /// One that tests set: it goes on as Tokio's does, which can be paused.
    Virtual {
        /// When the clock was made.
        origin: Instant,
        /// What it was set to, in milliseconds since 1970.
        unix_ms: Arc<AtomicU64>,
    },
}

impl Clock {
    /// A clock that reads `unix_ms` now.
    #[must_use]
    pub fn starting_at(unix_ms: u64) -> Self {
        Self::Virtual { origin: now(), unix_ms: Arc::new(AtomicU64::new(unix_ms)) }
    }

    /// Milliseconds since 1970; 0 for a time before that.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    pub fn unix_ms(&self) -> u64 {
        match self {
            Self::System => millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Self::Virtual { origin, unix_ms } => unix_ms.load(Relaxed) + millis(now() - *origin),
        }
    }

    /// Sets a virtual clock forward; does nothing to the system's.
    pub fn advance(&self, by: Duration) {
        if let Self::Virtual { unix_ms, .. } = self {
            unix_ms.fetch_add(millis(by), Relaxed);
        }
    }
}

/// A duration in whole milliseconds, at most half of what fits, so that the sum of two fits.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(u64::MAX / 2)
}

/// The monotonic clock, for deadlines and idle times.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Instant {
    Instant::now()
}
