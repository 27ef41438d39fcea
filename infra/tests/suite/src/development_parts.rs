//! Whether the production signer holds anything of the development signer.

use std::fs;
use std::path::Path;

use crate::step::Failure;

/// Names that only the development signer has: of its functions and of its texts.
const NAMES: [&str; 8] = [
    "SEALING_KEY",
    "local_sealer",
    "LocalSealer",
    "development signer",
    "enclave-dev: ",
    "SoftwareNsm",
    "software-nsm-root",
    "root-key.pem",
];

/// Names that the production signer has, with symbols and without.
const OURS: [&str; 2] = ["enclave_runtime", "enclave: "];

/// Looks for the names in the development signer and in the production signer, both with symbols, and in the production
/// signer as it ships. Returns what it found, to be shown.
///
/// # Errors
///
/// [`Failure::Found`] when the production signer has one of the names, when the development signer lacks one (then the
/// check is blind), or when a file cannot be read.
pub(crate) fn check(development: &Path, production: &Path, shipped: &Path) -> Result<Vec<String>, Failure> {
    let [development, production, shipped] = [read(development)?, read(production)?, read(shipped)?];
    for name in NAMES {
        if !contains(&development, name) {
            return found(format!("the check is blind: '{name}' is not in enclave-dev"));
        }
        if contains(&production, name) {
            return found(format!("'{name}' is in enclave"));
        }
        if contains(&shipped, name) {
            return found(format!("'{name}' is in enclave as it ships"));
        }
    }
    if !contains(&production, OURS[0]) || !contains(&shipped, OURS[1]) {
        return found("the check is blind: enclave holds nothing of ours".to_owned());
    }
    Ok(vec![
        format!("absent from enclave, present in enclave-dev: '{}'", NAMES.join("', '")),
        format!("enclave as it ships: {} bytes", shipped.len()),
    ])
}

fn found<T>(text: String) -> Result<T, Failure> {
    Err(Failure::Found(text))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Found(format!("cannot read {}: {error}", path.display())))
}

fn contains(program: &[u8], name: &str) -> bool {
    memchr::memmem::find(program, name.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(development: &str, production: &str, shipped: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let paths = [("d", development), ("p", production), ("s", shipped)].map(|(name, text)| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        });
        check(&paths[0], &paths[1], &paths[2]).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_development_name_in_production_is_found() {
        let all = NAMES.join("\0");
        let (symbols, texts) = ("_ZN15enclave_runtime4main", "enclave: listening");
        assert!(checked(&all, symbols, texts).is_ok());
        for name in NAMES {
            let with = |text: &str| format!("{text}\0{name}");
            assert_eq!(checked(&all, &with(symbols), texts), Err(format!("'{name}' is in enclave")));
            assert_eq!(
                checked(&all, symbols, &with(texts)),
                Err(format!("'{name}' is in enclave as it ships"))
            );
            let without = all.replace(name, "");
            assert!(
                checked(&without, symbols, texts).unwrap_err().starts_with("the check is blind: "),
                "{name}"
            );
        }
        assert!(checked(&all, texts, texts).is_err());
        assert!(checked(&all, symbols, symbols).is_err());
    }
}
