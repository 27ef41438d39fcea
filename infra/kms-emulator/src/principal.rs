//! The caller of a request: a role, a user or an account.

use std::fmt;
use std::str::FromStr;

use crate::key_arn::is_account;

/// The session name of a role given on the command line.
const STATIC_SESSION: &str = "kms-emulator";

/// An IAM identity, or a session of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// As error messages name it: the session for a role.
    caller_arn: String,
    /// As policies name it: the role itself for a session.
    identity_arn: String,
    account: String,
}

impl Principal {
    /// The principal that uses the role under this session name.
    ///
    /// # Errors
    ///
    /// When the text is not the ARN of a role.
    pub(crate) fn of_role(role_arn: &str, session: &str) -> Result<Self, InvalidPrincipal> {
        let (account, resource) = split(role_arn, "iam").ok_or(InvalidPrincipal)?;
        let path = resource.strip_prefix("role/").ok_or(InvalidPrincipal)?;
        let name = role_name(path).ok_or(InvalidPrincipal)?;
        Ok(Self {
            // STS leaves the path of the role out.
            caller_arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
            identity_arn: role_arn.to_owned(),
            account: account.to_owned(),
        })
    }

    pub(crate) fn caller_arn(&self) -> &str {
        &self.caller_arn
    }

    pub(crate) fn identity_arn(&self) -> &str {
        &self.identity_arn
    }

    pub(crate) fn account(&self) -> &str {
        &self.account
    }
}

/// The name of a role, which is the last part of its path.
pub(crate) fn role_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// The account and the resource of an ARN of this service.
fn split<'a>(arn: &'a str, service: &str) -> Option<(&'a str, &'a str)> {
    let rest = arn.strip_prefix("arn:aws:")?.strip_prefix(service)?.strip_prefix("::")?;
    rest.split_once(':').filter(|(account, resource)| is_account(account) && !resource.contains(['*', '?']))
}

impl FromStr for Principal {
    type Err = InvalidPrincipal;

    fn from_str(arn: &str) -> Result<Self, InvalidPrincipal> {
        if let Some((account, resource)) = split(arn, "sts") {
            let session = resource.strip_prefix("assumed-role/").ok_or(InvalidPrincipal)?;
            let (role, session) = session.split_once('/').ok_or(InvalidPrincipal)?;
            if role.is_empty() || session.is_empty() || session.contains('/') {
                return Err(InvalidPrincipal);
            }
            return Ok(Self {
                caller_arn: arn.to_owned(),
                identity_arn: format!("arn:aws:iam::{account}:role/{role}"),
                account: account.to_owned(),
            });
        }
        let (account, resource) = split(arn, "iam").ok_or(InvalidPrincipal)?;
        if resource.starts_with("role/") {
            return Self::of_role(arn, STATIC_SESSION);
        }
        if resource.strip_prefix("user/").is_none_or(str::is_empty) && resource != "root" {
            return Err(InvalidPrincipal);
        }
        Ok(Self { caller_arn: arn.to_owned(), identity_arn: arn.to_owned(), account: account.to_owned() })
    }
}

/// The text names no principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPrincipal;

impl fmt::Display for InvalidPrincipal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not the ARN of a role, user, account root or assumed-role session")
    }
}

impl std::error::Error for InvalidPrincipal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_of_its_role() {
        let session: Principal = "arn:aws:sts::111122223333:assumed-role/signer/i-1".parse().unwrap();
        assert_eq!(session.identity_arn(), "arn:aws:iam::111122223333:role/signer");
        let role = Principal::of_role("arn:aws:iam::111122223333:role/a/path/signer", "i-1").unwrap();
        assert_eq!(role.caller_arn(), session.caller_arn());
        assert_eq!(role.identity_arn(), "arn:aws:iam::111122223333:role/a/path/signer");
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        for wrong in [
            "*",
            "arn:aws:iam::1111:role/a",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/a*",
            "arn:aws:iam::111122223333:user/",
            "arn:aws:iam::111122223333:group/a",
            "arn:aws:sts::111122223333:assumed-role/a",
            "arn:aws:sts::111122223333:assumed-role/a/b/c",
        ] {
            assert_eq!(wrong.parse::<Principal>(), Err(InvalidPrincipal), "{wrong}");
        }
    }
}
