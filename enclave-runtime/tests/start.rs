//! Reasons that keep each binary from starting: one line, one exit code, and nothing of a secret.

#![cfg(feature = "dev")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::process::{Command, Output};

const API_KEY: (&str, &str) = ("INTERNAL_API_KEY", "an-api-key-for-tests");
const TICKET_SECRET: (&str, &str) = ("TICKET_SIGNING_SECRET", "a-ticket-secret-for-tests");
const SEALING_KEY: (&str, &str) =
    ("SEALING_KEY", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");

fn enclave_dev(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-dev"));
    command.env_clear().envs(environment.iter().copied()).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn secrets_are_all_there_and_well_formed() {
    for (environment, reason) in [
        (vec![], "INTERNAL_API_KEY is not set"),
        (vec![("INTERNAL_API_KEY", "")], "INTERNAL_API_KEY is empty"),
        (vec![API_KEY], "SEALING_KEY is not set"),
        (vec![API_KEY, ("SEALING_KEY", "secret-but-short")], "SEALING_KEY must be 64 hex digits"),
        (vec![API_KEY, SEALING_KEY], "TICKET_SIGNING_SECRET is not set"),
        (vec![API_KEY, SEALING_KEY, ("TICKET_SIGNING_SECRET", "")], "TICKET_SIGNING_SECRET is empty"),
        (
            vec![API_KEY, SEALING_KEY, TICKET_SECRET, ("INTERNAL_API_KEY_WORKER", "a-key")],
            "INTERNAL_API_KEY_WORKER needs --nitro-toml: without it there is one key and one secret",
        ),
        (
            vec![API_KEY, SEALING_KEY, TICKET_SECRET, ("TICKET_SIGNING_SECRET_PREVIOUS", "a-secret")],
            "TICKET_SIGNING_SECRET_PREVIOUS needs --nitro-toml: without it there is one key and one secret",
        ),
    ] {
        let output = enclave_dev(&["--listen", "tcp:127.0.0.1:0"], &environment);
        assert_eq!(output.status.code(), Some(78), "{reason}");
        assert_eq!(said(&output), format!("enclave-dev: cannot start: {reason}\n"));
    }
}

#[test]
fn numbers_have_limits_and_addresses_a_form() {
    for arguments in [
        ["--max-keys", "0"],
        ["--max-keys", "18446744073709551615"],
        ["--max-nonces", "0"],
        ["--max-nonces", "4294967295"],
        ["--max-ticket-ttl-s", "0"],
        ["--max-ticket-ttl-s", "4294967295"],
        ["--max-requests-in-flight", "0"],
        ["--max-requests-in-flight", "18446744073709551615"],
        ["--listen", "127.0.0.1:7001"],
        ["--listen", "tcp:127.0.0.1:70010"],
        ["--nonsense", "1"],
    ] {
        let output = enclave_dev(&arguments, &[API_KEY, TICKET_SECRET, SEALING_KEY]);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        assert!(said(&output).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", taken.local_addr().unwrap());
    let output =
        enclave_dev(&["--listen", &address, "--max-keys", "16"], &[API_KEY, TICKET_SECRET, SEALING_KEY]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(said(&output).contains(&format!("cannot listen on {address}: ")), "{output:?}");
}

/// Its configuration is part of the image, and no argument or variable stands in for it.
#[test]
fn production_starts_from_its_image_only() {
    let output = Command::new(env!("CARGO_BIN_EXE_enclave"))
        .env_clear()
        .envs([API_KEY, TICKET_SECRET, SEALING_KEY])
        .args(["--nitro-toml", "/dev/null", "--listen", "tcp:127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let expected = "enclave: cannot start: /nitro.toml: No such file or directory (os error 2)\n";
    assert_eq!(said(&output), expected);
}

#[test]
fn an_attested_signer_is_told_everything_or_nothing() {
    let parent = ["--boot-file", "unix:/b", "--kms", "unix:/k", "--imds", "unix:/i", "--log", "unix:/l"];
    let whole = [&["--nitro-toml", "/nowhere/nitro.toml"][..], &parent].concat();
    let output = enclave_dev(&whole, &[]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let line = "enclave-dev: cannot start: /nowhere/nitro.toml: No such file or directory (os error 2)\n";
    assert_eq!(said(&output), line);
    for missing in (0..whole.len()).step_by(2) {
        let part = [&whole[..missing], &whole[missing + 2..]].concat();
        let output = enclave_dev(&part, &[API_KEY, TICKET_SECRET, SEALING_KEY]);
        assert_eq!(output.status.code(), Some(64), "{part:?}: {output:?}");
    }
    for also in [["--max-keys", "1"], ["--max-nonces", "1"], ["--pcr0", "00"], ["--kms", "nowhere"]] {
        let output = enclave_dev(&[&whole, &also[..]].concat(), &[]);
        assert_eq!(output.status.code(), Some(64), "{also:?}: {output:?}");
    }
}

#[test]
fn a_nitro_toml_that_is_wrong_is_named_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nitro.toml");
    let path = path.to_str().unwrap();
    for (text, error) in [
        (
            include_str!("../../infra/nitro.toml"),
            "kms.sealing_key_arn: still the example: write the ARN of your KMS key",
        ),
        ("version = 2", "version: "),
        ("nonsense", "line 1: "),
    ] {
        std::fs::write(path, text).unwrap();
        let parent = ["--boot-file", "unix:/b", "--kms", "unix:/k", "--imds", "unix:/i", "--log", "unix:/l"];
        let output = enclave_dev(&[&["--nitro-toml", path][..], &parent].concat(), &[]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = said(&output);
        let start = format!("enclave-dev: cannot start: {path}: {error}");
        assert!(said.starts_with(&start) && said.lines().count() == 1, "{said}");
    }
}
