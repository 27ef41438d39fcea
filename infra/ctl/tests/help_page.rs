//! `docs/signerctl.md` holds the help of every command, as the program prints it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

const REWRITE: &str = "REWRITE_SIGNERCTL_PAGE";

#[test]
fn page_holds_the_help_of_every_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/signerctl.md");
    let mut page = String::from(
        "# signerctl\n\nThis page holds the output of `--help` for every command. A test compares it with the program. \
         To write it again:\n\n```text\nREWRITE_SIGNERCTL_PAGE=1 cargo test -p signerctl --test help_page\n```\n",
    );
    append_help(&mut page, &[]);
    if env::var_os(REWRITE).is_some() {
        fs::write(&path, &page).expect("docs/ is writable");
    }
    let stored = fs::read_to_string(&path).expect("docs/signerctl.md is readable");
    assert!(
        stored == page,
        "docs/signerctl.md differs from the help texts; run: {REWRITE}=1 cargo test -p signerctl --test help_page"
    );
}

/// Appends the help of the command at `path`, then that of each of its subcommands.
fn append_help(page: &mut String, path: &[String]) {
    let output = Command::new(env!("CARGO_BIN_EXE_signerctl"))
        .args(path)
        .arg("--help")
        .env_clear()
        .output()
        .expect("signerctl starts");
    assert!(output.status.success(), "signerctl {path:?} --help fails");
    let help = String::from_utf8(output.stdout).expect("help is UTF-8");
    let title =
        ["signerctl"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    write!(page, "\n## {title}\n\n```text\n").expect("a String takes all text");
    for line in help.trim_end().lines() {
        writeln!(page, "{}", line.trim_end()).expect("a String takes all text");
    }
    page.push_str("```\n");
    for name in subcommands(&help) {
        append_help(page, &[path, &[name]].concat());
    }
}

/// The names that `help` lists below `Commands:`, without clap's own `help`.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}
