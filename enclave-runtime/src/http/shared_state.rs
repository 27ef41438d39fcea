//! The state that all connections of a server share, and what a request knows of its connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use configuration::Limits;
use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

use super::places::Places;
use crate::announcement::Announcements;
use crate::paced_log::PacedLog;
use crate::restore::{RestorePlaces, Standing};
use crate::service::Service;
use crate::tls::{TlsFront, TlsIdentity};

/// Requests for an attestation document with a nonce that wait at one time. More get 503. Anybody may ask, so these
/// requests must not take the places of signatures. Requests without a nonce share the document at hand.
const MAX_ATTESTATIONS: usize = 16;

/// Of the requests in flight, those that may wait for the proof of a key: at most half, as with backups. The NSM makes
/// one proof at a time, so the last of these waits for the others.
const MAX_KEY_PROOFS: usize = 64;

/// The state that all connections share.
pub(super) struct Server<S> {
    pub(super) service: Arc<Service<S>>,
    /// `None` without TLS.
    pub(super) tls: Option<Arc<TlsFront>>,
    pub(super) limits: Limits,
    pub(super) requests_in_flight: Semaphore,
    pub(super) attestations: Semaphore,
    /// Exports and restores together may be half of the requests in flight. They may wait for a key service, and one
    /// that hangs must not take the places of signatures.
    pub(super) exports: Semaphore,
    pub(super) restores: RestorePlaces,
    pub(super) key_proofs: Semaphore,
    pub(super) announcements: Arc<Announcements>,
    /// Paces the log of requests without a valid API key.
    pub(super) unauthorized: PacedLog,
    /// The value of `keep-alive` in answers.
    pub(super) keep_alive: HeaderValue,
    pub(super) places: Arc<Places>,
}

impl<S> Server<S> {
    /// A server without connections. With `proxy_protocol`, the parent's proxy announces each client.
    pub(super) fn new(
        service: Arc<Service<S>>,
        tls: Option<Arc<TlsFront>>,
        limits: Limits,
        proxy_protocol: bool,
    ) -> Self {
        let half = (limits.max_requests_in_flight as usize).div_ceil(2);
        // One call of the key service serves the exports of a day, so they never wait for long.
        let exports = half.div_ceil(4);
        Self {
            service,
            tls,
            limits,
            requests_in_flight: Semaphore::new(limits.max_requests_in_flight as usize),
            attestations: Semaphore::new(MAX_ATTESTATIONS),
            exports: Semaphore::new(exports),
            restores: RestorePlaces::new(half - exports),
            key_proofs: Semaphore::new(half.min(MAX_KEY_PROOFS)),
            announcements: Arc::new(Announcements::new(proxy_protocol)),
            unauthorized: PacedLog::new(1),
            keep_alive: keep_alive(limits.deadlines.idle),
            places: Arc::new(Places::new(&limits)),
        }
    }
}

/// The other end of a connection.
pub(super) struct Peer {
    pub(super) channel: Channel,
    /// The address that the parent's proxy announced, if it announces clients.
    pub(super) address: Option<IpAddr>,
    pub(super) standing: Standing,
}

/// The channel that requests come over.
pub(super) enum Channel {
    /// Bytes in the clear, where TLS is off.
    Clear,
    /// TLS, with this identity.
    Secured(Arc<TlsIdentity>),
    /// Bytes in the clear, where TLS is on. Nothing is served.
    NotTls,
}

impl Channel {
    /// The public key of the connection's TLS, as a DER `SubjectPublicKeyInfo`.
    pub(super) fn tls_spki(&self) -> Option<Arc<[u8]>> {
        match self {
            Self::Secured(identity) => Some(identity.spki()),
            Self::Clear | Self::NotTls => None,
        }
    }
}

/// The value of `keep-alive` in answers: how long a connection may be idle, in whole seconds.
fn keep_alive(idle: Duration) -> HeaderValue {
    HeaderValue::try_from(format!("timeout={}", idle.as_secs())).expect("digits are good in a header")
}
