//! The command's output before it starts anything.

use std::process::{Command, Output};

fn chaos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos")).args(arguments).output().expect("it was built with this test")
}

#[test]
fn a_duration_out_of_range_is_refused_with_the_range() {
    for duration_s in ["29", "86401", "-1", "long"] {
        let output = chaos(&["--duration-s", duration_s]);
        assert_eq!(output.status.code(), Some(64), "{duration_s}");
        assert!(output.stdout.is_empty(), "{duration_s}");
    }
    let output = chaos(&["--duration-s", "29"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("29 is not in 30..=86400"), "{text}");
}

#[test]
fn the_help_tells_the_rules_and_the_exit_statuses() {
    let output = chaos(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["--seed", "--json", "no ticket is answered 200 twice", "Exit status: 0"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
