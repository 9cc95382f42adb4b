//! The store that was asked for, and what it costs.

use std::sync::Arc;

use pubsub::{clock::Clock, limits::Limits, memory::Memory, store::Store};

use crate::{
    Failure,
    flags::{Flags, StoreKind},
};

/// What the store has asked of a table, if it is one that costs.
#[derive(Default)]
pub(crate) struct Bill {
    #[cfg(feature = "dynamodb")]
    meter: Option<Arc<dynamodb::Meter>>,
}

/// A store, what it costs, and itself once more if it is in memory.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bill: Bill,
    pub(crate) memory: Option<Arc<Memory>>,
}

/// Requests to a table, and the units they used.
pub(crate) struct Usage {
    pub(crate) requests: u64,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

/// Makes the store.
#[cfg(not(feature = "dynamodb"))]
pub(crate) async fn open(flags: &Flags, limits: Limits) -> Result<Opened, Failure> {
    match flags.store {
        StoreKind::Memory => Ok(in_memory(flags, limits)),
        StoreKind::Dynamodb => Err(Failure::NoDynamoDb),
    }
}

/// Makes the store.
#[cfg(feature = "dynamodb")]
pub(crate) async fn open(flags: &Flags, limits: Limits) -> Result<Opened, Failure> {
    use dynamodb::{Client, DynamoDb, Meter, Settings};

    if flags.store == StoreKind::Memory {
        return Ok(in_memory(flags, limits));
    }
    let lookup = pubsub::limits::variable;
    let settings = Settings::from_environment(flags.table.clone(), flags.endpoint_url.clone(), lookup);
    let meter = Arc::new(Meter::default());
    let client = Client::new(settings.map_err(Failure::Credentials)?, Arc::clone(&meter));
    if flags.create_table {
        client.create_table().await.map_err(Failure::Table)?;
    }
    let store = Arc::new(DynamoDb::new(client, Clock::System, flags.retention));
    Ok(Opened { store, bill: Bill { meter: Some(meter) }, memory: None })
}

fn in_memory(flags: &Flags, limits: Limits) -> Opened {
    let memory = Arc::new(Memory::new(Clock::System, flags.retention, limits));
    Opened { store: Arc::clone(&memory) as Arc<dyn Store>, bill: Bill::default(), memory: Some(memory) }
}

impl Bill {
    /// What was used since this was last asked, so that the sum of all answers is the bill.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn since_last(&self) -> Option<Usage> {
        let (requests, read_units, write_units) = self.meter.as_ref()?.since_last();
        Some(Usage { requests, read_units, write_units })
    }

    /// Nothing costs here.
    #[cfg(not(feature = "dynamodb"))]
    pub(crate) fn since_last(&self) -> Option<Usage> {
        None
    }

    /// Each kind of request with how many there were and what they used.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn totals(&self) -> Vec<(&'static str, u64, f64)> {
        let totals = self.meter.iter().flat_map(|meter| meter.totals());
        totals.map(|(kind, requests, units)| (kind.as_str(), requests, units)).collect()
    }

    /// Nothing costs here.
    #[cfg(not(feature = "dynamodb"))]
    pub(crate) fn totals(&self) -> Vec<(&'static str, u64, f64)> {
        Vec::new()
    }
}
