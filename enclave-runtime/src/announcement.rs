//! The address of a connection's client, where the parent's proxy announces it. The signer believes the parent's word
//! for the log and nothing else.

mod client_stream;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::timeout;
use transport::ProxyHeader;

pub(crate) use self::client_stream::ClientStream;
use crate::paced_log::PacedLog;

/// From the start of a connection to the end of its header. The proxy writes the header before anything else, so only
/// a parent that is overloaded takes longer than milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// Reads what the proxy announces on the connections of one listener.
#[derive(Debug)]
pub(crate) struct Announcements {
    are_on: bool,
    refusals: PacedLog,
}

/// The connection announces no client and has to end; the log has that.
#[derive(Debug)]
pub(crate) struct NotAnnounced;

impl Announcements {
    /// Requires a header of the PROXY protocol from each connection, if `are_on`.
    pub(crate) fn new(are_on: bool) -> Self {
        Self { are_on, refusals: PacedLog::new(1) }
    }

    /// A new connection from its client's first byte on.
    ///
    /// # Errors
    /// [`NotAnnounced`]
    pub(crate) async fn receive<S: AsyncRead + Unpin>(
        self: &Arc<Self>,
        mut stream: S,
    ) -> Result<ClientStream<S>, NotAnnounced> {
        let client = if self.are_on { Some(self.read(&mut stream).await?) } else { None };
        Ok(ClientStream::new(stream, client, Arc::clone(self)))
    }

    async fn read<S: AsyncRead + Unpin>(&self, stream: &mut S) -> Result<IpAddr, NotAnnounced> {
        let reason = match timeout(DEADLINE, ProxyHeader::read(stream)).await {
            Ok(Ok(header)) => return Ok(header.source.ip().to_canonical()),
            Ok(Err(invalid)) => invalid.to_string(),
            Err(_) => format!("no PROXY header within {} s", DEADLINE.as_secs()),
        };
        if let Some(count) = self.refusals.due() {
            tracing::warn!(
                count,
                "refused a connection: {reason}; http.proxy_protocol of nitro.toml is on, so the proxy needs \
                 --proxy-protocol"
            );
        }
        Err(NotAnnounced)
    }

    /// Logs that `client` sent a header where its own bytes should begin.
    fn note_header_of(&self, client: Option<IpAddr>) {
        let Some(count) = self.refusals.due() else { return };
        let client = client.map(tracing::field::display);
        if self.are_on {
            tracing::warn!(
                client,
                count,
                "refused a connection: a client or load balancer sent a PROXY header"
            );
        } else {
            tracing::warn!(
                count,
                "refused a connection: a PROXY header, while http.proxy_protocol of nitro.toml is off"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::{Announcements, DEADLINE};

    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\xb2\x03\xec\xc9";

    #[tokio::test]
    async fn a_client_is_announced_where_that_is_on() {
        let bytes = [HEADER, b"GET /"].concat();
        let (on, off) = (Arc::new(Announcements::new(true)), Arc::new(Announcements::new(false)));
        for (announcements, sent, client) in
            [(&on, &bytes[..], Some([198, 51, 100, 7].into())), (&off, b"GET /", None)]
        {
            let mut stream = announcements.receive(sent).await.unwrap();
            assert_eq!(stream.client(), client);
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"GET /");
        }
        on.receive(&b"GET / HTTP/1.1\r\n\r\n"[..]).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_stops_coming_is_not_waited_for() {
        let announcements = Arc::new(Announcements::new(true));
        for sent in [0, 12, 16, HEADER.len() - 1] {
            let (mut client, stream) = duplex(64);
            client.write_all(&HEADER[..sent]).await.unwrap();
            let start = Instant::now();
            announcements.receive(stream).await.unwrap_err();
            assert_eq!(start.elapsed().as_secs(), DEADLINE.as_secs());
        }
    }
}
