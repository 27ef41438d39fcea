//! The enclave's configuration: the measured `nitro.toml`, the parent's boot file, and the checks of secrets.
//!
//! `nitro.toml` decides which systems the enclave trusts and how much it serves. The image contains the file, so it is
//! measured. The signer and `signerctl` read both files with this crate.

#![forbid(unsafe_code)]

mod acme;
mod amazon_roots;
mod api_keys;
mod boot_file;
mod generation;
mod https_url;
mod key_arn;
mod limits;
mod rate_limits;
mod region;
mod table;
pub mod tls_pair;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use enclave_core::{KeySlot, NonceSlot, PaceSlot};
use rustls::RootCertStore;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, DnsName};
use toml::Value;
use transport::VSOCK_KERNEL_BYTES;

use self::table::{Document, MISSING, Source, error};

pub use self::acme::Acme;
pub use self::api_keys::{ApiKeyRole, INTERNAL_API_KEY, MAX_API_KEYS, Operation, Role};
pub use self::boot_file::{
    BootFile, BootSecret, InvalidBootFile, InvalidSecret, LineError, MAX_BOOT_FILE_BYTES,
    PREVIOUS_TICKET_SIGNING_SECRET, PlainSecret, SecretCiphertext, TICKET_SIGNING_SECRET, TlsVariables,
    check_secret, context_of,
};
pub use self::generation::{Generation, Generations, InvalidGeneration, WrongGeneration};
pub use self::https_url::{HttpsUrl, NoHttpsUrl};
pub use self::key_arn::{InvalidKeyArn, KeyArn};
pub use self::limits::{Capacity, Deadlines, Limits};
pub use self::rate_limits::RateLimits;
pub use self::region::{Partition, Region, UnknownRegion};

/// The committed file has 3 KiB; 16 trust anchors have 32 KiB.
pub const MAX_CONFIGURATION_BYTES: usize = 64 * 1024;

/// One key for each year of a decade of rotations, and some to spare.
const MAX_KEY_ARNS: usize = 16;

/// More roots than an operator lists by hand. Amazon has five.
const MAX_TRUST_ANCHORS: usize = 16;

/// The name identifies the enclave to `nitro-cli` and in logs.
const MAX_NAME_BYTES: usize = 64;

/// One for each way in which clients reach the signer. A client reads all of them in each handshake.
const MAX_SERVER_NAMES: usize = 16;

/// The limit of DNS (RFC 1035 §2.3.4), for the written form.
const MAX_SERVER_NAME_BYTES: usize = 253;

/// The virtual CPUs of the largest instances.
const CPU_COUNTS: RangeInclusive<u32> = 1..=1024;

/// From the minimum of the kernel driver to 4 TiB.
const MEMORY_MIB: RangeInclusive<u32> = 64..=1 << 22;

/// `VMADDR_PORT_ANY` is above it.
const PORTS: RangeInclusive<u32> = 1..=u32::MAX - 1;

/// The port on which the parent waits for the heartbeat of a starting enclave. No port of the file may equal it.
/// Source: `eif_loader/src/lib.rs` of aws-nitro-enclaves-cli.
pub const HEARTBEAT_PORT: u32 = 9000;

/// The default port of log lines.
pub const DEFAULT_LOG_PORT: u32 = 7103;

/// The body of a request, and the memory of its parsed form.
const BYTES_PER_REQUEST: u64 = 32 * 1024;

/// Request heads, and the kernel's memory for the socket.
const BYTES_PER_CONNECTION: u64 = 32 * 1024 + VSOCK_KERNEL_BYTES;

/// The maximum that rustls buffers for a connection: incomplete handshakes or records, and unsent answers.
const TLS_BYTES_PER_CONNECTION: u64 = 128 * 1024;

/// A PCR is a SHA-384 digest.
const PCR_BYTES: usize = 48;

/// The content of `nitro.toml`.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The enclave's name: 1 to 64 of `a` to `z`, `0` to `9` and `-`.
    pub name: String,
    /// The resources that `nitro-cli` gives the enclave.
    pub enclave: Enclave,
    /// The vsock ports of the enclave and of the parent.
    pub vsock: Vsock,
    /// The KMS to use.
    pub kms: Kms,
    /// The source of each boot secret.
    pub secrets: Secrets,
    /// The 1 to 8 API keys, without duplicates; `INTERNAL_API_KEY` first.
    pub api_keys: Vec<ApiKeyRole>,
    /// The TLS mode for clients.
    pub tls: TlsMode,
    /// Whether the parent's proxy announces the address of each client, by the PROXY protocol.
    pub proxy_protocol: bool,
    /// The capacity of the signer.
    pub capacity: Capacity,
    /// The limits for clients. Keys that the file omits have their defaults.
    pub limits: Limits,
    /// The limits for signatures and generated keys.
    pub rate_limits: RateLimits,
    /// The measurements of the image. The measured copy has none, since it would have to contain its own hash.
    pub pcr: Pcrs,
}

/// The resources that `nitro-cli` gives the enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enclave {
    /// Virtual CPUs.
    pub cpu_count: u32,
    /// Memory, including the image's own files.
    pub memory_mib: u32,
}

/// The vsock ports, without duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vsock {
    /// Where the enclave listens for clients.
    pub enclave_app_port: u32,
    /// Reserved for metrics: nothing listens on it yet.
    pub admin_port: u32,
    /// Where the enclave listens for ACME validators, and for no other client.
    pub acme_challenge_port: u32,
    /// Where the parent relays bytes to KMS.
    pub kms_proxy_port: u32,
    /// Where the parent relays bytes to the instance metadata service.
    pub imds_port: u32,
    /// Where the parent sends the boot file.
    pub boot_port: u32,
    /// Where the parent receives log lines.
    pub log_port: u32,
    /// Where the parent relays bytes to the ACME server.
    pub acme_port: u32,
    /// Where the parent sends the stored, sealed certificate.
    pub certificate_store_port: u32,
    /// Where the parent receives the sealed certificate to store.
    pub certificate_store_write_port: u32,
}

/// The KMS to use.
#[derive(Debug, Clone)]
pub struct Kms {
    /// Its region.
    pub region: Region,
    /// The key that seals and opens backups. All keys here are in this region.
    pub sealing_key_arn: KeyArn,
    /// The 1 to 16 keys that may encrypt boot secrets, without duplicates.
    pub boot_secret_key_arns: Vec<KeyArn>,
    /// Up to 16 more keys that only open backups, without duplicates.
    pub opening_key_arns: Vec<KeyArn>,
    /// Roots that replace Amazon's.
    pub trust_anchors: Option<Vec<CertificateDer<'static>>>,
}

impl Kms {
    /// The host to connect to with TLS.
    #[must_use]
    pub fn endpoint_host(&self) -> String {
        format!("kms.{}.{}", self.region, self.region.partition().dns_suffix())
    }

    /// The roots that vouch for that host: `trust_anchors`, or Amazon's. `None` if an anchor is not the certificate of
    /// an authority.
    #[must_use]
    pub fn roots(&self) -> Option<RootCertStore> {
        self.trust_anchors.as_deref().map_or_else(|| Some(amazon_roots::amazon_roots()), store_of)
    }

    /// The keys that open backups: the sealing key first.
    #[must_use]
    pub fn backup_key_arns(&self) -> Vec<KeyArn> {
        [std::slice::from_ref(&self.sealing_key_arn), &self.opening_key_arns].concat()
    }

    /// The keys of all purposes, each once: the sealing key first.
    #[must_use]
    pub fn key_arns(&self) -> Vec<KeyArn> {
        let mut key_arns = self.backup_key_arns();
        for key_arn in &self.boot_secret_key_arns {
            if !key_arns.contains(key_arn) {
                key_arns.push(key_arn.clone());
            }
        }
        key_arns
    }
}

/// The source of each boot secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secrets {
    /// The source of `INTERNAL_API_KEY` and every other API key.
    pub internal_api_key: SecretSource,
    /// The source of `TICKET_SIGNING_SECRET` and the previous one.
    pub ticket_signing_secret: SecretSource,
    /// The generations of secrets that KMS opens, including the TLS key.
    pub generations: Generations,
}

/// The source of a boot secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSource {
    /// `env`: in plaintext in the boot file. Root on the parent can read and change it.
    Env,
    /// `kms`: as a ciphertext in the boot file. Only an administrator can make it, and only the enclave can open it.
    Kms,
}

/// The TLS mode for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// `off`: without TLS. Every system on the path can read and change the bytes.
    Off,
    /// `self-signed`: with a key and a certificate that the enclave makes when it starts.
    SelfSigned {
        /// 1 to 16 DNS names for the certificate, without duplicates.
        server_names: Vec<String>,
    },
    /// `provided`: with a certificate from the boot file, whose key KMS decrypts.
    Provided,
    /// `acme`: with a certificate that the enclave orders, for a key that it makes.
    Acme(Acme),
}

/// The SHA-384 measurements of an image. A PCR is `None` until the build writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pcrs {
    /// PCR0: the whole image.
    pub pcr0: Option<[u8; PCR_BYTES]>,
    /// PCR1: kernel and first file system.
    pub pcr1: Option<[u8; PCR_BYTES]>,
    /// PCR2: the application.
    pub pcr2: Option<[u8; PCR_BYTES]>,
}

/// Why a text is not a valid configuration, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidConfiguration {
    /// The text is longer than [`MAX_CONFIGURATION_BYTES`].
    TooLong,
    /// The text is not TOML.
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The rule of the grammar that is violated; nothing of the text.
        reason: String,
    },
    /// An unknown key.
    UnknownKey {
        /// Counted from 1.
        line: usize,
        /// The key, if it is short and needs no quotes.
        key: Option<String>,
    },
    /// The value of a key is missing or invalid.
    Value {
        /// Such as `kms.opening_key_arns[1]`.
        key: String,
        /// The problem; nothing of the value.
        error: String,
    },
    /// `kms.key_arns` of an earlier version, which had one list of keys for all purposes.
    OldKeyList {
        /// The keys in the list; empty if the value is not a list of keys.
        key_arns: Vec<KeyArn>,
    },
}

impl fmt::Display for InvalidConfiguration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "longer than {} KiB", MAX_CONFIGURATION_BYTES / 1024),
            Self::Syntax { line, reason } => write!(formatter, "line {line}: not TOML: {reason}"),
            Self::UnknownKey { line, key: Some(key) } => write!(formatter, "line {line}: unknown key {key}"),
            Self::UnknownKey { line, key: None } => write!(formatter, "line {line}: unknown key"),
            Self::Value { key, error } => write!(formatter, "{key}: {error}"),
            Self::OldKeyList { .. } => formatter.write_str(
                "kms.key_arns: replaced: its key that KMS_KEY_ARN of the boot file names, or else its first, becomes \
                 sealing_key_arn, and the others opening_key_arns",
            ),
        }
    }
}

impl std::error::Error for InvalidConfiguration {}

impl Configuration {
    /// Reads the text of `nitro.toml`.
    ///
    /// # Errors
    /// [`InvalidConfiguration`]
    pub fn parse(text: &str) -> Result<Self, InvalidConfiguration> {
        let document = Document::read(text)?;
        document.version.required_number("version", 1..=1)?;
        let enclave = Enclave {
            cpu_count: document.enclave.cpu_count.required_number("enclave.cpu_count", CPU_COUNTS)?,
            memory_mib: document.enclave.memory_mib.required_number("enclave.memory_mib", MEMORY_MIB)?,
        };
        let (capacity, limits) = limits(&document.limits)?;
        let rate_limits = rate_limits::rate_limits(&document.rate_limits)?;
        let tls = tls(&document)?;
        check_memory(enclave, capacity, limits, rate_limits, &tls)?;
        Ok(Self {
            name: name(&document.name)?,
            enclave,
            vsock: vsock(&document.vsock)?,
            kms: kms(&document.kms)?,
            secrets: Secrets {
                internal_api_key: source(
                    &document.secrets.internal_api_key,
                    "secrets.internal_api_key",
                    SecretSource::Env,
                )?,
                ticket_signing_secret: source(
                    &document.secrets.ticket_signing_secret,
                    "secrets.ticket_signing_secret",
                    SecretSource::Kms,
                )?,
                generations: generations(&document.secrets)?,
            },
            api_keys: api_keys::api_keys(&document.api_keys)?,
            tls,
            proxy_protocol: document.http.proxy_protocol.flag("http.proxy_protocol")?.unwrap_or(false),
            capacity,
            limits,
            rate_limits,
            pcr: Pcrs {
                pcr0: pcr(&document.pcr.pcr0, "pcr.PCR0")?,
                pcr1: pcr(&document.pcr.pcr1, "pcr.PCR1")?,
                pcr2: pcr(&document.pcr.pcr2, "pcr.PCR2")?,
            },
        })
    }
}

fn name(source: &Source) -> Result<String, InvalidConfiguration> {
    let name = source.required_text("name")?;
    let is_name_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_name_byte) {
        return Err(error("name", "not 1 to 64 of a to z, 0 to 9 and -"));
    }
    Ok(name.to_owned())
}

fn vsock(table: &table::Vsock) -> Result<Vsock, InvalidConfiguration> {
    let mut seen: Vec<(&str, u32)> = Vec::new();
    let mut port = |source: &Source, key: &'static str, default| {
        let port = source.number(key, PORTS)?.unwrap_or(default);
        if port == HEARTBEAT_PORT {
            return Err(error(key, "the port of nitro-cli's heartbeat"));
        }
        if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == port) {
            return Err(error(key, &format!("the same port as {other}")));
        }
        seen.push((key, port));
        Ok(port)
    };
    Ok(Vsock {
        enclave_app_port: port(&table.enclave_app_port, "vsock.enclave_app_port", 5000)?,
        admin_port: port(&table.admin_port, "vsock.admin_port", 5001)?,
        acme_challenge_port: port(&table.acme_challenge_port, "vsock.acme_challenge_port", 5002)?,
        kms_proxy_port: port(&table.kms_proxy_port, "vsock.kms_proxy_port", 7100)?,
        imds_port: port(&table.imds_port, "vsock.imds_port", 7101)?,
        boot_port: port(&table.boot_port, "vsock.boot_port", 7102)?,
        log_port: port(&table.log_port, "vsock.log_port", DEFAULT_LOG_PORT)?,
        acme_port: port(&table.acme_port, "vsock.acme_port", 7104)?,
        certificate_store_port: port(&table.certificate_store_port, "vsock.certificate_store_port", 7105)?,
        certificate_store_write_port: port(
            &table.certificate_store_write_port,
            "vsock.certificate_store_write_port",
            7106,
        )?,
    })
}

fn kms(table: &table::Kms) -> Result<Kms, InvalidConfiguration> {
    let region: Region = table
        .region
        .required_text("kms.region")?
        .parse()
        .map_err(|reason: UnknownRegion| error("kms.region", &reason.to_string()))?;
    if table.key_arns.value().is_some() {
        let listed = key_arns(&table.key_arns, "kms.key_arns", 1, &region).ok().flatten();
        return Err(InvalidConfiguration::OldKeyList { key_arns: listed.unwrap_or_default() });
    }
    const SEALING: &str = "kms.sealing_key_arn";
    let sealing = table.sealing_key_arn.value().ok_or_else(|| error(SEALING, MISSING))?;
    let sealing_key_arn = key_arn(sealing, SEALING, &region)?;
    const OPENING: &str = "kms.opening_key_arns";
    let opening_key_arns = key_arns(&table.opening_key_arns, OPENING, 0, &region)?.unwrap_or_default();
    if let Some(index) = opening_key_arns.iter().position(|arn| *arn == sealing_key_arn) {
        return Err(error(
            &format!("{OPENING}[{index}]"),
            "the sealing key, which already opens backups: remove it here",
        ));
    }
    let boot_secret = key_arns(&table.boot_secret_key_arns, "kms.boot_secret_key_arns", 1, &region)?;
    Ok(Kms {
        boot_secret_key_arns: boot_secret.unwrap_or_else(|| vec![sealing_key_arn.clone()]),
        sealing_key_arn,
        opening_key_arns,
        trust_anchors: trust_anchors(&table.trust_anchors, "kms.trust_anchors")?,
        region,
    })
}

/// The keys of a list with at least `least` entries; `None` if the file has no such list.
fn key_arns(
    list: &Source,
    name: &str,
    least: usize,
    region: &Region,
) -> Result<Option<Vec<KeyArn>>, InvalidConfiguration> {
    if list.value().is_none() {
        return Ok(None);
    }
    let values = list.required_list(name)?;
    if values.len() < least || values.len() > MAX_KEY_ARNS {
        return Err(error(name, &format!("not {least} to {MAX_KEY_ARNS} ARNs")));
    }
    let mut key_arns = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let key = format!("{name}[{index}]");
        let key_arn = key_arn(value, &key, region)?;
        if key_arns.contains(&key_arn) {
            return Err(error(&key, "named twice"));
        }
        key_arns.push(key_arn);
    }
    Ok(Some(key_arns))
}

fn key_arn(value: &Value, key: &str, region: &Region) -> Result<KeyArn, InvalidConfiguration> {
    let key_arn = value.as_str().and_then(|text| text.parse::<KeyArn>().ok());
    match key_arn.filter(|key_arn| key_arn.region() == region) {
        Some(key_arn) if key_arn.is_the_examples() => {
            Err(error(key, "still the example: write the ARN of your KMS key"))
        }
        Some(key_arn) => Ok(key_arn),
        None => Err(error(key, &format!("not the ARN of a KMS key in {region}"))),
    }
}

/// A store of these roots; `None` if one of them is not the certificate of an authority.
fn store_of(anchors: &[CertificateDer<'static>]) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    anchors.iter().try_for_each(|anchor| store.add(anchor.clone())).ok()?;
    Some(store)
}

fn trust_anchors(
    source: &Source,
    list: &str,
) -> Result<Option<Vec<CertificateDer<'static>>>, InvalidConfiguration> {
    let texts = match source.value() {
        None => return Ok(None),
        Some(Value::String(text)) => vec![(list.to_owned(), text)],
        Some(Value::Array(values)) => {
            let mut texts = Vec::new();
            for (index, value) in values.iter().enumerate() {
                let key = format!("{list}[{index}]");
                let Value::String(text) = value else { return Err(error(&key, "not text")) };
                texts.push((key, text));
            }
            texts
        }
        Some(_) => return Err(error(list, "neither text nor a list of texts")),
    };
    let mut anchors = Vec::new();
    for (key, text) in texts {
        let before = anchors.len();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let Ok((SectionKind::Certificate, der)) = section else {
                return Err(error(&key, "not only certificates in PEM"));
            };
            let certificate = CertificateDer::from(der);
            // Refused here, because rustls would refuse it only at the first connection.
            if RootCertStore::empty().add(certificate.clone()).is_err() {
                return Err(error(&key, "not a certificate of X.509"));
            }
            anchors.push(certificate);
        }
        if anchors.len() == before {
            return Err(error(&key, "not only certificates in PEM"));
        }
    }
    if anchors.is_empty() || anchors.len() > MAX_TRUST_ANCHORS {
        return Err(error(list, &format!("not 1 to {MAX_TRUST_ANCHORS} certificates")));
    }
    Ok(Some(anchors))
}

fn source(value: &Source, key: &str, default: SecretSource) -> Result<SecretSource, InvalidConfiguration> {
    match value.text(key)? {
        None => Ok(default),
        Some("env") => Ok(SecretSource::Env),
        Some("kms") => Ok(SecretSource::Kms),
        Some(_) => Err(error(key, "neither env nor kms")),
    }
}

fn generations(table: &table::Secrets) -> Result<Generations, InvalidConfiguration> {
    const OLDEST: &str = "secrets.oldest_generation";
    let generation = |source: &Source, key| {
        source.number(key, 1..=u32::MAX).map(|number| number.and_then(Generation::new))
    };
    let own = generation(&table.generation, "secrets.generation")?;
    let oldest = generation(&table.oldest_generation, OLDEST)?;
    match (own, oldest) {
        (None, Some(_)) => Err(error(OLDEST, "only with secrets.generation")),
        (Some(own), Some(oldest)) if own < oldest => Err(error(OLDEST, "higher than secrets.generation")),
        _ => Ok(Generations { own, oldest }),
    }
}

fn tls(document: &Document) -> Result<TlsMode, InvalidConfiguration> {
    const MODE: &str = "tls.mode";
    let (source, name) = (&document.tls.server_names, &document.name);
    let mode = match document.tls.mode.text(MODE)?.unwrap_or("off") {
        "off" => TlsMode::Off,
        "self-signed" => TlsMode::SelfSigned { server_names: server_names(source, name)? },
        "provided" => TlsMode::Provided,
        // The enclave's own name is not in the public DNS.
        "acme" if source.value().is_none() => return Err(error(SERVER_NAMES, MISSING)),
        "acme" => TlsMode::Acme(acme::acme(&document.acme, server_names(source, name)?)?),
        _ => return Err(error(MODE, "neither off, self-signed, provided nor acme")),
    };
    if matches!(mode, TlsMode::Off | TlsMode::Provided) && source.value().is_some() {
        return Err(error(
            SERVER_NAMES,
            "only for tls.mode = \"self-signed\" or \"acme\": remove it, or change the mode",
        ));
    }
    if !matches!(mode, TlsMode::Acme(_)) && document.acme.is_there() {
        return Err(error("acme", "only for tls.mode = \"acme\""));
    }
    Ok(mode)
}

const SERVER_NAMES: &str = "tls.server_names";

/// The names of the list; by default, the enclave's own name.
fn server_names(source: &Source, name: &Source) -> Result<Vec<String>, InvalidConfiguration> {
    if source.value().is_none() {
        let name = name.required_text("name")?;
        if DnsName::try_from(name).is_err() {
            return Err(error(
                SERVER_NAMES,
                "missing, and the default, the enclave's name, is not a DNS name",
            ));
        }
        return Ok(vec![name.to_owned()]);
    }
    let values = source.required_list(SERVER_NAMES)?;
    if values.is_empty() || values.len() > MAX_SERVER_NAMES {
        return Err(error(SERVER_NAMES, &format!("not 1 to {MAX_SERVER_NAMES} DNS names")));
    }
    let mut names: Vec<String> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let refuse = |reason: &str| Err(error(&format!("{SERVER_NAMES}[{index}]"), reason));
        let Some(name) = value.as_str().filter(|name| is_server_name(name)) else {
            return refuse("not a DNS name in lower case, without a wildcard or a final dot");
        };
        if names.iter().any(|known| known == name) {
            return refuse("named twice");
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Only one spelling is accepted, so that a certificate has each name once.
fn is_server_name(name: &str) -> bool {
    name.len() <= MAX_SERVER_NAME_BYTES
        && !name.ends_with('.')
        && !name.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_')
        && DnsName::try_from(name).is_ok()
}

fn limits(table: &table::Limits) -> Result<(Capacity, Limits), InvalidConfiguration> {
    let mut capacity = Capacity::default();
    let mut limits = Limits::default();
    if let Some(keys) = table.max_keys.number("limits.max_keys", Capacity::KEYS)? {
        capacity.max_keys = keys;
    }
    if let Some(nonces) = table.max_nonces.number("limits.max_nonces", Capacity::NONCES)? {
        capacity.max_nonces = nonces;
    }
    if let Some(ttl_s) = table.max_ticket_ttl_s.number("limits.max_ticket_ttl_s", Capacity::TICKET_TTL_S)? {
        capacity.max_ticket_ttl_s = ttl_s;
    }
    let most = *Limits::CONNECTIONS.end();
    if let Some(connections) = table.max_connections.number("limits.max_connections", Limits::CONNECTIONS)? {
        limits.max_connections = connections as usize;
        limits.max_requests_in_flight = limits.max_requests_in_flight.min(connections);
    }
    const REQUESTS: &str = "limits.max_requests_in_flight";
    if let Some(requests) = table.max_requests_in_flight.number(REQUESTS, 1..=most)? {
        if requests as usize > limits.max_connections {
            return Err(error(REQUESTS, "more than limits.max_connections"));
        }
        limits.max_requests_in_flight = requests;
    }
    if let Some(idle_s) = table.idle_timeout_s.number("limits.idle_timeout_s", Deadlines::IDLE_TIMEOUT_S)? {
        limits.deadlines.idle = Duration::from_secs(idle_s.into());
    }
    const LIFETIME: &str = "limits.connection_lifetime_s";
    if let Some(lifetime_s) = table.connection_lifetime_s.number(LIFETIME, Limits::CONNECTION_LIFETIME_S)? {
        limits.connection_lifetime = Duration::from_secs(lifetime_s.into());
    }
    const REQUESTS_EACH: &str = "limits.max_requests_per_connection";
    let requests = &table.max_requests_per_connection;
    if let Some(requests) = requests.number(REQUESTS_EACH, Limits::REQUESTS_PER_CONNECTION)? {
        limits.max_requests_per_connection = requests;
    }
    Ok((capacity, limits))
}

/// Checks the memory for the limits. An enclave with too little would start, and be killed under load.
fn check_memory(
    enclave: Enclave,
    capacity: Capacity,
    limits: Limits,
    rate_limits: RateLimits,
    tls: &TlsMode,
) -> Result<(), InvalidConfiguration> {
    let pace_bytes = rate_limits.signatures_per_second_per_identity.map_or(0, |_| size_of::<PaceSlot>());
    let keys = u64::from(capacity.max_keys) * (size_of::<KeySlot>() + pace_bytes) as u64;
    let nonces = u64::from(capacity.max_nonces) * size_of::<NonceSlot>() as u64;
    let requests = u64::from(limits.max_requests_in_flight) * BYTES_PER_REQUEST;
    let tls_bytes = if *tls == TlsMode::Off { 0 } else { TLS_BYTES_PER_CONNECTION };
    let connections = limits.max_connections as u64 * (BYTES_PER_CONNECTION + tls_bytes);
    let bytes = keys + nonces + requests + connections;
    if bytes > u64::from(enclave.memory_mib) << 20 {
        let line = format!(
            "take {} MiB, more than enclave.memory_mib, which is {}: lower the limits, or raise it",
            bytes.div_ceil(1 << 20),
            enclave.memory_mib
        );
        return Err(error("limits", &line));
    }
    Ok(())
}

fn pcr(source: &Source, key: &str) -> Result<Option<[u8; PCR_BYTES]>, InvalidConfiguration> {
    let Some(hex) = source.text(key)? else { return Ok(None) };
    let mut pcr = [0; PCR_BYTES];
    if hex.len() != 2 * PCR_BYTES || base16ct::mixed::decode(hex, &mut pcr).is_err() {
        return Err(error(key, "not 96 hex digits"));
    }
    Ok(Some(pcr))
}

#[cfg(test)]
mod tests;
