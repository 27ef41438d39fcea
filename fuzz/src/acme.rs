//! Answers of an ACME server, read into `serde_json`'s values and checked by RFC 8555.

use http::Uri;
use serde_json::Value;

/// Where the directory is.
pub const HOME: &str = "https://example.com/acme/directory";

/// For which names an order is.
pub const NAMES: [&str; 2] = ["example.org", "www.example.org"];

/// The URL that `text` is, if it is one on the directory's host and port.
#[must_use]
pub fn url(text: &str) -> Option<String> {
    let (authority, host) = (text.parse::<Uri>().ok()?.into_parts().authority?, "example.com");
    let is_there = authority.as_str().eq_ignore_ascii_case(host)
        || (authority.host().eq_ignore_ascii_case(host)
            && !authority.as_str().contains('@')
            && authority.port_u16() == Some(443));
    let scheme = text.get(..8)?.eq_ignore_ascii_case("https://");
    if !is_there || !scheme || text.len() > 1024 || text.contains('#') {
        return None;
    }
    let path = &text[8 + authority.as_str().len()..];
    let root = if path.starts_with('/') { "" } else { "/" };
    Some(format!("https://{host}{root}{path}"))
}

/// The URLs for new nonces, accounts and orders.
#[must_use]
pub fn directory(body: &Value) -> Option<[String; 3]> {
    match body.get("meta") {
        None => {}
        Some(meta) => match meta.as_object()?.get("externalAccountRequired") {
            None | Some(Value::Bool(false)) => {}
            Some(_) => return None,
        },
    }
    let [nonce, account, order] =
        ["newNonce", "newAccount", "newOrder"].map(|name| url(body.get(name)?.as_str()?));
    Some([nonce?, account?, order?])
}

/// An order, its statuses in words.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in RFC 8555")]
pub struct Order {
    pub status: String,
    pub authorizations: Vec<String>,
    pub finalize: String,
    pub certificate: Option<String>,
}

/// An order for [`NAMES`].
#[must_use]
pub fn order(body: &Value) -> Option<Order> {
    const STATUSES: [&str; 5] = ["pending", "ready", "processing", "valid", "invalid"];
    let authorizations = match body.get("authorizations") {
        None => Vec::new(),
        Some(list) => list.as_array()?.iter().map(|it| url(it.as_str()?)).collect::<Option<_>>()?,
    };
    is_error(body.get("error")).then_some(())?;
    Some(Order {
        status: status(body, &STATUSES)?,
        authorizations: Some(authorizations).filter(|it| it.len() <= NAMES.len())?,
        finalize: url(body.get("finalize")?.as_str()?)?,
        certificate: text(body.get("certificate"))?.map(|it| url(&it).ok_or(())).transpose().ok()?,
    })
}

/// Status and name of an authorization of one of [`NAMES`].
#[must_use]
pub fn authorization(body: &Value) -> Option<(String, String)> {
    const STATUSES: [&str; 6] = ["pending", "valid", "invalid", "deactivated", "expired", "revoked"];
    let identifier = body.get("identifier")?;
    let (kind, name) = (identifier.get("type")?.as_str()?, identifier.get("value")?.as_str()?);
    let is_challenge = |it: &Value| {
        let is_text = |name| it.get(name).is_some_and(Value::is_string);
        is_text("type") && is_text("url") && text(it.get("token")).is_some() && is_error(it.get("error"))
    };
    let are_challenges = match body.get("challenges") {
        None => true,
        Some(list) => list.as_array()?.iter().all(is_challenge),
    };
    let is_right = kind == "dns" && NAMES.contains(&name) && are_challenges;
    is_right.then_some((status(body, &STATUSES)?, name.to_owned()))
}

/// URL and token of the challenge that is answered.
#[must_use]
pub fn challenge(authorization: &Value) -> Option<(String, String)> {
    let challenges = authorization.get("challenges")?.as_array()?;
    let challenge = challenges.iter().find(|it| it["type"] == "tls-alpn-01")?;
    let token = challenge["token"].as_str()?;
    is_base64url(token).then_some((url(challenge["url"].as_str()?)?, token.to_owned()))
}

/// Whether it is base64url, of 256 bytes at most.
#[must_use]
pub fn is_base64url(text: &str) -> bool {
    let alphabet = |it: char| it.is_ascii_digit() || it.is_ascii_alphabetic() || it == '-' || it == '_';
    !text.is_empty() && text.len() <= 256 && text.chars().all(alphabet)
}

/// Whether there is a list where an object should be. `serde` reads one as the other, and no server writes it so: then
/// nothing is judged.
#[must_use]
pub fn has_a_list_for_an_object(body: &Value) -> bool {
    let objects = ["meta", "identifier", "error"].map(|name| body.get(name));
    let lists = ["challenges", "subproblems"].map(|name| body.get(name).and_then(Value::as_array));
    body.is_array()
        || objects.into_iter().flatten().any(has_a_list_for_an_object)
        || lists.into_iter().flatten().flatten().any(has_a_list_for_an_object)
}

/// A word of a list, or an object with nothing under that word, which is `serde`'s other form of it.
fn status(body: &Value, words: &[&str]) -> Option<String> {
    let word = match body.get("status")? {
        Value::String(word) => word,
        Value::Object(members) => {
            let (word, value) = members.iter().next()?;
            (members.len() == 1 && value.is_null()).then_some(word)?
        }
        _ => return None,
    };
    words.contains(&word.as_str()).then(|| word.clone())
}

/// A text that may be missing: `None` if it is anything else.
#[allow(clippy::option_option, reason = "what is missing is not what is wrong")]
fn text(member: Option<&Value>) -> Option<Option<String>> {
    match member {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_str().map(|it| Some(it.to_owned())),
    }
}

/// Whether it is a problem document, which may be missing.
fn is_error(member: Option<&Value>) -> bool {
    member.is_none_or(|it| it.is_null() || is_problem(it))
}

/// Whether it is a problem document (RFC 7807), as far as it is read.
#[must_use]
pub fn is_problem(value: &Value) -> bool {
    let has_words =
        |it: &Value| it.is_object() && text(it.get("type")).is_some() && text(it.get("detail")).is_some();
    has_words(value)
        && value
            .get("subproblems")
            .is_none_or(|it| it.as_array().is_some_and(|list| list.iter().all(has_words)))
}
