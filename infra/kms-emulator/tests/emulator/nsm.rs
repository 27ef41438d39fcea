//! A Nitro Security Module of our own: documents like those of AWS, and like those of QEMU.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use serde_cbor::Value;
use time::{Duration, OffsetDateTime};

/// `{1: -35}`: ES384.
const SIGNED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// `{1: -1}`.
const UNSIGNED: [u8; 3] = [0xa1, 0x01, 0x20];

/// A root, a CA below it, and what signs documents.
pub(crate) struct Module {
    root_pem: String,
    cabundle: Vec<Vec<u8>>,
    leaf: Vec<u8>,
    leaf_key: KeyPair,
}

impl Module {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let ca = |name, constraint| params(name, IsCa::Ca(constraint), vec![KeyUsagePurpose::KeyCertSign]);
        let (root_key, ca_key, leaf_key) = (key(), key(), key());
        let root_params = ca("aws.nitro-enclaves", BasicConstraints::Unconstrained);
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let ca_params = ca("i-0.eu-central-1.aws.nitro-enclaves", BasicConstraints::Constrained(0));
        let ca = ca_params.signed_by(&ca_key, &root_issuer).unwrap();
        let issuer = Issuer::new(ca_params, ca_key);
        let leaf = params("i-0-enc0", IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]);
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        Self {
            root_pem: root.pem(),
            cabundle: vec![root.der().to_vec(), ca.der().to_vec()],
            leaf: leaf.der().to_vec(),
            leaf_key,
        }
    }

    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A document that this module signs.
    pub(crate) fn document(&self, timestamp_unix_ms: u64, pcrs: &[[u8; 48]], public_key: &[u8]) -> Vec<u8> {
        let payload = payload(timestamp_unix_ms, pcrs, public_key, &self.leaf, &self.cabundle);
        let signed = [
            Value::Text("Signature1".into()),
            Value::Bytes(SIGNED.to_vec()),
            Value::Bytes(Vec::new()),
            Value::Bytes(payload.clone()),
        ];
        let signed = serde_cbor::to_vec(&Value::Array(signed.to_vec())).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, self.leaf_key.serialized_der());
        let signature = key.unwrap().sign(&SystemRandom::new(), &signed).unwrap();
        envelope(&SIGNED, payload, signature.as_ref())
    }

    /// A document as QEMU writes them, zeros where AWS's have certificates and a signature.
    pub(crate) fn unsigned_document(timestamp_unix_ms: u64, pcrs: &[[u8; 48]], public_key: &[u8]) -> Vec<u8> {
        let payload = payload(timestamp_unix_ms, pcrs, public_key, &[0; 64], &[vec![0; 64]]);
        envelope(&UNSIGNED, payload, &[0; 64])
    }
}

fn params(name: &str, is_ca: IsCa, key_usages: Vec<KeyUsagePurpose>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params.key_usages = key_usages;
    // Older than the oldest document of a test.
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::hours(3);
    params
}

fn payload(
    timestamp_unix_ms: u64,
    pcrs: &[[u8; 48]],
    public_key: &[u8],
    certificate: &[u8],
    cabundle: &[Vec<u8>],
) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.into());
    let pcrs = (0..).zip(pcrs).map(|(index, pcr)| (Value::Integer(index), Value::Bytes(pcr.to_vec())));
    let cabundle = cabundle.iter().map(|der| Value::Bytes(der.clone()));
    serde_cbor::to_vec(&Value::Map(BTreeMap::from([
        (text("module_id"), text("i-0123456789abcdef0-enc0123456789abcdef")),
        (text("digest"), text("SHA384")),
        (text("timestamp"), Value::Integer(timestamp_unix_ms.into())),
        (text("pcrs"), Value::Map(pcrs.collect())),
        (text("certificate"), Value::Bytes(certificate.to_vec())),
        (text("cabundle"), Value::Array(cabundle.collect())),
        (text("public_key"), Value::Bytes(public_key.to_vec())),
        (text("user_data"), Value::Null),
        (text("nonce"), Value::Null),
    ])))
    .unwrap()
}

fn envelope(protected: &[u8], payload: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    let parts = [
        Value::Bytes(protected.to_vec()),
        Value::Map(BTreeMap::new()),
        Value::Bytes(payload),
        Value::Bytes(signature.to_vec()),
    ];
    serde_cbor::to_vec(&Value::Array(parts.to_vec())).unwrap()
}
