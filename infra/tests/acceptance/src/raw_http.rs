//! A client that sends the bytes it is given and forgives nothing in the answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::failure::{Failure, ensure, fail};
use crate::tls::{TlsClient, TlsStream};

/// How long an answer may take. Longer than every deadline of `docs/api.md`, so that a connection
/// the server cuts is seen as cut and not as silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// A parsed answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as sent, in order. No name occurs twice.
    pub headers: Vec<(String, String)>,
    /// The body, by its `content-length`.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the header `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The string at `member` of the JSON body.
    pub fn member(&self, member: &str) -> Result<String, Failure> {
        let body: serde_json::Value = serde_json::from_slice(&self.body)?;
        match body.get(member).and_then(serde_json::Value::as_str) {
            Some(value) => Ok(value.to_owned()),
            None => fail(format!("no string `{member}` in {}", self.text())),
        }
    }
}

/// One connection, with what was sent on it and what came but was not read yet.
pub struct Connection {
    stream: Stream,
    unread: Vec<u8>,
    sent: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { stream: Stream::Tcp(tcp(address)?), unread: Vec::new(), sent: Vec::new() })
    }

    /// Connects with TLS, and accepts any certificate.
    pub fn open_tls(address: SocketAddr, client: &TlsClient) -> Result<Self, Failure> {
        let stream = tcp(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = Stream::Tls(Box::new(client.connect(stream)?));
        Ok(Self { stream, unread: Vec::new(), sent: Vec::new() })
    }

    /// The TLS stream of a connection that [`Connection::open_tls`] gave.
    #[must_use]
    pub fn tls(&self) -> &TlsStream {
        match &self.stream {
            Stream::Tls(stream) => stream,
            Stream::Tcp(_) => panic!("a connection without TLS"),
        }
    }

    /// Where bytes go that are not noted down as sent.
    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => &mut **stream,
        }
    }

    /// Sends `bytes` as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.sent.extend_from_slice(bytes.as_ref());
        self.writer().write_all(bytes.as_ref())?;
        self.writer().flush()?;
        Ok(())
    }

    /// Sends as much of `bytes` as the peer takes: a peer that has answered and closed is no error.
    pub fn send_what_it_takes(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        for piece in bytes.chunks(4096) {
            if self.writer().write_all(piece).is_err() {
                break;
            }
        }
    }

    /// The bytes sent so far.
    #[must_use]
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// The underlying stream.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.tcp(),
        }
    }

    /// Closes our sending half: with TLS, as TLS has it, and the socket stays.
    pub fn finish_sending(&mut self) -> Result<(), Failure> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Stream::Tls(stream) => stream.close_notify()?,
        }
        Ok(())
    }

    /// Reads one answer to a request that was not a `HEAD`.
    pub fn receive(&mut self) -> Result<Response, Failure> {
        self.receive_for("GET", PATIENCE)
    }

    /// Reads one answer to a `method` request, for at most `patience`.
    pub fn receive_for(&mut self, method: &str, patience: Duration) -> Result<Response, Failure> {
        let deadline = Instant::now() + patience;
        let head_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more(deadline)?;
        };
        let mut response = parse_head(&self.unread[..head_end])
            .map_err(|why| self.broken(&format!("the answer's head: {why}")))?;
        let length = body_length(&response, method)
            .map_err(|why| self.broken(&format!("the answer's framing: {why}")))?;
        while self.unread.len() < head_end + length {
            self.read_more(deadline)?;
        }
        response.body = self.unread[head_end..head_end + length].to_vec();
        self.unread.drain(..head_end + length);
        Ok(response)
    }

    /// Checks that the server closes, within `patience`, and sends nothing more before that.
    pub fn closes_within(&mut self, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if !self.unread.is_empty() {
                return Err(self.broken("more bytes where the connection should close"));
            }
            match self.read_some(deadline)? {
                Read1::Bytes => {}
                Read1::Closed => return Ok(()),
                Read1::Cut => return Err(self.broken("cut, and not closed as TLS has it")),
                Read1::Silent => {
                    return fail(format!("the connection stays open after {patience:?}"));
                }
            }
        }
    }

    /// Waits for the server to close, whatever it sends before; says how long that took.
    pub fn time_to_close(&mut self, patience: Duration) -> Result<Duration, Failure> {
        let start = Instant::now();
        loop {
            match self.read_some(start + patience)? {
                Read1::Bytes => {}
                Read1::Closed | Read1::Cut => return Ok(start.elapsed()),
                Read1::Silent => {
                    return fail(format!("the connection stays open after {patience:?}"));
                }
            }
        }
    }

    /// The bytes that came, for at most `patience`, until the server closed or fell silent.
    pub fn drain(&mut self, patience: Duration) -> Vec<u8> {
        let deadline = Instant::now() + patience;
        while let Ok(Read1::Bytes) = self.read_some(deadline) {}
        std::mem::take(&mut self.unread)
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), Failure> {
        match self.read_some(deadline)? {
            Read1::Bytes => Ok(()),
            Read1::Closed | Read1::Cut => Err(self.broken("closed before the answer was complete")),
            Read1::Silent => Err(self.broken("no complete answer in time")),
        }
    }

    fn read_some(&mut self, deadline: Instant) -> Result<Read1, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Read1::Silent);
        }
        self.stream().set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut buffer),
            Stream::Tls(stream) => stream.read(&mut buffer),
        };
        match read {
            Ok(0) => Ok(Read1::Closed),
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                Ok(Read1::Bytes)
            }
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(Read1::Silent),
                ErrorKind::Interrupted => Ok(Read1::Bytes),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(Read1::Closed),
                ErrorKind::UnexpectedEof => Ok(Read1::Cut),
                _ => Err(e.into()),
            },
        }
    }

    fn broken(&self, why: &str) -> Failure {
        Failure::new(format!("{why}; received: {}", shown(&self.unread)))
    }
}

fn tcp(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

enum Read1 {
    Bytes,
    Closed,
    /// The end of the socket, where TLS says its own end before.
    Cut,
    Silent,
}

/// Bytes as a reader can take them in: escaped, and cut in the middle when long.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const WHOLE: usize = 1600;
    const PART: usize = 600;
    if bytes.len() <= WHOLE {
        return format!("{} bytes: {}", bytes.len(), bytes.escape_ascii());
    }
    format!(
        "{} bytes: {} […] {}",
        bytes.len(),
        bytes[..PART].escape_ascii(),
        bytes[bytes.len() - PART..].escape_ascii()
    )
}

fn parse_head(head: &[u8]) -> Result<Response, String> {
    let head = std::str::from_utf8(head).map_err(|_| "not ASCII")?;
    let text = head.strip_suffix("\r\n\r\n").ok_or("no blank line")?;
    if !head.is_ascii() {
        return Err("not ASCII".to_owned());
    }
    if text.replace("\r\n", "").contains(['\r', '\n']) {
        return Err("a bare CR or LF".to_owned());
    }
    let mut lines = text.split("\r\n");
    let (version, status) = parse_status(lines.next().unwrap_or_default())?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        let (name, value) = parse_header(line)?;
        if headers.iter().any(|(n, _)| *n == name) {
            return Err(format!("header `{name}` twice"));
        }
        headers.push((name, value));
    }
    Ok(Response { version, status, headers, body: Vec::new() })
}

fn parse_status(line: &str) -> Result<(String, u16), String> {
    let bad = || format!("status line {line:?}");
    let (version, rest) = line.split_once(' ').ok_or_else(bad)?;
    let (code, reason) = rest.split_once(' ').ok_or_else(bad)?;
    let printable = reason.bytes().all(|b| (b' '..=b'~').contains(&b));
    let three_digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !three_digits || !printable {
        return Err(bad());
    }
    Ok((version.to_owned(), code.parse().map_err(|_| bad())?))
}

fn parse_header(line: &str) -> Result<(String, String), String> {
    let bad = || format!("header line {line:?}");
    let (name, value) = line.split_once(": ").ok_or_else(bad)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let visible = |b: u8| (b' '..=b'~').contains(&b);
    if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(visible) {
        return Err(bad());
    }
    if value.trim() != value || value.is_empty() {
        return Err(bad());
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

fn body_length(response: &Response, method: &str) -> Result<usize, String> {
    if response.header("transfer-encoding").is_some() {
        return Err("a transfer-encoding, where every body is small and known".to_owned());
    }
    let length = match response.header("content-length") {
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(text.parse::<usize>().map_err(|e| e.to_string())?)
        }
        Some(text) => return Err(format!("content-length {text:?}")),
        None => None,
    };
    let interim = (100..200).contains(&response.status);
    if method == "HEAD" || interim || matches!(response.status, 204 | 304) {
        return Ok(0);
    }
    length.ok_or_else(|| "no content-length".to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// Checks the headers that every answer with a JSON body carries, and those none may carry.
pub fn has_json_headers(response: &Response) -> Result<(), Failure> {
    for (name, value) in [("content-type", "application/json; charset=utf-8"), ("cache-control", "no-store")]
    {
        ensure(response.header(name) == Some(value), || {
            format!("`{name}` is {:?}, not {value:?}", response.header(name))
        })?;
    }
    let closes = response.header("connection") == Some("close");
    ensure(!closes || response.header("keep-alive").is_none(), || {
        "`keep-alive` on a connection that closes".to_owned()
    })?;
    has_no_banner(response)
}

/// Checks that the answer does not say what made it.
pub fn has_no_banner(response: &Response) -> Result<(), Failure> {
    for name in ["server", "x-powered-by", "via"] {
        ensure(response.header(name).is_none(), || format!("a `{name}` header"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_head;

    #[test]
    fn the_parser_is_strict() {
        assert!(parse_head(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n").is_ok());
        for bad in [
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na:b\r\n\r\n",
            "HTTP/1.1 200 OK\na: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\na: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
        ] {
            assert!(parse_head(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
