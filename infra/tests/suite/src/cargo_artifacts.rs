//! Cargo's report of a build (`--message-format=json-render-diagnostics`).

use std::path::PathBuf;

use serde_json::Value;

/// An executable that cargo has built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    pub(crate) package: String,
    /// The name of the library, program or file of tests.
    pub(crate) target: String,
    /// `lib`, `bin`, `test`, `bench`, …
    pub(crate) kind: String,
    pub(crate) path: PathBuf,
    /// The folder of its package, in which cargo runs tests.
    pub(crate) package_folder: PathBuf,
    /// Whether it is a test harness: of a library or program, its unit tests.
    pub(crate) is_test: bool,
}

/// The executables among `messages`, one JSON object a line, in the order in which they were finished.
pub(crate) fn executables(messages: &str) -> Vec<Executable> {
    messages.lines().filter_map(|line| executable(&serde_json::from_str(line).ok()?)).collect()
}

fn executable(message: &Value) -> Option<Executable> {
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    Some(Executable {
        package: package_name(message["package_id"].as_str()?)?.to_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        path: PathBuf::from(message["executable"].as_str()?),
        package_folder: manifest.parent()?.to_owned(),
        is_test: message["profile"]["test"].as_bool()?,
    })
}

/// Package ids are `path+file:///folder#name@version`, or without the name where the folder has the same.
fn package_name(id: &str) -> Option<&str> {
    let (path, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => path.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of cargo 1.95.
    const MESSAGES: &str = concat!(
        r#"{"reason":"compiler-artifact","package_id":"path+file:///r/proxy#0.1.0","manifest_path":"/r/proxy/Cargo.toml","target":{"kind":["test"],"name":"process"},"profile":{"test":true},"executable":"/r/target/debug/deps/process-0f"}"#,
        "\n",
        r#"{"reason":"compiler-artifact","package_id":"path+file:///r/infra/ctl#signerctl@0.1.0","manifest_path":"/r/infra/ctl/Cargo.toml","target":{"kind":["bin"],"name":"signerctl"},"profile":{"test":false},"executable":"/r/target/debug/signerctl"}"#,
        "\n",
        r#"{"reason":"compiler-artifact","package_id":"registry+https://github.com/rust-lang/crates.io-index#itoa@1.0.1","manifest_path":"/c/itoa/Cargo.toml","target":{"kind":["lib"],"name":"itoa"},"profile":{"test":false},"executable":null}"#,
        "\nwarning: not JSON\n",
        r#"{"reason":"build-finished","success":true}"#,
    );

    #[test]
    fn executables_are_found_with_their_packages() {
        let found = executables(MESSAGES);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].package.as_str(), found[0].kind.as_str(), found[0].is_test),
            ("proxy", "test", true)
        );
        assert_eq!(found[0].package_folder, PathBuf::from("/r/proxy"));
        assert_eq!((found[1].package.as_str(), found[1].target.as_str()), ("signerctl", "signerctl"));
        assert!(!found[1].is_test);
    }
}
