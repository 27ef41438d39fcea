//! The certificate that the enclave makes for itself when it starts. An attestation document vouches for its key. The
//! certificate is only the form that TLS requires.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

use super::{TlsIdentity, UnusableIdentity};
use configuration::tls_pair::{CertificateChain, PrivateKey};

/// Clients' clocks may be behind.
const NOT_BEFORE_TOLERANCE: Duration = Duration::from_hours(24);

/// Longer than an enclave runs: only a restart renews the certificate, and it makes another key too. The end date
/// protects no client, because the key ends with the process. Some clients cannot handle later dates.
const VALIDITY: Duration = Duration::from_hours(10 * 365 * 24);

/// Names no server: those are in subjectAltName.
const COMMON_NAME: &str = "nitro-signer, made in the enclave";

const NO_KEY: UnusableIdentity = UnusableIdentity("the TLS key cannot be made");

impl TlsIdentity {
    /// A new key of P-256, and a certificate for it that it signs itself `now`, for these DNS names.
    ///
    /// # Errors
    /// [`UnusableIdentity`]
    pub fn self_signed(server_names: &[String], now: UnixTime) -> Result<Self, UnusableIdentity> {
        // Wipes itself.
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| NO_KEY)?;
        let key = PrivateKey::from_der(document.as_ref()).map_err(|_| NO_KEY)?;
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref())
            .map_err(|_| NO_KEY)?;
        let now = now.as_secs();
        let not_after_unix_s = now + VALIDITY.as_secs();
        let certificate =
            parameters(server_names, now.saturating_sub(NOT_BEFORE_TOLERANCE.as_secs()), not_after_unix_s)
                .and_then(|parameters| parameters.self_signed(&Signer(signer)).ok())
                .ok_or(UnusableIdentity("the certificate of the TLS key cannot be made"))?;
        let spki = key.spki().to_vec();
        Self::new((CertificateChain::of_own(certificate.into(), spki, not_after_unix_s), key))
    }
}

fn parameters(
    server_names: &[String],
    not_before_unix_s: u64,
    not_after_unix_s: u64,
) -> Option<CertificateParams> {
    let time = |unix_s: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s).ok()?).ok();
    let mut parameters = CertificateParams::new(server_names).ok()?;
    parameters.not_before = time(not_before_unix_s)?;
    parameters.not_after = time(not_after_unix_s)?;
    // Made of the key's hash: clients that have seen another serial of this issuer see another key too, and the other
    // way around. Some refuse two certificates of one issuer and serial.
    parameters.serial_number = None;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    parameters.is_ca = IsCa::ExplicitNoCa;
    // Without a key usage: OpenSSL takes a certificate for self-signed only if that lets it sign certificates.
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Some(parameters)
}

/// rcgen has the certificate signed here, and never holds the key.
struct Signer(EcdsaKeyPair);

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;
    use x509_cert::Certificate;
    use x509_cert::der::Decode as _;

    use super::{NOT_BEFORE_TOLERANCE, TlsIdentity, VALIDITY};
    use crate::tls::test_ca::{TestCa, in_days};

    fn certificate(identity: &TlsIdentity) -> Vec<u8> {
        identity.certificates()[0].to_vec()
    }

    #[test]
    fn openssl_takes_it_for_each_of_its_names() {
        let names = ["signer.example.com".to_owned(), "signer".to_owned()];
        let identity = TlsIdentity::self_signed(&names, UnixTime::now()).unwrap();
        let ca = TestCa::new();
        let der = ca.write("own.der", certificate(&identity));
        let pem = ca.write("own.pem", ca.openssl(&["x509", "-inform", "DER", "-in", &der]));
        for name in &names {
            ca.openssl(&[
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-verify_hostname",
                name,
                "-CAfile",
                &pem,
                &pem,
            ]);
        }
        let public_key = ca.openssl(&["x509", "-in", &pem, "-noout", "-pubkey"]);
        let public_key = ca.write("public.pem", public_key);
        let spki = ca.openssl(&["pkey", "-pubin", "-in", &public_key, "-outform", "DER"]);
        assert_eq!(*identity.spki(), spki);
        let text = String::from_utf8(ca.openssl(&["x509", "-in", &pem, "-noout", "-text"])).unwrap();
        for line in ["NIST CURVE: P-256", "CA:FALSE", "TLS Web Server Authentication", "ecdsa-with-SHA256"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn every_start_has_another_key_and_serial() {
        let [one, other] =
            [(); 2].map(|()| TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap());
        assert_ne!(one.spki(), other.spki());
        let [one, other] =
            [one, other].map(|identity| Certificate::from_der(&certificate(&identity)).unwrap());
        assert_ne!(one.tbs_certificate().serial_number(), other.tbs_certificate().serial_number());
        let validity = one.tbs_certificate().validity();
        let [begin, end] = [validity.not_before, validity.not_after].map(|time| time.to_unix_duration());
        assert_eq!(end - begin, VALIDITY + NOT_BEFORE_TOLERANCE);
        assert!(begin.as_secs().abs_diff(in_days(-1).as_secs()) < 3600);
    }
}
