//! Accepts connections, serves each with hyper, and ends them in order.

use std::future::Future;
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
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use transport::{Listener, Stream};

use super::exchange::{self, Abandoned};
use super::head_gate::{HeadGate, LINGER, MAX_HEAD_BYTES, MAX_HEADERS};
use super::places::Place;
use super::shared_state::{Channel, Peer, Server};
use crate::restore::Standing;
use crate::sealer::Sealer;
use crate::service::Service;
use crate::tls::{HANDSHAKE_DEADLINE, Received, TlsFront};

/// Wait after accepting failed, as it does when the process is out of file descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// The deadline of a connection that is accepted during a drain: for its handshake, and again for its head. A client
/// that waited in the backlog has sent them already. A client without a request must not hold the drain up.
const DRAIN_HEAD_DEADLINE: Duration = Duration::from_secs(1);

/// The last part of a drain, in which the server accepts and begins nothing. A connection of the last moment has one
/// [`DRAIN_HEAD_DEADLINE`] for its handshake, one for its head, and time to linger after the answer.
const LAST_ANSWERS: Duration = Duration::from_secs(4);

const _: () = assert!(LAST_ANSWERS.as_millis() >= 2 * DRAIN_HEAD_DEADLINE.as_millis() + LINGER.as_millis());

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How far the server is with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It serves everything.
    Serving,
    /// It serves requests that have begun, and one request of each new connection.
    Draining,
    /// It only sends answers. It refuses requests that would have to wait.
    Closing,
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
    let server = Arc::new(Server::new(service, tls, limits, proxy_protocol));
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
            // Last, so that clients in the backlog are served too.
            () = std::future::ready(()), if connections.is_empty() => break,
        }
    }
    // From now on the kernel refuses clients, so they know that nothing was read.
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
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// Serves a connection until it ends. One that must make room for another and does not is cut.
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
                // In this order: a request that needs no waiting is served.
                biased;
                response = exchange::answer(&server, &peer, in_progress, verdict, request) => response?,
                () = closing(&mut phase) => exchange::turned_away(),
            };
            if place.is_last() {
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
    // The end of a connection is not logged: a client could fill the log with such lines.
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
