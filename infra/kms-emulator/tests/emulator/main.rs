//! The emulator as a process, asked by boto3 and OpenSSL, which know nothing of it. Python's packages are installed
//! below the target folder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod metadata;
mod nsm;
mod process;
mod python;

use std::process::Command;

use fixture::Fixture;
use process::Emulator;
use python::run_client;

#[test]
fn boto3_gets_every_answer_of_kms_and_of_the_metadata_service() {
    let fixture = Fixture::new();
    let root = fixture.path("root.pem");
    let emulator = Emulator::start(&fixture, &["--attestation-root", &root]);
    run_client("everything", &fixture, &emulator);
}

#[test]
fn boto3_meets_expired_credentials_and_documents_that_nobody_signed() {
    let fixture = Fixture::new();
    let arguments = ["--accept-unsigned-attestation", "--imds-credential-lifetime-s", "4"];
    let emulator = Emulator::start(&fixture, &arguments);
    run_client("lenient", &fixture, &emulator);
}

#[test]
fn a_restarted_emulator_opens_what_it_sealed() {
    let fixture = Fixture::new();
    let state = fixture.path("state.json");
    let ca = || std::fs::read_to_string(fixture.path("ca.pem")).unwrap();
    let emulator = Emulator::start(&fixture, &["--state", &state]);
    let first_ca = ca();
    run_client("seal", &fixture, &emulator);
    assert_eq!(emulator.terminate().code(), Some(0));

    let emulator = Emulator::start(&fixture, &["--state", &state]);
    assert_eq!(ca(), first_ca);
    run_client("open", &fixture, &emulator);
    assert_eq!(emulator.terminate().code(), Some(0));

    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&state).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let emulator = Emulator::start(&fixture, &[]);
    assert_ne!(ca(), first_ca);
    run_client("cannot-open", &fixture, &emulator);
}

#[test]
fn the_certificate_is_for_the_names_of_kms_on_any_kind_of_socket() {
    let fixture = Fixture::new();
    let socket = fixture.path("kms.sock");
    let listen = format!("unix:{socket}");
    let emulator = Emulator::start_on(&listen, &fixture, &[]);
    assert_eq!(emulator.address, listen);
    let ca = fixture.path("ca.pem");
    let handshake = |name: &str, version: &str| {
        let arguments = ["s_client", "-unix", &socket, "-CAfile", &ca, "-verify_return_error", "-brief"];
        let mut client = Command::new("openssl");
        client.args(arguments).args(["-verify_hostname", name, version]);
        // Nothing to read is the end of the session.
        client.stdin(std::process::Stdio::null()).output().unwrap().status.success()
    };
    assert!(handshake("kms.eu-central-1.amazonaws.com", "-tls1_3"));
    assert!(handshake("kms.eu-central-1.amazonaws.com", "-tls1_2"));
    assert!(handshake("localhost", "-tls1_3"));
    assert!(!handshake("kms.us-east-1.amazonaws.com", "-tls1_3"));
    assert_eq!(emulator.terminate().code(), Some(0));
    assert!(!std::path::Path::new(&socket).exists());
}

#[test]
fn exit_codes_tell_what_was_wrong() {
    let fixture = Fixture::new();
    let emulator = Emulator::start(&fixture, &[]);
    let taken = emulator.address.clone();
    let ends = |listen: &str, more: &[&str]| {
        let output = Emulator::command(listen, &fixture, more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };

    let (code, said) = ends(&taken, &[]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.starts_with(&format!("kms-emulator: cannot listen on {taken}: ")), "{said}");

    let (code, said) = ends("tcp:127.0.0.1:0", &["--what"]);
    assert_eq!(code, Some(64), "{said}");
    let another_region = "--key=arn:aws:kms:us-east-1:111122223333:key/a=policy.json";
    let (code, said) = ends("tcp:127.0.0.1:0", &[another_region]);
    assert_eq!(code, Some(64), "{said}");

    let committed = format!("{}/../kms-key-policy.json", env!("CARGO_MANIFEST_DIR"));
    let template = format!("--key=arn:aws:kms:eu-central-1:111122223333:key/template={committed}");
    let (code, said) = ends("tcp:127.0.0.1:0", &[&template]);
    assert_eq!(code, Some(78), "{said}");
    let why =
        "statement EnclaveMakesDataKeysForBackups: 'PCR0-of-the-image' is no PCR of 96 hexadecimal digits";
    assert_eq!(said, format!("kms-emulator: {committed}: {why}\n"));
}
