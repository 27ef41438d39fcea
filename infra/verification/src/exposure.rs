//! Settings of a `nitro.toml` by which an image gives trust away.

use std::fmt;

use toml::{Table, Value};

/// A measured setting that gives trust away: an enclave with it is the expected one, and protects less than one
/// without.
///
/// `secrets.internal_api_key = "env"` is none: the API key alone signs nothing. `tls.mode = "off"` is none either: a
/// verifier sees that the connection has no TLS, and such a document is never bound to a connection that has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Authorities of the operator vouch for KMS.
    KmsTrustAnchors,
    /// Authorities of the operator vouch for the ACME server.
    AcmeTrustAnchors,
    /// The parent instance knows the ticket secret, and chooses it.
    TicketSecretFromParent,
    /// The TLS key is made outside of the enclave.
    TlsKeyMadeOutside,
}

impl Exposure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::KmsTrustAnchors,
        Self::AcmeTrustAnchors,
        Self::TicketSecretFromParent,
        Self::TlsKeyMadeOutside,
    ];

    /// Those in `nitro_toml`. Its other settings may be those of a later version; a value that no version has counts as
    /// an exposure.
    #[must_use]
    pub fn all_in(nitro_toml: &Table) -> Vec<Self> {
        let value = |table: &str, key: &str| nitro_toml.get(table)?.as_table()?.get(key);
        let is_other = |value: Option<&Value>, harmless: &[&str]| {
            value.is_some_and(|value| !value.as_str().is_some_and(|text| harmless.contains(&text)))
        };
        let is_in = |exposure: &Self| match exposure {
            Self::KmsTrustAnchors => value("kms", "trust_anchors").is_some(),
            Self::AcmeTrustAnchors => value("acme", "trust_anchors").is_some(),
            Self::TicketSecretFromParent => is_other(value("secrets", "ticket_signing_secret"), &["kms"]),
            Self::TlsKeyMadeOutside => is_other(value("tls", "mode"), &["off", "self-signed", "acme"]),
        };
        Self::ALL.into_iter().filter(is_in).collect()
    }

    /// The one with this setting.
    #[must_use]
    pub fn of_setting(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|exposure| exposure.setting() == key)
    }

    /// The key of the setting.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::KmsTrustAnchors => "kms.trust_anchors",
            Self::AcmeTrustAnchors => "acme.trust_anchors",
            Self::TicketSecretFromParent => "secrets.ticket_signing_secret",
            Self::TlsKeyMadeOutside => "tls.mode",
        }
    }

    /// Whether it is for tests: no image that holds keys of value should have it.
    #[must_use]
    pub const fn is_for_tests(self) -> bool {
        !matches!(self, Self::TlsKeyMadeOutside)
    }

    /// The setting, and what it gives to whom, in one line.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::KmsTrustAnchors => {
                "kms.trust_anchors in nitro.toml: anybody with a key of these authorities can pass for KMS, choose the \
                 ticket secret, and open new backups"
            }
            Self::AcmeTrustAnchors => {
                "acme.trust_anchors in nitro.toml: anybody with a key of these authorities can pass for the ACME server"
            }
            Self::TicketSecretFromParent => {
                "secrets.ticket_signing_secret in nitro.toml is not \"kms\": root on the parent instance knows the \
                 ticket secret, and signs with every key"
            }
            Self::TlsKeyMadeOutside => {
                "a tls key made outside, as tls.mode of the nitro.toml says: anybody with a copy passes for the enclave"
            }
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.description())
    }
}

#[cfg(test)]
mod tests {
    use super::Exposure::{self, *};

    fn exposures(text: &str) -> Vec<Exposure> {
        Exposure::all_in(&text.parse().unwrap())
    }

    #[test]
    fn each_setting_is_found_however_it_is_written() {
        for (text, expected) in [
            ("[kms]\ntrust_anchors = \"\"\"PEM\"\"\"", vec![KmsTrustAnchors]),
            ("[kms]\ntrust_anchors = []", vec![KmsTrustAnchors]),
            ("kms = { \"trust\\u005fanchors\" = 1 }", vec![KmsTrustAnchors]),
            ("[acme]\ntrust_anchors = ['PEM']", vec![AcmeTrustAnchors]),
            ("[secrets]\nticket_signing_secret = \"env\"", vec![TicketSecretFromParent]),
            ("secrets.ticket_signing_secret = 'file'", vec![TicketSecretFromParent]),
            ("secrets.ticket_signing_secret = 1", vec![TicketSecretFromParent]),
            ("[tls]\nmode = \"provided\"", vec![TlsKeyMadeOutside]),
            ("[tls]\nmode = \"of a later version\"", vec![TlsKeyMadeOutside]),
            (
                "tls.mode = 'provided'\nkms.trust_anchors = ''\nacme.trust_anchors = ''\n\
                 secrets.ticket_signing_secret = 'env'",
                Exposure::ALL.to_vec(),
            ),
        ] {
            assert_eq!(exposures(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_meant_for_production_is_none() {
        for mode in ["off", "self-signed", "acme"] {
            let text = format!(
                "[kms]\nregion = 'us-east-1'\n# trust_anchors = ''\n[tls]\nmode = '{mode}'\n\
                 [secrets]\ninternal_api_key = 'env'\nticket_signing_secret = 'kms'\n\
                 [of_a_later_version]\ntrust_anchors = 1"
            );
            assert_eq!(exposures(&text), [], "{text}");
        }
        assert_eq!(exposures("kms = 1\nacme = []\n"), []);
    }

    #[test]
    fn a_description_names_its_setting() {
        for exposure in Exposure::ALL {
            assert!(exposure.description().contains(exposure.setting()), "{exposure}");
        }
    }
}
