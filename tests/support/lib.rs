//! What the tests of several packages share.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can't go on says so")]

pub mod checker;
pub mod local;
pub mod random;
pub mod suite;
