//! The admin port: health and metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use transport::{Listener, Stream};

use crate::acceptor::{FIRST_ACCEPT_DELAY, LAST_ACCEPT_DELAY};
use crate::backoff::Backoff;
use crate::metrics::Metrics;

/// A collector and a few people; the others wait in the listen backlog.
pub(crate) const MAX_CONNECTIONS: usize = 16;

/// For one request and its answer, on a connection that serves no second.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// For the head of the request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For the head of the request; hyper takes no less.
const HEAD_MAX_BYTES: usize = 8 * 1024;

/// More than any collector sends.
const HEADERS_MAX: usize = 32;

/// The registered type of what `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `GET /health` and `GET /metrics`.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) listener: Listener,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Admin {
    /// Serves for as long as the process runs, so that draining can be watched.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut backoff = Backoff::new(FIRST_ACCEPT_DELAY, LAST_ACCEPT_DELAY);
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let stream = loop {
                match self.listener.accept().await {
                    Ok(stream) => break stream,
                    Err(error) => {
                        warn!(%error, "cannot accept on the admin port");
                        sleep(backoff.next_delay()).await;
                    }
                }
            };
            backoff.reset();
            let metrics = Arc::clone(&self.metrics);
            let draining = self.draining.clone();
            tokio::spawn(async move {
                serve(stream, &metrics, &draining).await;
                drop(permit);
            });
        }
    }
}

async fn serve(stream: Stream, metrics: &Metrics, draining: &watch::Receiver<bool>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), metrics, *draining.borrow());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "admin connection ended"),
        Err(_) => debug!("admin connection took too long"),
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics, draining: bool) -> Response<Full<Bytes>> {
    let (status, content_type, body) = match (method, path) {
        (&Method::GET, "/health") if draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "application/json", r#"{"ok":false}"#.into())
        }
        (&Method::GET, "/health") => (StatusCode::OK, "application/json", r#"{"ok":true}"#.into()),
        (&Method::GET, "/metrics") => match metrics.encode() {
            Ok(text) => (StatusCode::OK, OPEN_METRICS, text),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "metrics cannot be written\n".into()),
        },
        (_, "/health" | "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "method not allowed\n".into())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type.parse().expect("the type is a constant"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, "GET".parse().expect("the method is a constant"));
    }
    response
}
