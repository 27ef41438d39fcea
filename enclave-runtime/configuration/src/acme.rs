//! `[acme]`: who is asked for certificates, and for which names.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use toml::Value;

use super::https_url::HttpsUrl;
use super::table::{self, MISSING, Source, fault};
use super::{InvalidConfiguration, store_of, trust_anchors};

/// As many people as want to hear of an expiry.
const MAX_CONTACTS: usize = 8;

/// RFC 5321 allows less in an address.
const MAX_CONTACT_BYTES: usize = 320;

/// Who is asked for certificates, and for which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Where the ACME server says what else is where.
    pub directory: HttpsUrl,
    /// `mailto:` URLs, which the server may write to. None at all is as good.
    pub contact: Vec<String>,
    /// Roots that replace Mozilla's for TLS with the ACME server.
    pub trust_anchors: Option<Vec<CertificateDer<'static>>>,
    /// DNS names in lower case, sorted, no two alike, no wildcard.
    pub server_names: Vec<String>,
}

impl Acme {
    /// The roots that vouch for the ACME server: `trust_anchors`, or Mozilla's, as it may be anybody's. `None` if an anchor
    /// is not the certificate of an authority.
    #[must_use]
    pub fn roots(&self) -> Option<RootCertStore> {
        let mozillas = || Some(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        self.trust_anchors.as_deref().map_or_else(mozillas, store_of)
    }
}

pub(super) fn acme(table: &table::Acme, mut server_names: Vec<String>) -> Result<Acme, InvalidConfiguration> {
    const DIRECTORY: &str = "acme.directory";
    const AGREED: &str = "acme.terms_of_service_agreed";
    let directory = table
        .directory
        .required_text(DIRECTORY)?
        .parse()
        .map_err(|reason: super::NoHttpsUrl| fault(DIRECTORY, &reason.to_string()))?;
    match table.terms_of_service_agreed.value() {
        Some(Value::Boolean(true)) => {}
        None => return Err(fault(AGREED, MISSING)),
        Some(_) => return Err(fault(AGREED, "not true: the server asks for consent to its terms")),
    }
    server_names.sort_unstable();
    Ok(Acme {
        directory,
        contact: contact(&table.contact)?,
        trust_anchors: trust_anchors(&table.trust_anchors, "acme.trust_anchors")?,
        server_names,
    })
}

fn contact(source: &Source) -> Result<Vec<String>, InvalidConfiguration> {
    const KEY: &str = "acme.contact";
    if source.value().is_none() {
        return Ok(Vec::new());
    }
    let values = source.required_list(KEY)?;
    if values.len() > MAX_CONTACTS {
        return Err(fault(KEY, &format!("more than {MAX_CONTACTS}")));
    }
    let mut contacts = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let is_contact = |text: &&str| {
            let address = text.strip_prefix("mailto:").unwrap_or_default();
            text.len() <= MAX_CONTACT_BYTES
                && address.bytes().all(|byte| byte.is_ascii_graphic())
                && address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        };
        match value.as_str().filter(is_contact) {
            Some(text) => contacts.push(text.to_owned()),
            None => return Err(fault(&format!("{KEY}[{index}]"), "not the mailto URL of an address")),
        }
    }
    Ok(contacts)
}
