//! A stream whose next byte has been read ahead.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Gives the byte that was looked at once more, then the rest.
#[derive(Debug)]
pub(crate) struct Replayed<S> {
    next: Option<u8>,
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
        Ok(Some((byte, Self { next: Some(byte), stream })))
    }

    /// Waits until the stream ends or fails. Does not notice once there is a byte to read.
    pub(super) async fn ended(&mut self) {
        while self.next.is_none() {
            let mut next = [0];
            match self.stream.read(&mut next).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.next = Some(next[0]),
            }
        }
        std::future::pending::<()>().await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() > 0
            && let Some(next) = this.next.take()
        {
            out.put_slice(&[next]);
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
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::Replayed;

    async fn has_ended(stream: &mut Replayed<impl AsyncRead + Unpin>) -> bool {
        timeout(Duration::from_secs(1), stream.ended()).await.is_ok()
    }

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

    #[tokio::test(start_paused = true)]
    async fn an_end_is_noticed_and_no_byte_is_lost() {
        let (mut client, server) = duplex(8);
        client.write_all(b"a").await.unwrap();
        let (_, mut stream) = Replayed::peek(server).await.unwrap().unwrap();
        assert!(!has_ended(&mut stream).await);
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        assert!(!has_ended(&mut stream).await);
        client.write_all(b"bc").await.unwrap();
        drop(client);
        for byte in [b'b', b'c'] {
            assert!(!has_ended(&mut stream).await);
            assert_eq!(stream.read_u8().await.unwrap(), byte);
        }
        assert!(has_ended(&mut stream).await);
    }
}
