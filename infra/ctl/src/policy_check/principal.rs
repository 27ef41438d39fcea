//! The principals of a statement.

use std::fmt;

/// One principal, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    /// `*`
    Anyone,
    /// An account: the principals that its own policies permit.
    Account(String),
    /// A role or a user.
    Identity { arn: String, account: String },
    /// One session of a role.
    Session { arn: String, account: String, role: String },
    /// A service, a federation, or a name unknown to AWS.
    Other(String),
}

/// The element `Principal`, or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principals {
    These(Vec<Principal>),
    AllBut(Vec<Principal>),
}

impl Principal {
    /// The text under `AWS`.
    pub(super) fn of_aws(text: &str) -> Self {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if text == "*" {
            return Self::Anyone;
        }
        if is_account(text) {
            return Self::Account(text.to_owned());
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts[..] {
            ["arn", _, "iam", "", account, "root"] if is_account(account) => {
                Self::Account(account.to_owned())
            }
            ["arn", _, "iam", "", account, resource]
                if is_account(account)
                    && !resource.contains(['*', '?'])
                    && (resource.starts_with("role/") || resource.starts_with("user/")) =>
            {
                Self::Identity { arn: text.to_owned(), account: account.to_owned() }
            }
            ["arn", _, "sts", "", account, resource]
                if is_account(account) && !resource.contains(['*', '?']) =>
            {
                match resource.strip_prefix("assumed-role/").and_then(|rest| rest.split_once('/')) {
                    Some((role, _)) => Self::Session {
                        arn: text.to_owned(),
                        account: account.to_owned(),
                        role: role.to_owned(),
                    },
                    None => Self::Other(text.to_owned()),
                }
            }
            _ => Self::Other(text.to_owned()),
        }
    }

    pub(super) fn account(&self) -> Option<&str> {
        match self {
            Self::Account(account) | Self::Identity { account, .. } | Self::Session { account, .. } => {
                Some(account)
            }
            Self::Anyone | Self::Other(_) => None,
        }
    }

    /// The name of the role that it is, or is a session of.
    pub(super) fn role(&self) -> Option<&str> {
        match self {
            Self::Identity { arn, .. } => {
                arn.split_once(":role/").and_then(|(_, path)| path.rsplit('/').next())
            }
            Self::Session { role, .. } => Some(role),
            _ => None,
        }
    }

    /// Whether it is one role or user, and not a principal whose members other policies decide.
    pub(super) const fn is_one(&self) -> bool {
        matches!(self, Self::Identity { .. } | Self::Session { .. })
    }

    /// Whether both are one role, or sessions of it.
    pub(super) fn is_role_of(&self, other: &Self) -> bool {
        self.role().is_some() && self.role() == other.role() && self.account() == other.account()
    }

    /// Whether this covers every principal that `other` covers.
    fn covers(&self, other: &Self) -> bool {
        match self {
            Self::Anyone => true,
            Self::Account(account) => other.account() == Some(account),
            Self::Identity { .. } => {
                self == other || matches!(other, Self::Session { .. }) && self.is_role_of(other)
            }
            Self::Session { .. } | Self::Other(_) => self == other,
        }
    }

    /// Whether a principal exists that both cover.
    fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self) || self.is_role_of(other)
    }
}

/// The name for a sentence.
impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => formatter.write_str("anybody, of any account,"),
            Self::Account(account) => {
                write!(formatter, "whomever an IAM policy of account {account} lets")
            }
            Self::Identity { arn, .. } | Self::Session { arn, .. } => formatter.write_str(arn),
            Self::Other(name) => write!(formatter, "the principal \"{name}\""),
        }
    }
}

impl Principals {
    /// The principals to examine one by one.
    pub(super) fn subjects(&self) -> Vec<Principal> {
        match self {
            Self::These(principals) => principals.clone(),
            Self::AllBut(_) => vec![Principal::Anyone],
        }
    }

    /// Whether the statement surely covers every principal that `subject` covers.
    pub(super) fn cover(&self, subject: &Principal) -> bool {
        match self {
            Self::These(principals) => principals.iter().any(|principal| principal.covers(subject)),
            Self::AllBut(principals) => !principals.iter().any(|principal| principal.meets(subject)),
        }
    }

    /// Whether the statement may cover a principal that `subject` covers.
    pub(super) fn meet(&self, subject: &Principal) -> bool {
        match self {
            Self::These(principals) => principals.iter().any(|principal| principal.meets(subject)),
            Self::AllBut(principals) => !principals.iter().any(|principal| principal.covers(subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Principal, Principals};

    #[test]
    fn who_is_covered_and_who_is_met() {
        let read = Principal::of_aws;
        let role = read("arn:aws:iam::999988887777:role/path/signer");
        let session = read("arn:aws:sts::999988887777:assumed-role/signer/i-1");
        let account = read("arn:aws-cn:iam::999988887777:root");
        assert_eq!(account, read("999988887777"));
        assert!(role.is_one() && session.is_one() && !account.is_one());
        for (wide, narrow) in [
            (&Principal::Anyone, &account),
            (&account, &role),
            (&account, &session),
            (&role, &session),
            (&role, &role),
        ] {
            assert!(wide.covers(narrow) && wide.meets(narrow) && narrow.meets(wide), "{wide:?} {narrow:?}");
            assert!(wide == narrow || !narrow.covers(wide), "{wide:?} {narrow:?}");
        }
        for other in [
            "arn:aws:iam::999988887777:role/other",
            "arn:aws:iam::999988887777:user/signer",
            "arn:aws:iam::444455556666:role/path/signer",
            "arn:aws:iam::999988887777:role/*",
            "AROAEXAMPLE",
        ] {
            let other = read(other);
            assert!(!role.covers(&other) && !role.meets(&other), "{other:?}");
        }
        let all_but_role = Principals::AllBut(vec![role.clone()]);
        assert!(!all_but_role.cover(&role) && !all_but_role.cover(&session) && !all_but_role.cover(&account));
        assert!(all_but_role.meet(&account) && !all_but_role.meet(&session));
        assert!(all_but_role.cover(&read("arn:aws:iam::999988887777:role/other")));
        assert_eq!(all_but_role.subjects(), [Principal::Anyone]);
    }
}
