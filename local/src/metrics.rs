//! The metrics of the process, for Prometheus.

use std::sync::{Arc, atomic::AtomicU64};

use logging::Log;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use pubsub::{
    api::Code,
    meter::{Meter, Usage},
    service::Service,
};

use crate::workers::Workers;

/// The media type of `/metrics`.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What `/metrics` shows.
pub(crate) struct Metrics {
    service: Arc<Service>,
    log: Log,
    errors: Family<Error, Counter>,
    workers: Arc<Workers>,
    /// The meter of a store that costs money.
    meter: Option<Arc<Meter>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Error {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    kind: &'static str,
}

impl Metrics {
    pub(crate) fn new(service: Arc<Service>, log: Log, workers: Arc<Workers>, meter: Option<Arc<Meter>>) -> Self {
        let errors = Family::default();
        Self { service, log, errors, workers, meter }
    }

    /// What the store has used since the last call.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.meter.as_ref().map(|meter| meter.since_last())
    }

    /// Counts a problem that was answered.
    pub(crate) fn count_error(&self, code: Code) {
        let code = code.as_str();
        self.errors.get_or_create(&Error { code }).inc();
    }

    /// The text of `/metrics`. The service is asked for its counts now. The encoder adds `_total` to counters.
    pub(crate) fn text(&self) -> String {
        let stats = self.service.stats();
        let mut registry = Registry::with_prefix("linger");
        let mut gauge = |name: &str, help: &str, value: usize| {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge("holds", "Polls held now", stats.holds);
        gauge("places", "Channels of all held polls, each counted for each poll", stats.places);
        gauge("followers", "Channels followed now", stats.followers);
        gauge("tasks", "Tasks of the runtimes: connections, followers and a few more", self.workers.tasks());
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        };
        counter("published", "Messages published, repeats not counted", stats.published);
        counter("delivered", "Messages in answers", stats.delivered);
        counter("log_lines_lost", "Log lines that could not be written", self.log.lost());
        counter("panics", "Faults of the program, each answered with 500", self.log.panics());
        registry.register("errors", "Problems answered", self.errors.clone());
        if let Some(meter) = &self.meter {
            let (requests, units) =
                (Family::<Request, Counter>::default(), Family::<Request, Counter<f64, AtomicU64>>::default());
            for (kind, count, used) in meter.totals() {
                let kind = kind.as_str();
                requests.get_or_create(&Request { kind }).inc_by(count);
                units.get_or_create(&Request { kind }).inc_by(used);
            }
            registry.register("store_requests", "Requests to the table", requests);
            registry.register("store_units", "Capacity units that they used", units);
        }
        let mut written = String::new();
        // Writing to a string never fails.
        let _ = text::encode(&mut written, &registry);
        written
    }
}
