//! One HTTP/1.1 connection as a client, over any stream.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of a response's head: AWS sends a dozen short headers.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Bytes of a response's body. The largest that we ask for, a data key twice in base64, is below 20 KiB.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The connection was cut, or its bytes are no response within the limits.
#[derive(Debug)]
pub(crate) struct ExchangeFailed(&'static str);

impl fmt::Display for ExchangeFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for ExchangeFailed {}

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) struct HttpClient(SendRequest<Full<Bytes>>);

impl HttpClient {
    /// Takes the stream over. A task of its own drives it until either end closes it.
    pub(crate) async fn over<S>(stream: S) -> Result<Self, ExchangeFailed>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| ExchangeFailed("the connection cannot be used"))?;
        // The next request sees how it ended.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Whether another request may be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Sends `request` and reads the whole response. If the future is dropped, the connection cannot be used again.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, ExchangeFailed> {
        self.0.ready().await.map_err(|_| ExchangeFailed("the connection is closed"))?;
        let response = self.0.send_request(request).await.map_err(|_| ExchangeFailed("no response came"))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES)
            .collect()
            .await
            .map_err(|_| ExchangeFailed("the response is cut or too long"))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
