//! The API's client as a Cloudflare Worker, in Cloudflare's own runtime, `workerd`. What a deployed Worker reaches and
//! trusts is not `workerd`'s to decide: `docs/calling-from-cloudflare-workers.md`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use acceptance::attested::Parent;
use acceptance::failure::ensure;
use acceptance::installation::npm;
use acceptance::process::Process;
use acceptance::signer::new_identity;
use acceptance::test_ca::{P256, SERVER, TestCa};
use acceptance::{Exchange, Failure, Request, Server, bip340};
use serde_json::json;
use tempfile::TempDir;

/// The report of `workerd` when it listens, up to the port.
const LISTENING: &str = r#"{"event":"listen","socket":"http","port":"#;

/// A Worker that serves on a loopback port.
struct Worker {
    workerd: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Worker {
    /// Starts a Worker that calls `server` over `scheme`. It trusts certificates of `authority_pem` and no others.
    fn start(server: &Server, scheme: &str, authority_pem: &str) -> Result<Self, Failure> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workerd");
        let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("workerd");
        npm(&packages, &source)?;
        let folder = tempfile::Builder::new().prefix("workerd-").tempdir()?;
        for file in ["config.capnp", "worker.mjs"] {
            fs::copy(source.join(file), folder.path().join(file))?;
        }
        fs::write(folder.path().join("authority.pem"), authority_pem)?;
        let config = folder.path().join("config.capnp").display().to_string();
        // A name: a deployed Worker fetches nothing from an address.
        let base_url = format!("{scheme}://localhost:{}", server.address().port());
        let mut workerd = Process::start(
            "workerd",
            &packages.join("node_modules/@cloudflare/workerd-linux-64/bin/workerd"),
            &["serve", &config, "--control-fd=1"],
            &[
                ("ENCLAVE_BASE_URL", &base_url),
                ("INTERNAL_API_KEY", server.api_key()),
                ("TICKET_SIGNING_SECRET", &server.secrets.ticket_secret),
            ],
        )?;
        let port = workerd.ready(LISTENING)?.trim_end_matches('}').parse()?;
        Ok(Self { workerd, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder })
    }

    /// Asks the Worker for a new key of `identity` and a signature of `digest`.
    fn sign(&self, server: &Server, identity: &str, digest: &[u8; 32]) -> Exchange {
        let body = json!({ "identity_id": identity, "digest": hex::encode(digest) });
        let worker = Server::at_address(self.address, server.secrets.clone());
        worker.send(&Request::new("POST", "/").body(body.to_string()))
    }

    fn signs(&self, server: &Server) -> Result<(), Failure> {
        let digest = rand::random();
        let exchange = self.sign(server, &new_identity(), &digest);
        let answer = exchange.response()?;
        ensure(answer.status == 200, || format!("{} {}", answer.status, answer.text()))?;
        let key = answer.member("public_key")?;
        bip340::verify(&answer.member("signature")?, &digest, bip340::x_only(&key))
    }
}

#[test]
fn a_worker_signs_over_http() -> Result<(), Failure> {
    // Room for one key: a user may be allowed to lock little memory.
    let server = Server::own(&["--max-keys", "1"]);
    let worker = Worker::start(&server, "http", TestCa::new()?.authority_pem())?;
    worker.signs(&server)
}

#[test]
fn a_worker_sends_requests_over_https_only_to_a_certificate_that_it_trusts() -> Result<(), Failure> {
    let (trusted, unknown) = (TestCa::new()?, TestCa::new()?);
    let pair = trusted.issue(P256, SERVER)?;
    let mut parent = Parent::new()?;
    parent.nitro_toml.tls = "mode = \"provided\"";
    parent.provide_certificate(&pair.certificate, &pair.key)?;
    let attested = parent.ready()?;
    let server = attested.server();
    Worker::start(&server, "https", trusted.authority_pem())?.signs(&server)?;

    let mut worker = Worker::start(&server, "https", unknown.authority_pem())?;
    let identity = new_identity();
    let exchange = worker.sign(&server, &identity, &rand::random());
    let answer = exchange.response()?;
    ensure(answer.status == 502, || format!("{} {}", answer.status, answer.text()))?;
    // Only the log has the reason. Both authorities have one name, so the signature is what differs.
    let log = String::from_utf8_lossy(&worker.workerd.stop()).into_owned();
    ensure(log.contains("invalid peer certificate: BadSignature"), || log.clone())?;
    // The identity has no key, so `generate` was not received.
    server.signer().generated(&identity).map(drop)
}
