//! Counts the requests to a table, which cost money.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The kinds of requests to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An offset is taken: `UpdateItem` on a head.
    GiveOut,
    /// A slot is written: `PutItem`.
    PutSlot,
    /// A key is pointed at a slot: `PutItem`.
    PutKey,
    /// A key is pointed at another slot: `UpdateItem`.
    MoveKey,
    /// Slots are read: `Query`.
    Query,
    /// A head is read: `GetItem`.
    Head,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::GiveOut, Self::PutSlot, Self::PutKey, Self::MoveKey, Self::Query, Self::Head];

    /// The name that log lines and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GiveOut => "give_out",
            Self::PutSlot => "put_slot",
            Self::PutKey => "put_key",
            Self::MoveKey => "move_key",
            Self::Query => "query",
            Self::Head => "head",
        }
    }

    /// Whether its units are write units.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Query | Self::Head)
    }
}

/// Requests to a table, and their capacity units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Requests of all kinds.
    pub requests: u64,
    /// Read units.
    pub read_units: f64,
    /// Write units.
    pub write_units: f64,
}

/// Counts requests and capacity units by kind, since the process began.
#[derive(Debug, Default)]
pub struct Meter {
    requests: [AtomicU64; 6],
    /// In halves: an eventually consistent read costs half a unit.
    half_units: [AtomicU64; 6],
    /// Requests, and half units of reads and writes, since the last `since_last`.
    untold: [AtomicU64; 3],
}

impl Meter {
    /// Counts one request, and its units.
    pub fn count(&self, kind: Kind, units: f64) {
        // Units are multiples of a half, and few.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let halves = (units * 2.0).round() as u64;
        for (known, (requests, half_units)) in Kind::ALL.iter().zip(self.requests.iter().zip(&self.half_units)) {
            if *known == kind {
                requests.fetch_add(1, Relaxed);
                half_units.fetch_add(halves, Relaxed);
            }
        }
        let [requests, reads, writes] = &self.untold;
        requests.fetch_add(1, Relaxed);
        if kind.writes() { writes } else { reads }.fetch_add(halves, Relaxed);
    }

    /// What was used since the last call. All results together are the bill.
    pub fn since_last(&self) -> Usage {
        let [requests, reads, writes] = self.untold.each_ref().map(|untold| untold.swap(0, Relaxed));
        Usage { requests, read_units: units(reads), write_units: units(writes) }
    }

    /// Each kind with its requests and units.
    pub fn totals(&self) -> impl Iterator<Item = (Kind, u64, f64)> {
        let counted = self.requests.iter().zip(&self.half_units);
        Kind::ALL
            .into_iter()
            .zip(counted)
            .map(|(kind, (requests, half_units))| (kind, requests.load(Relaxed), units(half_units.load(Relaxed))))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bill of 2^53 half units would be 500 million dollars")]
fn units(halves: u64) -> f64 {
    halves as f64 / 2.0
}
