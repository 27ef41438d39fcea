//! The capacity of the signer, the limits for clients and the deadlines.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The capacity of a signer.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Keys; 92 bytes of locked memory each.
    pub max_keys: u32,
    /// Nonces of tickets that have not expired; 40 bytes of memory each.
    pub max_nonces: u32,
    /// The longest lifetime of a ticket, in seconds.
    pub max_ticket_ttl_s: u32,
}

impl Capacity {
    /// Up to 1.4 GiB, which exceeds an enclave of the usual size.
    pub const KEYS: RangeInclusive<u32> = 1..=1 << 24;

    /// Up to 2.5 GiB; a ledger of that size takes 746,000 signatures a second for 90 s.
    pub const NONCES: RangeInclusive<u32> = 1..=1 << 26;

    /// Up to a day. A ticket is for one immediate signature, and each second costs eight bytes in the nonce ledger.
    pub const TICKET_TTL_S: RangeInclusive<u32> = 1..=86_400;
}

impl Default for Capacity {
    /// 23 MiB of keys and 40 MiB of nonces. Tickets of the API live 90 s, so a ledger of 2^20 nonces is full at 11,650
    /// signatures a second.
    fn default() -> Self {
        Self { max_keys: 262_144, max_nonces: 1_048_576, max_ticket_ttl_s: 3600 }
    }
}

/// The limits of the server for its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Simultaneous connections. Above three quarters, a new connection closes an idle one. While all are busy, new
    /// ones wait in the listen backlog. The default is half of the proxy's: only the signer knows which connections are
    /// idle, so its limit must apply first.
    pub max_connections: usize,
    /// Requests whose body is being read or that are being served, at one time. More are answered with 503. The default
    /// equals the limit of connections, so that clients with stalled bodies take no other client's place. It bounds the
    /// memory of bodies to 32 MiB.
    pub max_requests_in_flight: u32,
    /// The maximum age of a connection. The first answer after it has `connection: close`. Each connection gets up to a
    /// quarter less.
    pub connection_lifetime: Duration,
    /// Requests on one connection. The answer to the last one has `connection: close`.
    pub max_requests_per_connection: u32,
    /// The deadline from the end of a head to the end of its body.
    pub body_deadline: Duration,
    /// The other deadlines for a client.
    pub deadlines: Deadlines,
    /// The time from the stop signal until open connections are closed. New connections are accepted until 4 s before
    /// that.
    pub drain_deadline: Duration,
}

impl Limits {
    /// Up to half a GiB of heads.
    pub const CONNECTIONS: RangeInclusive<u32> = 1..=16_384;

    /// Up to a day.
    pub const CONNECTION_LIFETIME_S: RangeInclusive<u32> = 1..=86_400;

    /// From one request per connection to more than a connection serves in its lifetime.
    pub const REQUESTS_PER_CONNECTION: RangeInclusive<u32> = 1..=u32::MAX;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_requests_in_flight: 1024,
            // A client that is always busy makes four handshakes an hour, and has moved within 15 minutes.
            connection_lifetime: Duration::from_secs(900),
            // A handshake costs as much as ten requests, so handshakes cost a thousandth of these requests.
            max_requests_per_connection: 10_000,
            body_deadline: Duration::from_secs(10),
            deadlines: Deadlines::default(),
            drain_deadline: Duration::from_secs(10),
        }
    }
}

/// The deadlines of the gate for a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadlines {
    /// From the start of the connection, or from the first byte of a later head, to the end of that head.
    pub head: Duration,
    /// From the last byte of an answer to the first byte of the next head.
    pub idle: Duration,
    /// For a write without progress.
    pub write_progress: Duration,
}

impl Deadlines {
    /// From a second to the longest idle deadline of a load balancer: 4,000 s of AWS's Application Load Balancer.
    pub const IDLE_TIMEOUT_S: RangeInclusive<u32> = 1..=4000;
}

impl Default for Deadlines {
    /// The deadlines of `docs/api.md`, "11. Connections".
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            // More than the 60 s of common load balancers. The load balancer must close first, not the signer.
            idle: Duration::from_secs(75),
            write_progress: Duration::from_secs(10),
        }
    }
}
