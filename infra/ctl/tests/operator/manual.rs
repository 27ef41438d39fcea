//! `completions` and `man`, read by the programs that they are for.

use std::process::Command;

use crate::image_parts::ImageParts;
use crate::process::{run, succeed};

const EX_USAGE: i32 = 64;
const EX_CANTCREAT: i32 = 73;

#[test]
fn bash_completes_commands_and_their_values() {
    let parts = ImageParts::new();
    let script = parts.signerctl(["completions", "bash"]);
    assert_eq!((script.code, &script.stderr[..]), (Some(0), ""));
    parts.write("completions", script.stdout);
    let complete = |words: &[&str]| {
        let line = words.join(" ");
        let program = format!(
            "source completions; COMP_WORDS=({line} ''); COMP_CWORD={}; COMP_LINE='{line} '; COMP_POINT=${{#COMP_LINE}}; \
             _signerctl signerctl '' {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len(),
            words.last().unwrap(),
        );
        succeed(parts.command("bash").args(["-uc", &program]))
    };
    let has = |words: &[&str], wanted: &[&str]| {
        let found = complete(words);
        for word in wanted {
            assert!(found.lines().any(|line| line == *word), "{words:?}: {word} is not in {found}");
        }
    };
    has(&["signerctl"], &["eif", "policy", "secret", "ticket", "sign", "health", "completions", "man"]);
    has(&["signerctl", "eif"], &["build", "describe", "diff"]);
    has(&["signerctl", "secret", "seal"], &["INTERNAL_API_KEY", "TICKET_SIGNING_SECRET", "--nitro-toml"]);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(parts.signerctl(["completions", shell]).stdout.contains("signerctl"), "{shell}");
    }
    assert_eq!(parts.signerctl(["completions", "sh"]).code, Some(EX_USAGE));
}

#[test]
fn there_is_a_page_for_each_command() {
    let parts = ImageParts::new();
    std::fs::create_dir(parts.path("man1")).unwrap();
    let outcome = parts.signerctl(["man", "--output", "man1"]);
    assert_eq!((outcome.code, &outcome.stdout[..], &outcome.stderr[..]), (Some(0), "", ""));
    for name in [
        "signerctl",
        "signerctl-eif",
        "signerctl-eif-diff",
        "signerctl-policy-check",
        "signerctl-secret-seal",
    ] {
        let page = String::from_utf8(parts.read(format!("man1/{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
        // Its examples come along.
        assert!(name.matches('-').count() < 2 || page.contains("Example"), "{name}: {page}");
    }
    let names: Vec<_> =
        std::fs::read_dir(parts.path("man1")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_str().unwrap().ends_with(".1")), "{names:?}");
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("help")), "{names:?}");
    assert_eq!(parts.signerctl(["man"]).stdout.as_bytes(), parts.read("man1/signerctl.1"));
    parts
        .signerctl(["man", "--output", "missing"])
        .refuses(EX_CANTCREAT, "missing/signerctl.1: No such file or directory (os error 2)");
    // Where there is a formatter it finds nothing to complain of.
    if run(Command::new("bash").args(["-c", "command -v groff"])).code == Some(0) {
        let arguments = ["-man", "-Tutf8", "-ww", "-z", "man1/signerctl.1", "man1/signerctl-secret-seal.1"];
        assert_eq!(run(parts.command("groff").args(arguments)).stderr, "");
    }
}
