//! A stream of which the first byte has been looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Gives the byte that was looked at once more, then the rest.
#[derive(Debug)]
pub(crate) struct Replayed<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> Replayed<S> {
    /// Waits for the first byte; none if the stream has ended without one.
    pub(super) async fn peek(mut stream: S) -> io::Result<Option<(u8, Self)>> {
        let mut first = [0];
        let [byte] = match stream.read(&mut first).await? {
            0 => return Ok(None),
            _ => first,
        };
        Ok(Some((byte, Self { first: Some(byte), stream })))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() > 0
            && let Some(first) = this.first.take()
        {
            out.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
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
    use tokio::io::AsyncReadExt as _;

    use super::Replayed;

    #[tokio::test]
    async fn nothing_gets_lost() {
        let (byte, mut stream) = Replayed::peek(&b"abc"[..]).await.unwrap().unwrap();
        assert_eq!(byte, b'a');
        assert_eq!(stream.read(&mut []).await.unwrap(), 0);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abc");
        assert!(Replayed::peek(&b""[..]).await.unwrap().is_none());
    }
}
