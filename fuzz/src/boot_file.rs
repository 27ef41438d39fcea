//! A second reader of boot files: the state machine of systemd's `env-file.c`, then the rules of `nitro.toml`.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key that `nitro.toml` has seal backups.
pub const SEALING_KEY_ARN: &str =
    "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// The key that `nitro.toml` has open backups, too.
pub const OPENING_KEY_ARN: &str =
    "arn:aws:kms:us-east-1:111122223333:key/mrk-00000000000000000000000000000001";

/// The content of a good boot file.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// The secrets, or their ciphertexts.
    pub api_keys: Vec<Secret>,
    /// The secret, or its ciphertext.
    pub ticket_signing_secret: Secret,
    /// The one before, or its ciphertext.
    pub previous_ticket_signing_secret: Option<Secret>,
    /// The certificates and the key's ciphertext.
    pub tls: Option<(Vec<u8>, Secret)>,
}

/// The API keys that have a role where a certificate is asked for. Elsewhere the first one alone has.
pub const API_KEYS: [&str; 2] = ["INTERNAL_API_KEY", "INTERNAL_API_KEY_WORKER"];

/// The bytes of a secret or its ciphertext, and the generation of that: 0 for none.
pub type Secret = (u32, Vec<u8>);

/// The generations that `nitro.toml` allows. Secrets without one have 0.
pub const GENERATIONS: RangeInclusive<u32> = 6..=7;

/// The content of the file, where one of API key and ticket secret comes from KMS, and with or without a certificate.
/// `None` if the file has to be refused.
#[must_use]
pub fn judge(file: &[u8], api_key_from_kms: bool, is_certificate_asked_for: bool) -> Option<Said> {
    let assignments = assignments(std::str::from_utf8(file).ok()?)?;
    let value = |name: &str| -> Option<Option<&str>> {
        let mut values =
            assignments.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let first = values.next();
        (values.next().is_none() && first != Some("")).then_some(first)
    };
    // Generations are asked for where the API key comes from KMS, and elsewhere not known.
    let generations = if api_key_from_kms { GENERATIONS } else { 0..=0 };
    let ciphertext = |value: &str| -> Option<Secret> {
        let (generation, base64) = match value.split_once(':') {
            None => (0, value),
            Some((generation, base64)) => {
                let digits = generation.strip_prefix("generation-")?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
                (digits.parse().ok().filter(|_| is_number)?, base64)
            }
        };
        let bytes = STANDARD.decode(base64).ok().filter(|bytes| (1..=6144).contains(&bytes.len()))?;
        generations.contains(&generation).then_some((generation, bytes))
    };
    let secret = |name: &str, from_kms: bool| -> Option<Secret> {
        match (value(name)?, value(&format!("{name}_CIPHERTEXT"))?, from_kms) {
            (None, Some(base64), true) => ciphertext(base64),
            (Some(secret), None, false) => is_secret(secret).then(|| (0, secret.as_bytes().to_vec())),
            _ => None,
        }
    };
    let api_keys = if is_certificate_asked_for { &API_KEYS[..] } else { &API_KEYS[..1] };
    let has_role = |name: &str| {
        let name = name.strip_suffix("_CIPHERTEXT").unwrap_or(name);
        !name.starts_with("INTERNAL_API_KEY_") || api_keys.contains(&name)
    };
    if !assignments.iter().all(|(name, _)| has_role(name)) {
        return None;
    }
    let previous = "TICKET_SIGNING_SECRET_PREVIOUS";
    let has_previous =
        assignments.iter().any(|(name, _)| name.strip_suffix("_CIPHERTEXT").unwrap_or(name) == previous);
    if value("AWS_REGION")?.is_some_and(|region| region != "us-east-1") {
        return None;
    }
    if value("KMS_KEY_ARN")?.is_some_and(|arn| arn != SEALING_KEY_ARN) {
        return None;
    }
    let certificate = [value("TLS_CERT_CHAIN")?, value("TLS_KEY")?, value("TLS_KEY_CIPHERTEXT")?];
    let tls = match (certificate, is_certificate_asked_for) {
        ([None, None, None], false) => None,
        ([Some(chain), None, Some(key)], true) => Some((chain.as_bytes().to_vec(), ciphertext(key)?)),
        _ => return None,
    };
    Some(Said {
        api_keys: api_keys.iter().map(|name| secret(name, api_key_from_kms)).collect::<Option<_>>()?,
        ticket_signing_secret: secret("TICKET_SIGNING_SECRET", !api_key_from_kms)?,
        previous_ticket_signing_secret: match has_previous {
            true => Some(secret(previous, !api_key_from_kms)?),
            false => None,
        },
        tls,
    })
}

#[derive(Clone, Copy)]
enum State {
    PreKey,
    Key,
    PreValue,
    Value,
    ValueEscape,
    SingleQuote,
    DoubleQuote,
    DoubleQuoteEscape,
    Comment,
    CommentEscape,
}

/// Names and values, or nothing where systemd's versions differ or a line would get lost.
fn assignments(text: &str) -> Option<Vec<(String, String)>> {
    use State::*;
    let mut found = Vec::new();
    let (mut state, mut key, mut value) = (PreKey, String::new(), String::new());
    // As in systemd: where the white space at the end began.
    let mut white_space = None;
    let is_space = |letter: char| " \t".contains(letter);
    let is_end = |letter: char| "\n\r".contains(letter);
    for letter in text.chars() {
        if letter == '\0' {
            return None;
        }
        state = match state {
            PreKey if letter == '#' || letter == ';' => Comment,
            PreKey if is_space(letter) || is_end(letter) => PreKey,
            PreKey | Key if letter == '=' => {
                white_space = None;
                PreValue
            }
            Key if is_end(letter) => return None,
            PreKey | Key => {
                key.push(letter);
                Key
            }
            PreValue | Value if is_end(letter) => {
                value.truncate(white_space.take().unwrap_or(value.len()));
                push(&mut found, &mut key, &mut value)?;
                PreKey
            }
            PreValue if letter == '\'' => SingleQuote,
            PreValue if letter == '"' => DoubleQuote,
            PreValue if is_space(letter) => PreValue,
            PreValue | Value if letter == '\\' => {
                white_space = None;
                ValueEscape
            }
            PreValue | Value => {
                white_space = if is_space(letter) { white_space.or(Some(value.len())) } else { None };
                value.push(letter);
                Value
            }
            ValueEscape | SingleQuote | DoubleQuote | DoubleQuoteEscape if letter == '\r' => return None,
            ValueEscape => {
                if letter != '\n' {
                    value.push(letter);
                }
                Value
            }
            SingleQuote if letter == '\'' => PreValue,
            DoubleQuote if letter == '"' => PreValue,
            DoubleQuote if letter == '\\' => DoubleQuoteEscape,
            SingleQuote | DoubleQuote => {
                value.push(letter);
                state
            }
            DoubleQuoteEscape => {
                if !"\"\\`$\n".contains(letter) {
                    value.push('\\');
                }
                if letter != '\n' {
                    value.push(letter);
                }
                DoubleQuote
            }
            Comment if letter == '\\' => CommentEscape,
            Comment if is_end(letter) => PreKey,
            CommentEscape if is_end(letter) => return None,
            Comment | CommentEscape => Comment,
        };
    }
    match state {
        PreKey | Comment | CommentEscape => {}
        PreValue | Value => {
            value.truncate(white_space.unwrap_or(value.len()));
            push(&mut found, &mut key, &mut value)?;
        }
        _ => return None,
    }
    Some(found)
}

fn push(found: &mut Vec<(String, String)>, key: &mut String, value: &mut String) -> Option<()> {
    let name = key.trim_end_matches([' ', '\t']).to_owned();
    let is_name = name.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && !name.is_empty();
    key.clear();
    found.push((name, std::mem::take(value)));
    is_name.then_some(())
}

fn is_secret(secret: &str) -> bool {
    const STARTS: [&str; 12] = [
        "change-me",
        "changeme",
        "change-this",
        "replace-me",
        "replaceme",
        "replace-with",
        "your-",
        "example",
        "placeholder",
        "xxxxxxxx",
        "development-api-key",
        "development-ticket-signing-secret",
    ];
    let plain = secret.to_ascii_lowercase().replace(['_', '.', ' '], "-");
    let letters: String =
        plain.chars().filter(|letter| !letter.is_ascii() || letter.is_ascii_alphabetic()).collect();
    let repeats = |unit: &[u8]| secret.bytes().eq(unit.iter().copied().cycle().take(secret.len()));
    secret.len() >= 16
        && !secret.ends_with(['\n', '\r'])
        && !STARTS.iter().any(|start| plain.starts_with(start))
        && !["secret", "password"].contains(&letters.as_str())
        && ![("<", ">"), ("{{", "}}"), ("${", "}")]
            .iter()
            .any(|(start, end)| secret.starts_with(start) && secret.ends_with(end))
        && !(1..=8).any(|unit| repeats(&secret.as_bytes()[..unit]))
}
