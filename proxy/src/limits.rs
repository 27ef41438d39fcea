//! The limits of one route.

use std::time::Duration;

/// The limits of one route.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once; the others wait in the listen backlog.
    pub max_connections: u32,
    /// Of them, those of one IPv4 address or IPv6 /64 network; more are closed. As many as come, if none.
    pub max_connections_per_source: Option<u32>,
    /// How long to dial, all attempts together.
    pub dial_timeout: Duration,
    /// How long one side may refuse the bytes that wait for it.
    pub progress_timeout: Duration,
    /// How long neither side may send anything.
    pub idle_timeout: Duration,
}
