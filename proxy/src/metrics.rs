//! The counters.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All counters, and the way they are written.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    accepted: Family<RouteLabel, Counter>,
    active: Family<RouteLabel, Gauge>,
    accept_failures: Family<RouteLabel, Counter>,
    source_refusals: Family<RouteLabel, Counter>,
    dial_failures: Family<RouteLabel, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    deadline_closes: Family<DeadlineLabels, Counter>,
}

/// The counters of one route.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    pub(crate) accepted: Counter,
    pub(crate) active: Gauge,
    pub(crate) accept_failures: Counter,
    pub(crate) source_refusals: Counter,
    pub(crate) dial_failures: Counter,
    pub(crate) bytes_to_destination: Counter,
    pub(crate) bytes_to_client: Counter,
    pub(crate) idle_closes: Counter,
    pub(crate) progress_closes: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    route: String,
    direction: Direction,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label values")]
enum Direction {
    to_destination,
    to_client,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeadlineLabels {
    route: String,
    deadline: Deadline,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label values")]
enum Deadline {
    idle,
    progress,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("proxy"),
            accepted: Family::default(),
            active: Family::default(),
            accept_failures: Family::default(),
            source_refusals: Family::default(),
            dial_failures: Family::default(),
            bytes: Family::default(),
            deadline_closes: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("connections_accepted", "Connections accepted", metrics.accepted.clone());
        registry.register("connections_active", "Connections being served", metrics.active.clone());
        registry.register("accept_failures", "Failed attempts to accept", metrics.accept_failures.clone());
        registry.register(
            "source_refusals",
            "Clients closed because their source had too many connections",
            metrics.source_refusals.clone(),
        );
        registry.register(
            "dial_failures",
            "Clients closed because their destination was not reached",
            metrics.dial_failures.clone(),
        );
        registry.register("bytes", "Bytes moved", metrics.bytes.clone());
        registry.register(
            "deadline_closes",
            "Connections closed by a deadline",
            metrics.deadline_closes.clone(),
        );
        metrics
    }

    /// The counters of the route that listens on this address, at zero.
    pub(crate) fn route(&self, local_address: &transport::Address) -> RouteMetrics {
        let route = local_address.to_string();
        let label = RouteLabel { route: route.clone() };
        let bytes = |direction| {
            let route = route.clone();
            self.bytes.get_or_create_owned(&DirectionLabels { route, direction })
        };
        let deadline_closes = |deadline| {
            let route = route.clone();
            self.deadline_closes.get_or_create_owned(&DeadlineLabels { route, deadline })
        };
        RouteMetrics {
            accepted: self.accepted.get_or_create_owned(&label),
            active: self.active.get_or_create_owned(&label),
            accept_failures: self.accept_failures.get_or_create_owned(&label),
            source_refusals: self.source_refusals.get_or_create_owned(&label),
            dial_failures: self.dial_failures.get_or_create_owned(&label),
            bytes_to_destination: bytes(Direction::to_destination),
            bytes_to_client: bytes(Direction::to_client),
            idle_closes: deadline_closes(Deadline::idle),
            progress_closes: deadline_closes(Deadline::progress),
        }
    }

    /// The OpenMetrics text of all counters.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
