//! The principals of a statement.

use serde::Deserialize;

use crate::key_arn::is_account;
use crate::policy::one_or_many::OneOrMany;
use crate::principal::Principal;

/// The `Principal` element.
#[derive(Debug)]
pub(crate) struct Principals(Vec<Pattern>);

#[derive(Debug)]
enum Pattern {
    Anyone,
    /// An account to whose identity policies a key policy delegates. All of them are taken to allow the request.
    Account(String),
    /// A role or user, with its sessions, or one session.
    Arn(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum RawPrincipals {
    Text(String),
    ByKind(RawByKind),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawByKind {
    #[serde(rename = "AWS")]
    aws: OneOrMany,
}

impl Principals {
    pub(crate) fn include(&self, principal: &Principal) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Anyone => true,
            Pattern::Account(account) => account == principal.account(),
            Pattern::Arn(arn) => arn == principal.identity_arn() || arn == principal.caller_arn(),
        })
    }
}

impl TryFrom<RawPrincipals> for Principals {
    type Error = String;

    fn try_from(raw: RawPrincipals) -> Result<Self, String> {
        let texts = match raw {
            RawPrincipals::Text(text) if text == "*" => vec![text],
            RawPrincipals::Text(text) => return Err(format!("unknown principal '{text}'")),
            RawPrincipals::ByKind(RawByKind { aws: OneOrMany(texts) }) => texts,
        };
        texts.iter().map(|text| pattern(text)).collect::<Result<_, _>>().map(Self)
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text == "*" {
        return Ok(Pattern::Anyone);
    }
    let account =
        text.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root")).unwrap_or(text);
    if is_account(account) {
        return Ok(Pattern::Account(account.to_owned()));
    }
    match text.parse::<Principal>() {
        Ok(_) => Ok(Pattern::Arn(text.to_owned())),
        Err(error) => Err(format!("principal '{text}' is {error}")),
    }
}
