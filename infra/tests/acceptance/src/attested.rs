//! The signer as in production, with a software NSM: `enclave-dev` with a measured `nitro.toml`, the parent's services
//! behind `proxy`, and a KMS that checks what AWS's checks.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha384};

use crate::binaries::binaries;
use crate::contract::{HEALTHY, NOT_READY};
use crate::failure::fail;
use crate::kms::{INSTANCE_ROLE, Key, Kms, REGION};
use crate::process::Process;
use crate::stack::{ONE_SOURCE, Secrets};
use crate::{Failure, Request, Server};

/// How long a boot may take, tries included.
const BOOT: Duration = Duration::from_secs(30);

/// In a parent's folder: the root that the software NSM's documents lead to.
const ATTESTATION_ROOT: &str = "nsm/root.pem";

/// The measurements of `enclave-dev`'s NSM by default.
#[must_use]
pub fn software_pcrs() -> [String; 3] {
    [0, 1, 2]
        .map(|index| hex::encode(Sha384::digest(format!("nitro-signer software NSM PCR{index}").as_bytes())))
}

/// A folder with everything of one parent in it, and its KMS.
pub struct Parent {
    /// The KMS and the metadata service.
    pub kms: Kms,
    /// Our first key.
    pub key: Key,
    /// Our second key, for rotation.
    pub next_key: Key,
    /// The key of an attacker's account.
    pub attackers_key: Key,
    /// The secrets in the boot file.
    pub secrets: Secrets,
    /// Measured.
    pub nitro_toml: NitroToml,
    /// The lines of the boot file.
    pub boot_file: Vec<(String, String)>,
    /// The content on disk in place of the boot file when the signer starts.
    pub boot_file_on_disk: Option<Vec<u8>>,
    /// Where the enclave dials instead of KMS's socket, for a relay that does not just move bytes.
    pub kms_relay: Option<String>,
    /// More for the command line of `enclave-dev`.
    pub options: Vec<String>,
    /// More for the proxy.
    pub routes: Vec<String>,
    directory: tempfile::TempDir,
}

/// The part of `nitro.toml` that differs from test to test.
#[derive(Clone)]
pub struct NitroToml {
    /// `kms.sealing_key_arn`.
    pub sealing_key_arn: String,
    /// `kms.boot_secret_key_arns`; by default the sealing key.
    pub boot_secret_key_arns: Option<Vec<String>>,
    /// `kms.opening_key_arns`.
    pub opening_key_arns: Vec<String>,
    /// `secrets.internal_api_key`.
    pub internal_api_key: &'static str,
    /// `secrets.ticket_signing_secret`.
    pub ticket_signing_secret: &'static str,
    /// More lines under `[secrets]`, for generations.
    pub generations: &'static str,
    /// The lines under `[tls]`.
    pub tls: &'static str,
    /// `limits.max_requests_in_flight`.
    pub max_requests_in_flight: u32,
    /// More tables, whole.
    pub tables: &'static str,
    /// More lines under `[limits]`.
    pub limits: &'static str,
}

/// A running signer with its proxy.
pub struct Attested {
    /// `enclave-dev`.
    pub enclave: Process,
    /// `proxy`, which is all that runs on the parent.
    pub proxy: Process,
    address: SocketAddr,
    secrets: Secrets,
    has_tls: bool,
}

impl Parent {
    /// A parent with the boot file of `docs/deploy.md`, step 4.
    pub fn new() -> Result<Self, Failure> {
        Self::with(INSTANCE_ROLE, &[])
    }

    /// A parent whose metadata service hands out credentials of `role`; `options` are for the emulator.
    pub fn with(role: &str, options: &[&str]) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("attested-").tempdir()?;
        let path = directory.path();
        let pcrs = software_pcrs();
        let (key, next_key) = (Key::ours(path, 1, &pcrs)?, Key::ours(path, 2, &pcrs)?);
        let attackers_key = Key::of_the_attacker(path)?;
        let root = path.join(ATTESTATION_ROOT);
        let kms = Kms::start(path, &[&key, &next_key, &attackers_key], role, &root, options)?;
        Self::over(directory, kms, [key, next_key, attackers_key])
    }

    /// A parent in `directory` with this KMS, which has all the keys: the two of `nitro.toml`, and one that it does not
    /// name.
    pub fn over(
        directory: tempfile::TempDir,
        kms: Kms,
        [key, next_key, attackers_key]: [Key; 3],
    ) -> Result<Self, Failure> {
        let secrets = Secrets::random();
        let ticket_secret = kms.encrypt_boot_secret(&key, "TICKET_SIGNING_SECRET", &secrets.ticket_secret)?;
        let boot_file = [
            ("AWS_REGION", REGION),
            ("KMS_KEY_ARN", &key.arn),
            ("INTERNAL_API_KEY", &secrets.api_key),
            ("TICKET_SIGNING_SECRET_CIPHERTEXT", &ticket_secret),
            ("BRIDGE_LISTEN_PORT", "7001"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let nitro_toml = NitroToml {
            sealing_key_arn: key.arn.clone(),
            boot_secret_key_arns: None,
            opening_key_arns: Vec::new(),
            internal_api_key: "env",
            ticket_signing_secret: "kms",
            generations: "",
            tls: "mode = \"off\"",
            max_requests_in_flight: 1024,
            tables: "",
            limits: "",
        };
        Ok(Self {
            kms,
            key,
            next_key,
            attackers_key,
            secrets,
            nitro_toml,
            boot_file: boot_file.into(),
            boot_file_on_disk: None,
            kms_relay: None,
            options: Vec::new(),
            routes: Vec::new(),
            directory,
        })
    }

    /// The folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the variable `name` of the boot file another value, or takes it out.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.boot_file.retain(|(known, _)| known != name);
        if let Some(value) = value {
            self.boot_file.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Has backups sealed under `key_arn`, in `nitro.toml` and in the boot file.
    pub fn seal_under(&mut self, key_arn: &str) {
        key_arn.clone_into(&mut self.nitro_toml.sealing_key_arn);
        self.set("KMS_KEY_ARN", Some(key_arn));
    }

    /// Kills the KMS and starts one with the same keys in its place, which hands out other credentials.
    pub fn restart_kms(&mut self) -> Result<(), Failure> {
        let _ = self.kms.process.stop();
        let root = self.directory().join(ATTESTATION_ROOT);
        let keys = [&self.key, &self.next_key, &self.attackers_key];
        self.kms = Kms::start(self.directory(), &keys, INSTANCE_ROLE, &root, &[])?;
        Ok(())
    }

    /// Puts a certificate chain and its key, both in PEM, into the boot file as an administrator does.
    pub fn provide_certificate(&mut self, chain: &str, key: &str) -> Result<(), Failure> {
        let ciphertext = self.kms.encrypt_boot_secret(&self.key, "TLS_KEY", key)?;
        self.set("TLS_CERT_CHAIN", Some(&format!("\"{chain}\"")));
        self.set("TLS_KEY_CIPHERTEXT", Some(&ciphertext));
        Ok(())
    }

    /// Writes the boot file, whole, as a running signer may still wait for.
    pub fn write_boot_file(&self) -> Result<(), Failure> {
        let lines: String = self.boot_file.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        Ok(std::fs::write(self.directory().join("env"), lines)?)
    }

    /// Writes `nitro.toml` and the boot file.
    pub fn write_files(&self) -> Result<(), Failure> {
        let NitroToml {
            sealing_key_arn,
            boot_secret_key_arns,
            opening_key_arns,
            internal_api_key,
            ticket_signing_secret,
            generations,
            tls,
            max_requests_in_flight,
            tables,
            limits,
        } = &self.nitro_toml;
        let boot_secret_key_arns = match boot_secret_key_arns {
            Some(key_arns) => format!("boot_secret_key_arns = {}\n", Value::from(key_arns.clone())),
            None => String::new(),
        };
        let text = format!(
            "version = 1\nname = \"acceptance\"\n\
             [enclave]\ncpu_count = 2\nmemory_mib = 512\n\
             [vsock]\n\
             [kms]\nregion = \"{REGION}\"\nsealing_key_arn = \"{sealing_key_arn}\"\n\
             {boot_secret_key_arns}opening_key_arns = {}\ntrust_anchors = [{}]\n\
             [secrets]\ninternal_api_key = \"{internal_api_key}\"\nticket_signing_secret = \"{ticket_signing_secret}\"\n\
             {generations}\n\
             [tls]\n{tls}\n\
             [limits]\nmax_keys = 20000\nmax_nonces = 65536\n\
             max_requests_in_flight = {max_requests_in_flight}\n\
             {limits}\n{tables}\n",
            Value::from(opening_key_arns.clone()),
            Value::from(self.kms.authority_pem.clone()),
        );
        std::fs::write(self.directory().join("nitro.toml"), text)?;
        match &self.boot_file_on_disk {
            None => self.write_boot_file(),
            Some(bytes) => Ok(std::fs::write(self.directory().join("env"), bytes)?),
        }
    }

    fn socket(&self, name: &str) -> String {
        format!("unix:{}", self.directory().join(name).display())
    }

    /// Starts the signer and waits until it listens; it may have no secrets yet.
    pub fn start(&self) -> Result<Attested, Failure> {
        self.write_files()?;
        let (proxy, address) = self.start_proxy(&binaries().proxy, "tcp:127.0.0.1:0")?;
        let enclave = self.start_enclave()?;
        let has_tls = self.nitro_toml.tls != "mode = \"off\"";
        Ok(Attested { enclave, proxy, address, secrets: self.secrets.clone(), has_tls })
    }

    /// Starts the proxy `program`, which listens for clients on the address `listen`; gives where that is.
    pub fn start_proxy(&self, program: &Path, listen: &str) -> Result<(Process, SocketAddr), Failure> {
        let [app, log] = ["app.sock", "log.sock"].map(|name| self.socket(name));
        let routes = [
            format!("{listen}={app}"),
            format!("{}=file:{}", self.socket("boot.sock"), self.directory().join("env").display()),
            format!("{}={}", self.socket("kms-relay.sock"), self.kms.address),
            format!("{}={}", self.socket("imds-relay.sock"), self.kms.imds),
            format!("{log}=stdout:"),
        ];
        let mut arguments: Vec<&str> =
            routes.iter().chain(&self.routes).flat_map(|route| ["--route", route.as_str()]).collect();
        arguments.extend(ONE_SOURCE);
        let mut proxy = Process::start("proxy", program, &arguments, &[])?;
        let address = proxy.ready("proxy: listening on tcp:")?;
        let address = address
            .strip_suffix(&format!(", dialing {app}"))
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Failure::new(address.clone()))?;
        proxy.ready(&format!("proxy: listening on {log}"))?;
        for route in &self.routes {
            let listen = route.split('=').next().unwrap_or_default();
            proxy.ready(&format!("proxy: listening on {listen}"))?;
        }
        Ok((proxy, address))
    }

    /// Starts `enclave-dev`, which listens when this returns.
    pub fn start_enclave(&self) -> Result<Process, Failure> {
        let [app, boot, kms, imds, log] =
            ["app.sock", "boot.sock", "kms-relay.sock", "imds-relay.sock", "log.sock"]
                .map(|name| self.socket(name));
        let [nsm, toml] = ["nsm", "nitro.toml"].map(|name| self.directory().join(name).display().to_string());
        let kms = self.kms_relay.as_ref().unwrap_or(&kms);
        let mut arguments = vec!["--listen", &app, "--nitro-toml", &toml, "--software-nsm", &nsm];
        arguments.extend(["--boot-file", &boot, "--kms", kms, "--imds", &imds, "--log", &log]);
        arguments.extend(self.options.iter().map(String::as_str));
        let mut enclave = Process::start("enclave-dev", &binaries().enclave_dev, &arguments, &[])?;
        enclave.ready(&format!("enclave-dev: listening on {app}"))?;
        Ok(enclave)
    }

    /// Starts the signer while KMS fails, and waits until it waits.
    pub fn start_without_kms(&self) -> Result<Attested, Failure> {
        self.kms.fail_next("Decrypt", "internal", 1000, 0)?;
        let mut attested = self.start()?;
        attested.says("KMS does not give a boot secret yet")?;
        attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)?;
        Ok(attested)
    }

    /// Starts the signer and waits until it is ready.
    pub fn ready(&self) -> Result<Attested, Failure> {
        let mut attested = self.start()?;
        attested.becomes_ready()?;
        Ok(attested)
    }
}

impl Attested {
    /// The server as clients see it.
    #[must_use]
    pub fn server(&self) -> Server {
        let server = Server::at_address(self.address, self.secrets.clone());
        if self.has_tls { server.over_tls() } else { server }
    }

    /// Waits for `/health` to say so; gives how long that took.
    pub fn becomes_ready(&mut self) -> Result<Duration, Failure> {
        let started = Instant::now();
        let server = self.server();
        loop {
            if server.send(&Request::new("GET", "/health")).is(200, HEALTHY).is_ok() {
                return Ok(started.elapsed());
            }
            if !self.enclave.is_running() || started.elapsed() > BOOT {
                return fail(format!(
                    "not ready; the signer says:\n{}",
                    String::from_utf8_lossy(&self.enclave.output())
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the signer has written `text` to its log.
    pub fn says(&mut self, text: &str) -> Result<(), Failure> {
        let started = Instant::now();
        while !String::from_utf8_lossy(&self.enclave.output()).contains(text) {
            if started.elapsed() > BOOT {
                let output = self.enclave.output();
                return fail(format!("`{text}` is not in:\n{}", String::from_utf8_lossy(&output)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for its end, which has to have this exit code, and for the one line that says why.
    pub fn refuses(mut self, code: i32, line: &str) -> Result<(), Failure> {
        let status = self.enclave.ended_within(BOOT)?;
        let output = String::from_utf8_lossy(&self.enclave.stop()).into_owned();
        let refusals: Vec<&str> = output.lines().filter(|said| said.contains("cannot start: ")).collect();
        match refusals[..] {
            [only] if status.code() == Some(code) && only.ends_with(&format!("cannot start: {line}")) => {
                Ok(())
            }
            _ => fail(format!("expected exit code {code} and `{line}`, got {status} and:\n{output}")),
        }
    }
}
