//! A real ACME server, Let's Encrypt's own for tests: Debian's `pebble`, and a name service that sends it to us.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Failure;
use crate::failure::fail;
use crate::process::Process;

/// Of Debian's package.
const PROGRAM: &str = "/usr/bin/pebble";

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);

/// Between looks whether somebody wants the name service to end.
const NAME_SERVICE_PATIENCE: Duration = Duration::from_millis(50);

/// A running `pebble`. Its accounts, orders and roots are gone with it.
pub struct Pebble {
    /// The process.
    pub process: Process,
    /// `acme.directory`.
    pub directory: String,
    /// `ADDRESS` for a relay to dial.
    pub address: String,
    /// The PEM of the authority that vouches for its own certificate.
    pub authority_pem: String,
    /// A file with the root of what it issues.
    pub root: PathBuf,
    start: Start,
    _names: NameService,
}

/// How it is started.
struct Start {
    config: PathBuf,
    names: String,
    refused_nonces_percent: String,
    reused_validations_percent: String,
    authority: PathBuf,
    root: PathBuf,
    management_port: u16,
}

/// The part that differs from test to test.
pub struct Behaviour {
    /// How long a certificate is valid.
    pub validity_s: u64,
    /// How many of a hundred good nonces it refuses.
    pub refused_nonces_percent: u8,
    /// Of how many of a hundred names it takes an earlier validation for a new order.
    pub reused_validations_percent: u8,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { validity_s: 90 * 86_400, refused_nonces_percent: 5, reused_validations_percent: 0 }
    }
}

impl Pebble {
    /// Starts one in `directory`, which validates on `tls_port` of this machine, whatever the name.
    pub fn start(directory: &Path, tls_port: u16, behaviour: &Behaviour) -> Result<Self, Failure> {
        if !Path::new(PROGRAM).exists() {
            return fail(format!("{PROGRAM} is missing; as root: apt-get install pebble"));
        }
        let directory = directory.join("pebble");
        std::fs::create_dir_all(&directory)?;
        let authority_pem = server_certificate(&directory, "localhost")?;
        let names = NameService::start()?;
        let [port, management_port] = free_ports()?;
        let config = directory.join("config.json");
        let text = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management_port}"),
            "certificate": directory.join("server.pem"),
            "privateKey": directory.join("server-key.pem"),
            "httpPort": 1,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "retryAfter": {"authz": 1, "order": 1},
            "certificateValidityPeriod": behaviour.validity_s,
        }});
        std::fs::write(&config, text.to_string())?;
        let start = Start {
            config,
            names: names.address.clone(),
            refused_nonces_percent: behaviour.refused_nonces_percent.to_string(),
            reused_validations_percent: behaviour.reused_validations_percent.to_string(),
            authority: directory.join("authority.pem"),
            root: directory.join("root.pem"),
            management_port,
        };
        Ok(Self {
            process: start.run()?,
            directory: format!("https://localhost:{port}/dir"),
            address: format!("tcp:127.0.0.1:{port}"),
            authority_pem,
            root: start.root.clone(),
            start,
            _names: names,
        })
    }

    /// Ends it and starts another in its place, which knows nothing of what the first did.
    pub fn forgets_everything(&mut self) -> Result<(), Failure> {
        let _ = self.process.stop();
        self.process = self.start.run()?;
        Ok(())
    }

    /// How often it was asked for an order.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.log_lines("POST /order-plz -> calling handler()")
    }

    fn log_lines(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.process.output()).lines().filter(|line| line.contains(text)).count()
    }
}

impl Start {
    /// Starts it and waits until it answers.
    fn run(&self) -> Result<Process, Failure> {
        let mut process = Process::start(
            "pebble",
            Path::new(PROGRAM),
            &["-strict", "-config", &self.config.display().to_string(), "-dnsserver", &self.names],
            &[
                ("PEBBLE_VA_NOSLEEP", "1"),
                ("PEBBLE_WFE_NONCEREJECT", &self.refused_nonces_percent),
                ("PEBBLE_AUTHZREUSE", &self.reused_validations_percent),
            ],
        )?;
        let url = format!("https://localhost:{}/roots/0", self.management_port);
        let started = Instant::now();
        loop {
            let got = Command::new("curl")
                .args(["--silent", "--fail", "--noproxy", "*", "--cacert"])
                .arg(&self.authority)
                .arg("--output")
                .arg(&self.root)
                .arg(&url)
                .stdin(Stdio::null())
                .status()?;
            if got.success() {
                return Ok(process);
            }
            if !process.is_running() || started.elapsed() > START {
                return fail(format!(
                    "pebble does not listen:\n{}",
                    String::from_utf8_lossy(&process.output())
                ));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Writes `server.pem` and `server-key.pem` for `name`, and `authority.pem`, whose text it gives.
pub fn server_certificate(directory: &Path, name: &str) -> Result<String, Failure> {
    let openssl = |arguments: &str| {
        let arguments: Vec<String> = arguments
            .split(' ')
            .map(|argument| argument.replace('@', &directory.display().to_string()))
            .collect();
        let output = Command::new("openssl").args(&arguments).stdin(Stdio::null()).output()?;
        if output.status.success() {
            Ok(())
        } else {
            fail(format!("openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
        }
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
         -keyout @/authority-key.pem -out @/authority.pem",
    )?;
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server \
         -keyout @/server-key.pem -out @/server.csr",
    )?;
    std::fs::write(directory.join("server.ext"), format!("subjectAltName=DNS:{name}\n"))?;
    openssl(
        "x509 -req -in @/server.csr -CA @/authority.pem -CAkey @/authority-key.pem -days 2 \
         -extfile @/server.ext -out @/server.pem",
    )?;
    Ok(std::fs::read_to_string(directory.join("authority.pem"))?)
}

/// Two ports that nobody listens on. Pebble binds them seconds later, so they are none that the kernel gives out
/// meanwhile: below its default range of ephemeral ports (ip(7), `ip_local_port_range`).
fn free_ports() -> Result<[u16; 2], Failure> {
    const BELOW_EPHEMERAL: std::ops::Range<u16> = 16_384..32_768;
    let mut free = Vec::new();
    while free.len() < 2 {
        let port = rand::random_range(BELOW_EPHEMERAL);
        if !free.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            free.push(port);
        }
    }
    Ok([free[0], free[1]])
}

/// Says that every name is at 127.0.0.1.
struct NameService {
    address: String,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameService {
    fn start() -> Result<Self, Failure> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(NAME_SERVICE_PATIENCE))?;
        let address = socket.local_addr()?.to_string();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = answer(&query[..length]) {
                    // A client that is gone needs no answer.
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Ok(Self { address, is_over, thread: Some(thread) })
    }
}

impl Drop for NameService {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// RFC 1035 §4: the question again, and an address if one was asked for.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    const HEADER_BYTES: usize = 12;
    let mut end = HEADER_BYTES;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(*query.get(end)?);
    }
    let question = query.get(HEADER_BYTES..end + 5)?;
    let is_for_an_address = question.ends_with(&[0, 1, 0, 1]);
    let mut answer = query.get(..2)?.to_vec();
    // A response without error, to one question, with at most one answer.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_for_an_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_for_an_address {
        // The name of the question, an address of the Internet, for a second.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
