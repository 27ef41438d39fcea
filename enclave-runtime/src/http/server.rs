//! Connections: how many, how long, and how they end.

use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use configuration::Limits;
use hyper::body::Body;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use transport::{Listener, Stream};

use super::exchange::{self, Abandoned};
use super::head_gate::{HeadGate, LINGER, MAX_HEAD_BYTES, MAX_HEADERS};
use super::places::{Place, Places};
use crate::announcement::Announcements;
use crate::paced_log::PacedLog;
use crate::restore::{RestorePlaces, Standing};
use crate::sealer::Sealer;
use crate::service::Service;
use crate::tls::{HANDSHAKE_DEADLINE, Received, TlsFront, TlsIdentity};

/// Requests for an attestation document with a nonce that wait at one time; more are answered 503. Anybody may ask, so
/// they must not take the places of those who sign. Who asks without a nonce shares the document at hand.
const MAX_ATTESTATIONS: usize = 16;

/// Of the requests in flight, those that may wait for the proof of a key; but not more than half, as with backups. The NSM
/// makes one at a time: the last of these waits for the others.
const MAX_KEY_PROOFS: usize = 64;

/// Wait after accepting failed, as it does when the process is out of file descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// How long a connection that is accepted while draining may take for its head, and before that for its handshake. Who was
/// waiting in the backlog has sent it already; who has nothing to ask must not hold the drain up.
const DRAIN_HEAD_DEADLINE: Duration = Duration::from_secs(1);

/// The end of a drain, in which nothing is accepted and nothing begun. What was accepted at the last moment has one
/// [`DRAIN_HEAD_DEADLINE`] for its handshake, one for its head, and time for lingering after the answer.
const LAST_ANSWERS: Duration = Duration::from_secs(4);

const _: () = assert!(LAST_ANSWERS.as_millis() >= 2 * DRAIN_HEAD_DEADLINE.as_millis() + LINGER.as_millis());

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What the server still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything.
    Serving,
    /// One request for each connection that is new, and those that have begun.
    Draining,
    /// It sends answers: what would still have to be waited for is refused.
    Closing,
}

/// What connections share.
pub(super) struct Server<S> {
    pub(super) service: Arc<Service<S>>,
    /// None without TLS.
    tls: Option<Arc<TlsFront>>,
    pub(super) limits: Limits,
    pub(super) requests_in_flight: Semaphore,
    pub(super) attestations: Semaphore,
    /// Of the requests in flight, those that may wait for a key service are half, exports and restores together. A
    /// service that hangs must not take the places of those who sign.
    pub(super) exports: Semaphore,
    pub(super) restores: RestorePlaces,
    pub(super) key_proofs: Semaphore,
    announcements: Arc<Announcements>,
    /// About requests without the API key.
    pub(super) unauthorized: PacedLog,
    /// Tells a client how long its connection may be idle.
    keep_alive: HeaderValue,
    places: Arc<Places>,
}

/// The other end of a connection.
pub(super) struct Peer {
    pub(super) channel: Channel,
    /// The address that the parent's proxy announced, if it does.
    pub(super) address: Option<IpAddr>,
    pub(super) standing: Standing,
}

/// What requests come over.
pub(super) enum Channel {
    /// As bytes, where TLS is off.
    Clear,
    /// TLS, as this identity.
    Secured(Arc<TlsIdentity>),
    /// As bytes, where TLS is on: nothing is served.
    NotTls,
}

impl Channel {
    /// The public key with which TLS is spoken.
    pub(super) fn tls_spki(&self) -> Option<Arc<[u8]>> {
        match self {
            Self::Secured(identity) => Some(identity.spki()),
            Self::Clear | Self::NotTls => None,
        }
    }
}

/// Serves until `stop` is done, and then drains. With `tls`, it serves over TLS only. With
/// `proxy_protocol`, the parent's proxy has to announce each client.
///
/// In a drain, `/health` tells clients to go elsewhere, and a new connection is served one request. A drain ends when
/// nobody is connected, or at its deadline. In its last 4 s newcomers are turned away, and a request that still waits
/// for its body or for a key service gets 503. So the cut finds no request that has begun and is without its answer,
/// and uses up no ticket.
pub async fn serve<S: Sealer>(
    listener: Listener,
    service: Arc<Service<S>>,
    tls: Option<Arc<TlsFront>>,
    limits: Limits,
    proxy_protocol: bool,
    stop: impl Future<Output = ()>,
) {
    let half = (limits.max_requests_in_flight as usize).div_ceil(2);
    // One call of the key service serves the exports of a day, so they never wait for long.
    let exports = half.div_ceil(4);
    let requests_in_flight = Semaphore::new(limits.max_requests_in_flight as usize);
    let server = Arc::new(Server {
        service,
        tls,
        limits,
        requests_in_flight,
        attestations: Semaphore::new(MAX_ATTESTATIONS),
        exports: Semaphore::new(exports),
        restores: RestorePlaces::new(half - exports),
        key_proofs: Semaphore::new(half.min(MAX_KEY_PROOFS)),
        announcements: Arc::new(Announcements::new(proxy_protocol)),
        unauthorized: PacedLog::new(1),
        keep_alive: keep_alive(limits.deadlines.idle),
        places: Arc::new(Places::new(&limits)),
    });
    let (phase, _) = watch::channel(Phase::Serving);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < limits.max_connections => {
                connections.spawn(serve_connection(Arc::clone(&server), stream, phase.subscribe()));
            }
        }
    }

    server.service.drain();
    phase.send_replace(Phase::Draining);
    let begun = Instant::now();
    let closing = begun + limits.drain_deadline.saturating_sub(LAST_ANSWERS);
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(closing) => break,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < limits.max_connections => {
                connections.spawn(serve_connection(Arc::clone(&server), stream, phase.subscribe()));
            }
            // Last: who already waits to be accepted is served too.
            () = std::future::ready(()), if connections.is_empty() => break,
        }
    }
    // Who comes now is refused by the kernel, and knows that nothing was read.
    drop(listener);
    phase.send_replace(Phase::Closing);
    let last_answers = async { while connections.join_next().await.is_some() {} };
    let _ = timeout_at(begun + limits.drain_deadline, last_answers).await;
    connections.shutdown().await;
}

/// The next connection, however long the system cannot give one.
pub(crate) async fn accept(listener: &Listener) -> Stream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(fault) => {
                tracing::warn!(kind = %fault.kind(), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// Serves a connection until it ends, or has to make room for another and does not.
async fn serve_connection<S: Sealer>(server: Arc<Server<S>>, stream: Stream, phase: watch::Receiver<Phase>) {
    let place = server.places.take();
    tokio::select! {
        biased;
        () = serve_stream(server, stream, &place, phase) => {}
        () = place.overstays() => {}
    }
}

async fn serve_stream<S: Sealer>(
    server: Arc<Server<S>>,
    stream: Stream,
    place: &Place,
    mut phase: watch::Receiver<Phase>,
) {
    let Ok(stream) = server.announcements.receive(stream).await else { return };
    let address = stream.client();
    let peer = |channel| Peer { channel, address, standing: Standing::default() };
    let Some(front) = server.tls.clone() else {
        return serve_http(server, stream, peer(Channel::Clear), place, phase).await;
    };
    let patience = match *phase.borrow_and_update() {
        Phase::Serving => HANDSHAKE_DEADLINE,
        Phase::Draining | Phase::Closing => DRAIN_HEAD_DEADLINE,
    };
    let received = {
        let mut receiving = pin!(front.receive(stream));
        tokio::select! {
            biased;
            received = timeout(patience, receiving.as_mut()) => received,
            // Nothing is served yet, so there is nothing to end in order.
            () = place.must_close() => return,
            _ = phase.changed() => timeout(DRAIN_HEAD_DEADLINE, receiving).await,
        }
    };
    match received {
        Ok(Some(Received::Secured(stream, identity))) => {
            serve_http(server, stream, peer(Channel::Secured(identity)), place, phase).await;
        }
        Ok(Some(Received::Clear(stream))) => {
            serve_http(server, stream, peer(Channel::NotTls), place, phase).await;
        }
        Ok(None) | Err(_) => {}
    }
}

async fn serve_http<S: Sealer>(
    server: Arc<Server<S>>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    place: &Place,
    mut phase: watch::Receiver<Phase>,
) {
    let one_request = *phase.borrow_and_update() != Phase::Serving;
    let mut deadlines = server.limits.deadlines;
    if one_request {
        deadlines.head = deadlines.head.min(DRAIN_HEAD_DEADLINE);
    }
    let peer = Arc::new(peer);
    let (gate, verdicts) = HeadGate::new(stream, deadlines);
    let now = phase.clone();
    let answer = service_fn(|request| {
        let verdict = verdicts.take();
        let in_progress = place.begin_request();
        let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
        let stays = is_persistent(&request);
        let mut phase = now.clone();
        async move {
            let mut response = tokio::select! {
                // In this order: what needs no waiting is done.
                biased;
                response = exchange::answer(&server, &peer, &in_progress, verdict, request) => response?,
                () = closing(&mut phase) => exchange::turned_away(),
            };
            if in_progress.is_last() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            } else if stays
                && *phase.borrow() == Phase::Serving
                && !response.headers().contains_key(CONNECTION)
            {
                response.headers_mut().insert(KEEP_ALIVE, server.keep_alive.clone());
            }
            Ok::<_, Abandoned>(response)
        }
    });
    let mut connection = http1::Builder::new()
        // The gate's invariant: hyper must not read ahead. And a client may end its side before the answer.
        .half_close(true)
        .keep_alive(!one_request)
        .max_headers(MAX_HEADERS)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(gate), answer);
    // How a connection ends is its client's affair: nothing to log that a client could not fill the log with.
    let is_open = tokio::select! {
        // In this order: a request that has arrived when the signal comes is read first, and so answered.
        biased;
        _ = &mut connection => false,
        _ = phase.changed() => true,
        () = place.must_close() => true,
    };
    if is_open {
        Pin::new(&mut connection).graceful_shutdown();
        let _ = (&mut connection).await;
    }
    // hyper leaves a stream open when it fails, and whenever a request had an `Upgrade` header.
    let mut gate = connection.into_parts().io.into_inner();
    let _ = gate.shutdown().await;
}

/// Waits until the server begins nothing more.
async fn closing(phase: &mut watch::Receiver<Phase>) {
    // An error means that there is no server any more.
    let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
}

/// The value of `keep-alive` in answers: how long a connection may be idle, in whole seconds.
fn keep_alive(idle: Duration) -> HeaderValue {
    HeaderValue::try_from(format!("timeout={}", idle.as_secs())).expect("digits are good in a header")
}

/// Whether the client wants its connection to stay open after the answer (RFC 9112 §9.3).
fn is_persistent<B: Body>(request: &Request<B>) -> bool {
    let has_option = |wanted: &str| {
        let values = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(wanted))
    };
    !has_option("close") && (request.version() != Version::HTTP_10 || has_option("keep-alive"))
}

#[cfg(test)]
mod tests {
    use hyper::{Request, Version};

    use super::is_persistent;

    #[test]
    fn a_connection_stays_as_version_and_options_say() {
        for (version, connection, stays) in [
            (Version::HTTP_11, None, true),
            (Version::HTTP_11, Some("keep-alive"), true),
            (Version::HTTP_11, Some("Close"), false),
            (Version::HTTP_11, Some("x, close"), false),
            (Version::HTTP_11, Some("closed"), true),
            (Version::HTTP_10, None, false),
            (Version::HTTP_10, Some("Keep-Alive"), true),
            (Version::HTTP_10, Some("keep-alive, close"), false),
        ] {
            let mut request = Request::builder().version(version);
            if let Some(connection) = connection {
                request = request.header("connection", connection);
            }
            assert_eq!(
                is_persistent(&request.body(String::new()).unwrap()),
                stays,
                "{version:?} {connection:?}"
            );
        }
    }
}
