//! What keeps each binary from starting, and how it says so: one line, one exit code, nothing of a secret.

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

#[test]
fn production_says_what_it_lacks() {
    let output = Command::new(env!("CARGO_BIN_EXE_enclave"))
        .env_clear()
        .envs([API_KEY, TICKET_SECRET, SEALING_KEY])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(said(&output).starts_with("enclave: cannot start: this version has no KMS client"), "{output:?}");
}
