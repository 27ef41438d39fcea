//! Every command in the documents runs here, names the test that runs it, or is marked as needing AWS.
//!
//! The opening line of a fenced block has one of these marks:
//!
//! | mark | meaning |
//! |---|---|
//! | `sh` | this test runs it |
//! | `text answer`, `json answer` | the output of the `sh` block before it; `…` stands for any text within a line |
//! | `sh tested-by=PATH` | the file `PATH` of this repository names each program that the block runs |
//! | `sh needs-aws` | needs AWS or Nitro hardware; nothing runs it |
//! | `sh measures` | in `benches/README.md` only: measures for minutes on a quiet machine; nothing runs it |
//! | a language of [`DATA`] | holds no commands |
//!
//! The `sh` blocks of one document run in order, in one bash with `set -euo pipefail`, in a folder that shows the
//! repository's files and is removed afterwards. They find `ENCLAVE_BASE_URL`, `INTERNAL_API_KEY`,
//! `TICKET_SIGNING_SECRET` and `SEALING_KEY` of a signer that runs for the document, and `PATH` has `enclave-dev`,
//! `proxy` and `signerctl`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use acceptance::binaries::{binaries, signerctl};
use acceptance::contract::{
    AT_CAPACITY, CONTENT_ENCODING, CONTENT_TYPE, DIGEST_MISMATCH, EXISTS, IDENTITY_MISMATCH, INVALID_JSON,
    KEY_NOT_FOUND, KEY_SERVICE, MALFORMED_SEALED_KEY, NOT_ALLOWED, REPLAY, ROUTES, SCOPE, TICKET, TOO_LARGE,
    TOO_MANY_REQUESTS, UNABLE_TO_OPEN, UNAUTHORIZED,
};
use acceptance::{Failure, Server};

/// Languages of blocks that hold no commands.
const DATA: [&str; 9] = ["text", "json", "toml", "ini", "yaml", "mermaid", "js", "python", "rust"];

/// Documents outside `docs/`.
const OTHER_DOCUMENTS: [&str; 5] =
    ["README.md", "CONTRIBUTING.md", "infra/README.md", "benches/README.md", "fuzz/README.md"];

/// The document whose blocks may measure.
const MEASUREMENTS: &str = "benches/README.md";

/// The first words of lines that run no program of their own.
const SHELL_WORDS: [&str; 17] = [
    "cd", "do", "done", "echo", "else", "esac", "exec", "export", "fi", "for", "if", "mkdir", "printf",
    "set", "then", "while", "}",
];

/// How long the blocks of one document may take, in seconds.
const PATIENCE_S: &str = "120";

/// Separates the outputs of blocks; no output has it.
const SEPARATOR: char = '\u{1e}';

#[derive(Debug, PartialEq)]
enum Mark {
    Run,
    Answer,
    TestedBy(PathBuf),
    NeedsAws,
    Measures,
    Data,
}

#[derive(Debug)]
struct Block {
    /// Of its opening fence, from 1.
    line: usize,
    mark: Mark,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The paths of the documents, from the root.
fn documents() -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            found.push(format!("docs/{name}"));
        }
    }
    found.extend(OTHER_DOCUMENTS.iter().filter(|path| root().join(path).exists()).map(ToString::to_string));
    found.sort();
    Ok(found)
}

/// Reads what follows the backticks of an opening fence.
fn mark(info: &str) -> Result<Mark, String> {
    match info.split(' ').collect::<Vec<_>>()[..] {
        ["sh"] => Ok(Mark::Run),
        ["sh", "needs-aws"] => Ok(Mark::NeedsAws),
        ["sh", "measures"] => Ok(Mark::Measures),
        ["sh", option] => match option.strip_prefix("tested-by=") {
            Some(path) if !path.is_empty() => Ok(Mark::TestedBy(path.into())),
            _ => Err(format!("`{option}` is not needs-aws or tested-by=PATH")),
        },
        ["text" | "json", "answer"] => Ok(Mark::Answer),
        [language] if DATA.contains(&language) => Ok(Mark::Data),
        _ => Err(format!("`{info}` is not a mark; infra/tests/acceptance/tests/documents.rs lists them")),
    }
}

/// The blocks of a document, and the line and reason of each fault.
fn blocks(document: &str) -> Result<Vec<Block>, Vec<(usize, String)>> {
    let (mut found, mut faults) = (Vec::<Block>::new(), Vec::new());
    let mut lines = document.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((line, text)) = lines.next() {
        let unindented = text.trim_start();
        let (indent, fence) = (text.len() - unindented.len(), unindented.trim_start_matches('`'));
        let fence_length = unindented.len() - fence.len();
        if unindented.starts_with("~~~") {
            faults.push((line, "a fence has three backticks".to_owned()));
        }
        if fence_length < 3 {
            continue;
        }
        let closing = "`".repeat(fence_length);
        let content: Vec<_> = lines
            .by_ref()
            .map(|(_, text)| text)
            .take_while(|text| text.trim() != closing)
            .map(|text| text.get(indent..).unwrap_or_default())
            .collect();
        match mark(fence.trim()) {
            Ok(Mark::Answer) if found.last().is_none_or(|block| block.mark != Mark::Run) => {
                faults.push((line, "an answer follows the `sh` block that it answers".to_owned()));
            }
            Ok(Mark::Data)
                if fence == "json" && found.last().is_some_and(|block| block.mark == Mark::Run) =>
            {
                faults.push((line, "`json` after `sh` is an answer: mark it so".to_owned()));
            }
            Ok(mark) => found.push(Block { line, mark, text: content.join("\n") }),
            Err(fault) => faults.push((line, fault)),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// The names of the programs that a block starts lines with.
fn programs(block: &str) -> Vec<&str> {
    let mut continues = false;
    let mut found = Vec::new();
    for line in block.lines() {
        let is_start = !std::mem::replace(&mut continues, line.trim_end().ends_with('\\'));
        let mut words = line.split_whitespace().skip_while(|word| *word == "sudo" || word.contains('='));
        if let Some(word) = words.next().filter(|_| is_start) {
            let name = word.rsplit('/').next().unwrap_or(word);
            if !name.starts_with('#') && !SHELL_WORDS.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// Whether `actual` is `expected`, in which `…` stands for any text within a line.
fn answers(expected: &str, actual: &str) -> bool {
    let (expected, actual) = (expected.trim_end().split('\n'), actual.trim_end().split('\n'));
    expected.clone().count() == actual.clone().count() && expected.zip(actual).all(|(e, a)| is_like(e, a))
}

fn is_like(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = actual.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Runs the `sh` blocks of one document; the output of each, by its line.
fn run(blocks: &[Block]) -> Result<BTreeMap<usize, String>, Failure> {
    let server = Server::own(&[]);
    let folder = tempfile::tempdir()?;
    for entry in fs::read_dir(root())? {
        let entry = entry?;
        symlink(entry.path().canonicalize()?, folder.path().join(entry.file_name()))?;
    }
    let mut script = "set -euo pipefail\n".to_owned();
    for block in blocks.iter().filter(|block| block.mark == Mark::Run) {
        script += &format!("printf '{SEPARATOR}{}{SEPARATOR}'\n{}\n", block.line, block.text);
    }
    let beside = |program: &Path| program.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut path = vec![beside(&binaries().enclave_dev), beside(&binaries().proxy), beside(signerctl())];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let output = Command::new("timeout")
        .args([PATIENCE_S, "bash", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", std::env::join_paths(path)?)
        .env("NO_PROXY", "127.0.0.1")
        .env("ENCLAVE_BASE_URL", server.base_url())
        .env("INTERNAL_API_KEY", &server.secrets.api_key)
        .env("TICKET_SIGNING_SECRET", &server.secrets.ticket_secret)
        .env("SEALING_KEY", hex::encode(server.secrets.sealing_key))
        .stdin(Stdio::null())
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    let mut outputs = BTreeMap::new();
    let mut pieces = stdout.split(SEPARATOR).skip(1);
    while let (Some(line), Some(text)) = (pieces.next(), pieces.next()) {
        outputs.insert(line.parse()?, text.to_owned());
    }
    if output.status.success() {
        return Ok(outputs);
    }
    let (line, text) = outputs.last_key_value().map_or((0, ""), |(line, text)| (*line, text.as_str()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("line {line}: the block ends with {}\n{text}\n{stderr}", output.status)))
}

/// The faults of one document, each with its line.
fn faults_of(document: &str) -> Result<Vec<String>, Failure> {
    let blocks = match blocks(&fs::read_to_string(root().join(document))?) {
        Ok(blocks) => blocks,
        Err(faults) => {
            return Ok(faults.into_iter().map(|(line, why)| format!("{document}:{line}: {why}")).collect());
        }
    };
    let mut faults = Vec::new();
    for block in &blocks {
        let mut fault = |why: String| faults.push(format!("{document}:{}: {why}", block.line));
        if block.mark == Mark::Measures && document != MEASUREMENTS {
            fault(format!("`measures` is a mark of {MEASUREMENTS} only"));
        }
        let Mark::TestedBy(path) = &block.mark else { continue };
        let Ok(test) = fs::read_to_string(root().join(path)) else {
            fault(format!("{} does not exist", path.display()));
            continue;
        };
        for program in programs(&block.text) {
            if !test.contains(program) {
                fault(format!("{} does not name `{program}`", path.display()));
            }
        }
    }
    if !blocks.iter().any(|block| block.mark == Mark::Run) {
        return Ok(faults);
    }
    match run(&blocks) {
        Err(failure) => faults.push(format!("{document}: {failure}")),
        Ok(outputs) => {
            for pair in blocks.windows(2).filter(|pair| pair[1].mark == Mark::Answer) {
                let output = outputs.get(&pair[0].line).map_or("", String::as_str);
                if !answers(&pair[1].text, output) {
                    faults.push(format!("{document}:{}: the answer is\n{output}", pair[1].line));
                }
            }
        }
    }
    Ok(faults)
}

#[test]
fn every_command_is_run_or_names_its_test_or_needs_aws() -> Result<(), Failure> {
    let documents = documents()?;
    assert!(documents.iter().any(|path| path == "docs/api.md"), "docs/api.md is not among {documents:?}");
    let mut faults = Vec::new();
    for document in &documents {
        faults.extend(faults_of(document)?);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Files that cite sections as `docs/api.md`, "N. Title".
const CITING: [&str; 3] = ["infra/tests", "enclave-runtime", "fuzz"];

#[test]
fn every_cited_section_of_the_api_exists() -> Result<(), Failure> {
    let api = fs::read_to_string(root().join("docs/api.md"))?;
    let sections: Vec<_> = api.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let listed = Command::new("grep")
        .args(["-rhoP", "--include=*.rs", r#"`docs/api\.md`, "\K[0-9]+[^"\n]*(?=")"#])
        .args(CITING)
        .current_dir(root())
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    assert!(listed.lines().count() > 10, "too few citations:\n{listed}");
    for cited in listed.lines() {
        assert!(sections.contains(&cited), "docs/api.md has no section {cited:?}");
    }
    Ok(())
}

#[test]
fn the_api_page_and_its_description_have_each_route_and_error() -> Result<(), Failure> {
    let errors = [
        AT_CAPACITY,
        CONTENT_ENCODING,
        CONTENT_TYPE,
        DIGEST_MISMATCH,
        EXISTS,
        IDENTITY_MISMATCH,
        INVALID_JSON,
        KEY_NOT_FOUND,
        KEY_SERVICE,
        MALFORMED_SEALED_KEY,
        NOT_ALLOWED,
        REPLAY,
        SCOPE,
        TICKET,
        TOO_LARGE,
        TOO_MANY_REQUESTS,
        UNABLE_TO_OPEN,
        UNAUTHORIZED,
    ];
    let routes = ROUTES.iter().flat_map(|(path, fields)| fields.iter().chain([path]));
    for page in ["docs/api.md", "docs/openapi.yaml"] {
        let text = fs::read_to_string(root().join(page))?;
        for wanted in errors.iter().chain(routes.clone()) {
            assert!(text.contains(wanted), "{page} lacks {wanted:?}");
        }
    }
    Ok(())
}

#[test]
fn a_block_without_a_known_mark_is_a_fault() {
    for info in ["", "bash", "console", "shell", "sh maybe", "sh tested-by=", "toml answer", "sh  needs-aws"]
    {
        let found = blocks(&format!("text\n\n   ```{info}\n   ls\n   ```\n"));
        assert_eq!(found.expect_err(info)[0].0, 3, "{info}");
    }
    blocks("```json answer\n{}\n```\n").expect_err("an answer to nothing");
    blocks("```sh\nls\n```\n```json\n{}\n```\n").expect_err("an answer without its mark");
    blocks("~~~\nls\n~~~\n").expect_err("a fence of tildes");
}

#[test]
fn blocks_are_read_without_their_indent() {
    let found =
        blocks("1. a\n\n   ```sh\n   cat <<X\n     y\n   X\n   ```\n   ```text answer\n     y\n   ```\n")
            .unwrap();
    assert_eq!(found.iter().map(|block| block.line).collect::<Vec<_>>(), [3, 8]);
    assert_eq!(found[0].text, "cat <<X\n  y\nX");
    assert_eq!(found[1].mark, Mark::Answer);
}

#[test]
fn programs_are_found_where_commands_begin() {
    let block = "# a comment\nsudo ./infra/run.sh --x \\\n    aws\nA=1 cargo test\ncd x\nif true; then\n";
    assert_eq!(programs(block), ["run.sh", "cargo"]);
}

#[test]
fn an_ellipsis_stands_for_text_within_a_line() {
    for (expected, actual) in
        [("a…c", "abc"), ("a\n", "a"), ("…", ""), ("a…b…c", "a-b-b-c"), ("x\n…", "x\ny")]
    {
        assert!(answers(expected, actual), "{expected:?} {actual:?}");
    }
    for (expected, actual) in [("a…c", "ab"), ("a", "ab"), ("a…", "a\nb"), ("a…b", "b"), ("a\nb", "a")]
    {
        assert!(!answers(expected, actual), "{expected:?} {actual:?}");
    }
}
