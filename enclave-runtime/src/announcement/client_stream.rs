//! A connection from its client's first byte on.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::{PROXY_SIGNATURE, PROXY_TEXT_PREFIX};

use super::Announcements;

/// The bytes from and to a client. Notes in the log when the client begins with a PROXY header, which only the proxy
/// may send. TLS and HTTP refuse the header like any other foreign bytes.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    stream: S,
    client: Option<IpAddr>,
    /// Until something has come.
    announcements: Option<Arc<Announcements>>,
    /// The first bytes of the client.
    first: [u8; PROXY_SIGNATURE.len()],
    /// How much of it is handed on, and how much there is.
    first_bytes: (usize, usize),
}

impl<S> ClientStream<S> {
    pub(super) fn new(stream: S, client: Option<IpAddr>, announcements: Arc<Announcements>) -> Self {
        let (first, first_bytes) = ([0; _], (0, 0));
        Self { stream, client, announcements: Some(announcements), first, first_bytes }
    }

    /// The address of the client, if it was announced.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(announcements) = &this.announcements {
            let mut first = ReadBuf::new(&mut this.first);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut first))?;
            let first = first.filled();
            if first.starts_with(&PROXY_SIGNATURE) || first.starts_with(PROXY_TEXT_PREFIX) {
                announcements.note_header_of(this.client);
            }
            this.first_bytes.1 = first.len();
            this.announcements = None;
        }
        let (start, end) = this.first_bytes;
        if start == end {
            return Pin::new(&mut this.stream).poll_read(cx, out);
        }
        let count = out.remaining().min(end - start);
        out.put_slice(&this.first[start..start + count]);
        this.first_bytes.0 += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{Announcements, ClientStream};

    fn stream<S>(stream: S) -> ClientStream<S> {
        ClientStream::new(stream, None, Arc::new(Announcements::new(false)))
    }

    #[tokio::test]
    async fn nothing_gets_lost_however_it_is_read() {
        let sent = b"GET /health HTTP/1.1\r\n\r\n";
        for length in 0..sent.len() {
            for piece in [1, 5, 12, 64] {
                let mut stream = stream(&sent[..length]);
                let (mut whole, mut buffer) = (Vec::new(), vec![0; piece]);
                assert_eq!(stream.read(&mut []).await.unwrap(), 0);
                while let count @ 1.. = stream.read(&mut buffer).await.unwrap() {
                    whole.extend_from_slice(&buffer[..count]);
                }
                assert_eq!(whole, sent[..length]);
            }
        }
        let (client, server) = duplex(64);
        stream(server).write_all(b"answer").await.unwrap();
        let mut answer = Vec::new();
        { client }.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    }
}
