//! Who the client of a connection is, where the parent's proxy announces it. What the parent says is believed for the
//! log and nothing else.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::timeout;
use transport::ProxyHeader;

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
        Self { are_on, refusals: PacedLog::new() }
    }

    /// The client of a new connection, and none if announcements are off. Ends before any byte of the client.
    ///
    /// # Errors
    /// [`NotAnnounced`]
    pub(crate) async fn read<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
    ) -> Result<Option<IpAddr>, NotAnnounced> {
        if !self.are_on {
            return Ok(None);
        }
        let reason = match timeout(DEADLINE, ProxyHeader::read(stream)).await {
            Ok(Ok(header)) => return Ok(Some(header.source.ip().to_canonical())),
            Ok(Err(invalid)) => invalid.to_string(),
            Err(_) => format!("no PROXY header within {} s", DEADLINE.as_secs()),
        };
        if let Some(count) = self.refusals.due() {
            tracing::warn!(
                count,
                "refused a connection: {reason}, which http.proxy_protocol of nitro.toml requires"
            );
        }
        Err(NotAnnounced)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::{Announcements, DEADLINE};

    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\xb2\x03\xec\xc9";

    #[tokio::test]
    async fn a_client_is_announced_where_that_is_on() {
        let bytes = [HEADER, b"GET"].concat();
        for (are_on, client, left) in
            [(true, Some([198, 51, 100, 7].into()), &b"GET"[..]), (false, None, &bytes)]
        {
            let mut stream = &bytes[..];
            assert_eq!(Announcements::new(are_on).read(&mut stream).await.unwrap(), client);
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, left);
        }
        Announcements::new(true).read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_stops_coming_is_not_waited_for() {
        let announcements = Announcements::new(true);
        for sent in [0, 12, 16, HEADER.len() - 1] {
            let (mut client, mut stream) = duplex(64);
            client.write_all(&HEADER[..sent]).await.unwrap();
            let start = Instant::now();
            announcements.read(&mut stream).await.unwrap_err();
            assert_eq!(start.elapsed().as_secs(), DEADLINE.as_secs());
        }
    }
}
