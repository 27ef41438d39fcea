//! The real image in QEMU's `nitro-enclave` machine, behind the real proxy, with a KMS that checks what AWS's checks.
//!
//! An `EmulatedImage` is a folder with the parts that take minutes to make: the image, QEMU, the device.
//! `infra/emulator/up.sh` fills it. Each enclave that is started from it has a folder, a KMS and a proxy of its own.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::binaries::binaries;
use crate::contract::{HEALTHY, NOT_READY};
use crate::failure::{ensure, fail};
use crate::kms::{Key, Kms, REGION};
use crate::process::Process;
use crate::stack::{ONE_SOURCE, Secrets};
use crate::{Failure, Request, Server};

/// An account that is nobody's example: the tools refuse to render a policy for one.
const ACCOUNT: &str = "444455556666";

const INSTANCE_ROLE: &str = "arn:aws:iam::444455556666:role/nitro-signer-instance";

/// `nitro-cli`'s part of the boot: the byte it waits for and sends back.
const HEARTBEAT: u8 = 0xb7;
const HEARTBEAT_PORT: u32 = 9000;

/// An emulated CPU is slow, and two of them share the machine with whatever else runs.
const BOOT: Duration = Duration::from_secs(120);

/// A folder with an image and all that it takes to start it.
pub struct EmulatedImage {
    folder: PathBuf,
}

impl EmulatedImage {
    /// The one in `folder`, which `infra/emulator/up.sh` filled.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The one that `NITRO_EMULATED_IMAGE` names.
    #[must_use]
    pub fn of_environment() -> Self {
        let folder = std::env::var_os("NITRO_EMULATED_IMAGE");
        Self::at(folder.expect("NITRO_EMULATED_IMAGE is set by infra/emulator/image.test.sh").into())
    }

    /// Writes the measured configuration of the emulator: the committed one, with a key of the emulated KMS and that
    /// KMS's authority, which lasts as long as the folder.
    pub fn write_nitro_toml(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.folder)?;
        let scratch = tempfile::Builder::new().prefix("emulated-image-").tempdir()?;
        let state = self.folder.join("kms-state.json");
        if state.exists() {
            std::fs::copy(&state, scratch.path().join("kms-state.json"))?;
        }
        let nobodys = serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Sid": "Nobody", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"
        }]});
        let key = Key::with_policy(scratch.path(), ACCOUNT, 1, &nobodys.to_string())?;
        let kms = start_kms(scratch.path(), &key)?;
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nitro.toml");
        let text = emulators_nitro_toml(&std::fs::read_to_string(committed)?, &key.arn, &kms.authority_pem)?;
        std::fs::write(self.folder.join("nitro.toml"), text)?;
        std::fs::copy(scratch.path().join("kms-state.json"), state)?;
        Ok(())
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.join("image/nitro-signer.eif")
    }

    /// PCR0 to PCR2 as the build printed them.
    pub fn measurements(&self) -> Result<[String; 3], Failure> {
        let json = std::fs::read(self.folder.join("image/measurements.json"))?;
        let json: Value = serde_json::from_slice(&json)?;
        let pcr = |name: &str| match json["Measurements"][name].as_str() {
            Some(pcr) => Ok(pcr.to_owned()),
            None => fail(format!("no {name} in measurements.json")),
        };
        Ok([pcr("PCR0")?, pcr("PCR1")?, pcr("PCR2")?])
    }

    /// The key policy as the build rendered it.
    pub fn key_policy(&self) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(self.folder.join("image/kms-key-policy.json"))?)
    }

    /// Whether clients speak TLS with the image.
    fn has_tls(&self) -> Result<bool, Failure> {
        let text = std::fs::read_to_string(self.folder.join("image/nitro.toml"))?;
        Ok(!text.lines().any(|line| line == "mode = \"off\""))
    }

    /// A parent instance for the image.
    pub fn parent(&self) -> Result<EmulatedParent, Failure> {
        self.parent_with(&self.key_policy()?, 0)
    }

    /// A parent instance with another policy of the KMS key, that listens on `port`, or on any for 0.
    pub fn parent_with(&self, policy: &str, port: u16) -> Result<EmulatedParent, Failure> {
        let directory = tempfile::Builder::new().prefix("emulated-").tempdir()?;
        let path = directory.path();
        std::fs::copy(self.folder.join("kms-state.json"), path.join("kms-state.json"))?;
        let key = Key::with_policy(path, ACCOUNT, 1, policy)?;
        let kms = start_kms(path, &key)?;
        let secrets = Secrets::random();
        let ticket_secret = kms.encrypt_boot_secret(&key, "TICKET_SIGNING_SECRET", &secrets.ticket_secret)?;
        let boot_file = format!(
            "AWS_REGION={REGION}\nKMS_KEY_ARN={}\nINTERNAL_API_KEY={}\n\
             TICKET_SIGNING_SECRET_CIPHERTEXT={ticket_secret}\nBRIDGE_LISTEN_PORT=7001\n",
            key.arn, secrets.api_key
        );
        std::fs::write(path.join("env"), boot_file)?;

        let device = std::fs::read_to_string(self.folder.join("vhost-device-vsock"))?;
        let vsock = path.join("v.sock").display().to_string();
        let vm = format!("guest-cid=4,socket={},uds-path={vsock}", path.join("vhost.sock").display());
        let device = Process::start("vhost-device-vsock", Path::new(device.trim()), &["--vm", &vm], &[])?;
        let routes = [
            format!("tcp:127.0.0.1:{port}=hybrid:{vsock}:5000"),
            format!("hybrid:{vsock}:7100={}", kms.address),
            format!("hybrid:{vsock}:7101={}", kms.imds),
            format!("hybrid:{vsock}:7102=file:{}", path.join("env").display()),
            format!("hybrid:{vsock}:7103=stdout:"),
        ];
        let mut arguments: Vec<&str> = routes.iter().flat_map(|route| ["--route", route.as_str()]).collect();
        arguments.extend(ONE_SOURCE);
        let mut proxy = Process::start("proxy", &binaries().proxy, &arguments, &[])?;
        let address = proxy.ready("proxy: listening on tcp:")?;
        let address = address.split_once(", dialing").and_then(|(address, _)| address.parse().ok());
        let address = address.ok_or_else(|| Failure::new("the proxy names no address"))?;
        proxy.ready(&format!("proxy: listening on hybrid:{vsock}:7103"))?;
        let heartbeats = Arc::new(AtomicU32::new(0));
        answer_heartbeats(&path.join(format!("v.sock_{HEARTBEAT_PORT}")), Arc::clone(&heartbeats))?;
        let qemu = std::fs::read_to_string(self.folder.join("qemu"))?;
        Ok(EmulatedParent {
            kms,
            key,
            secrets,
            proxy,
            address,
            has_tls: self.has_tls()?,
            heartbeats,
            image: self.image(),
            options: Vec::new(),
            qemu: qemu.lines().map(str::to_owned).collect(),
            device,
            directory,
        })
    }
}

/// `text` with the emulated KMS's region, key and authority in place of what it has under `[kms]`.
fn emulators_nitro_toml(text: &str, key_arn: &str, authority_pem: &str) -> Result<String, Failure> {
    let kms = format!(
        "[kms]\nregion = \"{REGION}\"\nsealing_key_arn = \"{key_arn}\"\ntrust_anchors = [\"\"\"\n{authority_pem}\"\"\"]\n\n"
    );
    let start = text.find("\n[kms]\n").map(|at| at + 1);
    let start = start.ok_or_else(|| Failure::new("nitro.toml has no [kms]"))?;
    let next_table = text[start + 1..].find("\n[").map_or(text.len(), |at| start + 1 + at + 1);
    Ok([&text[..start], &kms, &text[next_table..]].concat())
}

fn start_kms(directory: &Path, key: &Key) -> Result<Kms, Failure> {
    let no_root = directory.join("no-root.pem");
    Kms::start(directory, &[key], INSTANCE_ROLE, &no_root, &["--accept-unsigned-attestation"])
}

/// Answers the heartbeat as `nitro-cli` does. A client that sends another byte gets no answer.
fn answer_heartbeats(path: &Path, heartbeats: Arc<AtomicU32>) -> Result<(), Failure> {
    let listener = UnixListener::bind(path)?;
    // Ends with the process: its socket's folder goes before.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_ok() && byte == [HEARTBEAT] {
                heartbeats.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&byte);
            }
        }
    });
    Ok(())
}

/// A parent instance: the proxy, the boot file, the way to KMS; and a KMS.
pub struct EmulatedParent {
    /// The KMS and the metadata service.
    pub kms: Kms,
    /// The key.
    pub key: Key,
    /// The secrets in the boot file.
    pub secrets: Secrets,
    /// `proxy`.
    pub proxy: Process,
    /// The image that is started.
    pub image: PathBuf,
    /// More for QEMU's command line.
    pub options: Vec<String>,
    address: SocketAddr,
    has_tls: bool,
    heartbeats: Arc<AtomicU32>,
    qemu: Vec<String>,
    /// `vhost-device-vsock`.
    pub device: Process,
    directory: tempfile::TempDir,
}

impl EmulatedParent {
    /// A folder for what belongs to this parent.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection to the signer that does not go by the proxy, when the enclave has taken it.
    pub fn dial(&self) -> Result<UnixStream, Failure> {
        let mut stream = UnixStream::connect(self.directory().join("v.sock"))?;
        stream.set_read_timeout(Some(BOOT))?;
        stream.write_all(b"CONNECT 5000\n")?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        ensure(line.starts_with(b"OK "), || String::from_utf8_lossy(&line).into_owned())?;
        Ok(stream)
    }

    /// The server as clients see it.
    #[must_use]
    pub fn server(&self) -> Server {
        let server = Server::at_address(self.address, self.secrets.clone());
        if self.has_tls { server.over_tls() } else { server }
    }

    /// How many images have said that they are up.
    #[must_use]
    pub fn heartbeats(&self) -> u32 {
        self.heartbeats.load(Ordering::SeqCst)
    }

    /// KMS is gone: what dials it is refused.
    pub fn stop_kms(&mut self) {
        drop(self.kms.process.stop());
    }

    /// Starts KMS again, with the keys that it had.
    pub fn start_kms(&mut self) -> Result<(), Failure> {
        self.kms = start_kms(self.directory.path(), &self.key)?;
        Ok(())
    }

    /// Heartbeats get no answer any more.
    pub fn ignore_heartbeats(&self) -> Result<(), Failure> {
        Ok(std::fs::remove_file(self.directory().join(format!("v.sock_{HEARTBEAT_PORT}")))?)
    }

    /// Switches the enclave on.
    pub fn start(&self) -> Result<EmulatedEnclave, Failure> {
        let [program, options @ ..] = &self.qemu[..] else { return fail("no QEMU") };
        let machine = "nitro-enclave,vsock=c,id=i-0123456789abcdef0-enc0123456789abcdef";
        let chardev = format!("socket,id=c,path={}", self.directory().join("vhost.sock").display());
        let image = self.image.display().to_string();
        let append = unmeasured_cmdline();
        let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
        arguments.extend(["-M", machine, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512M"]);
        arguments.extend(["-nographic", "-no-reboot", "-kernel", &image, "-append", &append]);
        arguments.extend(["-chardev", &chardev]);
        arguments.extend(self.options.iter().map(String::as_str));
        let heartbeats_before = self.heartbeats();
        let started = Instant::now();
        let qemu = Process::start("qemu", Path::new(program), &arguments, &[])?;
        Ok(EmulatedEnclave { qemu, started, heartbeats_before })
    }

    /// Switches the enclave on and waits until it can sign.
    pub fn ready(&self) -> Result<EmulatedEnclave, Failure> {
        let mut enclave = self.start()?;
        self.becomes_ready(&mut enclave)?;
        Ok(enclave)
    }

    /// Waits until it can sign. Dials the guest only after its heartbeat: a client that dials while the device switches
    /// its queues on can make it lose the guest's first notification (`infra/emulator/README.md`).
    pub fn becomes_ready(&self, enclave: &mut EmulatedEnclave) -> Result<(), Failure> {
        let server = self.server();
        let heartbeats_before = enclave.heartbeats_before;
        let is_up = || self.heartbeats() > heartbeats_before;
        while !(is_up() && server.send(&Request::new("GET", "/health")).is(200, HEALTHY).is_ok()) {
            if !enclave.qemu.is_running() || enclave.started.elapsed() > BOOT {
                return fail(format!("not ready; the console says:\n{}", enclave.console()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until the log that the proxy takes has `text` in it, while the enclave is not ready.
    pub fn waits_saying(&self, text: &str) -> Result<(), Failure> {
        self.says(text)?;
        self.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)
    }

    /// Waits until the log that the proxy takes has `text` in it.
    pub fn says(&self, text: &str) -> Result<(), Failure> {
        let started = Instant::now();
        while !self.log().contains(text) {
            ensure(started.elapsed() < BOOT, || format!("`{text}` is not in the log:\n{}", self.log()))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The lines that the enclave sent to its log port.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.proxy.output()).into_owned()
    }
}

/// An enclave that is on.
pub struct EmulatedEnclave {
    /// Its machine.
    pub qemu: Process,
    started: Instant,
    heartbeats_before: u32,
}

impl EmulatedEnclave {
    /// Since it was switched on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The console's output.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.qemu.output()).into_owned()
    }

    /// Waits until it has switched itself off.
    pub fn restarts(&mut self) -> Result<(), Failure> {
        let status = self.qemu.ended_within(BOOT)?;
        ensure(status.success(), || format!("QEMU ended with {status}:\n{}", self.console()))
    }
}

/// Words for the kernel that an emulated machine needs and a real one does not. QEMU does not measure them, just as
/// Nitro does not measure the words that it adds.
///
/// The machine has no keyboard controller to restart by (`reboot=k` of the measured line): a triple fault does it.
/// Timers are not calibrated on a CPU that the host takes away at any moment. The kernel does not overwrite memory that
/// is free: it would touch all of it when it starts, and the host could not see how much the guest uses.
fn unmeasured_cmdline() -> String {
    let mut words = "reboot=t no_timer_check init_on_free=0".to_owned();
    // The guest reads the host's time stamp counter. Its frequency is that of the CPU unless the CPU changes it.
    let is_fixed = !Path::new("/sys/devices/system/cpu/cpu0/cpufreq").exists();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = cpuinfo.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": ")?.1.parse().ok());
    if let Some(mhz) = mhz.filter(|_: &f64| is_fixed) {
        words.push_str(&format!(" tsc=reliable tsc_early_khz={:.0}", mhz * 1000.0));
    }
    words
}
