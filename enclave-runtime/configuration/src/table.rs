//! The tables and keys of `nitro.toml`, before their values are checked.

use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use toml::Value;

use super::{InvalidConfiguration, MAX_CONFIGURATION_BYTES};

/// The longest key that an error repeats. Keys of this file have at most 28 bytes.
const MAX_REPEATED_KEY_BYTES: usize = 40;

/// The keys of [`Document`] that are tables.
const TABLES: [&str; 11] =
    ["enclave", "vsock", "kms", "secrets", "api_keys", "tls", "acme", "http", "limits", "rate_limits", "pcr"];

/// The tables and keys that the file may contain.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) version: Source,
    pub(super) name: Source,
    pub(super) enclave: Enclave,
    pub(super) vsock: Vsock,
    pub(super) kms: Kms,
    pub(super) secrets: Secrets,
    /// A table whose keys the operator chooses.
    pub(super) api_keys: Source,
    pub(super) tls: Tls,
    pub(super) acme: Acme,
    pub(super) http: Http,
    pub(super) limits: Limits,
    pub(super) rate_limits: RateLimits,
    pub(super) pcr: Pcr,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Enclave {
    pub(super) cpu_count: Source,
    pub(super) memory_mib: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Vsock {
    pub(super) enclave_app_port: Source,
    pub(super) admin_port: Source,
    pub(super) acme_challenge_port: Source,
    pub(super) kms_proxy_port: Source,
    pub(super) imds_port: Source,
    pub(super) boot_port: Source,
    pub(super) log_port: Source,
    pub(super) acme_port: Source,
    pub(super) certificate_store_port: Source,
    pub(super) certificate_store_write_port: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kms {
    pub(super) region: Source,
    pub(super) sealing_key_arn: Source,
    pub(super) boot_secret_key_arns: Source,
    pub(super) opening_key_arns: Source,
    /// A key of older files. The error tells its replacement.
    pub(super) key_arns: Source,
    pub(super) trust_anchors: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Secrets {
    pub(super) internal_api_key: Source,
    pub(super) ticket_signing_secret: Source,
    pub(super) generation: Source,
    pub(super) oldest_generation: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) mode: Source,
    pub(super) server_names: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Acme {
    pub(super) directory: Source,
    pub(super) contact: Source,
    pub(super) terms_of_service_agreed: Source,
    pub(super) trust_anchors: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) proxy_protocol: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) max_keys: Source,
    pub(super) max_nonces: Source,
    pub(super) max_ticket_ttl_s: Source,
    pub(super) max_requests_in_flight: Source,
    pub(super) max_connections: Source,
    pub(super) idle_timeout_s: Source,
    pub(super) connection_lifetime_s: Source,
    pub(super) max_requests_per_connection: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateLimits {
    pub(super) signatures_per_second_per_identity: Source,
    pub(super) signatures_per_second: Source,
    pub(super) keys_generated_per_minute: Source,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pcr {
    #[serde(rename = "PCR0")]
    pub(super) pcr0: Source,
    #[serde(rename = "PCR1")]
    pub(super) pcr1: Source,
    #[serde(rename = "PCR2")]
    pub(super) pcr2: Source,
}

/// The value of a key, of any kind, or none. Errors can thus name the key.
#[derive(Deserialize, Default)]
#[serde(transparent)]
pub(super) struct Source(Option<Value>);

impl Document {
    pub(super) fn read(text: &str) -> Result<Self, InvalidConfiguration> {
        if text.len() > MAX_CONFIGURATION_BYTES {
            return Err(InvalidConfiguration::TooLong);
        }
        // The file is read twice: an error of the first reading comes from the grammar, whose texts are fixed.
        let tables: toml::Table = toml::from_str(text).map_err(|error| InvalidConfiguration::Syntax {
            line: line_of(text, error.span()),
            reason: error.message().to_owned(),
        })?;
        // serde accepts a list of values in place of a table.
        if let Some(name) = TABLES.iter().find(|name| tables.get(**name).is_some_and(|it| !it.is_table())) {
            return Err(error(name, "not a table"));
        }
        // Tables have been checked, and values may have any kind, so only a key can be wrong.
        toml::from_str(text).map_err(|error| {
            let key = error.span().and_then(|span| text.get(span)).filter(|key| is_plain(key));
            InvalidConfiguration::UnknownKey {
                line: line_of(text, error.span()),
                key: key.map(str::to_owned),
            }
        })
    }
}

impl Acme {
    pub(super) fn is_there(&self) -> bool {
        let Self { directory, contact, terms_of_service_agreed, trust_anchors } = self;
        [directory, contact, terms_of_service_agreed, trust_anchors].iter().any(|it| it.value().is_some())
    }
}

impl Source {
    pub(super) const fn value(&self) -> Option<&Value> {
        self.0.as_ref()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, InvalidConfiguration> {
        match &self.0 {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(error(key, "not text")),
        }
    }

    pub(super) fn required_text(&self, key: &str) -> Result<&str, InvalidConfiguration> {
        self.text(key)?.ok_or_else(|| error(key, MISSING))
    }

    pub(super) fn required_list(&self, key: &str) -> Result<&[Value], InvalidConfiguration> {
        match &self.0 {
            None => Err(error(key, MISSING)),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(error(key, "not a list")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, InvalidConfiguration> {
        match &self.0 {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(error(key, "neither true nor false")),
        }
    }

    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, InvalidConfiguration> {
        let Some(value) = &self.0 else { return Ok(None) };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = range.into_inner();
                let numbers = if least == most {
                    format!("{least}")
                } else {
                    format!("a whole number from {least} to {most}")
                };
                Err(error(key, &format!("not {numbers}")))
            }
        }
    }

    pub(super) fn required_number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Result<u32, InvalidConfiguration> {
        self.number(key, range)?.ok_or_else(|| error(key, MISSING))
    }
}

pub(super) const MISSING: &str = "missing";

pub(super) fn error(key: &str, error: &str) -> InvalidConfiguration {
    InvalidConfiguration::Value { key: key.to_owned(), error: error.to_owned() }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start).min(text.len());
    1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count()
}

/// Whether an error can repeat the key without forging or flooding a log.
fn is_plain(key: &str) -> bool {
    (1..=MAX_REPEATED_KEY_BYTES).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
