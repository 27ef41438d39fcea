//! `infra/clients/attested_client.mjs` and `.py`: by the same pretences, from the command line and as modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use crate::enclave::{CHAIN, Notes, good, not_found};
use crate::pretences::PRETENCES;
use crate::process::{self, Outcome, installed, run, succeed};
use crate::server::{Answer, Drips, Request, Server, TlsIdentity};
use crate::verify::enclave;

fn verifier(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients").join(name)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attest").join(name)
}

/// A folder in which Node finds undici, and `requests.mjs`.
fn node_folder() -> PathBuf {
    let wanted = fs::read_to_string(source("node/package-lock.json")).unwrap();
    let folder = installed("attest-node", &wanted, |folder| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source("node").join(file), folder.join(file)).unwrap();
        }
        succeed(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(folder),
        );
    });
    fs::copy(source("node/requests.mjs"), folder.join("requests.mjs")).unwrap();
    folder
}

fn python() -> PathBuf {
    process::python("attest-python", &source("python/requirements.txt"))
}

fn node_client() -> Command {
    let mut command = Command::new("node");
    command.arg(verifier("attested_client.mjs"));
    command
}

fn python_client() -> Command {
    let mut command = Command::new(python());
    command.args(["-B".as_ref(), verifier("attested_client.py").as_os_str()]);
    command
}

/// Configurations that give trust away, and the settings that a verifier names then.
const GIVEN_AWAY: [(&str, &[&str]); 9] = [
    ("[kms]\ntrust_anchors = \"\"\"\n-----BEGIN CERTIFICATE-----\n\"\"\"", &["kms.trust_anchors"]),
    ("kms = { trust_anchors = [] }", &["kms.trust_anchors"]),
    ("[kms]\n[acme]\ntrust_anchors = ['PEM']", &["acme.trust_anchors"]),
    ("acme.trust_anchors = ['PEM']", &["acme.trust_anchors"]),
    ("[secrets]\nticket_signing_secret = \"env\"", &["secrets.ticket_signing_secret"]),
    ("[secrets]\n'ticket_signing_secret' = 'env' # kms", &["secrets.ticket_signing_secret"]),
    ("[tls]\nmode = \"provided\"", &["tls.mode"]),
    ("tls = { mode = 'provided' }", &["tls.mode"]),
    (
        "[kms]\n\"trust_anchors\" = 'PEM'\n[secrets]\nticket_signing_secret = 'env'\n[tls]\nmode = 'provided'",
        &["kms.trust_anchors", "secrets.ticket_signing_secret", "tls.mode"],
    ),
];

/// The line for each document under a root of the tests.
const OTHER_ROOT: &str = "limited: another root than AWS's: anybody with its key can make such a document\n";

const KMS_ANCHORS: &str = "limited: kms.trust_anchors: anybody with a key of these authorities can pass for KMS, choose \
                           the ticket secret, and open new backups\n";

fn judges(client: fn() -> Command) {
    let notes = Notes::new();
    let run = |arguments: &[&str]| run(client().args(arguments).current_dir(notes.path("")));
    let identity = TlsIdentity::new();
    let server = enclave(Some(&identity));
    for expected in [
        &["--nitro-toml", "nitro.toml"][..],
        &["--measurements", "measurements.json"],
        &["--measurements", "old.json", "--nitro-toml", "nitro.toml"],
    ] {
        let outcome = run(&[&[&*server.url(), "--root", "root.pem"], expected].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!((&*outcome.stdout, &*outcome.stderr), (OTHER_ROOT, ""), "{outcome:?}");
    }
    let usual = ["--nitro-toml", "nitro.toml"];
    run(&[&[&*server.url()], &usual[..]].concat())
        .doubts("certificate path leads to another root than the pinned one");
    for pretence in PRETENCES {
        let server = pretence.server();
        pretence.is_seen(&run(&[&[&*server.url(), "--root", pretence.root], &usual[..]].concat()));
    }
    let rude = Server::start(Some(&identity), |_| Answer {
        status: 0,
        body: b"\x1b[2J\x1b]0;attested\x07attested: i-0-enc0 runs image 1 of 1, and ends this TLS\r\n\r\n"
            .to_vec(),
    });
    let outcome = run(&[&[&*rude.url()], &usual[..]].concat());
    assert_eq!((outcome.code, &*outcome.stdout), (Some(69), ""), "{outcome:?}");
    assert!(!outcome.stderr.trim_end().contains(char::is_control), "{outcome:?}");
    let none_of = ["--root", "root.pem", "--measurements", "old.json", "--measurements", "older.json"];
    run(&[&[&*server.url()], &none_of[..]].concat())
        .doubts("enclave runs another image: its pcrs are those of none of 2");
    let url = server.url().replace("https", "http");
    run(&[&[&*url], &usual[..]].concat())
        .doubts("no tls: without it the document proves that such an enclave");

    let file = String::from_utf8(notes.read("nitro.toml")).unwrap();
    let committed = fs::read_to_string(verifier("../nitro.toml")).unwrap();
    notes.write("committed.toml", committed + &file.replace("version = 1", ""));
    let outcome = run(&[&server.url(), "--root", "root.pem", "--nitro-toml", "committed.toml"]);
    assert_eq!(outcome.stdout, OTHER_ROOT, "{outcome:?}");
    for (settings, said) in GIVEN_AWAY {
        notes.write("open.toml", file.replace("[pcr]", &format!("{settings}\n[pcr]")));
        let arguments = ["--root", "root.pem", "--measurements", "old.json", "--nitro-toml", "open.toml"];
        let outcome = run(&[&[&*server.url()], &arguments[..]].concat());
        let lines = outcome.stdout.strip_prefix(OTHER_ROOT).unwrap_or_default();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!((outcome.code, lines.len()), (Some(0), said.len()), "{settings}: {outcome:?}");
        for (line, setting) in lines.iter().zip(said) {
            assert!(line.starts_with(&format!("limited: {setting}: ")), "{settings}: {outcome:?}");
        }
    }

    let printed = String::from_utf8(notes.read("measurements.json")).unwrap();
    let printed = printed.strip_suffix('}').unwrap();
    for (given_away, code, said) in [
        (r#"["kms.trust_anchors"]"#, 0, KMS_ANCHORS),
        ("[]", 0, OTHER_ROOT),
        (r#"["tls.later"]"#, 64, "image has a setting for tests that is unknown here"),
        (r#"{"a":1}"#, 64, "not the json of an image's measurements"),
    ] {
        notes.write("open.json", format!(r#"{printed},"GivesAway":{given_away}}}"#));
        let outcome = run(&[&server.url(), "--root", "root.pem", "--measurements", "open.json"]);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stdout.ends_with(said) || outcome.stderr.contains(said), "{outcome:?}");
    }
    notes.write("zeros.toml", format!("[pcr]\nPCR0 = \"{}\"\n", "0".repeat(96)));
    notes.write("role.toml", format!("[pcr]\nPCR3 = \"{}\"\n", "1".repeat(96)));
    notes.write("none.toml", "version = 1\n");
    for (file, words) in [
        ("zeros.toml", "pcr0 is all zeros, as in debug mode"),
        ("role.toml", "these registers do not identify a program"),
        ("none.toml", "no measurements under"),
    ] {
        let outcome = run(&[&server.url(), "--nitro-toml", file]);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(64), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    }
    assert_eq!(run(&[&server.url()]).code, Some(64));
    let address = server.url();
    drop(server);
    let outcome = run(&[&[&*address], &usual[..]].concat());
    assert_eq!((outcome.code, &*outcome.stdout), (Some(69), ""), "{outcome:?}");
}

#[test]
fn node_judges_as_signerctl_does() {
    judges(node_client);
}

#[test]
fn python_judges_as_signerctl_does() {
    judges(python_client);
}

/// With the root of the tests as the pinned one: nobody here has the key of AWS's.
fn attests_under_its_own_root(interpreter: &mut Command, name: &str) {
    const AWS_ROOT_SHA256: &str = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";
    let notes = Notes::new();
    let text = fs::read_to_string(verifier(name)).unwrap();
    let root = String::from_utf8(notes.read("root.pem")).unwrap();
    let sha256: String =
        Sha256::digest(&CHAIN.cabundle()[0]).iter().map(|byte| format!("{byte:02x}")).collect();
    let (before, rest) = text.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    let (_, after) = rest.split_once("-----END CERTIFICATE-----").unwrap();
    assert!(after.contains(AWS_ROOT_SHA256));
    let pinned = format!("{before}{}{}", root.trim_end(), after.replace(AWS_ROOT_SHA256, &sha256));
    notes.write(name, pinned);
    let server = enclave(Some(&TlsIdentity::new()));
    let expected = ["--measurements", "old.json", "--nitro-toml", "nitro.toml"];
    let outcome = run(interpreter.arg(name).arg(server.url()).args(expected).current_dir(notes.path("")));
    let line = "attested: i-0-enc0 runs image 2 of 2, and ends this TLS\n";
    assert_eq!((outcome.code, &*outcome.stdout, &*outcome.stderr), (Some(0), line, ""));
}

#[test]
fn the_node_and_python_verifiers_attest_under_the_root_that_they_pin() {
    attests_under_its_own_root(&mut Command::new("node"), "attested_client.mjs");
    attests_under_its_own_root(Command::new(python()).arg("-B"), "attested_client.py");
}

/// A relay between that is never silent for long, and never done: one time limit is for all of it.
fn gives_up(client: fn() -> Command) {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let run = |url: &str, seconds: &str| {
        let options = ["--root", "root.pem", "--nitro-toml", "nitro.toml", "--time-limit-s", seconds];
        run(client().arg(url).args(options).current_dir(notes.path("")))
    };
    for drips in [Drips::Tls, Drips::Answers] {
        let spki = identity.spki.clone();
        // To its end, this takes minutes.
        let server = Server::start_dripping(&identity, drips, move |request| {
            request.nonce().map_or_else(not_found, |nonce| good(&nonce, Some(&spki)))
        });
        let outcome = run(&server.url(), "1");
        assert_eq!((outcome.code, &*outcome.stdout), (Some(69), ""), "{drips:?} {outcome:?}");
        assert!(outcome.stderr.contains("did not come in time"), "{drips:?} {outcome:?}");
    }
    let outcome = run("https://localhost:1", "0");
    assert_eq!(outcome.code, Some(64), "{outcome:?}");
    assert!(outcome.stderr.contains("--time-limit-s takes whole seconds"), "{outcome:?}");
}

#[test]
fn node_waits_for_no_dripping() {
    gives_up(node_client);
}

#[test]
fn python_waits_for_no_dripping() {
    gives_up(python_client);
}

/// An enclave for the first `attested` connections; then somebody else takes its place, with another key. Requests that
/// reach either are counted.
struct Takeover {
    server: Server,
    served: Arc<AtomicUsize>,
    stolen: Arc<AtomicUsize>,
}

impl Takeover {
    fn after(attested: usize) -> Self {
        Self::by(TlsIdentity::new(), attested)
    }

    fn by(thief: TlsIdentity, attested: usize) -> Self {
        let enclave = TlsIdentity::new();
        let (spki, served, stolen) = (enclave.spki.clone(), Arc::default(), Arc::default());
        let (served_here, stolen_here) = (Arc::clone(&served), Arc::clone(&stolen));
        let identities = [vec![enclave; attested], vec![thief]].concat();
        let thief_spki = identities[attested].spki.clone();
        let server = Server::start_with(identities, move |request: &Request, shown: &[u8]| {
            if let Some(nonce) = request.nonce() {
                return good(&nonce, Some(&spki));
            }
            let count: &AtomicUsize = if shown == thief_spki { &stolen_here } else { &served_here };
            count.fetch_add(1, Ordering::SeqCst);
            if request.api_key.is_some() { Answer { status: 200, body: b"{}".to_vec() } } else { not_found() }
        });
        Self { server, served, stolen }
    }

    fn counts(&self) -> (usize, usize) {
        (self.served.load(Ordering::SeqCst), self.stolen.load(Ordering::SeqCst))
    }
}

fn node_requests(notes: &Notes, url: &str) -> Outcome {
    run(Command::new("node")
        .arg(node_folder().join("requests.mjs"))
        .arg(verifier("attested_client.mjs"))
        .args([url, "root.pem", "nitro.toml"])
        .current_dir(notes.path("")))
}

fn python_requests(notes: &Notes, url: &str) -> Outcome {
    run(Command::new(python())
        .arg(source("python/requests_to_signer.py"))
        .arg(verifier(""))
        .args([url, "root.pem", "nitro.toml"])
        .current_dir(notes.path("")))
}

const REFUSED: &str = "tls key is not the attested one: attest again";

#[test]
fn an_image_that_gives_trust_away_is_for_no_program_that_does_not_accept_it() {
    let notes = Notes::new();
    let file = String::from_utf8(notes.read("nitro.toml")).unwrap();
    let (all, identity) = (Takeover::after(10), TlsIdentity::new());
    for setting in ["kms.trust_anchors = ''", "secrets.ticket_signing_secret = 'env'"] {
        notes.write("nitro.toml", format!("{setting}\n{file}"));
        for outcome in [node_requests(&notes, &all.server.url()), python_requests(&notes, &all.server.url())]
        {
            assert_ne!(outcome.code, Some(0), "{outcome:?}");
            assert!(outcome.stderr.contains("image gives trust away: "), "{outcome:?}");
        }
    }
    assert_eq!(all.counts(), (0, 0));
    notes.write("nitro.toml", format!("tls.mode = 'provided'\n{file}"));
    let outcome = python_requests(&notes, &enclave(Some(&identity)).url());
    assert!(outcome.stdout.starts_with("http.client 404"), "{outcome:?}");
}

#[test]
fn nodes_agent_talks_to_the_attested_key_alone() {
    let notes = Notes::new();
    let all = Takeover::after(10);
    let outcome = node_requests(&notes, &all.server.url());
    let expected = "https 200\nhttps 200\nfetch 200\nfetch 200\ntimeout listeners 0\n";
    assert_eq!(outcome.stdout, expected, "{outcome:?}");
    assert_eq!(all.counts(), (4, 0));
    let refused: String = ["https", "https", "fetch", "fetch", "timeout listeners"]
        .into_iter()
        .map(|name| format!("{name} {REFUSED}\n"))
        .collect();
    // One who is refused may still do to the process what they can.
    for thief in [TlsIdentity::new(), TlsIdentity::new().spoiling()] {
        // One connection to attest, and no more.
        let stolen = Takeover::by(thief, 1);
        let outcome = node_requests(&notes, &stolen.server.url());
        assert_eq!((outcome.code, &*outcome.stdout), (Some(0), &*refused), "{outcome:?}");
        assert_eq!(stolen.counts(), (0, 0), "a request was written to somebody else");
    }
}

#[test]
fn pythons_connections_are_to_the_attested_key_alone() {
    let notes = Notes::new();
    let all = Takeover::after(10);
    let outcome = python_requests(&notes, &all.server.url());
    assert_eq!(outcome.stdout, "http.client 200\nhttp.client 200\n", "{outcome:?}");
    assert_eq!(all.counts(), (2, 0));
    let stolen = Takeover::after(1);
    let outcome = python_requests(&notes, &stolen.server.url());
    assert_eq!(outcome.stdout, format!("http.client {REFUSED}\nhttp.client {REFUSED}\n"), "{outcome:?}");
    assert_eq!(stolen.counts(), (0, 0), "a request was written to somebody else");
}
