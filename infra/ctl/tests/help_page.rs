//! `docs/signerctl.md` and `docs/signerctl/` hold the help of every command, as the program prints it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const REWRITE: &str = "REWRITE_SIGNERCTL_PAGES";

const AGAIN: &str = "REWRITE_SIGNERCTL_PAGES=1 cargo test -p signerctl --test help_page";

#[test]
fn the_pages_hold_the_help_of_every_command() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let folder = docs.join("signerctl");
    let help = help_of(&[]);
    let mut index = format!(
        "# signerctl\n\nFor an operator who looks a command up. These pages hold the output of `--help` for every \
         command. A test compares them with the program. To write them again:\n\n```text\n{AGAIN}\n```\n\n\
         {}\n## Pages\n\n",
        block(&help)
    );
    let mut pages = BTreeMap::new();
    for name in subcommands(&help) {
        let mut page = format!("# signerctl {name}\n\n{}", block(&help_of(&[&name])));
        for inner in subcommands(&help_of(&[&name])) {
            page += &format!("\n## signerctl {name} {inner}\n\n{}", block(&help_of(&[&name, &inner])));
        }
        index += &format!("* [`signerctl {name}`](signerctl/{name}.md)\n");
        pages.insert(folder.join(format!("{name}.md")), page);
    }
    if env::var_os(REWRITE).is_some() {
        fs::create_dir_all(&folder).expect("docs/ is writable");
        for path in stored(&folder) {
            fs::remove_file(path).expect("docs/ is writable");
        }
        for (path, page) in &pages {
            fs::write(path, page).expect("docs/ is writable");
        }
        fs::write(docs.join("signerctl.md"), &index).expect("docs/ is writable");
    }
    assert_eq!(stored(&folder), pages.keys().cloned().collect::<Vec<_>>(), "run: {AGAIN}");
    pages.insert(docs.join("signerctl.md"), index);
    for (path, page) in pages {
        let text = fs::read_to_string(&path).expect("the page is readable");
        assert!(text == page, "{} differs from the help texts; run: {AGAIN}", path.display());
        assert!(page.lines().count() <= 300, "{} is too long for one page", path.display());
    }
}

/// The pages of commands, in the order of their names.
fn stored(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    paths
}

/// The output of `signerctl PATH --help`.
fn help_of(path: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_signerctl"))
        .args(path)
        .arg("--help")
        .env_clear()
        .output()
        .expect("signerctl starts");
    assert!(output.status.success(), "signerctl {path:?} --help fails");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// `help` as it stands on a page.
fn block(help: &str) -> String {
    let lines: String = help.trim_end().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    format!("```text\n{lines}```\n")
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
