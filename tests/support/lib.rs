//! What the tests of several packages share: the checker of histories.

pub mod checker;
