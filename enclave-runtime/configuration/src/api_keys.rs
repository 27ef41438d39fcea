//! `[api_keys]`: which API keys there are, and what each may ask for.

use toml::Value;

use super::InvalidConfiguration;
use super::table::{Source, fault};

/// The variable of the API key that every signer has. The others' variables begin with it.
pub const INTERNAL_API_KEY: &str = "INTERNAL_API_KEY";

/// Two for each role and two to spare. Each is one more comparison for each request.
pub const MAX_API_KEYS: usize = 8;

/// The name of a service; errors repeat it whole.
const MAX_KEY_NAME_BYTES: usize = 32;

/// What a caller can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make a key.
    Generate,
    /// Sign a digest.
    Sign,
    /// Forget a key.
    Destroy,
    /// Give out a sealed copy of a key.
    Export,
    /// Take a sealed copy back.
    Import,
    /// Prove where a key came from.
    Attest,
}

/// What the holder of an API key may ask for, beside what takes no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `full`: every operation.
    Full,
    /// `sign`: signatures.
    Sign,
    /// `backup`: export and import.
    Backup,
}

impl Role {
    /// Whether its holder may ask for `operation`.
    #[must_use]
    pub const fn allows(self, operation: Operation) -> bool {
        match self {
            Self::Full => true,
            Self::Sign => matches!(operation, Operation::Sign),
            Self::Backup => matches!(operation, Operation::Export | Operation::Import),
        }
    }
}

/// An API key that the boot file has to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRole {
    /// Its variable: `INTERNAL_API_KEY`, or that, `_` and its name.
    pub variable: String,
    /// What its holder may ask for.
    pub role: Role,
}

impl ApiKeyRole {
    /// The name of a key other than `INTERNAL_API_KEY`: its variable, less `INTERNAL_API_KEY_`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        name_of(&self.variable)
    }
}

/// `INTERNAL_API_KEY` first; it has every right unless the table has another role for it.
pub(super) fn api_keys(source: &Source) -> Result<Vec<ApiKeyRole>, InvalidConfiguration> {
    const TABLE: &str = "api_keys";
    let mut keys = vec![ApiKeyRole { variable: INTERNAL_API_KEY.to_owned(), role: Role::Full }];
    let Some(Value::Table(table)) = source.value() else { return Ok(keys) };
    for (variable, role) in table {
        if variable != INTERNAL_API_KEY && !name_of(variable).is_some_and(is_key_name) {
            return Err(fault(TABLE, &not_a_variable()));
        }
        let role = match role.as_str() {
            Some("full") => Role::Full,
            Some("sign") => Role::Sign,
            Some("backup") => Role::Backup,
            _ => return Err(fault(&format!("{TABLE}.{variable}"), "neither full, sign nor backup")),
        };
        match keys.iter_mut().find(|key| key.variable == *variable) {
            Some(key) => key.role = role,
            None => keys.push(ApiKeyRole { variable: variable.clone(), role }),
        }
    }
    if keys.len() > MAX_API_KEYS {
        let line = format!("more than {MAX_API_KEYS} keys, {INTERNAL_API_KEY} included");
        return Err(fault(TABLE, &line));
    }
    Ok(keys)
}

fn name_of(variable: &str) -> Option<&str> {
    variable.strip_prefix(INTERNAL_API_KEY)?.strip_prefix('_')
}

/// A name that ended like a ciphertext's variable would stand for two variables.
fn is_key_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && name != "CIPHERTEXT"
        && !name.ends_with("_CIPHERTEXT")
}

fn not_a_variable() -> String {
    format!(
        "a name that is neither {INTERNAL_API_KEY} nor {INTERNAL_API_KEY}_ and 1 to {MAX_KEY_NAME_BYTES} of A to Z, 0 to \
         9 and _, not ending in CIPHERTEXT"
    )
}

#[cfg(test)]
mod tests {
    use super::{ApiKeyRole, Operation, Role};

    #[test]
    fn each_role_allows_its_operations_and_no_other() {
        use Operation::{Attest, Destroy, Export, Generate, Import, Sign};
        for (role, allowed) in [
            (Role::Full, &[Generate, Sign, Destroy, Export, Import, Attest][..]),
            (Role::Sign, &[Sign]),
            (Role::Backup, &[Export, Import]),
        ] {
            for operation in [Generate, Sign, Destroy, Export, Import, Attest] {
                assert_eq!(role.allows(operation), allowed.contains(&operation), "{role:?} {operation:?}");
            }
        }
    }

    #[test]
    fn a_key_has_the_name_behind_the_prefix() {
        let name = |variable: &str| {
            let key = ApiKeyRole { variable: variable.to_owned(), role: Role::Sign };
            key.name().map(str::to_owned)
        };
        assert_eq!(name("INTERNAL_API_KEY"), None);
        assert_eq!(name("INTERNAL_API_KEY_WORKER_2"), Some("WORKER_2".to_owned()));
    }
}
