//! The processes under test, and the faults that happen to them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use acceptance::attested::Parent;
use acceptance::binaries::binaries;
use acceptance::failure::{ensure, fail};
use acceptance::process::Process;
use acceptance::{Connection, Failure, Request, Server};
use nix::sys::signal::{Signal, kill};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use crate::client::{SignRequest, new_uuid};
use crate::history::{Exchange, Journal, Outcome, Span, Way};
use crate::keeper::Keeper;
use crate::plan::Kind;
use crate::resources::Resources;

/// More than honest clients and slow writers take, and few enough that a run has the time to lose them all, if a cut
/// request keeps its place.
const REQUESTS_IN_FLIGHT: u32 = 128;

/// From the start of a signer until it can sign, and of a proxy until it listens.
const BOOT: Duration = Duration::from_secs(30);

/// The longest stop of a signer: shorter than each deadline of the contract.
const LONGEST_STOP: Duration = Duration::from_secs(2);

/// The signer gives connections ten seconds to end, and wipes its memory.
const DRAIN: Duration = Duration::from_secs(14);

/// Requests that have begun when a drain begins.
const BEGUN_REQUESTS: usize = 8;

/// The bytes of such a request that come only during the drain.
const MISSING_BYTES: usize = 10;

/// Bytes and signals have arrived after this time.
const ARRIVAL: Duration = Duration::from_millis(300);

/// For the answer to a request that had begun.
const PATIENCE: Duration = Duration::from_secs(10);

const RULE: &str = "a drain ends in time, with success";

/// More calls than are made in a run.
const ALL_CALLS: u32 = 1_000_000;

/// How far the NSM's clock is off after a jump: far less than tickets live.
const NSM_OFFSETS_S: [i32; 3] = [-30, 0, 30];

/// How far KMS's clock is off after a jump. It refuses signatures that are five minutes off.
const KMS_OFFSETS_S: [i32; 5] = [-360, -10, 0, 10, 360];

/// On a full disk: less than a sealed certificate or a line of the log.
const MOST_WRITTEN_BYTES: u32 = 64;

/// One of `offsets_s` that is not the one now.
fn another(now_s: i32, offsets_s: &[i32], rng: &mut StdRng) -> i32 {
    let others: Vec<_> = offsets_s.iter().copied().filter(|offset_s| *offset_s != now_s).collect();
    others.choose(rng).copied().unwrap_or(now_s)
}

/// The signer, the proxy and KMS. Only the NSM and KMS are not those of production.
pub(crate) struct System<'a> {
    parent: Parent,
    proxy: Process,
    signer: Process,
    proxy_program: PathBuf,
    journal: &'a Journal,
    /// The difference of KMS's and NSM's clocks.
    kms_offset_s: i32,
    nsm_offset_s: i32,
}

impl<'a> System<'a> {
    /// Starts everything; gives what clients see too.
    pub(crate) fn start(journal: &'a Journal) -> Result<(Self, Server), Failure> {
        let mut parent = Parent::new()?;
        parent.nitro_toml.tls = "mode = \"self-signed\"";
        parent.nitro_toml.max_requests_in_flight = REQUESTS_IN_FLIGHT;
        let [write, read, kept] = ["keep.sock", "kept.sock", "kept"]
            .map(|name| parent.directory().join(name).display().to_string());
        parent.routes = vec![format!("unix:{write}=replace:{kept}"), format!("unix:{read}=file:{kept}")];
        parent.write_files()?;
        let proxy_program = write_launcher(parent.directory())?;
        let (proxy, address) = parent.start_proxy(&proxy_program, "tcp:127.0.0.1:0")?;
        journal.begin_life();
        let signer = parent.start_enclave()?;
        let server = Server::at_address(address, parent.secrets.clone()).over_tls();
        let mut system =
            Self { parent, proxy, signer, proxy_program, journal, kms_offset_s: 0, nsm_offset_s: 0 };
        system.becomes_ready(&server)?;
        Ok((system, server))
    }

    /// The client whose file the proxy keeps.
    pub(crate) fn keeper(&self) -> Keeper<'a> {
        let [write, read] = ["keep.sock", "kept.sock"].map(|name| self.parent.directory().join(name));
        Keeper { journal: self.journal, write, read }
    }

    /// Backups as they were made before this signer, each of which takes a call to KMS; by identity.
    pub(crate) fn legacy_backups(
        &self,
        count: usize,
        rng: &mut StdRng,
    ) -> Result<Vec<(String, String)>, Failure> {
        (0..count)
            .map(|_| {
                let (identity, scalar) = (new_uuid(rng), acceptance::bip340::random_scalar());
                let public_key = acceptance::bip340::public_key(&scalar)?;
                let backup =
                    format!("kms:{}", self.parent.kms.encrypt(&self.parent.key, &json!({}), &scalar)?);
                let mut history = self.journal.history();
                history.known_keys.insert(identity.clone(), public_key);
                history.backups.insert(identity.clone(), backup.clone());
                Ok((identity, backup))
            })
            .collect()
    }

    /// The resources that proxy and signer hold.
    pub(crate) fn resources(&self) -> Result<[Resources; 2], Failure> {
        Ok([Resources::of(self.proxy.pid())?, Resources::of(self.signer.pid())?])
    }

    /// Makes one fault, which is over `lasts` later or when what it ended runs again.
    pub(crate) fn suffer(
        &mut self,
        kind: Kind,
        lasts: Duration,
        server: &Server,
        rng: &mut StdRng,
    ) -> Result<(), Failure> {
        match kind {
            Kind::SignerKilled => self.replace_signer(server),
            Kind::SignerStopped => {
                let down = self.journal.open(Span::Down);
                kill(self.signer.pid(), Signal::SIGSTOP)?;
                thread::sleep(lasts.min(LONGEST_STOP));
                kill(self.signer.pid(), Signal::SIGCONT)?;
                // It takes on what has waited.
                self.becomes_ready(server)?;
                self.journal.close(down);
                Ok(())
            }
            Kind::SignerDrained => self.drain(server, false, rng),
            Kind::SignerDrainedToTheDeadline => self.drain(server, true, rng),
            Kind::ProxyKilled => {
                let down = self.journal.open(Span::Down);
                let _ = self.proxy.stop();
                self.start_proxy(server)?;
                self.journal.close(down);
                Ok(())
            }
            Kind::KmsThrottles => self.fail_kms("throttle", lasts),
            Kind::KmsHangs => self.fail_kms("hang", lasts),
            Kind::KmsDies => {
                let down = self.journal.open(Span::KeyServiceDown);
                let _ = self.parent.kms.process.stop();
                thread::sleep(lasts);
                self.parent.restart_kms()?;
                self.journal.close(down);
                Ok(())
            }
            Kind::DiskFull => {
                let full = self.journal.open(Span::DiskFull);
                // Some writes stop in the middle.
                self.limit_files(&rng.random_range(0..=MOST_WRITTEN_BYTES).to_string())?;
                thread::sleep(lasts);
                self.limit_files("unlimited")?;
                self.journal.close(full);
                Ok(())
            }
            Kind::ClockJumps => {
                // First under a signer that runs, then under one that starts.
                self.kms_offset_s = another(self.kms_offset_s, &KMS_OFFSETS_S, rng);
                self.parent.kms.tell("POST", "/clock", &json!({"offset_s": self.kms_offset_s}))?;
                thread::sleep(lasts);
                self.nsm_offset_s = another(self.nsm_offset_s, &NSM_OFFSETS_S, rng);
                self.parent.options = vec!["--nsm-clock-offset-s".to_owned(), self.nsm_offset_s.to_string()];
                self.replace_signer(server)
            }
            // Faults of clients happen elsewhere.
            Kind::SocketsCut
            | Kind::SlowReaders
            | Kind::SlowWriters
            | Kind::StalledHandshakes
            | Kind::BadRequests => Ok(()),
        }
    }

    /// Kills the signer and starts another in its place, which has no keys.
    pub(crate) fn replace_signer(&mut self, server: &Server) -> Result<(), Failure> {
        let down = self.journal.open(Span::Down);
        let _ = self.signer.stop();
        self.journal.end_life();
        self.start_signer(server)?;
        self.journal.close(down);
        Ok(())
    }

    /// Starts a proxy in the place of one that is gone.
    fn start_proxy(&mut self, server: &Server) -> Result<(), Failure> {
        let listen = format!("tcp:{}", server.address());
        let started = Instant::now();
        loop {
            match self.parent.start_proxy(&self.proxy_program, &listen) {
                Ok((proxy, _)) => {
                    self.proxy = proxy;
                    return Ok(());
                }
                Err(failure) if started.elapsed() > BOOT => return Err(failure),
                // A client may have got the port as its own meanwhile.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn start_signer(&mut self, server: &Server) -> Result<(), Failure> {
        self.journal.begin_life();
        self.signer = self.parent.start_enclave()?;
        self.becomes_ready(server)
    }

    fn becomes_ready(&mut self, server: &Server) -> Result<(), Failure> {
        let started = Instant::now();
        while server.is_well().is_err() {
            if !self.signer.is_running() || started.elapsed() > BOOT {
                let output = self.signer.output();
                return fail(format!("the signer is not ready:\n{}", String::from_utf8_lossy(&output)));
            }
            thread::sleep(Duration::from_millis(5));
        }
        // The first document takes a software NSM of a debug build long. One that is there is shared for a minute.
        let _ = server.send(&Request::new("GET", "/.well-known/attestation"));
        Ok(())
    }

    fn fail_kms(&mut self, how: &str, lasts: Duration) -> Result<(), Failure> {
        let down = self.journal.open(Span::KeyServiceDown);
        self.parent.kms.fail_next("*", how, ALL_CALLS, 0)?;
        thread::sleep(lasts);
        self.parent.kms.recover()?;
        self.journal.close(down);
        Ok(())
    }

    /// Limits the size of what the proxy writes, so that each write fails as on a full disk. That takes no right that a
    /// test does not have, as a file system of its own would.
    fn limit_files(&self, bytes: &str) -> Result<(), Failure> {
        let status = Command::new("prlimit")
            .args(["--pid", &self.proxy.pid().to_string()])
            .arg(format!("--fsize={bytes}:unlimited"))
            .status()?;
        ensure(status.success(), || format!("prlimit: {status}"))
    }

    /// Ends the signer by SIGTERM while requests are on the way, and starts another. With `to_the_deadline` one request
    /// is not over when the drain has to be.
    fn drain(&mut self, server: &Server, to_the_deadline: bool, rng: &mut StdRng) -> Result<(), Failure> {
        let identity = new_uuid(rng);
        let public_key = server.signer().generated(&identity)?;
        self.journal.history().known_keys.insert(identity.clone(), public_key);
        let secret = &server.secrets.ticket_secret;
        let mut begun = Vec::new();
        for _ in 0..BEGUN_REQUESTS {
            let request = SignRequest::new(&identity, secret, false, rng);
            let bytes = request.bytes(server.api_key());
            let (first, rest) = bytes.split_at(bytes.len() - MISSING_BYTES);
            let began = self.journal.now();
            let mut connection = server.connect()?;
            let connected = self.journal.now();
            connection.send(first)?;
            begun.push((request, connection, [began, connected, self.journal.now()], rest.to_vec()));
        }
        thread::sleep(ARRIVAL);

        let draining = self.journal.open(Span::Drain);
        self.signer.terminate()?;
        thread::sleep(ARRIVAL);
        // Its body may take as long as a drain, which has begun before.
        let holder = if to_the_deadline { Some(begin_and_stall(server, rng)?) } else { None };
        for (request, mut connection, [began, connected, sent], rest) in begun {
            let answer = connection.send(&rest).and_then(|()| connection.receive_for("POST", PATIENCE));
            let ended = self.journal.now();
            let outcome = match answer {
                Ok(response) => Outcome::Answered { status: response.status, body: response.text() },
                Err(failure) => Outcome::Cut(failure.to_string()),
            };
            self.journal.note(Exchange {
                request: request.request(),
                way: Way::Begun,
                began,
                connected: Some(connected),
                sent: Some(sent),
                ended,
                outcome,
            });
        }
        let status = self.signer.ended_within(DRAIN);
        let down = self.journal.open(Span::Down);
        self.journal.close(draining);
        drop(holder);
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => self.journal.notice(RULE, format!("it ends with {status}")),
            Err(failure) => self.journal.notice(RULE, failure.to_string()),
        }
        let _ = self.signer.stop();
        self.journal.end_life();
        self.start_signer(server)?;
        self.journal.close(down);
        Ok(())
    }
}

/// A request whose body does not come, and which the signer ends only when the drain has to be over.
fn begin_and_stall(server: &Server, rng: &mut StdRng) -> Result<Connection, Failure> {
    let mut connection = server.connect()?;
    let request = SignRequest::new(&new_uuid(rng), &server.secrets.ticket_secret, false, rng);
    let bytes = request.bytes(server.api_key());
    connection.send(&bytes[..bytes.len() - 1])?;
    Ok(connection)
}

/// A program that starts the proxy with SIGXFSZ ignored: where files are limited in size, it ends a process otherwise,
/// as a full disk does not.
fn write_launcher(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("proxy.sh");
    let proxy = binaries().proxy.display().to_string();
    let mut file = fs::File::create(&path)?;
    writeln!(file, "#!/bin/sh\ntrap '' XFSZ\nexec '{proxy}' \"$@\"")?;
    file.set_permissions(fs::Permissions::from_mode(0o700))?;
    Ok(path)
}
