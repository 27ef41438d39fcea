//! How much the signer holds, how much clients may take, and how long it waits for them.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How much a signer can hold.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Keys; 92 bytes of locked memory each.
    pub max_keys: u32,
    /// Nonces of tickets that have not expired; 40 bytes of memory each.
    pub max_nonces: u32,
    /// The longest that a ticket may live, in seconds.
    pub max_ticket_ttl_s: u32,
}

impl Capacity {
    /// Up to 1.4 GiB, more than an enclave of the usual size has for everything.
    pub const KEYS: RangeInclusive<u32> = 1..=1 << 24;

    /// Up to 2.5 GiB; a ledger of that size takes 746,000 signatures a second for 90 s.
    pub const NONCES: RangeInclusive<u32> = 1..=1 << 26;

    /// Up to a day: a ticket is for one signature, made now, and each second costs eight bytes in the nonce ledger.
    pub const TICKET_TTL_S: RangeInclusive<u32> = 1..=86_400;
}

impl Default for Capacity {
    /// 23 MiB of keys, 40 MiB of nonces. Tickets of the API live 90 s: a ledger of 2^20 nonces is full at 11,650
    /// signatures a second.
    fn default() -> Self {
        Self { max_keys: 262_144, max_nonces: 1_048_576, max_ticket_ttl_s: 3600 }
    }
}

/// What the server lets clients take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time. Above three quarters, newcomers close idle ones; while all are busy, they wait in the
    /// listen backlog. Half of what the proxy passes by default: only here is it known who is idle, so this limit has
    /// to be met first.
    pub max_connections: usize,
    /// Requests whose body is being read or that are being served at one time; more are answered 503. As many as there
    /// may be connections, so that clients that stall their bodies take nobody else's place; bounds the memory of
    /// bodies to 32 MiB.
    pub max_requests_in_flight: u32,
    /// How old a connection may become: the first answer after that says `connection: close`. Each connection has up
    /// to a quarter less.
    pub connection_lifetime: Duration,
    /// Requests on one connection: the answer to the last one says `connection: close`.
    pub max_requests_per_connection: u32,
    /// From the end of a head to the end of its body.
    pub body_deadline: Duration,
    /// The other waits for a client.
    pub deadlines: Deadlines,
    /// From the signal to stop until connections that are still open are cut. New ones are accepted until 4 s
    /// before that.
    pub drain_deadline: Duration,
}

impl Limits {
    /// Up to half a GiB of heads.
    pub const CONNECTIONS: RangeInclusive<u32> = 1..=16_384;

    /// Up to a day.
    pub const CONNECTION_LIFETIME_S: RangeInclusive<u32> = 1..=86_400;

    /// From one request per connection, to more than a connection has in its lifetime.
    pub const REQUESTS_PER_CONNECTION: RangeInclusive<u32> = 1..=u32::MAX;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_requests_in_flight: 1024,
            // A client that is always busy shakes hands four times an hour, and has moved after a quarter of one.
            connection_lifetime: Duration::from_secs(900),
            // A handshake costs as much as some ten requests: a thousandth of these.
            max_requests_per_connection: 10_000,
            body_deadline: Duration::from_secs(10),
            deadlines: Deadlines::default(),
            drain_deadline: Duration::from_secs(10),
        }
    }
}

/// How long the gate waits for the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadlines {
    /// From the start of the connection, or from the first byte of a later head, to the end of that head.
    pub head: Duration,
    /// From the last byte of an answer to the first of the next head.
    pub idle: Duration,
    /// For a write that makes no progress.
    pub write_progress: Duration,
}

impl Deadlines {
    /// From a second, to what no load balancer exceeds: AWS's Application Load Balancer waits for 4,000 s at most.
    pub const IDLE_TIMEOUT_S: RangeInclusive<u32> = 1..=4_000;
}

impl Default for Deadlines {
    /// The deadlines of `docs/api.md`, "11. Connections".
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            // More than the 60 s of common load balancers: the signer must not be the first to close.
            idle: Duration::from_secs(75),
            write_progress: Duration::from_secs(10),
        }
    }
}
