//! The TLS policy for clients: versions, suites, groups, protocols and sessions. It is here and nowhere else. The tests
//! pin the offer, so that an upgrade of rustls cannot change it unnoticed.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

/// Without 1.1 and before, which have no authenticated encryption.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Each with authenticated encryption and an ephemeral key exchange, so that the key that signs can open no recording.
/// None for keys of RSA, which are not served.
const SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The first also holds against who records today and has a quantum computer later.
const GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// hyper is built without HTTP/2. Who offers only other protocols is refused; who offers none is not.
const ALPN: &[u8] = b"http/1.1";

/// Sessions remembered, each for one client to come back without a signature: those of as many connections as the
/// server has at one time. A session takes about 500 bytes, so all take 2 MiB.
const MAX_SESSIONS: usize = 4096;

/// For a client of TLS 1.3 to come back once on two connections at a time.
const SESSIONS_PER_HANDSHAKE: usize = 2;

fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: SUITES.to_vec(), kx_groups: GROUPS.to_vec(), ..default_provider() }
}

/// How clients are spoken to by who has `key`.
///
/// # Errors
/// The error of rustls for a version without a suite, or a suite without a version. The tests show that it never
/// occurs.
pub(super) fn server_config(key: CertifiedKey) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(VERSIONS)?
        // Clients have an API key.
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Sessions are kept in this process and for this key. There is no ticket key that an attacker could obtain to open
    // them.
    config.session_storage = ServerSessionMemoryCache::new(MAX_SESSIONS);
    config.send_tls13_tickets = SESSIONS_PER_HANDSHAKE;
    // Early data can be replayed.
    config.max_early_data_size = 0;
    Ok(config)
}

/// How who validates our names is spoken to, in `protocol`, with the certificates of `resolver`. Nobody comes back, so
/// nothing is remembered.
///
/// # Errors
/// As of [`server_config`].
pub(crate) fn validation_config(
    resolver: Arc<dyn ResolvesServerCert>,
    protocol: &[u8],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::{DEFAULT_CIPHER_SUITES, default_provider};
    use rustls::pki_types::UnixTime;

    use super::{GROUPS, SUITES, VERSIONS, provider};
    use crate::tls::TlsIdentity;

    const SUITE_NAMES: [&str; 6] = [
        "TLS13_AES_256_GCM_SHA384",
        "TLS13_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ];

    /// The other suites of rustls.
    const RSA_SUITE_NAMES: [&str; 3] = [
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ];

    fn names<T: std::fmt::Debug>(named: impl IntoIterator<Item = T>) -> Vec<String> {
        named.into_iter().map(|named| format!("{named:?}")).collect()
    }

    #[test]
    fn exactly_these_versions_suites_and_groups_are_offered() {
        assert_eq!(names(VERSIONS.iter().map(|version| version.version)), ["TLSv1_3", "TLSv1_2"]);
        assert_eq!(names(SUITES.iter().map(rustls::SupportedCipherSuite::suite)), SUITE_NAMES);
        let groups = ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"];
        assert_eq!(names(GROUPS.iter().map(|group| group.name())), groups);
        // And they get into what is offered.
        let provider = provider();
        assert_eq!(names(provider.cipher_suites.iter().map(|suite| suite.suite())), SUITE_NAMES);
        assert_eq!(names(provider.kx_groups.iter().map(|group| group.name())), groups);
    }

    /// An upgrade that changes these says that there is something to think about here.
    #[test]
    fn rustls_has_no_other_opinion() {
        let suites = names(DEFAULT_CIPHER_SUITES.iter().map(rustls::SupportedCipherSuite::suite));
        assert_eq!(suites, [&SUITE_NAMES[..], &RSA_SUITE_NAMES].concat());
        let groups = names(default_provider().kx_groups.iter().map(|group| group.name()));
        assert_eq!(groups, ["X25519", "secp256r1", "secp384r1", "X25519MLKEM768"]);
        let versions = names(rustls::DEFAULT_VERSIONS.iter().map(|version| version.version));
        assert_eq!(versions, ["TLSv1_3", "TLSv1_2"]);
    }

    #[test]
    fn everything_else_is_off() {
        let identity = TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap();
        let config = identity.config();
        assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
        assert!(!config.ticketer.enabled());
        assert_eq!(config.send_tls13_tickets, 2);
        assert!(config.session_storage.can_cache());
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.send_half_rtt_data);
        assert!(!config.enable_secret_extraction);
        assert!(!config.key_log.will_log("CLIENT_RANDOM"));
        assert!(config.cert_compressors.is_empty() && config.cert_decompressors.is_empty());
    }

    /// Bounded: the first are forgotten for the last.
    #[test]
    fn sessions_are_remembered_up_to_a_number() {
        let identity = TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap();
        let storage = &identity.config().session_storage;
        for number in 0..u32::try_from(2 * super::MAX_SESSIONS).unwrap() {
            assert!(storage.put(number.to_be_bytes().to_vec(), vec![1]));
        }
        let is_remembered =
            |number: usize| storage.get(&u32::try_from(number).unwrap().to_be_bytes()).is_some();
        let remembered = (0..2 * super::MAX_SESSIONS).filter(|number| is_remembered(*number)).count();
        assert!((1..=super::MAX_SESSIONS).contains(&remembered), "{remembered}");
        assert!(is_remembered(2 * super::MAX_SESSIONS - 1));
        assert!(!is_remembered(0));
    }
}
