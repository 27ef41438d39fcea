//! The certificates of the emulator.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::state_file::State;

/// Emulated machines and shifted clocks may be a little behind.
const BACKDATED: Duration = Duration::days(2);

/// A state file is kept for as long as somebody works with an image.
const CA_LIFETIME: Duration = Duration::days(3650);

/// A new certificate is made at each start.
const SERVER_LIFETIME: Duration = Duration::days(365);

/// A certificate cannot be made or used.
#[derive(Debug)]
pub(crate) struct NoCertificate(String);

impl fmt::Display for NoCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no certificate: {}", self.0)
    }
}

impl std::error::Error for NoCertificate {}

fn failed(error: impl fmt::Display) -> NoCertificate {
    NoCertificate(error.to_string())
}

/// Puts a new CA into the state, unless it has one.
///
/// # Errors
///
/// When no key can be made.
pub(crate) fn ensure_ca(state: &mut State, now: OffsetDateTime) -> Result<(), NoCertificate> {
    if !state.ca_certificate_pem.is_empty() {
        return Ok(());
    }
    let key = KeyPair::generate().map_err(failed)?;
    let params = ca_params(now)?;
    state.ca_certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
    state.ca_key_pem = key.serialize_pem();
    Ok(())
}

/// TLS 1.2 and 1.3 with a certificate for the names of KMS in the region, and for this machine.
///
/// # Errors
///
/// When the state has no CA that can sign.
pub(crate) fn server_config(
    state: &State,
    region: &str,
    now: OffsetDateTime,
) -> Result<Arc<ServerConfig>, NoCertificate> {
    let ca_key = KeyPair::from_pem(&state.ca_key_pem).map_err(failed)?;
    // Each CA made here has the same name and key, which its certificates refer to.
    let issuer = Issuer::new(ca_params(now)?, ca_key);
    let key = KeyPair::generate().map_err(failed)?;
    let kms = format!("kms.{region}.amazonaws.com");
    let names = vec![kms.clone(), "localhost".into(), "127.0.0.1".into()];
    let mut params = params(&kms, names, now, SERVER_LIFETIME)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn ca_params(now: OffsetDateTime) -> Result<CertificateParams, NoCertificate> {
    let mut params = params("nitro-signer kms-emulator CA", Vec::new(), now, CA_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(
    name: &str,
    names: Vec<String>,
    now: OffsetDateTime,
    lifetime: Duration,
) -> Result<CertificateParams, NoCertificate> {
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
    Ok(params)
}
