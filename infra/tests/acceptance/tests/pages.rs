//! The Markdown pages of the repository: links, and the rows of SECURITY.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use acceptance::failure::ensure;
use acceptance::{Failure, Rows};

/// A cell of a table that is longer is not read.
const MAX_CELL_CHARS: usize = 300;

/// The abbreviations of SECURITY.md, which its head explains.
const ABBREVIATIONS: [(&str, &str); 4] = [
    ("core/", "enclave-core/src/"),
    ("runtime/", "enclave-runtime/src/"),
    ("configuration/", "enclave-runtime/configuration/src/"),
    ("acceptance/", "infra/tests/acceptance/tests/"),
];

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    fs::canonicalize(root).expect("the root of the repository")
}

/// The committed and new files, from the root, that end in one of `endings`.
fn files(endings: &[&str]) -> Vec<String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().expect("git runs");
    let names = String::from_utf8(output.stdout).expect("names in UTF-8");
    let is_wanted =
        |name: &&str| endings.iter().any(|ending| name.ends_with(ending)) && root().join(name).exists();
    names.lines().filter(is_wanted).map(str::to_owned).collect()
}

/// The lines of `text` outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

/// The anchors of headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let anchor: String = title
                .chars()
                .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect();
            let count = counts.entry(anchor.clone()).or_default();
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        })
        .collect()
}

/// The targets of links in `text`.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in prose(text) {
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            targets.extend(rest.find(')').map(|end| rest[..end].to_owned()));
        }
    }
    targets
}

/// `path` without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut rows = Rows::new("Links");
    let mut count = 0;
    for page in files(&[".md"]) {
        let text = fs::read_to_string(root().join(&page)).expect("a page");
        for link in
            links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&page).parent().expect("a page is in a folder");
            let target =
                if file.is_empty() { root().join(&page) } else { root().join(normal(&folder.join(file))) };
            let outcome =
                ensure(target.exists(), || format!("{} is missing", target.display())).and_then(|()| {
                    let has_anchor =
                        anchor.is_empty() || anchors(&fs::read_to_string(&target)?).contains(anchor);
                    ensure(has_anchor, || format!("no heading for #{anchor}"))
                });
            rows.check(format!("{page}: {link}"), outcome);
            count += 1;
        }
    }
    rows.check("links were found", ensure(count > 100, || format!("{count}")));
    rows.finish();
}

/// The cells of each row of a table in SECURITY.md.
fn cells(page: &str) -> Vec<(usize, Vec<&str>)> {
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with("| "));
    rows.map(|(number, line)| (number + 1, line.trim_matches('|').split(" | ").map(str::trim).collect()))
        .collect()
}

/// The words between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn a_row_of_the_security_page_is_short_and_names_what_exists() -> Result<(), Failure> {
    let page = fs::read_to_string(root().join("SECURITY.md"))?;
    let sources: String = files(&[".rs", ".sh", ".py"])
        .iter()
        .map(|name| fs::read_to_string(root().join(name)).expect("a source"))
        .collect();
    let exists = |path: &str| {
        let expanded = ABBREVIATIONS
            .iter()
            .find_map(|(short, long)| Some(format!("{long}{}", path.strip_prefix(short)?)));
        root().join(expanded.as_deref().unwrap_or(path)).exists() || root().join(path).exists()
    };
    let mut rows = Rows::new("SECURITY.md");
    let mut tests = 0;
    for (number, cells) in cells(&page) {
        for cell in &cells {
            let chars = cell.chars().count();
            rows.check(
                format!("line {number}, length"),
                ensure(chars <= MAX_CELL_CHARS, || format!("{chars}: {cell}")),
            );
        }
        for word in cells.iter().skip(2).flat_map(|cell| quoted(cell)) {
            let is_path = word.contains('/') && !word.contains(' ');
            let is_test = word.contains('_')
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if is_path {
                rows.check(
                    format!("line {number}, {word}"),
                    ensure(exists(word), || "no such file".to_owned()),
                );
            } else if is_test {
                tests += 1;
                rows.check(
                    format!("line {number}, {word}"),
                    ensure(sources.contains(word), || "no such test".to_owned()),
                );
            }
        }
    }
    rows.check("tests were found", ensure(tests > 100, || format!("{tests}")));
    rows.finish();
    Ok(())
}
