//! The tests that see linger from outside: one binary, so that it is linked once.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on says so, and a measurement says what it measured"
)]

mod access;
mod account;
#[cfg(feature = "dynamodb")]
mod adversary;
mod architecture;
mod bench;
mod canary;
mod channels;
mod client;
mod connections;
mod crowd;
mod deploy;
mod docs;
mod errors;
mod examples;
#[cfg(feature = "dynamodb")]
mod functions;
mod garbage;
mod hold;
mod host;
mod hostile;
mod load;
mod log;
#[cfg(feature = "dynamodb")]
mod outage;
mod plain;
mod process;
mod proxies;
#[cfg(feature = "dynamodb")]
mod proxy;
#[cfg(feature = "dynamodb")]
mod runtime;
mod server;
mod sets;
mod several;
mod smoke;
mod soak;
mod stores;
mod strangers;
mod surroundings;
#[cfg(feature = "dynamodb")]
mod table;
#[cfg(feature = "dynamodb")]
mod watch;
mod wire;
