//! Certificates like those of AWS, of our own making.

use std::time::Duration;

use attestation::Root;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm, date_time_ymd,
};

use crate::cbor;

/// The time of most tests.
pub(crate) const NOW_UNIX_S: u64 = 1_800_000_000;

pub(crate) const DAY_S: u64 = 24 * 3600;

/// The content of a certificate.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) is_ca: IsCa,
    pub(crate) key_usages: Vec<KeyUsagePurpose>,
    pub(crate) extended_key_usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) validity_unix_s: (u64, u64),
    pub(crate) algorithm: &'static SignatureAlgorithm,
}

impl Plan {
    fn ca(name: &'static str, path_length: Option<u8>, days: u64) -> Self {
        let constraint = path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
        Self {
            name,
            is_ca: IsCa::Ca(constraint),
            key_usages: vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
            extended_key_usages: vec![],
            validity_unix_s: (NOW_UNIX_S - DAY_S / 2, NOW_UNIX_S + days * DAY_S),
            algorithm: &PKCS_ECDSA_P384_SHA384,
        }
    }

    fn leaf() -> Self {
        Self {
            name: "i-0-enc0.region.aws",
            is_ca: IsCa::ExplicitNoCa,
            key_usages: vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment],
            extended_key_usages: vec![],
            validity_unix_s: (NOW_UNIX_S - 3, NOW_UNIX_S + 3 * 3600),
            algorithm: &PKCS_ECDSA_P384_SHA384,
        }
    }

    /// Root, three CAs and leaf, as AWS has them.
    pub(crate) fn all() -> [Self; 5] {
        [
            Self::ca("aws.nitro-enclaves", None, 365 * 30),
            Self::ca("region.aws.nitro-enclaves", Some(2), 20),
            Self::ca("zonal.region.aws.nitro-enclaves", Some(1), 6),
            Self::ca("i-0.region.aws.nitro-enclaves", Some(0), 1),
            Self::leaf(),
        ]
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, self.name);
        params.is_ca = self.is_ca;
        params.key_usages.clone_from(&self.key_usages);
        params.extended_key_usages.clone_from(&self.extended_key_usages);
        let time = |unix_s| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s);
        params.not_before = time(self.validity_unix_s.0);
        params.not_after = time(self.validity_unix_s.1);
        params
    }
}

/// Certificates from the root to the leaf, and the leaf's key.
pub(crate) struct Chain {
    certificates: Vec<Vec<u8>>,
    leaf_key: KeyPair,
}

impl Chain {
    pub(crate) fn good() -> Self {
        Self::new(&Plan::all())
    }

    /// AWS's plan, changed.
    pub(crate) fn bent(bend: impl FnOnce(&mut [Plan; 5])) -> Self {
        let mut plans = Plan::all();
        bend(&mut plans);
        Self::new(&plans)
    }

    fn new(plans: &[Plan]) -> Self {
        let mut issuer: Option<(CertificateParams, KeyPair)> = None;
        let mut certificates = Vec::new();
        for plan in plans {
            let (params, key) = (plan.params(), KeyPair::generate_for(plan.algorithm).unwrap());
            let certificate = match &issuer {
                None => params.self_signed(&key).unwrap(),
                Some((issuer, issuer_key)) => {
                    params.signed_by(&key, &Issuer::from_params(issuer, issuer_key)).unwrap()
                }
            };
            certificates.push(certificate.der().to_vec());
            issuer = Some((params, key));
        }
        let (_, leaf_key) = issuer.unwrap();
        Self { certificates, leaf_key }
    }

    pub(crate) fn root(&self) -> Root {
        Root::from_der(&self.certificates[0]).unwrap()
    }

    pub(crate) fn leaf(&self) -> &[u8] {
        &self.certificates[self.certificates.len() - 1]
    }

    /// As in a document: the root first.
    pub(crate) fn cabundle(&self) -> &[Vec<u8>] {
        &self.certificates[..self.certificates.len() - 1]
    }

    /// A document with this payload.
    pub(crate) fn document(&self, payload: &[u8]) -> Vec<u8> {
        let signature = self.sign(payload);
        [b"\x84\x44\xa1\x01\x38\x22\xa0", &*cbor::bytes(payload), &cbor::bytes(&signature)].concat()
    }

    fn sign(&self, payload: &[u8]) -> Vec<u8> {
        let protected = [0xa1, 0x01, 0x38, 0x22];
        let signed = cbor::array(&[
            cbor::text("Signature1"),
            cbor::bytes(&protected),
            cbor::bytes(&[]),
            cbor::bytes(payload),
        ]);
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, self.leaf_key.serialized_der());
        // A key of another curve signs nothing that could be verified.
        key.map_or(vec![1; 96], |key| key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec())
    }
}
