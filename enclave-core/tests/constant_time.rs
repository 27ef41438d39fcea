//! No branch and no address depends on a secret.
//!
//! Valgrind's memcheck follows undefined bits through every instruction and reports branches and addresses that depend
//! on one. Told that keys, nonces, auxiliary randomness, and the ticket secret are undefined, it reports what
//! would leak them through time. This is how libsecp256k1 tests itself (its `ctime_tests.c`).
//!
//! Each test runs a scenario of this same program under memcheck. That takes the code as it ships, with names for
//! memcheck to go by: `cargo test --profile bench -p enclave-core --test constant_time`. `--release` has no names.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![deny(unsafe_code)]

#[path = "constant_time/memcheck.rs"]
mod memcheck;
#[path = "constant_time/scenarios.rs"]
mod scenarios;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "public_api/small_signer.rs"]
mod small_signer;

use std::process::Command;

/// Valgrind's exit status when there were reports.
const REPORTED: i32 = 99;

/// Runs a scenario under memcheck; its exit status and what it and memcheck wrote.
fn run(scenario: &str) -> (Option<i32>, String) {
    let suppressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/constant_time/forgiven.supp");
    let output = Command::new("valgrind")
        .args(["--tool=memcheck", "--leak-check=no", "--show-error-list=yes", "-v", "--num-callers=8"])
        .arg(format!("--error-exitcode={REPORTED}"))
        .arg(format!("--suppressions={suppressions}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("scenarios::{scenario}"))
        .output()
        .expect("valgrind is needed: install Debian's package of that name");
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(text.contains("running 1 test"), "there is no scenario {scenario}:\n{text}");
    (output.status.code(), text)
}

/// No report, and so many branches of `declassify`, each of which shows that a marked secret came so far.
fn assert_constant_time(scenario: &str, decisions: usize) {
    let (status, text) = run(scenario);
    assert_eq!(status, Some(0), "{scenario} leaks or fails:\n{text}");
    let seen = text.split_once("used_suppression:").and_then(|(_, rest)| rest.split_whitespace().next());
    assert_eq!(seen, Some(&*decisions.to_string()), "decisions of {scenario}:\n{text}");
}

/// Reports at least once, with `function` on the stack.
fn assert_caught(scenario: &str, function: &str, report: &str) {
    let (status, text) = run(scenario);
    assert_eq!(status, Some(REPORTED), "{scenario} was not caught:\n{text}");
    assert!(
        text.contains(report) && text.contains(function),
        "{scenario} was caught for something else:\n{text}"
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "checks the code as it ships: run with --profile bench")]
fn a_signature() {
    // The key is one, the MAC fits, the nonce is not zero.
    assert_constant_time("a_signature", 3);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "checks the code as it ships: run with --profile bench")]
fn a_new_key() {
    // The first draw is no key, the second is.
    assert_constant_time("a_new_key", 2);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "checks the code as it ships: run with --profile bench")]
fn an_import() {
    // One is no key, two are; the same again, and another.
    assert_constant_time("an_import", 5);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "checks the code as it ships: run with --profile bench")]
fn a_key_binding() {
    // The key is one.
    assert_constant_time("a_key_binding", 1);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "checks the code as it ships: run with --profile bench")]
fn a_forged_ticket() {
    // The key is one; three MACs do not fit.
    assert_constant_time("a_forged_ticket", 4);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "checks the code as it ships: run with --profile bench")]
fn leaks_are_caught() {
    assert_caught(
        "a_leaky_comparison",
        "leaky_comparison",
        "Conditional jump or move depends on uninitialised",
    );
    assert_caught("a_leaky_look_up", "leaky_look_up", "Use of uninitialised value");
    assert_caught("a_leaky_branch", "leaky_branch", "Conditional jump or move depends on uninitialised");
}
