//! A boot file gives what a second reader finds in it, or is refused.

#![no_main]

use std::sync::LazyLock;

use configuration::{BootFile, BootSecret, Configuration, Generation, SecretCiphertext, TlsVariables};
use fuzz::boot_file::{API_KEYS, GENERATIONS, OPENING_KEY_ARN, SEALING_KEY_ARN, Said, Secret, judge};
use libfuzzer_sys::fuzz_target;

static CONFIGURATIONS: LazyLock<[Configuration; 3]> = LazyLock::new(|| {
    [
        configuration("env", "kms", "", "off"),
        configuration(
            "kms",
            "env",
            &format!("generation = {}\noldest_generation = {}", GENERATIONS.end(), GENERATIONS.start()),
            "self-signed",
        ),
        configuration("env", "kms", &format!("[api_keys]\n{} = \"sign\"", API_KEYS[1]), "provided"),
    ]
});

fuzz_target!(|data: &[u8]| {
    check(data, &CONFIGURATIONS[0], false, false);
    check(data, &CONFIGURATIONS[1], true, false);
    check(data, &CONFIGURATIONS[2], false, true);
});

fn check(data: &[u8], configuration: &Configuration, api_key_from_kms: bool, is_certificate_asked_for: bool) {
    let ours = BootFile::parse(data, configuration);
    if let Err(error) = &ours {
        let line = error.to_string();
        assert!(line.len() < 200 && !line.contains(char::is_control), "{line:?}");
    }
    if let Ok(BootFile { tls: Some(tls), .. }) = &ours {
        // Read again, it says the same.
        let again =
            TlsVariables::parse(data, configuration.secrets.generations).expect("it has been read before");
        assert!(again.cert_chain == tls.cert_chain && again.key_ciphertext == tls.key_ciphertext);
    }
    let ours = ours.ok().map(|boot| Said {
        api_keys: boot.api_keys.into_iter().map(|key| secret(key, api_key_from_kms)).collect(),
        ticket_signing_secret: secret(boot.ticket_signing_secret, !api_key_from_kms),
        previous_ticket_signing_secret: boot
            .previous_ticket_signing_secret
            .map(|previous| secret(previous, !api_key_from_kms)),
        tls: boot.tls.map(|tls| (tls.cert_chain, ciphertext(tls.key_ciphertext))),
    });
    assert_eq!(ours, judge(data, api_key_from_kms, is_certificate_asked_for), "{}", data.escape_ascii());
}

fn ciphertext(SecretCiphertext { generation, bytes }: SecretCiphertext) -> Secret {
    (generation.map_or(0, Generation::get), bytes)
}

fn secret(secret: BootSecret, from_kms: bool) -> Secret {
    match secret {
        BootSecret::Ciphertext(sealed) if from_kms => ciphertext(sealed),
        BootSecret::Plaintext(secret) if !from_kms => (0, secret.secret_bytes().to_vec()),
        _ => panic!("not the form that was asked for"),
    }
}

fn configuration(
    internal_api_key: &str,
    ticket_signing_secret: &str,
    after_secrets: &str,
    tls_mode: &str,
) -> Configuration {
    Configuration::parse(&format!(
        r#"
        version = 1
        name = "fuzz"
        enclave = {{ cpu_count = 2, memory_mib = 512 }}
        [kms]
        region = "us-east-1"
        sealing_key_arn = "{SEALING_KEY_ARN}"
        opening_key_arns = ["{OPENING_KEY_ARN}"]
        [secrets]
        internal_api_key = "{internal_api_key}"
        ticket_signing_secret = "{ticket_signing_secret}"
        {after_secrets}
        [tls]
        mode = "{tls_mode}"
        "#
    ))
    .expect("a good configuration")
}
