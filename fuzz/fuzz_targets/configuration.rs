//! An accepted `nitro.toml` is consistent. A refusal is one short line.

#![no_main]

use configuration::{Acme, ApiKeyRole, Capacity, Configuration, HttpsUrl, TlsMode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let configuration = match Configuration::parse(text) {
        Ok(configuration) => configuration,
        Err(error) => {
            let line = error.to_string();
            assert!(line.len() < 200 && !line.contains(char::is_control), "{line:?}");
            return;
        }
    };
    let kms = &configuration.kms;
    assert!((1..=16).contains(&kms.boot_secret_key_arns.len()));
    assert!(kms.opening_key_arns.len() <= 16);
    let backup_key_arns = kms.backup_key_arns();
    for key_arns in [&kms.boot_secret_key_arns, &backup_key_arns] {
        assert!(key_arns.iter().enumerate().all(|(index, arn)| !key_arns[..index].contains(arn)), "{kms:?}");
    }
    for arn in kms.key_arns() {
        let parts: Vec<&str> = arn.as_str().split([':', '/']).collect();
        assert_eq!(parts.len(), 7, "{arn}");
        assert_eq!((parts[2], parts[3], parts[5]), ("kms", kms.region.as_str(), "key"), "{arn}");
        assert!(parts[6].bytes().any(|byte| byte != b'0' && byte != b'-'), "{arn}");
    }
    let host = kms.endpoint_host();
    assert!(host.starts_with(&format!("kms.{}.amazonaws.", kms.region)), "{host}");
    assert!(host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')), "{host}");

    let generations = configuration.secrets.generations;
    assert!(generations.oldest.is_none() || generations.oldest <= generations.own, "{generations:?}");

    let api_keys = &configuration.api_keys;
    assert!((1..=8).contains(&api_keys.len()) && api_keys[0].variable == "INTERNAL_API_KEY");
    for (index, key) in api_keys.iter().enumerate() {
        let differs = |other: &ApiKeyRole| other.variable != key.variable;
        assert!(api_keys[..index].iter().all(differs), "{api_keys:?}");
        assert!(!key.variable.ends_with("_CIPHERTEXT") && key.variable.len() <= 49, "{api_keys:?}");
    }
    let rates = configuration.rate_limits;
    assert!(
        rates.signatures_per_second.is_none()
            || rates.signatures_per_second_per_identity <= rates.signatures_per_second,
        "{rates:?}"
    );

    let vsock = configuration.vsock;
    let mut ports = [
        vsock.enclave_app_port,
        vsock.admin_port,
        vsock.acme_challenge_port,
        vsock.kms_proxy_port,
        vsock.imds_port,
        vsock.boot_port,
        vsock.log_port,
        vsock.acme_port,
        vsock.certificate_store_port,
        vsock.certificate_store_write_port,
        9000,
    ];
    ports.sort_unstable();
    assert!(
        ports[0] > 0 && ports[10] < u32::MAX && ports.is_sorted_by(|left, right| left < right),
        "{vsock:?}"
    );

    if let TlsMode::SelfSigned { server_names } | TlsMode::Acme(Acme { server_names, .. }) =
        &configuration.tls
    {
        assert!((1..=16).contains(&server_names.len()));
        for (index, name) in server_names.iter().enumerate() {
            assert!((1..=253).contains(&name.len()) && !server_names[..index].contains(name), "{name}");
            let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            assert!(
                name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_letter)),
                "{name}"
            );
        }
    }

    if let TlsMode::Acme(acme) = &configuration.tls {
        let again: HttpsUrl = acme.directory.to_string().parse().expect("a URL is read as it is written");
        assert_eq!(again, acme.directory);
        let host = acme.directory.host();
        assert!(host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')), "{host}");
        assert!(host.parse::<std::net::IpAddr>().is_err() && acme.directory.port() > 0, "{host}");
        let path = acme.directory.path();
        assert!(path.starts_with('/') && !path.contains(|it: char| it.is_control() || it == ' '), "{path:?}");
        assert!(acme.contact.len() <= 8 && acme.contact.iter().all(|it| it.starts_with("mailto:")));
        assert!(acme.server_names.is_sorted());
    }

    let Capacity { max_keys, max_nonces, max_ticket_ttl_s } = configuration.capacity;
    assert!(Capacity::KEYS.contains(&max_keys) && Capacity::NONCES.contains(&max_nonces));
    assert!(Capacity::TICKET_TTL_S.contains(&max_ticket_ttl_s));
    let limits = configuration.limits;
    assert!((1..=16_384).contains(&limits.max_connections));
    assert!((1..=limits.max_connections).contains(&(limits.max_requests_in_flight as usize)));
    assert!((1..=86_400).contains(&limits.connection_lifetime.as_secs()));
    assert!(limits.max_requests_per_connection > 0);
});
