//! A server with or without TLS, that answers as it is told.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// No test leaves a client waiting for longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) api_key: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The nonce in the query, which is hex.
    pub(crate) fn nonce(&self) -> Option<Vec<u8>> {
        let (_, hex) = self.target.split_once("?nonce=")?;
        base16ct::lower::decode_vec(hex).ok()
    }
}

pub(crate) struct Answer {
    /// 0 for what is not HTTP: nothing is said before the body.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A key with a certificate that nobody but itself signed.
#[derive(Clone)]
pub(crate) struct TlsIdentity {
    configuration: Arc<ServerConfig>,
    /// Its last messages of a handshake come with a record that nobody can read.
    spoils: bool,
    pub(crate) certificate_pem: String,
    /// DER.
    pub(crate) spki: Vec<u8>,
}

impl TlsIdentity {
    pub(crate) fn new() -> Self {
        Self::until(2099)
    }

    /// With a certificate that ends with this year's first day.
    pub(crate) fn until(year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let der: CertificateDer<'static> = certificate.der().clone();
        let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], private_key)
            .unwrap();
        Self {
            configuration: Arc::new(configuration),
            spoils: false,
            certificate_pem: certificate.pem(),
            spki: key.subject_public_key_info(),
        }
    }
}

impl TlsIdentity {
    /// The same, of somebody who wants a client to fail after the handshake.
    pub(crate) fn spoiling(self) -> Self {
        Self { spoils: true, ..self }
    }
}

/// Sends what is written before the first reply all at once, with a record of application data behind it that no key
/// opens.
struct Spoiling<S> {
    stream: S,
    spoils: bool,
    held: Vec<u8>,
}

/// As long as a record has to be (RFC 8446 §5.2), and of zeros.
const SPOILT_RECORD: [u8; 37] = {
    let mut record = [0; 37];
    [record[0], record[1], record[2], record[4]] = [23, 3, 3, 32];
    record
};

impl<S: Read + Write> Read for Spoiling<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.spoils && !self.held.is_empty() {
            self.spoils = false;
            self.held.extend(SPOILT_RECORD);
            self.stream.write_all(&std::mem::take(&mut self.held))?;
        }
        self.stream.read(buffer)
    }
}

impl<S: Write> Write for Spoiling<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.spoils {
            return self.stream.write(bytes);
        }
        self.held.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// The layer that a server sends a byte at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drips {
    Nothing,
    /// The TLS records of its answers, and of the handshake.
    Tls,
    /// Its answers, in TLS.
    Answers,
}

/// Less than any client waits for one byte, and for all bytes of an answer too much.
const DRIP_PAUSE: Duration = Duration::from_millis(50);

/// Writes a byte at a time if it is told to.
struct Dripping<S> {
    stream: S,
    drips: bool,
}

impl<S: Read> Read for Dripping<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl<S: Write> Write for Dripping<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let at_once = if self.drips { bytes.len().min(1) } else { bytes.len() };
        let written = self.stream.write(&bytes[..at_once])?;
        if self.drips {
            self.stream.flush()?;
            sleep(DRIP_PAUSE);
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// Listens until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    stops: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(
        tls: Option<&TlsIdentity>,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(tls.cloned().into_iter().collect(), Drips::Nothing, move |request, _| answer(request))
    }

    /// Each connection is served with another identity, and the last ones with the last. `answer` is told its key.
    pub(crate) fn start_with(
        identities: Vec<TlsIdentity>,
        answer: impl Fn(&Request, &[u8]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(identities, Drips::Nothing, answer)
    }

    pub(crate) fn start_dripping(
        tls: &TlsIdentity,
        drips: Drips,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(vec![tls.clone()], drips, move |request, _| answer(request))
    }

    fn listen(
        identities: Vec<TlsIdentity>,
        drips: Drips,
        answer: impl Fn(&Request, &[u8]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stops = Arc::new(AtomicBool::new(false));
        let scheme = if identities.is_empty() { "http" } else { "https" };
        let (answer, listening) = (Arc::new(answer), Arc::clone(&stops));
        let listener = spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                if listening.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
                let identity = identities.get(count).or(identities.last()).cloned();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // How a client ends is its own affair.
                spawn(move || match identity {
                    None => drop(serve(stream, &|request| answer(request, &[]))),
                    Some(TlsIdentity { configuration, spki, spoils, .. }) => {
                        let tls = ServerConnection::new(configuration).unwrap();
                        let stream = Spoiling { stream, spoils, held: Vec::new() };
                        let stream = Dripping { stream, drips: matches!(drips, Drips::Tls) };
                        let stream = StreamOwned::new(tls, stream);
                        let stream = Dripping { stream, drips: matches!(drips, Drips::Answers) };
                        drop(serve(stream, &|request| answer(request, &spki)));
                    }
                });
            }
        });
        Self { address, scheme, stops, listener: Some(listener) }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
    }
}

fn serve<S: Read + Write>(stream: S, answer: &dyn Fn(&Request) -> Answer) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream)? {
        let Answer { status, body } = answer(&request);
        let head = format!(
            "HTTP/1.1 {status} So\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let head = if status == 0 { "" } else { &head };
        let stream = stream.get_mut();
        stream.write_all(&[head.as_bytes(), &body].concat())?;
        stream.flush()?;
        if status == 0 {
            break;
        }
    }
    Ok(())
}

/// None at the end of the connection.
fn read<S: Read>(stream: &mut BufReader<S>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut api_key) = (0, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "x-internal-api-key" => api_key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Request { method, target, api_key, body }))
}
