//! Certificates by ACME: a real ACME server, Debian's `pebble`, the signer as in production with a software NSM, and
//! the parent's `proxy` between them. And servers that are no ACME servers, and parents that do not keep what they
//! should.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use acceptance::Failure;
use acceptance::attested::{Attested, Parent};
use acceptance::binaries::binaries;
use acceptance::failure::{ensure, fail};
use acceptance::pebble::{Behaviour, Pebble, server_certificate};
use acceptance::process::Process;

/// No test waits longer for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(90);

const NAME: &str = "signer.example";
const OTHER_NAME: &str = "signer-2.example";

const ORDERED: &str = "ordered a certificate";
const PRESENTED: &str = "a certificate of the acme server is presented";
const NEW_ACCOUNT: &str = "the acme account is new";
const KEPT_ACCOUNT: &str = "the acme account is the one that was kept";
const KEPT: &str = "the parent keeps the acme account certificate=true";

/// The sockets that the signer listens on: for clients, and for the validators of its names.
const API: &str = "app.sock";
const CHALLENGES: &str = "challenges.sock";

/// A parent, an ACME server that validates through it, and the ports that clients and validators come to.
struct Place {
    parent: Parent,
    pebble: Pebble,
    /// Outlive the signer and its proxy, which get new ports each time.
    _doors: [Process; 2],
    port: u16,
    challenge_port: u16,
}

impl Place {
    fn new(behaviour: &Behaviour) -> Result<Self, Failure> {
        let mut parent = Parent::new()?;
        let (api, port) = door(&parent, API)?;
        let (challenges, challenge_port) = door(&parent, CHALLENGES)?;
        let pebble = Pebble::start(parent.directory(), challenge_port, behaviour)?;
        use_acme(&mut parent, &pebble.address, &pebble.directory, &pebble.authority_pem, &[NAME]);
        Ok(Self { parent, pebble, _doors: [api, challenges], port, challenge_port })
    }

    fn stored(&self) -> PathBuf {
        self.parent.directory().join("certificate")
    }

    /// Starts the signer, which is then ready; what it presents may still change.
    fn start(&self) -> Result<Signer, Failure> {
        let mut attested = self.parent.start()?;
        attested.says(" ready after_ms=")?;
        Ok(Signer { attested, port: self.port })
    }

    /// Starts the signer and waits until it has a certificate, and the parent keeps it.
    fn issued(&self) -> Result<Signer, Failure> {
        let signer = self.start()?;
        signer.says(KEPT, 1)?;
        Ok(signer)
    }
}

/// A running signer, as clients see it.
struct Signer {
    attested: Attested,
    port: u16,
}

impl Signer {
    fn log(&self) -> String {
        String::from_utf8_lossy(&self.attested.enclave.output()).into_owned()
    }

    fn said(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Waits until `text` is in the log so often.
    fn says(&self, text: &str, times: usize) -> Result<(), Failure> {
        let started = Instant::now();
        while self.said(text) < times {
            if started.elapsed() > PATIENCE {
                return fail(format!("`{text}` is not {times} times in:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn never_says(&self, text: &str) -> Result<(), Failure> {
        ensure(self.said(text) == 0, || format!("`{text}` is in:\n{}", self.log()))
    }

    /// The judgement of a client of `name` that trusts `root`; `Ok` if it would go on.
    fn verifies(&self, root: &Path, name: &str) -> Result<(), Failure> {
        let (verified, text) = self.openssl(&[
            "-CAfile",
            &root.display().to_string(),
            "-verify_return_error",
            "-verify_hostname",
            name,
            "-servername",
            name,
        ])?;
        ensure(verified && text.contains("Verify return code: 0 (ok)"), || text)
    }

    /// The certificate that is presented, in PEM.
    fn certificate(&self) -> Result<String, Failure> {
        let (_, text) = self.openssl(&["-servername", NAME])?;
        let begin = text.find("-----BEGIN CERTIFICATE-----");
        let end = text.find("-----END CERTIFICATE-----");
        match (begin, end) {
            (Some(begin), Some(end)) => Ok(text[begin..end].to_owned()),
            _ => fail(text),
        }
    }

    fn openssl(&self, options: &[&str]) -> Result<(bool, String), Failure> {
        openssl(self.port, options)
    }

    /// `/health`, by a client that trusts `root` and nobody else.
    fn health(&self, root: &Path) -> Result<(), Failure> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--resolve"])
            .arg(format!("{NAME}:{}:127.0.0.1", self.port))
            .arg("--cacert")
            .arg(root)
            .arg(format!("https://{NAME}:{}/health", self.port))
            .stdin(Stdio::null())
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure(text == r#"{"ok":true,"service":"nitro-enclave"}"#, || text)
    }
}

fn openssl(port: u16, options: &[&str]) -> Result<(bool, String), Failure> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(options)
        .stdin(Stdio::null())
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// A proxy from a port of its own to the signer's `socket`.
fn door(parent: &Parent, socket: &str) -> Result<(Process, u16), Failure> {
    let route = format!("tcp:127.0.0.1:0=unix:{}", parent.directory().join(socket).display());
    let mut door = Process::start("proxy", &binaries().proxy, &["--route", &route], &[])?;
    let address = door.ready("proxy: listening on tcp:127.0.0.1:")?;
    let port = address.split(',').next().and_then(|port| port.parse().ok());
    Ok((door, port.ok_or_else(|| Failure::new(address.clone()))?))
}

/// Configures ACME for `names`, with the server at `address`.
fn use_acme(parent: &mut Parent, address: &str, directory: &str, anchor: &str, names: &[&str]) {
    let path = |name: &str| parent.directory().join(name).display().to_string();
    let [challenges, acme, store, store_write] = [CHALLENGES, "acme.sock", "store.sock", "store-write.sock"]
        .map(|name| format!("unix:{}", path(name)));
    let certificate = path("certificate");
    parent.routes = vec![
        format!("{acme}={address}"),
        format!("{store}=file:{certificate}"),
        format!("{store_write}=replace:{certificate}"),
    ];
    parent.options = ["--listen-acme", &challenges, "--acme", &acme, "--certificate-store", &store]
        .into_iter()
        .chain(["--certificate-store-write", &store_write])
        .map(str::to_owned)
        .collect();
    parent.nitro_toml.tls = format!(
        "mode = \"acme\"\nserver_names = {names:?}\n\
         [acme]\ndirectory = \"{directory}\"\ncontact = [\"mailto:ops@{NAME}\"]\n\
         terms_of_service_agreed = true\ntrust_anchors = [\"\"\"\n{anchor}\"\"\"]"
    )
    .leak();
}

/// Whether there is anything that looks like a private key in `bytes`.
fn has_a_key(bytes: &[u8]) -> bool {
    // PKCS#8 of P-256, from its version on, and SEC 1 of it; the words of PEM; base64 of the former.
    let markers: [&[u8]; 4] = [
        &[2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1],
        &[2, 1, 1, 4, 0x20],
        b"PRIVATE KEY",
        b"MIGHAgEAMBMGByqGSM49",
    ];
    markers.iter().any(|marker| memchr::memmem::find(bytes, marker).is_some())
}

#[test]
fn a_certificate_is_ordered_presented_and_kept() -> Result<(), Failure> {
    let place = Place::new(&Behaviour { refused_nonces_percent: 15, ..Behaviour::default() })?;
    let signer = place.issued()?;
    signer.verifies(&place.pebble.root, NAME)?;
    signer.health(&place.pebble.root)?;
    ensure(signer.verifies(&place.pebble.root, OTHER_NAME).is_err(), || "it is for any name".to_owned())?;
    ensure(place.pebble.orders() >= 1, || "pebble knows of no order".to_owned())?;
    for (text, times) in [(NEW_ACCOUNT, 1), (ORDERED, 1), (PRESENTED, 1), (KEPT, 1)] {
        ensure(signer.said(text) == times, || format!("not {times} times `{text}`:\n{}", signer.log()))?;
    }
    let account = place.pebble.directory.replace("/dir", "/my-account/");
    ensure(signer.said(&format!("account=\"{account}")) == 1, || signer.log())?;
    // Validators get no answer once nothing is to be validated.
    for port in [place.port, place.challenge_port] {
        let (_, text) = openssl(port, &["-alpn", "acme-tls/1", "-servername", NAME])?;
        ensure(!text.contains("BEGIN CERTIFICATE"), || text.clone())?;
    }
    // And the port for validators is nobody else's.
    let (_, text) = openssl(place.challenge_port, &["-servername", NAME])?;
    ensure(!text.contains("BEGIN CERTIFICATE"), || text.clone())?;
    let mut clear = TcpStream::connect(("127.0.0.1", place.challenge_port))?;
    clear.set_read_timeout(Some(PATIENCE))?;
    clear.write_all(b"GET /health HTTP/1.1\r\nhost: signer.example\r\n\r\n")?;
    let mut said = Vec::new();
    // It may be cut before it has sent all.
    let _ = clear.read_to_end(&mut said);
    ensure(said.is_empty(), || said.escape_ascii().to_string())?;
    // The parent's copy reveals no key.
    let certificate = signer.certificate()?;
    let stored = std::fs::read(place.stored())?;
    let log = signer.attested.enclave.output();
    for (bytes, what) in [(&stored, "file"), (&log, "log"), (&signer.attested.proxy.output(), "proxy's log")]
    {
        ensure(!has_a_key(bytes), || format!("a key is in the {what}"))?;
    }
    let sample = std::fs::read(place.parent.directory().join("pebble/server-key.pem"))?;
    ensure(has_a_key(&sample), || "a key would not be seen".to_owned())?;
    drop(signer);

    // The next one has it before it is ready, and orders nothing.
    let orders = place.pebble.orders();
    let signer = place.start()?;
    signer.health(&place.pebble.root)?;
    ensure(signer.certificate()? == certificate, || "another certificate".to_owned())?;
    signer.says(KEPT_ACCOUNT, 1)?;
    let log = signer.log();
    let (presented, ready) = (log.find(PRESENTED), log.find(" ready after_ms="));
    ensure(presented.is_some() && presented < ready, || log.clone())?;
    signer.never_says(ORDERED)?;
    ensure(place.pebble.orders() == orders, || "it ordered again".to_owned())?;
    ensure(std::fs::read(place.stored())? == stored, || "it was written again".to_owned())
}

#[test]
fn other_names_take_an_order_and_no_account() -> Result<(), Failure> {
    // The server need not validate again what it has validated.
    let mut place = Place::new(&Behaviour { reused_validations_percent: 100, ..Behaviour::default() })?;
    let first = place.issued()?;
    ensure(first.said(NEW_ACCOUNT) == 1, || first.log())?;
    drop(first);
    let Pebble { address, directory, authority_pem, .. } = &place.pebble;
    use_acme(&mut place.parent, address, directory, authority_pem, &[OTHER_NAME, NAME]);
    let signer = place.issued()?;
    signer.verifies(&place.pebble.root, NAME)?;
    signer.verifies(&place.pebble.root, OTHER_NAME)?;
    signer.says(KEPT_ACCOUNT, 1)?;
    signer.never_says(NEW_ACCOUNT)?;
    signer.says("it was ordered for other names", 1)?;
    ensure(signer.said("the acme server may validate name=\"signer-2.example\"") == 1, || signer.log())?;
    ensure(signer.said("the acme server may validate") == 1, || signer.log())
}

#[test]
fn a_certificate_is_renewed_and_an_old_one_is_no_harm() -> Result<(), Failure> {
    let place = Place::new(&Behaviour { validity_s: 60, ..Behaviour::default() })?;
    let signer = place.issued()?;
    let (first, first_stored) = (signer.certificate()?, std::fs::read(place.stored())?);
    signer.says(KEPT, 2)?;
    let (second, second_stored) = (signer.certificate()?, std::fs::read(place.stored())?);
    ensure(first != second && first_stored != second_stored, || "nothing was renewed".to_owned())?;
    signer.verifies(&place.pebble.root, NAME)?;
    ensure(signer.said(NEW_ACCOUNT) == 1, || signer.log())?;
    drop(signer);

    // The parent gives out the older one: it is still valid, or it is renewed.
    std::fs::write(place.stored(), &first_stored)?;
    let signer = place.start()?;
    signer.says(PRESENTED, 1)?;
    signer.says(KEPT, 1)?;
    signer.never_says(NEW_ACCOUNT)?;
    signer.verifies(&place.pebble.root, NAME)
}

#[test]
fn what_the_parent_loses_or_bends_is_ordered_anew() -> Result<(), Failure> {
    let place = Place::new(&Behaviour::default())?;
    drop(place.issued()?);
    let stored = std::fs::read(place.stored())?;
    let mut bent = stored.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    let mut of_another_key = stored.clone();
    // In the data key as KMS wrapped it.
    of_another_key[20] ^= 1;
    let damaged = "what the parent keeps is cut, bent, or not sealed under the sealing key";
    for (content, said) in [
        (None, "the parent keeps no certificate yet"),
        (Some(&b""[..]), "the parent keeps no certificate yet"),
        (Some(&stored[..stored.len() - 1]), damaged),
        (Some(&bent), damaged),
        (Some(&of_another_key), damaged),
        (Some(&vec![1; 100_000]), damaged),
    ] {
        match content {
            None => std::fs::remove_file(place.stored())?,
            Some(content) => std::fs::write(place.stored(), content)?,
        }
        let signer = place.issued()?;
        signer.says(said, 1)?;
        signer.verifies(&place.pebble.root, NAME)?;
    }
    // Nothing about it keeps the next from being kept.
    let signer = place.start()?;
    signer.says(KEPT_ACCOUNT, 1)?;
    signer.never_says(ORDERED)
}

/// As after a new KMS key has taken the place of an old one, or when the parent keeps what somebody else has sealed.
#[test]
fn what_kms_refuses_to_open_is_ordered_anew() -> Result<(), Failure> {
    let mut place = Place::new(&Behaviour::default())?;
    let (new, old) = (place.parent.key.arn.clone(), place.parent.next_key.arn.clone());
    place.parent.nitro_toml.boot_secret_key_arns = Some(vec![new.clone()]);
    place.parent.seal_under(&old);
    drop(place.issued()?);
    place.parent.seal_under(&new);
    place.parent.nitro_toml.opening_key_arns = vec![old.clone()];
    place.parent.kms.tell("POST", "/forget", &serde_json::json!({ "key": old }))?;
    let signer = place.issued()?;
    signer.says("the kept certificate cannot be read", 5)?;
    signer.says("the kept certificate is given up, and a new one ordered", 1)?;
    signer.says(NEW_ACCOUNT, 1)?;
    signer.verifies(&place.pebble.root, NAME)?;
    drop(signer);
    let signer = place.start()?;
    signer.says(KEPT_ACCOUNT, 1)?;
    signer.never_says(ORDERED)
}

/// Anyone who may encrypt under a key that only opens backups could forge a certificate whose key is theirs.
#[test]
fn what_is_kept_under_a_key_that_only_opens_backups_is_not_presented() -> Result<(), Failure> {
    let mut place = Place::new(&Behaviour::default())?;
    let (new, old) = (place.parent.key.arn.clone(), place.parent.next_key.arn.clone());
    place.parent.nitro_toml.boot_secret_key_arns = Some(vec![new.clone()]);
    place.parent.seal_under(&old);
    drop(place.issued()?);
    place.parent.seal_under(&new);
    place.parent.nitro_toml.opening_key_arns = vec![old];
    let signer = place.issued()?;
    signer.says(NEW_ACCOUNT, 1)?;
    signer.verifies(&place.pebble.root, NAME)?;
    drop(signer);
    let signer = place.start()?;
    signer.says(KEPT_ACCOUNT, 1)?;
    signer.never_says(ORDERED)
}

/// The start waits for a time, and then goes on without. Nothing is ordered meanwhile.
#[test]
fn a_store_that_hangs_holds_up_no_start() -> Result<(), Failure> {
    let mut place = Place::new(&Behaviour::default())?;
    let silent = place.parent.directory().join("silent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&silent)?;
    let option = place.parent.options.iter().position(|option| option == "--certificate-store");
    let option = option.ok_or_else(|| Failure::new("no store".to_owned()))?;
    place.parent.options[option + 1] = format!("unix:{}", silent.display());
    let mut attested = place.parent.start()?;
    let started = Instant::now();
    let signer = loop {
        match attested.says(" ready after_ms=") {
            Ok(()) => break Signer { attested, port: place.port },
            Err(fault) if started.elapsed() > PATIENCE => return Err(fault),
            Err(_) => {}
        }
    };
    signer.says("the start does not wait any longer for the kept certificate", 1)?;
    ensure(signer.said("given up") == 0 && signer.said(NEW_ACCOUNT) == 0, || signer.log())?;
    // It goes on all the same.
    signer.says(KEPT, 1)?;
    drop(listener);
    signer.verifies(&place.pebble.root, NAME)
}

#[test]
fn what_cannot_be_kept_is_presented_and_kept_later() -> Result<(), Failure> {
    let place = Place::new(&Behaviour::default())?;
    // The proxy cannot bind this port any more.
    let in_the_way = place.parent.directory().join("certificate.new");
    std::fs::create_dir(&in_the_way)?;
    let signer = place.start()?;
    signer.says("the parent does not keep the acme account and certificate yet", 2)?;
    signer.says(PRESENTED, 1)?;
    signer.verifies(&place.pebble.root, NAME)?;
    std::fs::remove_dir(&in_the_way)?;
    signer.says(KEPT, 1)?;
    ensure(signer.said(ORDERED) == 1 && signer.said(NEW_ACCOUNT) == 1, || signer.log())
}

#[test]
fn an_account_that_the_server_has_forgotten_is_made_anew() -> Result<(), Failure> {
    let mut place = Place::new(&Behaviour::default())?;
    drop(place.issued()?);
    place.pebble.forgets_everything()?;
    let Pebble { address, directory, authority_pem, .. } = &place.pebble;
    use_acme(&mut place.parent, address, directory, authority_pem, &[NAME, OTHER_NAME]);
    let signer = place.issued()?;
    signer.says(KEPT_ACCOUNT, 1)?;
    signer.says("the acme server does not know the kept account", 1)?;
    signer.says(NEW_ACCOUNT, 1)?;
    signer.verifies(&place.pebble.root, OTHER_NAME)
}

#[test]
fn another_server_takes_another_account() -> Result<(), Failure> {
    let mut place = Place::new(&Behaviour::default())?;
    drop(place.issued()?);
    // It validates on the port of the API, as it does where that is 443.
    place.pebble = Pebble::start(place.parent.directory(), place.port, &Behaviour::default())?;
    let Pebble { address, directory, authority_pem, .. } = &place.pebble;
    use_acme(&mut place.parent, address, directory, authority_pem, &[NAME]);
    let signer = place.issued()?;
    signer.says("what the parent keeps is of another acme server", 1)?;
    signer.says(NEW_ACCOUNT, 1)?;
    signer.never_says(KEPT_ACCOUNT)?;
    signer.verifies(&place.pebble.root, NAME)
}

#[test]
fn a_server_that_cannot_prove_its_name_is_not_asked() -> Result<(), Failure> {
    let mut place = Place::new(&Behaviour::default())?;
    let anchor = place.parent.kms.authority_pem.clone();
    let Pebble { address, directory, .. } = &place.pebble;
    use_acme(&mut place.parent, address, directory, &anchor, &[NAME]);
    let signer = place.start()?;
    signer.says("the server has no certificate for the host of acme.directory", 1)?;
    signer.never_says(ORDERED)?;
    // The certificate made at boot serves.
    ensure(signer.verifies(&place.pebble.root, NAME).is_err(), || "who vouches for it?".to_owned())?;
    let (_, text) = signer.openssl(&["-servername", NAME])?;
    ensure(text.contains("BEGIN CERTIFICATE"), || text.clone())?;
    ensure(place.pebble.orders() == 0, || "pebble was asked".to_owned())
}

#[test]
fn whatever_a_server_says_costs_a_try_and_nothing_else() -> Result<(), Failure> {
    let elsewhere = |what: &str| format!("names a {what} that is not an https url on the host and port");
    let not_understood = |what: &str| format!("the acme server violates the protocol: {what}");
    let cut = "the connection was cut, or its answer is too long".to_owned();
    let mut parent = Parent::new()?;
    let (_door, port) = door(&parent, API)?;
    let directory = parent.directory().join("hostile");
    std::fs::create_dir_all(&directory)?;
    let authority = server_certificate(&directory, "localhost")?;
    for (mode, said) in [
        ("elsewhere", elsewhere("newOrder")),
        ("another-port", elsewhere("newNonce")),
        ("in-the-clear", elsewhere("newAccount")),
        ("account-elsewhere", elsewhere("account")),
        ("authorization-elsewhere", elsewhere("authorization")),
        ("garbage", cut.clone()),
        ("cut", cut.clone()),
        ("long", cut.clone()),
        ("long-head", cut.clone()),
        ("endless", cut),
        ("no-json", not_understood("its directory")),
        ("deep", not_understood("its directory")),
        ("redirect", "the acme server refuses: status 302".to_owned()),
        ("down", "status 503 next_try_in_s=4242".to_owned()),
        ("no-nonce", not_understood("it sends no nonce")),
        ("bad-nonces", "the acme server refuses: badNonce: no".to_owned()),
        ("no-account", not_understood("it names no account")),
        ("rate-limited", "rateLimited: too many?cannot start: ?[31mforged next_try_in_s=4321".to_owned()),
        ("many-authorizations", not_understood("it wants more authorizations than there are names")),
        ("another-name", not_understood("it wants to validate a name that was not asked for")),
        ("another-challenge", not_understood("it offers no challenge of tls-alpn-01")),
        ("bad-token", not_understood("its challenge has no token")),
        ("unknown-status", not_understood("its authorization")),
    ] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acme/hostile_server.py");
        let path = |name: &str| directory.join(name).display().to_string();
        let arguments =
            [script.display().to_string(), path("server.pem"), path("server-key.pem"), mode.to_owned()];
        let mut server = Process::start("hostile_server.py", Path::new("python3"), &arguments, &[])?;
        let server_port = server.ready("hostile: listening on ")?;
        let address = format!("tcp:127.0.0.1:{server_port}");
        let url = format!("https://localhost:{server_port}/directory");
        use_acme(&mut parent, &address, &url, &authority, &[NAME]);
        // The account that one of them gave is of no other.
        let stored = parent.directory().join("certificate");
        if stored.exists() {
            std::fs::remove_file(stored)?;
        }
        let mut attested = parent.start()?;
        attested.says(" ready after_ms=")?;
        let mut signer = Signer { attested, port };
        signer.says(&said, 1).map_err(|failure| Failure::new(format!("{mode}: {failure}")))?;
        ensure(signer.attested.enclave.is_running(), || format!("{mode}: it has ended"))?;
        let (_, text) = signer.openssl(&["-servername", NAME])?;
        ensure(text.contains("BEGIN CERTIFICATE"), || format!("{mode}: {text}"))?;
        signer.never_says(PRESENTED)?;
    }
    Ok(())
}
