//! The store that the flags choose, and the meter of one that costs money.

use std::sync::Arc;

use pubsub::{clock::Clock, limits::Limits, memory::Memory, meter::Meter, store::Store};

use crate::{
    Failure,
    flags::{Flags, StoreKind},
};

/// A store.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// The meter of a store over a table.
    pub(crate) meter: Option<Arc<Meter>>,
    /// The store once more, if it is the memory store.
    pub(crate) memory: Option<Arc<Memory>>,
}

/// Makes the store.
pub(crate) async fn open(flags: &Flags, limits: Limits) -> Result<Opened, Failure> {
    match flags.store {
        // Whoever names a table wants messages to outlive this process.
        StoreKind::Memory if flags.table.is_some() || flags.create_table => Err(Failure::TableInMemory),
        StoreKind::Memory => {
            let memory = Arc::new(Memory::new(Clock::System, flags.retention, limits));
            Ok(Opened { store: Arc::clone(&memory) as Arc<dyn Store>, meter: None, memory: Some(memory) })
        }
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb => Err(Failure::NoDynamoDb),
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb => {
            let meter = Arc::new(Meter::default());
            let client = table(flags, &meter)?;
            if flags.create_table {
                client.create_table().await.map_err(Failure::Table)?;
            }
            let store = Arc::new(dynamodb::DynamoDb::new(client, Clock::System, flags.retention));
            Ok(Opened { store, meter: Some(meter), memory: None })
        }
    }
}

/// The table that the flags name.
#[cfg(feature = "dynamodb")]
fn table(flags: &Flags, meter: &Arc<Meter>) -> Result<dynamodb::Client, Failure> {
    let lookup = pubsub::limits::variable;
    let settings = dynamodb::Settings::from_environment(flags.table().to_owned(), flags.endpoint_url.clone(), lookup);
    Ok(dynamodb::Client::new(settings.map_err(Failure::Credentials)?, Arc::clone(meter)))
}

/// Makes every log in the table begin anew. Returns how many there were.
#[cfg(feature = "dynamodb")]
pub(crate) async fn begin_anew(flags: &Flags) -> Result<usize, Failure> {
    table(flags, &Arc::default())?.begin_anew().await.map_err(Failure::Anew)
}
