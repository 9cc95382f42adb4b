//! Publish/subscribe over plain HTTP long polling: all of it that is neither a host nor a database.
//!
//! `docs/WHY.md` follows one message through the code.
//!
//! # Which module knows which
//!
//! `limits`, `clock` and `meter` know no other module. The values (`channel`, `message`, `cursor`, `batch`) know `limits`.
//! `store` knows the values. `memory` and `follow` know all of these. `access`, which turns a token into rights, knows
//! `limits`, `clock`, `channel` and `message`. `service` knows of stores only the trait; `hold` does its waiting, and `share`
//! divides the room in an answer. `api` knows `service` and `access`, and is the only module that knows status codes and sees
//! tokens. A test checks all this.

pub mod access;
pub mod api;
pub mod batch;
pub mod channel;
pub mod clock;
pub mod cursor;
pub mod follow;
mod hold;
pub mod limits;
pub mod memory;
pub mod message;
pub mod meter;
pub mod service;
mod share;
pub mod store;
