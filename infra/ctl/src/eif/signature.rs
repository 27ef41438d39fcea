//! The signature of an image: `COSE_Sign1` (RFC 9052) over PCR0, with the certificate that PCR8 measures. Nitro checks
//! it when an enclave starts; a KMS policy can then name the signer (PCR8) in place of one image (PCR0).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use serde_cbor::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Pcr;

/// A certificate and its private key.
pub struct SigningKey {
    certificate_pem: Vec<u8>,
    certificate: CertificateDer<'static>,
    key: EcdsaKeyPair,
    curve: &'static Curve,
}

/// Starts each part of a PEM file.
const PEM_BEGIN: &[u8] = b"-----BEGIN";

/// The names of an algorithm in COSE, and the two in aws-lc-rs.
struct Curve {
    cose_algorithm: i128,
    signing: &'static EcdsaSigningAlgorithm,
    verification: &'static EcdsaVerificationAlgorithm,
}

/// Those that Nitro takes.
static CURVES: [Curve; 3] = [
    Curve {
        cose_algorithm: -7,
        signing: &ECDSA_P256_SHA256_FIXED_SIGNING,
        verification: &ECDSA_P256_SHA256_FIXED,
    },
    Curve {
        cose_algorithm: -35,
        signing: &ECDSA_P384_SHA384_FIXED_SIGNING,
        verification: &ECDSA_P384_SHA384_FIXED,
    },
    Curve {
        cose_algorithm: -36,
        signing: &ECDSA_P521_SHA512_FIXED_SIGNING,
        verification: &ECDSA_P521_SHA512_FIXED,
    },
];

/// Why an image cannot be signed with the given key and certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSigned {
    /// Not one certificate of X.509 in PEM and nothing else.
    Certificate,
    /// The certificate is not valid at this time: Nitro would not start the enclave.
    Expired,
    /// Not one private key in PEM without a password, of P-256, P-384 or P-521.
    PrivateKey,
    /// The private key is another certificate's.
    Mismatch,
}

impl fmt::Display for NotSigned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Certificate => "not one certificate in PEM and nothing else",
            Self::Expired => "the certificate is not valid now; Nitro would not start the enclave",
            Self::PrivateKey => "not a private key of P-256, P-384 or P-521 in PEM, without a password",
            Self::Mismatch => "the private key is not the certificate's",
        })
    }
}

impl std::error::Error for NotSigned {}

/// A signature section that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedSignature;

impl fmt::Display for MalformedSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("its signature is not a list of certificate and COSE_Sign1")
    }
}

impl std::error::Error for MalformedSignature {}

/// The certificate of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The bytes that PCR8 measures.
    pub der: Vec<u8>,
    /// As OpenSSL writes it.
    pub issuer: String,
    /// As OpenSSL writes it.
    pub not_before: String,
    /// As OpenSSL writes it.
    pub not_after: String,
}

/// The section, as AWS's tools write it: byte strings are lists of numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PcrSignature {
    signing_certificate: Vec<u8>,
    signature: Vec<u8>,
}

/// The signed text.
#[derive(Serialize)]
struct PcrInfo<'p> {
    register_index: i32,
    register_value: &'p [u8],
}

impl SigningKey {
    /// From the files that `openssl req -x509` makes, to be used at `now_unix_s`.
    ///
    /// # Errors
    /// [`NotSigned`]
    pub fn from_pem(certificate_pem: &[u8], key_pem: &[u8], now_unix_s: i64) -> Result<Self, NotSigned> {
        // The file goes into the image as it is, so nothing else may be in it: a private key, for one.
        let text = certificate_pem.trim_ascii();
        let is_alone = text.starts_with(b"-----BEGIN CERTIFICATE-----")
            && text.ends_with(b"-----END CERTIFICATE-----")
            && text.windows(PEM_BEGIN.len()).filter(|window| *window == PEM_BEGIN).count() == 1;
        if !is_alone {
            return Err(NotSigned::Certificate);
        }
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem).map_err(|_| NotSigned::Certificate)?;
        let (rest, parsed) = X509Certificate::from_der(&certificate).map_err(|_| NotSigned::Certificate)?;
        if !rest.is_empty() {
            return Err(NotSigned::Certificate);
        }
        let validity = parsed.validity();
        if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now_unix_s) {
            return Err(NotSigned::Expired);
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| NotSigned::PrivateKey)?;
        let (curve, key) = CURVES
            .iter()
            .find_map(|curve| {
                let key = EcdsaKeyPair::from_private_key_der(curve.signing, key.secret_der());
                key.ok().map(|key| (curve, key))
            })
            .ok_or(NotSigned::PrivateKey)?;
        let signer = Self { certificate_pem: certificate_pem.to_vec(), certificate, key, curve };
        // The certificate has to verify a signature of the key.
        let probe = signer.section(&Pcr::of(&[])).ok_or(NotSigned::PrivateKey)?;
        match verify(&probe, &Pcr::of(&[])) {
            Ok(true) => Ok(signer),
            _ => Err(NotSigned::Mismatch),
        }
    }

    /// The certificate, which PCR8 measures.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The signature section of an image with this PCR0; `None` without randomness.
    #[must_use]
    pub fn section(&self, pcr0: &Pcr) -> Option<Vec<u8>> {
        let protected = cbor(&Value::Map(
            [(Value::Integer(1), Value::Integer(self.curve.cose_algorithm))].into_iter().collect(),
        ));
        let payload = cbor(&PcrInfo { register_index: 0, register_value: pcr0.as_bytes() });
        let signature = self.key.sign(&SystemRandom::new(), &signed_bytes(&protected, &payload)).ok()?;
        let sign1 = cbor(&Value::Array(vec![
            Value::Bytes(protected),
            Value::Map([].into()),
            Value::Bytes(payload),
            Value::Bytes(signature.as_ref().to_vec()),
        ]));
        let section = [PcrSignature { signing_certificate: self.certificate_pem.clone(), signature: sign1 }];
        Some(cbor(&section))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// Whether a signature section is one over `pcr0` by the key of its certificate.
///
/// # Errors
/// [`MalformedSignature`]
pub fn verify(section: &[u8], pcr0: &Pcr) -> Result<bool, MalformedSignature> {
    let (certificate, sign1) = parts(section)?;
    let (_, certificate) = X509Certificate::from_der(&certificate).map_err(|_| MalformedSignature)?;
    let Ok(Value::Array(sign1)) = serde_cbor::from_slice(&sign1) else { return Err(MalformedSignature) };
    let [Value::Bytes(protected), Value::Map(_), Value::Bytes(payload), Value::Bytes(signature)] = &sign1[..]
    else {
        return Err(MalformedSignature);
    };
    let Ok(Value::Map(headers)) = serde_cbor::from_slice(protected) else { return Err(MalformedSignature) };
    let algorithm = headers.get(&Value::Integer(1));
    let curve = CURVES.iter().find(|curve| algorithm == Some(&Value::Integer(curve.cose_algorithm)));
    let curve = curve.ok_or(MalformedSignature)?;
    let key = UnparsedPublicKey::new(curve.verification, certificate.public_key().raw);
    let is_signed = key.verify(&signed_bytes(protected, payload), signature).is_ok();
    let expected = cbor(&PcrInfo { register_index: 0, register_value: pcr0.as_bytes() });
    Ok(is_signed && *payload == expected)
}

/// The certificate of a signature section.
///
/// # Errors
/// [`MalformedSignature`]
pub fn examine(section: &[u8]) -> Result<CertificateFacts, MalformedSignature> {
    let (der, _) = parts(section)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| MalformedSignature)?;
    Ok(CertificateFacts {
        issuer: parsed.issuer().to_string(),
        not_before: parsed.validity().not_before.to_string(),
        not_after: parsed.validity().not_after.to_string(),
        der: der.to_vec(),
    })
}

/// The DER of the certificate, and the `COSE_Sign1`. The platform reads the first signature of the list.
fn parts(section: &[u8]) -> Result<(CertificateDer<'static>, Vec<u8>), MalformedSignature> {
    let signatures: Vec<PcrSignature> = serde_cbor::from_slice(section).map_err(|_| MalformedSignature)?;
    let first = signatures.into_iter().next().ok_or(MalformedSignature)?;
    let certificate =
        CertificateDer::from_pem_slice(&first.signing_certificate).map_err(|_| MalformedSignature)?;
    Ok((certificate, first.signature))
}

/// The `Sig_structure` of RFC 9052 §4.4.
fn signed_bytes(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    cbor(&Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

fn cbor(value: &impl Serialize) -> Vec<u8> {
    serde_cbor::to_vec(value).expect("memory takes what is written to it")
}

#[cfg(test)]
mod tests;
