//! `secret seal`, `ticket mint` and `sign`, from a secret in a pipe to a verified signature: beside the KMS emulator,
//! and the signer itself, which opens what was sealed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use acceptance::attested::Parent;
use acceptance::binaries::binaries;
use acceptance::bip340::x_only;
use acceptance::kms::{INSTANCE_ROLE, REGION};
use acceptance::process::Process;
use acceptance::signer::new_identity;
use serde_json::Value;

use crate::process::{Outcome, run};

const EX_USAGE: i32 = 64;
const EX_DATAERR: i32 = 65;
const EX_UNAVAILABLE: i32 = 69;
const EX_CONFIG: i32 = 78;

const SEALER: &str = "AKIASEALER:its-secret=arn:aws:iam::111122223333:role/nitro-signer-secret-sealer";
const STRANGER: &str = "AKIASTRANGER:its-secret=arn:aws:iam::111122223333:role/stranger";

const API_KEY: &str = "0mEyH5c7nPzQ81kaT2bVx9";
const TICKET_SECRET: &str = "nq7Yh2JxW0cVb81LmZr4Kd6Tt3Gs5Pf9";

/// A parent and its KMS, and the way from TCP to that.
pub(crate) struct Account {
    pub(crate) parent: Parent,
    port: u16,
    _relay: Process,
}

impl Account {
    pub(crate) fn new() -> Self {
        let parent = Parent::with(INSTANCE_ROLE, &["--principal", SEALER, "--principal", STRANGER]).unwrap();
        let route = format!("tcp:127.0.0.1:0={}", parent.kms.address);
        let mut relay = Process::start("proxy", &binaries().proxy, &["--route", &route], &[]).unwrap();
        let listening = relay.ready("proxy: listening on tcp:127.0.0.1:").unwrap();
        let port = listening.split(',').next().unwrap().parse().unwrap();
        let account = Self { parent, port, _relay: relay };
        account.configure("kms", "kms", &account.parent.kms.authority_pem);
        account
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.parent.directory().join(name)
    }

    /// Writes the configuration by which secrets are sealed.
    pub(crate) fn configure(&self, api_key: &str, ticket_secret: &str, anchor: &str) {
        let text = format!(
            "version = 1\nname = \"acceptance\"\n[enclave]\ncpu_count = 2\nmemory_mib = 512\n[vsock]\n\
             [kms]\nregion = \"{REGION}\"\nsealing_key_arn = \"{}\"\nboot_secret_key_arns = {}\ntrust_anchors = [{}]\n\
             [secrets]\ninternal_api_key = \"{api_key}\"\nticket_signing_secret = \"{ticket_secret}\"\n\
             [tls]\nmode = \"off\"\n",
            self.parent.key.arn,
            Value::from(vec![self.parent.key.arn.clone(), self.parent.next_key.arn.clone()]),
            Value::from(anchor),
        );
        std::fs::write(self.path("sealing.toml"), text).unwrap();
    }

    /// `signerctl`, without what the environment of the test has.
    pub(crate) fn signerctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signerctl"));
        command.args(arguments).current_dir(self.parent.directory()).env_clear().stdin(Stdio::null());
        command
    }

    /// The command that seals, as the sealer.
    pub(crate) fn sealing(&self, name: &str, more: &[&str]) -> Command {
        self.sealing_at(self.port, name, more)
    }

    /// By the KMS on this port.
    fn sealing_at(&self, port: u16, name: &str, more: &[&str]) -> Command {
        let endpoint = format!("https://localhost:{port}");
        let mut command = self.signerctl(&["secret", "seal", name, "--nitro-toml", "sealing.toml"]);
        command.args(["--endpoint", &endpoint]).args(more);
        if !more.contains(&"--ca") {
            command.args(["--accept", "kms.trust_anchors"]);
        }
        command.env("AWS_ACCESS_KEY_ID", "AKIASEALER").env("AWS_SECRET_ACCESS_KEY", "its-secret");
        command
    }

    pub(crate) fn seal(&self, name: &str, secret: &[u8], more: &[&str]) -> Outcome {
        pipe(&mut self.sealing(name, more), secret)
    }

    /// The ciphertext of a secret that is sealed.
    pub(crate) fn sealed(&self, name: &str, secret: &[u8], more: &[&str]) -> String {
        let outcome = self.seal(name, secret, more);
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{name}");
        let line = outcome.stdout.strip_suffix('\n').unwrap();
        line.strip_prefix(&format!("{name}_CIPHERTEXT=")).unwrap().to_owned()
    }
}

/// Runs a process with this as its standard input.
pub(crate) fn pipe(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Variables, options, and the exit status and line that they lead to.
type Row<'r> = (&'r [(&'r str, &'r str)], &'r [&'r str], i32, &'r str);

#[test]
fn what_was_sealed_opens_in_the_enclave_and_signs() {
    let mut account = Account::new();
    let api_key = account.sealed("INTERNAL_API_KEY", API_KEY.as_bytes(), &[]);
    // A line break at its end is the program's that printed it.
    let ticket_secret = account.sealed("TICKET_SIGNING_SECRET", format!("{TICKET_SECRET}\n").as_bytes(), &[]);
    account.parent.nitro_toml.internal_api_key = "kms";
    account.parent.set("INTERNAL_API_KEY", None);
    account.parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&api_key));
    account.parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&ticket_secret));
    account.parent.secrets.api_key = API_KEY.to_owned();
    account.parent.secrets.ticket_secret = TICKET_SECRET.to_owned();
    let attested = account.parent.ready().unwrap();
    let server = attested.server();
    let url = format!("http://{}", server.address());
    let (identity, digest) = (new_identity(), "ab".repeat(32));
    let public_key = server.signer().generated(&identity).unwrap();

    let ordered = ["--identity", &identity, "--digest", &digest];
    let sign = |more: &[&str]| {
        let mut command = account.signerctl(&[&["sign", &url][..], &ordered, more].concat());
        command.env("INTERNAL_API_KEY", API_KEY).env("TICKET_SIGNING_SECRET", TICKET_SECRET);
        command
    };
    let outcome = run(&mut sign(&["--public-key", &public_key, "--json"]));
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let signature = report["signature"].as_str().unwrap();
    assert_eq!(report["verified"], true);
    acceptance::bip340::verify(signature, &[0xab; 32], x_only(&public_key)).unwrap();

    // A ticket of its own, which is good once; secrets come from files too.
    std::fs::write(account.path("ticket-secret"), format!("{TICKET_SECRET}\n")).unwrap();
    std::fs::write(account.path("api-key"), API_KEY).unwrap();
    let minted = run(&mut account.signerctl(
        &[&["ticket", "mint"][..], &ordered, &["--ticket-secret-file", "ticket-secret"]].concat(),
    ));
    assert_eq!((minted.code, &minted.stderr[..]), (Some(0), ""));
    std::fs::write(account.path("ticket"), &minted.stdout).unwrap();
    let with_ticket = || {
        let files = ["--ticket-file", "ticket", "--api-key-file", "api-key"];
        run(&mut account.signerctl(&[&["sign", &url][..], &ordered, &files].concat()))
    };
    let outcome = with_ticket();
    assert_eq!((outcome.code, outcome.stdout.trim_end().len(), &outcome.stderr[..]), (Some(0), 128, ""));
    let line = |text: &str| format!("{url}: {text}");
    with_ticket().refuses(1, &line("the ticket was used before (409 Replay detected for ticket nonce)"));

    let rows: [Row<'_>; 5] = [
        (
            &[("INTERNAL_API_KEY", "another-key-of-16-bytes")],
            &[],
            1,
            "the API key is another than the signer's (401 Invalid internal API key)",
        ),
        (
            &[("TICKET_SIGNING_SECRET", "another-key-of-16-bytes")],
            &[],
            1,
            "the ticket has expired, lives too long, or is signed with another secret (401 Invalid ticket signature or expiry)",
        ),
        (
            &[],
            &["--ttl-s", "86400"],
            1,
            "the ticket has expired, lives too long, or is signed with another secret (401 Invalid ticket signature or expiry)",
        ),
        (
            &[],
            &["--public-key", "02dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659"],
            1,
            "its signature does not verify under --public-key: another key, or another signer",
        ),
        (&[], &["--public-key", &public_key], 0, ""),
    ];
    for (environment, more, code, text) in rows {
        let outcome = run(sign(more).envs(environment.iter().copied()));
        assert_eq!(outcome.code, Some(code), "{more:?} {outcome:?}");
        if code != 0 {
            outcome.refuses(code, &line(text));
        }
    }
    let unknown = new_identity();
    let of_unknown = ["sign", &url, "--identity", &unknown, "--digest", &digest];
    let outcome = run(account
        .signerctl(&of_unknown)
        .env("INTERNAL_API_KEY", API_KEY)
        .env("TICKET_SIGNING_SECRET", TICKET_SECRET));
    let no_key = "the signer has no such key: import its backup, and try the same ticket again (404 Identity key not found)";
    outcome.refuses(1, &line(no_key));
    let other_digest =
        ["sign", &url, "--identity", &identity, "--digest", &"cd".repeat(32), "--ticket-file", "ticket"];
    let outcome = run(account.signerctl(&other_digest).env("INTERNAL_API_KEY", API_KEY));
    outcome.refuses(
        1,
        &line("the ticket is for another identity, digest or purpose (403 Ticket digest mismatch)"),
    );

    // Each is bound to its variable: KMS does not open it as another.
    drop(attested);
    account.parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&api_key));
    let refused = account.parent.start().unwrap();
    refused
        .refuses(EX_CONFIG, "TICKET_SIGNING_SECRET_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, name=TICKET_SIGNING_SECRET")
        .unwrap();
}

#[test]
fn the_key_is_one_of_the_configuration_and_the_answer_names_it() {
    let account = Account::new();
    let other = account.parent.next_key.arn.clone();
    let outcome = account.seal("INTERNAL_API_KEY", API_KEY.as_bytes(), &["--key-arn", &other, "--json"]);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&report["variable"], &report["key_arn"]),
        (&"INTERNAL_API_KEY_CIPHERTEXT".into(), &other.into())
    );
    let calls = account.parent.kms.tell("GET", "/calls", &Value::Null).unwrap();
    let last = calls["calls"].as_array().unwrap().last().unwrap();
    assert_eq!(last["key_arn"], report["key_arn"], "{last}");
    assert_eq!(last["encryption_context"]["name"], "INTERNAL_API_KEY", "{last}");
    assert_eq!(last["encryption_context"]["nitro-signer"], "boot-secret", "{last}");

    let attackers = account.parent.attackers_key.arn.clone();
    account
        .seal("INTERNAL_API_KEY", API_KEY.as_bytes(), &["--key-arn", &attackers])
        .refuses(EX_USAGE, "--key-arn is none of the keys for boot secrets in nitro.toml");
}

/// The emulator has the committed policy, by which the sealer encrypts.
#[test]
fn a_secret_is_bound_to_the_generation_of_the_configuration() {
    let mut account = Account::new();
    let text = std::fs::read_to_string(account.path("sealing.toml")).unwrap();
    std::fs::write(account.path("sealing.toml"), text.replace("[tls]", "generation = 7\n[tls]")).unwrap();
    let outcome = account.seal("TICKET_SIGNING_SECRET", TICKET_SECRET.as_bytes(), &["--json"]);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["generation"], 7);
    let calls = account.parent.kms.tell("GET", "/calls", &Value::Null).unwrap();
    let last = calls["calls"].as_array().unwrap().last().unwrap();
    assert_eq!(last["encryption_context"]["generation"], "7", "{last}");

    let sealed = account.sealed("TICKET_SIGNING_SECRET", TICKET_SECRET.as_bytes(), &[]);
    assert!(sealed.starts_with("generation-7:"), "{sealed}");
    account.parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&sealed));
    account.parent.nitro_toml.generations = "generation = 7\noldest_generation = 7";
    account.parent.ready().unwrap();
    account.parent.nitro_toml.generations = "generation = 6";
    let refused = account.parent.start().unwrap();
    let line = "TICKET_SIGNING_SECRET_CIPHERTEXT is of generation 7, and the image's is 6";
    refused.refuses(EX_CONFIG, line).unwrap();
}

#[test]
fn a_named_api_key_is_sealed_for_its_name() {
    let mut account = Account::new();
    let roles = "[api_keys]\nINTERNAL_API_KEY_WORKER = \"sign\"\n";
    let measured = std::fs::read_to_string(account.path("sealing.toml")).unwrap();
    std::fs::write(account.path("sealing.toml"), measured + roles).unwrap();
    let first = account.sealed("INTERNAL_API_KEY", API_KEY.as_bytes(), &[]);
    let worker = account.sealed("INTERNAL_API_KEY_WORKER", b"a-worker-key-8121-aeb3", &[]);
    account.parent.nitro_toml.internal_api_key = "kms";
    account.parent.nitro_toml.tables = roles;
    account.parent.set("INTERNAL_API_KEY", None);
    account.parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&first));
    account.parent.set("INTERNAL_API_KEY_WORKER_CIPHERTEXT", Some(&worker));
    account.parent.secrets.api_key = "a-worker-key-8121-aeb3".to_owned();
    let attested = account.parent.ready().unwrap();
    let not_allowed = "Not allowed for this API key";
    attested.server().signer().generate(&new_identity()).is_error(403, not_allowed).unwrap();
    drop(attested);
    // Root on the parent cannot make the first key of it, which has every right.
    account.parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&worker));
    let line = "INTERNAL_API_KEY_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, \
                name=INTERNAL_API_KEY";
    account.parent.start().unwrap().refuses(EX_CONFIG, line).unwrap();
}

#[test]
fn what_the_signer_would_refuse_never_reaches_kms() {
    let account = Account::new();
    account.parent.kms.forget_calls().unwrap();
    let rows: [(&str, &[u8], &str); 6] = [
        ("INTERNAL_API_KEY", b"", "INTERNAL_API_KEY is empty"),
        ("INTERNAL_API_KEY", b"\n", "INTERNAL_API_KEY is empty"),
        ("TICKET_SIGNING_SECRET", b"fifteen-bytes-x", "TICKET_SIGNING_SECRET is shorter than 16 bytes"),
        (
            "TICKET_SIGNING_SECRET",
            b"change-me-in-production",
            "TICKET_SIGNING_SECRET is a placeholder, not a secret",
        ),
        ("TICKET_SIGNING_SECRET", b"0mEyH5c7nPzQ81ka\n\n", "TICKET_SIGNING_SECRET ends in a line break"),
        (
            "INTERNAL_API_KEY",
            b" 0mEyH5c7nPzQ81ka",
            "the API key is empty, or has control characters or blanks around it",
        ),
    ];
    for (name, secret, line) in rows {
        account.seal(name, secret, &[]).refuses(EX_DATAERR, line);
    }
    let huge = "0mEyH5c7nPzQ81ka".repeat(257);
    account
        .seal("TICKET_SIGNING_SECRET", huge.as_bytes(), &[])
        .refuses(EX_DATAERR, "longer than the 4096 bytes that KMS encrypts");
    for name in ["SEALING_KEY", "internal_api_key", ""] {
        let outcome = account.seal(name, API_KEY.as_bytes(), &[]);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_USAGE), ""), "{name}");
    }
    account.configure("env", "kms", &account.parent.kms.authority_pem);
    account.seal("INTERNAL_API_KEY", API_KEY.as_bytes(), &[]).refuses(
        EX_CONFIG,
        "sealing.toml: has not secrets.internal_api_key = \"kms\": the signer would refuse a ciphertext",
    );
    account.configure("kms", "kms", &account.parent.kms.authority_pem);
    account.seal("INTERNAL_API_KEY_WORKER", API_KEY.as_bytes(), &[]).refuses(
        EX_CONFIG,
        "sealing.toml: has no INTERNAL_API_KEY_WORKER under [api_keys]: the signer would refuse it",
    );
    let plain = format!("http://localhost:{}", account.port);
    let mut command =
        account.signerctl(&["secret", "seal", "TICKET_SIGNING_SECRET", "--nitro-toml", "sealing.toml"]);
    pipe(command.args(["--accept", "kms.trust_anchors", "--endpoint", &plain]), API_KEY.as_bytes())
        .refuses(EX_USAGE, "--endpoint has to be https: a secret goes there");
    assert!(account.parent.kms.calls().unwrap().is_empty());
}

/// Anybody with a key of a left-over authority reads what is encrypted.
#[test]
fn authorities_for_tests_get_a_secret_only_if_they_are_accepted() {
    let account = Account::new();
    account.parent.kms.forget_calls().unwrap();
    let endpoint = format!("https://localhost:{}", account.port);
    let seal = |more: &[&str]| {
        let arguments = ["secret", "seal", "TICKET_SIGNING_SECRET", "--nitro-toml", "sealing.toml"];
        let mut command = account.signerctl(&arguments);
        command.args(["--endpoint", &endpoint]).args(more);
        command.env("AWS_ACCESS_KEY_ID", "AKIASEALER").env("AWS_SECRET_ACCESS_KEY", "its-secret");
        pipe(&mut command, TICKET_SECRET.as_bytes())
    };
    seal(&[]).refuses(
        EX_CONFIG,
        "sealing.toml: kms.trust_anchors in nitro.toml: anybody with a key of these authorities can pass for KMS, \
         choose the ticket secret, and open new backups; correct it, or seal for tests with --accept kms.trust_anchors",
    );
    assert_eq!(seal(&["--accept", "acme.trust_anchors"]).code, Some(EX_USAGE));
    assert!(account.parent.kms.calls().unwrap().is_empty());
    let accepting = ["--accept", "kms.trust_anchors"];
    assert_eq!(seal(&accepting).code, Some(0));

    let text = std::fs::read_to_string(account.path("sealing.toml")).unwrap();
    let without =
        text.split_inclusive('\n').filter(|line| !line.starts_with("trust_anchors")).collect::<String>();
    std::fs::write(account.path("sealing.toml"), without).unwrap();
    seal(&accepting).refuses(
        EX_USAGE,
        "--accept kms.trust_anchors: nitro.toml does not set kms.trust_anchors; leave the option out",
    );
}

#[test]
fn what_kms_says_is_told() {
    let account = Account::new();
    let url = format!("https://localhost:{}", account.port);
    let seal = |id: &str, secret: &str| {
        let mut command = account.sealing("TICKET_SIGNING_SECRET", &[]);
        pipe(
            command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret),
            TICKET_SECRET.as_bytes(),
        )
    };
    let outcome = seal("AKIASTRANGER", "its-secret");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.starts_with(&format!("signerctl: {url}: AccessDeniedException: ")), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1);
    for (id, secret) in [("AKIASEALER", "another-secret"), ("AKIANOBODY", "its-secret")] {
        let outcome = seal(id, secret);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("Exception: ") && !outcome.stderr.contains(secret), "{outcome:?}");
    }
    account
        .parent
        .kms
        .tell("POST", "/forget", &serde_json::json!({ "key": account.parent.key.arn }))
        .unwrap();
    let outcome = seal("AKIASEALER", "its-secret");
    assert!(outcome.code == Some(1) && outcome.stderr.contains(": NotFoundException: "), "{outcome:?}");
    account.parent.kms.fail_next("Encrypt", "internal", 1, 0).unwrap();
    assert_eq!(seal("AKIASEALER", "its-secret").code, Some(EX_UNAVAILABLE));
    account.parent.kms.fail_next("Encrypt", "drop", 1, 0).unwrap();
    seal("AKIASEALER", "its-secret")
        .refuses(EX_UNAVAILABLE, &format!("{url}: the connection was cut, or its answer is no HTTP"));

    // A server that is not KMS gets no secret, whatever it can do.
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    account.configure("kms", "kms", &key.cert.pem());
    let outcome = seal("AKIASEALER", "its-secret");
    assert_eq!(outcome.code, Some(EX_UNAVAILABLE));
    assert!(outcome.stderr.contains("TLS handshake failed: invalid peer certificate"), "{outcome:?}");
    std::fs::write(account.path("ca.pem"), &account.parent.kms.authority_pem).unwrap();
    account
        .parent
        .kms
        .tell("POST", "/restore", &serde_json::json!({ "key": account.parent.key.arn }))
        .unwrap();
    account.sealed("TICKET_SIGNING_SECRET", TICKET_SECRET.as_bytes(), &["--ca", "ca.pem"]);
}

#[test]
fn the_aws_cli_gives_credentials_where_the_environment_has_none() {
    let account = Account::new();
    let seal = |path: &str| {
        let mut command = account.sealing("TICKET_SIGNING_SECRET", &[]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("PATH", path);
        pipe(&mut command, TICKET_SECRET.as_bytes())
    };
    let folder = account.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let install = |script: &str| {
        let command = folder.join("aws");
        std::fs::write(&command, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&command, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let outcome = seal(folder.to_str().unwrap());
    let none = "signerctl: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or install the AWS CLI, version 2, and log in (";
    assert!(outcome.code == Some(1) && outcome.stderr.starts_with(none), "{outcome:?}");

    install(
        r#"[ "$*" = "configure export-credentials --format process" ] || exit 2
        [ -z "$(cat)" ] || exit 3
        echo '{"Version": 1, "AccessKeyId": "AKIASEALER", "SecretAccessKey": "its-secret"}'"#,
    );
    let outcome = seal(&path);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    install("echo >&2; echo 'The SSO session associated with this profile has expired' >&2; exit 255");
    seal(&path).refuses(
        1,
        "no credentials: AWS_ACCESS_KEY_ID is not set, and `aws configure export-credentials` says: \
         The SSO session associated with this profile has expired",
    );
    install("echo 'its-secret'");
    seal(&path)
        .refuses(1, "no credentials: what `aws configure export-credentials` prints is not understood");
    let half = pipe(
        account.sealing("TICKET_SIGNING_SECRET", &[]).env_remove("AWS_SECRET_ACCESS_KEY"),
        TICKET_SECRET.as_bytes(),
    );
    half.refuses(1, "no credentials: AWS_SECRET_ACCESS_KEY is not set");

    // It does not wait for a secret that it cannot seal.
    let mut sealing = account.sealing("TICKET_SIGNING_SECRET", &[]);
    sealing.env_remove("AWS_SECRET_ACCESS_KEY").stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = sealing.spawn().unwrap();
    let open = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(open);
}

/// Python's `pty` is the terminal: it types, and says what was shown and how the terminal was left.
#[test]
fn on_a_terminal_it_asks_twice_and_shows_nothing() {
    let account = Account::new();
    // A KMS that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let type_in = |lines: &str, signal: &str| -> Value {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/terminal.py");
        let port = if signal == "LATER" { silent_port } else { account.port };
        let sealing = account.sealing_at(port, "TICKET_SIGNING_SECRET", &[]);
        let mut command = Command::new("python3");
        command.arg(script).arg(lines).arg(signal).arg(sealing.get_program()).args(sealing.get_args());
        command.current_dir(account.parent.directory());
        for (name, value) in sealing.get_envs() {
            command.env(name, value.unwrap());
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        serde_json::from_str(&text).unwrap()
    };
    let twice = format!("{TICKET_SECRET}\n{TICKET_SECRET}\n");
    let told = type_in(&twice, "");
    let shown = told["shown"].as_str().unwrap();
    assert_eq!((&told["status"], &told["echo"]), (&0.into(), &true.into()), "{told}");
    assert!(
        shown.starts_with("TICKET_SIGNING_SECRET: ") && shown.contains("TICKET_SIGNING_SECRET, again: "),
        "{shown}"
    );
    assert!(shown.contains("TICKET_SIGNING_SECRET_CIPHERTEXT=") && !shown.contains(TICKET_SECRET), "{shown}");

    let told = type_in(&format!("{TICKET_SECRET}\nanother-one-of-16-bytes\n"), "");
    assert_eq!((&told["status"], &told["echo"]), (&EX_DATAERR.into(), &true.into()), "{told}");
    assert!(told["shown"].as_str().unwrap().contains("signerctl: the two are not the same"), "{told}");

    for (signal, status) in [("INT", 130), ("TERM", 143), ("QUIT", 131), ("HUP", 129)] {
        let told = type_in(TICKET_SECRET, signal);
        assert_eq!((&told["status"], &told["echo"]), (&status.into(), &true.into()), "{signal}: {told}");
        assert!(!told["shown"].as_str().unwrap().contains(TICKET_SECRET), "{told}");
    }
    // It need not be waited for until it gives up.
    let told = type_in(&twice, "LATER");
    assert_eq!((&told["status"], &told["echo"]), (&130.into(), &true.into()), "{told}");
}
