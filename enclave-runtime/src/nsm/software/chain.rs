//! The certificates between the root and a document: as many as Nitro's, with the same limits and nearly the same
//! lifetimes.

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
};
use time::OffsetDateTime;

use super::root::Root;

const HOUR: Duration = Duration::from_secs(3600);

/// Nitro's leaf lives three hours.
const LEAF_VALIDITY: Duration = HOUR.saturating_mul(3);

/// Nitro's leaf is from 3 s before its first document.
const LEAF_BACKDATED_BY: Duration = Duration::from_secs(3);

/// A document is to be verifiable for this long after it was made, as with Nitro.
const REISSUED_BEFORE_EXPIRY_BY: Duration = Duration::from_secs(15 * 60);

/// Region, zone, instance: each may be followed by as many authorities as stand after it.
const AUTHORITIES: [Authority; 3] = [
    Authority { name: "region", path_length: 2, validity: HOUR.saturating_mul(24 * 20) },
    Authority { name: "zonal", path_length: 1, validity: HOUR.saturating_mul(24 * 6) },
    Authority { name: "instance", path_length: 0, validity: HOUR.saturating_mul(24) },
];

const AUTHORITY_BACKDATED_BY: Duration = HOUR;

/// keyUsage, and in it digitalSignature and nonRepudiation. On Nitro's leaf it is not critical, which rcgen's is.
const KEY_USAGE_OID: [u64; 4] = [2, 5, 29, 15];
const LEAF_KEY_USAGE: [u8; 4] = [0x03, 0x02, 0x06, 0xc0];

struct Authority {
    name: &'static str,
    path_length: u8,
    validity: Duration,
}

/// A chain of certificates, and the key of its leaf.
pub(super) struct Chain {
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
    key: EcdsaKeyPair,
    issued_at: SystemTime,
}

impl Chain {
    /// A chain with keys of its own; none if the crypto library fails.
    pub(super) fn issue(root: &Root, module_id: &str, now: SystemTime) -> Option<Self> {
        let mut cabundle = vec![root.certificate().to_vec()];
        let mut last: Option<Issuer<'static, KeyPair>> = None;
        for authority in &AUTHORITIES {
            let mut params = named(&format!("{}.software-nsm", authority.name));
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(authority.path_length));
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            params.not_before = OffsetDateTime::from(now - AUTHORITY_BACKDATED_BY);
            params.not_after = OffsetDateTime::from(now + authority.validity);
            let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).ok()?;
            cabundle.push(signed(&params, &key, last.as_ref().unwrap_or(root.issuer()))?.der().to_vec());
            last = Some(Issuer::new(params, key));
        }
        let mut params = named(&format!("{module_id}.software-nsm"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&KEY_USAGE_OID, LEAF_KEY_USAGE.to_vec())];
        params.not_before = OffsetDateTime::from(now - LEAF_BACKDATED_BY);
        params.not_after = OffsetDateTime::from(now + LEAF_VALIDITY);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).ok()?;
        let certificate = signed(&params, &key, last.as_ref().unwrap_or(root.issuer()))?.der().to_vec();
        // rcgen signs in ASN.1; COSE wants r and s of fixed length.
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.serialized_der()).ok()?;
        Some(Self { certificate, cabundle, key, issued_at: now })
    }

    /// Whether a document made `now` has a leaf that is valid, and stays so for a while. A clock that was set back
    /// wants another too.
    pub(super) fn serves(&self, now: SystemTime) -> bool {
        now.duration_since(self.issued_at).is_ok_and(|age| age < LEAF_VALIDITY - REISSUED_BEFORE_EXPIRY_BY)
    }

    /// The leaf, DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// From the root to the leaf's issuer, DER.
    pub(super) fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    /// The leaf's.
    pub(super) fn key(&self) -> &EcdsaKeyPair {
        &self.key
    }
}

fn signed(
    params: &CertificateParams,
    key: &KeyPair,
    issuer: &Issuer<'static, KeyPair>,
) -> Option<Certificate> {
    params.signed_by(key, issuer).ok()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "nitro-signer development");
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}
