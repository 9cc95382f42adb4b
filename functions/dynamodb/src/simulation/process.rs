//! A process: its clock, its connection to the table, and what runs in it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub::{clock::Clock, limits::Limits, service::Service, store::Store};

use super::{
    lies::{Liar, Lie},
    line::Line,
    table::SimulatedTable,
};
use crate::DynamoDb;

/// One process.
pub(super) struct Process {
    pub(super) line: Line,
    pub(super) clock: Clock,
    lie: Option<Lie>,
    running: Mutex<Running>,
}

/// What runs in a process.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) service: Arc<Service>,
    pub(super) store: Arc<dyn Store>,
    /// Its retention.
    pub(super) kept: Duration,
}

impl Process {
    pub(super) fn new(table: &SimulatedTable, clock: Clock, lie: Option<Lie>, retention: Duration) -> Self {
        let line = Line::new(table.clone(), clock.clone());
        let running = Mutex::new(Self::start(&line, &clock, lie, retention));
        Self { line, clock, lie, running }
    }

    fn start(line: &Line, clock: &Clock, lie: Option<Lie>, kept: Duration) -> Running {
        let store: Arc<dyn Store> = Arc::new(DynamoDb::new(Liar::new(line.clone(), lie), clock.clone(), kept));
        Running { service: Arc::new(Service::new(Arc::clone(&store), clock.clone(), &Limits::default())), store, kept }
    }

    pub(super) fn running(&self) -> Running {
        self.running.lock().unwrap().clone()
    }

    pub(super) fn restart(&self, retention: Duration) {
        *self.running.lock().unwrap() = Self::start(&self.line, &self.clock, self.lie, retention);
    }
}
