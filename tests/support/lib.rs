//! What the tests of linger share: the real emulator as a process, and the checker of histories.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on says so"
)]

pub mod checker;
pub mod client;
pub mod emulator;
