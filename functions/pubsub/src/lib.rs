//! Publish/subscribe over plain HTTP long polling: all of it that is neither a host nor a database.
//!
//! # The walk of one message
//!
//! From the publisher's socket to the log, and back to a subscriber who waits:
//!
//!  1. The host accepts the request and hands it, as `http` types, to [`api::Api::publish`].
//!  2. `api::body::collect` reads the body, within its maximum and its time.
//!  3. `api::form` or `api::json` finds the fields; [`access::Access`] makes one of them, or a header, the sender's rights;
//!     `api::publish` makes the others a [`channel::Channel`], a [`message::Draft`] and perhaps a [`message::Key`].
//!  4. [`service::Service::publish`] lets it in unless the process is stopping, and sees it through if the client leaves.
//!  5. [`store::Store::append`] gives it an offset and makes it durable. Once this has returned, it is published.
//!  6. [`store::Tail::next`], which the channel's follower asks again and again, returns it in a [`batch::Batch`].
//!  7. `follow::Follower::show` broadcasts the batch to all holds.
//!  8. `hold::Hold::news`, which [`service::Service::subscribe`] waits for, wakes; [`batch::Batch::following`] says which
//!     part of the batch stands after the hold's cursor in this channel.
//!  9. [`batch::Batch::encoded`] is what the answer says of this channel, encoded by the first hold and shared by the others.
//! 10. [`api::Api::subscribe`] puts the headers on, and the host writes it out.
//!
//! A subscriber who comes later takes the same way from step 8, with [`store::Store::read`] for 6 and 7. A poll of several
//! channels has a place in each, and each place takes this way by itself.
//!
//! # Who may know whom
//!
//! `limits`, `clock` and `meter` know nobody; the values (`channel`, `message`, `cursor`, `batch`) know `limits`; `store`
//! knows the values; `memory` and `follow` know all of these; `access`, which turns a token into rights, knows `limits`,
//! `clock`, `channel` and `message`; `service` knows no store but the trait, and leaves the waiting to `hold` and the room in
//! an answer to `share`; `api` knows `service` and `access`, and is the only module that knows a status code and sees a
//! token. A test holds these.

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
