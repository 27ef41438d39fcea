//! `[api_keys]`: the API keys, and the role of each.

use toml::Value;

use super::InvalidConfiguration;
use super::table::{Source, error};

/// The variable of the API key that every signer has. The variables of other keys begin with it.
pub const INTERNAL_API_KEY: &str = "INTERNAL_API_KEY";

/// Two keys for each role, and two to spare. Each key adds one comparison to each request.
pub const MAX_API_KEYS: usize = 8;

/// Enough for the name of a service. Errors repeat the whole name.
const MAX_KEY_NAME_BYTES: usize = 32;

/// An operation that a caller can request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Generate a key.
    Generate,
    /// Sign a digest.
    Sign,
    /// Delete a key.
    Destroy,
    /// Return a sealed copy of a key.
    Export,
    /// Import a sealed copy.
    Import,
    /// Prove the origin of a key.
    Attest,
}

/// The operations that an API key allows. Routes without an API key need no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `full` allows every operation.
    Full,
    /// `sign` allows signatures.
    Sign,
    /// `backup` allows export and import.
    Backup,
}

impl Role {
    /// Whether the role allows `operation`.
    #[must_use]
    pub const fn allows(self, operation: Operation) -> bool {
        match self {
            Self::Full => true,
            Self::Sign => matches!(operation, Operation::Sign),
            Self::Backup => matches!(operation, Operation::Export | Operation::Import),
        }
    }
}

/// An API key that the boot file must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRole {
    /// Its variable: `INTERNAL_API_KEY`, or `INTERNAL_API_KEY_` and a name.
    pub variable: String,
    /// The operations that it allows.
    pub role: Role,
}

impl ApiKeyRole {
    /// The name of a key: its variable without `INTERNAL_API_KEY_`. `None` for `INTERNAL_API_KEY` itself.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        name_of(&self.variable)
    }
}

/// The keys of the table, `INTERNAL_API_KEY` first. That key has the role `full` unless the table gives it another.
pub(super) fn api_keys(source: &Source) -> Result<Vec<ApiKeyRole>, InvalidConfiguration> {
    const TABLE: &str = "api_keys";
    let mut keys = vec![ApiKeyRole { variable: INTERNAL_API_KEY.to_owned(), role: Role::Full }];
    let Some(Value::Table(table)) = source.value() else { return Ok(keys) };
    for (variable, role) in table {
        if variable != INTERNAL_API_KEY && !name_of(variable).is_some_and(is_key_name) {
            return Err(error(TABLE, &not_a_variable()));
        }
        let role = match role.as_str() {
            Some("full") => Role::Full,
            Some("sign") => Role::Sign,
            Some("backup") => Role::Backup,
            _ => return Err(error(&format!("{TABLE}.{variable}"), "neither full, sign nor backup")),
        };
        match keys.iter_mut().find(|key| key.variable == *variable) {
            Some(key) => key.role = role,
            None => keys.push(ApiKeyRole { variable: variable.clone(), role }),
        }
    }
    if keys.len() > MAX_API_KEYS {
        let line = format!("more than {MAX_API_KEYS} keys, {INTERNAL_API_KEY} included");
        return Err(error(TABLE, &line));
    }
    Ok(keys)
}

fn name_of(variable: &str) -> Option<&str> {
    variable.strip_prefix(INTERNAL_API_KEY)?.strip_prefix('_')
}

/// A name that ends like the variable of a ciphertext would be ambiguous, so it is refused.
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
    fn each_role_allows_its_operations_and_no_others() {
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
    fn the_name_of_a_key_follows_the_prefix() {
        let name = |variable: &str| {
            let key = ApiKeyRole { variable: variable.to_owned(), role: Role::Sign };
            key.name().map(str::to_owned)
        };
        assert_eq!(name("INTERNAL_API_KEY"), None);
        assert_eq!(name("INTERNAL_API_KEY_WORKER_2"), Some("WORKER_2".to_owned()));
    }
}
