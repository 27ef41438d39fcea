//! `[acme]`: the ACME server that issues the certificate, the contacts and the names.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use toml::Value;

use super::https_url::HttpsUrl;
use super::table::{self, MISSING, Source, error};
use super::{InvalidConfiguration, store_of, trust_anchors};

/// More contacts than an operator needs.
const MAX_CONTACTS: usize = 8;

/// RFC 5321 allows less for an address.
const MAX_CONTACT_BYTES: usize = 320;

/// The ACME server to order certificates from, and the names to order them for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The URL of the server's directory, which lists its other URLs.
    pub directory: HttpsUrl,
    /// `mailto:` URLs that the server may write to. May be empty.
    pub contact: Vec<String>,
    /// Roots that replace Mozilla's for TLS with the ACME server.
    pub trust_anchors: Option<Vec<CertificateDer<'static>>>,
    /// DNS names in lower case, sorted, without duplicates or wildcards.
    pub server_names: Vec<String>,
}

impl Acme {
    /// The roots that vouch for the ACME server: `trust_anchors`, or else Mozilla's, since any CA may have issued its
    /// certificate. `None` if an anchor is not the certificate of an authority.
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
        .map_err(|reason: super::NoHttpsUrl| error(DIRECTORY, &reason.to_string()))?;
    match table.terms_of_service_agreed.value() {
        Some(Value::Boolean(true)) => {}
        None => return Err(error(AGREED, MISSING)),
        Some(_) => {
            return Err(error(AGREED, "not true: the ACME server issues only after consent to its terms"));
        }
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
        return Err(error(KEY, &format!("more than {MAX_CONTACTS}")));
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
            None => return Err(error(&format!("{KEY}[{index}]"), "not the mailto URL of an address")),
        }
    }
    Ok(contacts)
}
