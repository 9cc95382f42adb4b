//! The only clock of this tool: the time since it began.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this tool measures time, and is no part of linger")]
pub(crate) fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

/// A duration as results give it.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
