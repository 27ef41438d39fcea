use base64ct::{Base64, Encoding as _};

use super::{BootFile, BootSecret, MAX_BOOT_FILE_BYTES, SecretCiphertext, TlsVariables, context_of};
use crate::{ApiKeyRole, Configuration, Generation, Generations, Role, TlsMode};

const FIRST: &str = "arn:aws:kms:eu-central-1:111122223333:key/11111111-12ab-34cd-56ef-1234567890ab";
const SECOND: &str = "arn:aws:kms:eu-central-1:111122223333:key/22222222-12ab-34cd-56ef-1234567890ab";
const UNMEASURED: &str = "arn:aws:kms:eu-central-1:444455556666:key/33333333-12ab-34cd-56ef-1234567890ab";

const API_KEY: &str = "INTERNAL_API_KEY=kX2vQ9mT4bW7zL0a\n";
const CIPHERTEXT: &str = "TICKET_SIGNING_SECRET_CIPHERTEXT=AQID\n";

/// `nitro.toml` with these sources of the secrets.
fn configuration(internal_api_key: &str, ticket_signing_secret: &str) -> Configuration {
    Configuration::parse(&format!(
        r#"
        version = 1
        name = "nitro-signer"
        enclave = {{ cpu_count = 2, memory_mib = 512 }}
        kms = {{ region = "eu-central-1", sealing_key_arn = "{FIRST}", opening_key_arns = ["{SECOND}"] }}
        secrets = {{ internal_api_key = "{internal_api_key}", ticket_signing_secret = "{ticket_signing_secret}" }}
        "#
    ))
    .unwrap()
}

fn ciphertext(generation: Option<u32>, bytes: [u8; 3]) -> SecretCiphertext {
    SecretCiphertext { generation: generation.and_then(Generation::new), bytes: bytes.into() }
}

fn parse(text: &str) -> Result<BootFile, String> {
    parse_as(text, "env", "kms")
}

fn parse_as(text: &str, internal_api_key: &str, ticket_signing_secret: &str) -> Result<BootFile, String> {
    BootFile::parse(text.as_bytes(), &configuration(internal_api_key, ticket_signing_secret))
        .map_err(|error| error.to_string())
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn reads_the_secrets_in_the_forms_of_nitro_toml() {
    let text = format!(
        "# Of the parent.\nENCLAVE_CID=16\nBRIDGE_LISTEN_PORT=7001\nAWS_REGION=eu-central-1\n\
         KMS_KEY_ARN='{FIRST}'\n{API_KEY}{CIPHERTEXT}"
    );
    let boot = parse(&text).unwrap();
    let BootSecret::Plaintext(api_key) = &boot.api_keys[0] else { panic!("a ciphertext") };
    assert_eq!(api_key.secret_bytes(), b"kX2vQ9mT4bW7zL0a");
    assert!(
        matches!(&boot.ticket_signing_secret, BootSecret::Ciphertext(it) if it == &ciphertext(None, [1, 2, 3]))
    );
    let printed = format!("{boot:?}");
    assert!(printed.contains("Plaintext(PlainSecret { .. })"), "{printed}");

    let boot = parse_as(
        "INTERNAL_API_KEY_CIPHERTEXT=\"BAUG\"\nTICKET_SIGNING_SECRET=zL0akX2vQ9mT4bW7\n",
        "kms",
        "env",
    )
    .unwrap();
    assert!(matches!(&boot.api_keys[0], BootSecret::Ciphertext(it) if it == &ciphertext(None, [4, 5, 6])));
    let BootSecret::Plaintext(secret) = &boot.ticket_signing_secret else { panic!("a ciphertext") };
    assert_eq!(secret.secret_bytes(), b"zL0akX2vQ9mT4bW7");
}

/// `nitro.toml` with roles of API keys.
fn with_api_keys(internal_api_key: &str, ticket_signing_secret: &str) -> Configuration {
    let mut configuration = configuration(internal_api_key, ticket_signing_secret);
    let key = |variable: &str, role| ApiKeyRole { variable: variable.to_owned(), role };
    configuration.api_keys =
        vec![key("INTERNAL_API_KEY", Role::Full), key("INTERNAL_API_KEY_WORKER", Role::Sign)];
    configuration
}

#[test]
fn named_api_keys_have_the_form_of_the_first() {
    let worker = "INTERNAL_API_KEY_WORKER=bW7zL0akX2vQ9mT4\n";
    let boot =
        BootFile::parse(format!("{worker}{CIPHERTEXT}{API_KEY}").as_bytes(), &with_api_keys("env", "kms"))
            .unwrap();
    let plain = |secret: &BootSecret| match secret {
        BootSecret::Plaintext(secret) => secret.secret_bytes().to_vec(),
        BootSecret::Ciphertext(_) => panic!("a ciphertext"),
    };
    let plain: Vec<_> = boot.api_keys.iter().map(plain).collect();
    assert_eq!(plain, [b"kX2vQ9mT4bW7zL0a", b"bW7zL0akX2vQ9mT4"]);

    let sealed = "INTERNAL_API_KEY_CIPHERTEXT=BAUG\nINTERNAL_API_KEY_WORKER_CIPHERTEXT=AQID\n";
    let text = format!("{sealed}{CIPHERTEXT}");
    let boot = BootFile::parse(text.as_bytes(), &with_api_keys("kms", "kms")).unwrap();
    let expected = [[4, 5, 6], [1, 2, 3]].map(|bytes| ciphertext(None, bytes));
    for (secret, expected) in boot.api_keys.iter().zip(&expected) {
        assert!(matches!(secret, BootSecret::Ciphertext(it) if it == expected));
    }

    let refused = |text: &str, source| {
        let text = format!("{text}{CIPHERTEXT}");
        BootFile::parse(text.as_bytes(), &with_api_keys(source, "kms")).unwrap_err().to_string()
    };
    for (text, source, line) in [
        (API_KEY.to_owned(), "env", "INTERNAL_API_KEY_WORKER is missing"),
        (worker.to_owned(), "env", "INTERNAL_API_KEY is missing"),
        (format!("{API_KEY}{worker}{worker}"), "env", "INTERNAL_API_KEY_WORKER is set twice"),
        (format!("{API_KEY}INTERNAL_API_KEY_WORKER=\n"), "env", "INTERNAL_API_KEY_WORKER is empty"),
        (
            format!("{API_KEY}INTERNAL_API_KEY_WORKER=short\n"),
            "env",
            "INTERNAL_API_KEY_WORKER is shorter than 16 bytes",
        ),
        (
            format!("{API_KEY}INTERNAL_API_KEY_WORKER_CIPHERTEXT=AQID\n"),
            "env",
            "INTERNAL_API_KEY_WORKER_CIPHERTEXT is refused: nitro.toml asks for the secret itself",
        ),
        (
            format!("INTERNAL_API_KEY_CIPHERTEXT=BAUG\n{worker}"),
            "kms",
            "INTERNAL_API_KEY_WORKER is refused in plaintext: nitro.toml asks for it from KMS",
        ),
        (
            "INTERNAL_API_KEY_CIPHERTEXT=BAUG\n".to_owned(),
            "kms",
            "INTERNAL_API_KEY_WORKER_CIPHERTEXT is missing",
        ),
    ] {
        assert_eq!(refused(&text, source), line, "{text}");
    }
    let no_role =
        "has no role: list the key under [api_keys] in nitro.toml and build again, or remove the line";
    for name in ["INTERNAL_API_KEY_OTHER", "INTERNAL_API_KEY_OTHER_CIPHERTEXT", "INTERNAL_API_KEY_"] {
        assert_eq!(refused(&format!("{API_KEY}{worker}{name}=x\n"), "env"), format!("{name} {no_role}"));
    }
    let long = format!("INTERNAL_API_KEY_{}", "A".repeat(1000));
    assert_eq!(refused(&format!("{long}=x\n"), "env"), format!("{} {no_role}", &long[..60]));
}

#[test]
fn a_ticket_secret_may_come_with_the_previous_one() {
    let previous = "TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT=BAUG\n";
    let boot = parse(&format!("{API_KEY}{CIPHERTEXT}{previous}")).unwrap();
    let expected = ciphertext(None, [4, 5, 6]);
    assert!(
        matches!(&boot.previous_ticket_signing_secret, Some(BootSecret::Ciphertext(it)) if *it == expected)
    );
    assert!(parse(&format!("{API_KEY}{CIPHERTEXT}")).unwrap().previous_ticket_signing_secret.is_none());
    let plain = "TICKET_SIGNING_SECRET_PREVIOUS=zL0akX2vQ9mT4bW7\n";
    for (text, line) in [
        (format!("{API_KEY}{previous}"), "TICKET_SIGNING_SECRET_CIPHERTEXT is missing"),
        (
            format!("{API_KEY}{CIPHERTEXT}{plain}"),
            "TICKET_SIGNING_SECRET_PREVIOUS is refused in plaintext: nitro.toml asks for it from KMS",
        ),
        (
            format!("{API_KEY}{CIPHERTEXT}{previous}{previous}"),
            "TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT is set twice",
        ),
        (
            format!("{API_KEY}{CIPHERTEXT}TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT=generation-1:AQID\n"),
            "TICKET_SIGNING_SECRET_PREVIOUS_CIPHERTEXT is of generation 1, and nitro.toml has none",
        ),
    ] {
        assert_eq!(refusal(&text), line, "{text}");
    }
    let short =
        format!("{API_KEY}TICKET_SIGNING_SECRET=kX2vQ9mT4bW7zL0a\nTICKET_SIGNING_SECRET_PREVIOUS=short\n");
    let line = "TICKET_SIGNING_SECRET_PREVIOUS is shorter than 16 bytes";
    assert_eq!(parse_as(&short, "env", "env").unwrap_err(), line);
}

#[test]
fn each_secret_has_its_own_encryption_context() {
    for (variable, context) in [
        ("INTERNAL_API_KEY", ("INTERNAL_API_KEY", None)),
        ("INTERNAL_API_KEY_WORKER_2", ("INTERNAL_API_KEY", Some("WORKER_2"))),
        ("TICKET_SIGNING_SECRET", ("TICKET_SIGNING_SECRET", None)),
        ("TICKET_SIGNING_SECRET_PREVIOUS", ("TICKET_SIGNING_SECRET", None)),
        ("TLS_KEY", ("TLS_KEY", None)),
    ] {
        assert_eq!(context_of(variable), context);
    }
}

const CHAIN: &str = "TLS_CERT_CHAIN=\"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n\"\n";
const TLS_KEY: &str = "TLS_KEY_CIPHERTEXT=AQID\n";

fn with_tls(mode: &str) -> Configuration {
    let mut configuration = configuration("env", "kms");
    configuration.tls = match mode {
        "provided" => TlsMode::Provided,
        _ => TlsMode::SelfSigned { server_names: vec!["signer".to_owned()] },
    };
    configuration
}

#[test]
fn a_certificate_is_read_only_in_mode_provided() {
    let text = format!("{API_KEY}{CIPHERTEXT}{CHAIN}{TLS_KEY}");
    let tls = BootFile::parse(text.as_bytes(), &with_tls("provided")).unwrap().tls.unwrap();
    assert_eq!(tls.cert_chain, b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
    assert_eq!(tls.key_ciphertext, ciphertext(None, [1, 2, 3]));

    for (tls, line) in [
        (CHAIN.to_owned(), "TLS_KEY_CIPHERTEXT is missing"),
        (TLS_KEY.to_owned(), "TLS_CERT_CHAIN is missing"),
        (format!("{CHAIN}{CHAIN}{TLS_KEY}"), "TLS_CERT_CHAIN is set twice"),
        (format!("{CHAIN}{TLS_KEY}{TLS_KEY}"), "TLS_KEY_CIPHERTEXT is set twice"),
        (format!("{CHAIN}TLS_KEY_CIPHERTEXT=\n"), "TLS_KEY_CIPHERTEXT is empty"),
        (format!("{CHAIN}TLS_KEY_CIPHERTEXT=AQI\n"), "TLS_KEY_CIPHERTEXT is not standard base64"),
        (
            format!("{CHAIN}{TLS_KEY}TLS_KEY=x\n"),
            "TLS_KEY is refused in plaintext: nitro.toml asks for it from KMS",
        ),
    ] {
        let text = format!("{API_KEY}{CIPHERTEXT}{tls}");
        let refused = BootFile::parse(text.as_bytes(), &with_tls("provided")).unwrap_err();
        assert_eq!(refused.to_string(), line);
        // The same holds when the file is read again.
        assert_eq!(TlsVariables::parse(text.as_bytes(), Generations::default()).unwrap_err(), refused);
    }
    for (tls, name) in
        [(CHAIN, "TLS_CERT_CHAIN"), (TLS_KEY, "TLS_KEY_CIPHERTEXT"), ("TLS_KEY=x\n", "TLS_KEY")]
    {
        let text = format!("{API_KEY}{CIPHERTEXT}{tls}");
        let line = format!("{name} is refused: it takes tls.mode = \"provided\" in nitro.toml");
        assert_eq!(refusal(&text), line);
        let refused = BootFile::parse(text.as_bytes(), &with_tls("self-signed")).unwrap_err();
        assert_eq!(refused.to_string(), line);
    }
}

/// The other variables may have changed; they take effect at the next start.
#[test]
fn only_the_certificate_is_read_again() {
    let rest = "AWS_REGION=elsewhere\nINTERNAL_API_KEY=short\nINTERNAL_API_KEY=twice\nKMS_KEY_ARN=\n";
    let parse = |text: &str| TlsVariables::parse(text.as_bytes(), Generations::default());
    let tls = parse(&format!("{rest}{CHAIN}{TLS_KEY}")).unwrap();
    assert_eq!(tls.key_ciphertext, ciphertext(None, [1, 2, 3]));
    let refused = parse(&format!("{CHAIN}{TLS_KEY}nonsense\n")).unwrap_err();
    assert_eq!(refused.to_string(), "line 6 of the boot file is not NAME=VALUE");
    let too_long = format!("{CHAIN}{TLS_KEY}#{}", "x".repeat(MAX_BOOT_FILE_BYTES));
    let refused = parse(&too_long).unwrap_err();
    assert_eq!(refused.to_string(), "the boot file is longer than 64 KiB");
}

const OTHER_SEALING_KEY: &str = "KMS_KEY_ARN is not kms.sealing_key_arn of nitro.toml: if it names the newer key, \
                                 put that key into kms.sealing_key_arn and build again; otherwise remove the line";

/// With its own key, the parent could open every backup. A key of `opening_key_arns` may be such a key.
#[test]
fn the_parent_does_not_choose_the_sealing_key() {
    let with = |line: &str| format!("{line}\n{API_KEY}{CIPHERTEXT}");
    assert_eq!(refusal(&with(&format!("KMS_KEY_ARN={UNMEASURED}"))), OTHER_SEALING_KEY);
    assert_eq!(refusal(&with(&format!("KMS_KEY_ARN={SECOND}"))), OTHER_SEALING_KEY);
    assert_eq!(refusal(&with(&format!("KMS_KEY_ARN='{FIRST} '"))), OTHER_SEALING_KEY);
    assert_eq!(refusal(&with("KMS_KEY_ARN=alias/sealing")), OTHER_SEALING_KEY);
    assert!(parse(&with(&format!("KMS_KEY_ARN={FIRST} "))).is_ok());
}

#[test]
fn every_refusal_has_its_line() {
    let plaintext = "TICKET_SIGNING_SECRET=zL0akX2vQ9mT4bW7\n";
    for (text, line) in [
        (String::new(), "INTERNAL_API_KEY is missing"),
        (API_KEY.to_owned(), "TICKET_SIGNING_SECRET_CIPHERTEXT is missing"),
        (CIPHERTEXT.to_owned(), "INTERNAL_API_KEY is missing"),
        (
            format!("{API_KEY}{plaintext}"),
            "TICKET_SIGNING_SECRET is refused in plaintext: nitro.toml asks for it from KMS",
        ),
        (
            format!("{API_KEY}{CIPHERTEXT}{plaintext}"),
            "TICKET_SIGNING_SECRET is refused in plaintext: nitro.toml asks for it from KMS",
        ),
        (
            format!("INTERNAL_API_KEY_CIPHERTEXT=AQID\n{CIPHERTEXT}"),
            "INTERNAL_API_KEY_CIPHERTEXT is refused: nitro.toml asks for the secret itself",
        ),
        (
            format!("INTERNAL_API_KEY_CIPHERTEXT=AQID\n{API_KEY}{CIPHERTEXT}"),
            "INTERNAL_API_KEY_CIPHERTEXT is refused: nitro.toml asks for the secret itself",
        ),
        (
            format!("AWS_REGION=us-east-1\n{API_KEY}{CIPHERTEXT}"),
            "AWS_REGION is not the region of nitro.toml",
        ),
        (format!("KMS_KEY_ARN={}\n{API_KEY}{CIPHERTEXT}", FIRST.to_uppercase()), OTHER_SEALING_KEY),
        (format!("AWS_REGION=\n{API_KEY}{CIPHERTEXT}"), "AWS_REGION is empty"),
        (format!("KMS_KEY_ARN=''\n{API_KEY}{CIPHERTEXT}"), "KMS_KEY_ARN is empty"),
        (format!("INTERNAL_API_KEY=\n{CIPHERTEXT}"), "INTERNAL_API_KEY is empty"),
        (
            format!("{API_KEY}TICKET_SIGNING_SECRET_CIPHERTEXT=\n"),
            "TICKET_SIGNING_SECRET_CIPHERTEXT is empty",
        ),
        (format!("{API_KEY}{CIPHERTEXT}{API_KEY}"), "INTERNAL_API_KEY is set twice"),
        (format!("{API_KEY}{CIPHERTEXT}{CIPHERTEXT}"), "TICKET_SIGNING_SECRET_CIPHERTEXT is set twice"),
        (format!("AWS_REGION=a\nAWS_REGION=b\n{API_KEY}{CIPHERTEXT}"), "AWS_REGION is set twice"),
        (
            format!("INTERNAL_API_KEY=0123456789abcde\n{CIPHERTEXT}"),
            "INTERNAL_API_KEY is shorter than 16 bytes",
        ),
        (
            format!("INTERNAL_API_KEY=change-me-in-production\n{CIPHERTEXT}"),
            "INTERNAL_API_KEY is a placeholder, not a secret",
        ),
        (
            format!("INTERNAL_API_KEY='kX2vQ9mT4bW7zL0a\n'\n{CIPHERTEXT}"),
            "INTERNAL_API_KEY ends in a line break",
        ),
        (format!("{API_KEY}{CIPHERTEXT}nonsense\n"), "line 3 of the boot file is not NAME=VALUE"),
        (format!("{API_KEY}{CIPHERTEXT}A='\n"), "line 3 of the boot file has a quote that is not closed"),
        (format!("{API_KEY}A=\0\n"), "line 2 of the boot file has a NUL byte"),
        (format!("{API_KEY}A=\\"), "line 2 of the boot file has a backslash that nothing follows"),
        (format!("# \\\n{API_KEY}"), "line 1 of the boot file is a comment that ends in a backslash"),
        (
            format!("{API_KEY}A='\r\n'"),
            "line 2 of the boot file has a carriage return in a quoted or continued value",
        ),
    ] {
        assert_eq!(refusal(&text), line, "{text:?}");
    }
    let not_text = BootFile::parse(b"A=\xff", &configuration("env", "kms")).unwrap_err();
    assert_eq!(not_text.to_string(), "line 1 of the boot file is not UTF-8");
    // Plaintext of the other secret is refused too.
    assert_eq!(
        parse_as(&format!("{API_KEY}{CIPHERTEXT}"), "kms", "kms").unwrap_err(),
        "INTERNAL_API_KEY is refused in plaintext: nitro.toml asks for it from KMS"
    );
    assert_eq!(parse_as("", "kms", "kms").unwrap_err(), "INTERNAL_API_KEY_CIPHERTEXT is missing");
    assert_eq!(parse_as(API_KEY, "env", "env").unwrap_err(), "TICKET_SIGNING_SECRET is missing");
    assert_eq!(
        parse_as(&format!("{API_KEY}{CIPHERTEXT}"), "env", "env").unwrap_err(),
        "TICKET_SIGNING_SECRET_CIPHERTEXT is refused: nitro.toml asks for the secret itself"
    );
}

#[test]
fn a_ciphertext_is_canonical_base64_within_the_limit_of_kms() {
    let outcome = |base64: &str| parse(&format!("{API_KEY}TICKET_SIGNING_SECRET_CIPHERTEXT={base64}\n"));
    for bad in
        ["A", "AQ", "AQI", "AQID=", "AQ==AQID", "AR==", "AQJ=", "AQ-_", "AQ ID", "'AQ\nID'", "=", "====", "ä"]
    {
        assert_eq!(
            outcome(bad).unwrap_err(),
            "TICKET_SIGNING_SECRET_CIPHERTEXT is not standard base64",
            "{bad}"
        );
    }
    for bytes in [1, 2, 3, 200, 6144] {
        let boot = outcome(&Base64::encode_string(&vec![7; bytes])).unwrap();
        let BootSecret::Ciphertext(ciphertext) = boot.ticket_signing_secret else { panic!("a plaintext") };
        assert_eq!(ciphertext.bytes, vec![7; bytes]);
    }
    assert_eq!(
        outcome(&Base64::encode_string(&[7; 6145])).unwrap_err(),
        "TICKET_SIGNING_SECRET_CIPHERTEXT is longer than 6144 bytes"
    );
}

#[test]
fn a_ciphertext_has_a_generation_that_nitro_toml_allows() {
    let mut configuration = with_tls("provided");
    configuration.secrets.generations = Generations { own: Generation::new(7), oldest: None };
    let outcome = |configuration: &Configuration, ticket: &str, key: &str| {
        let text =
            format!("{API_KEY}TICKET_SIGNING_SECRET_CIPHERTEXT={ticket}\n{CHAIN}TLS_KEY_CIPHERTEXT={key}\n");
        let outcome = BootFile::parse(text.as_bytes(), configuration);
        // The same holds for the TLS key when the file is read again.
        let generations = configuration.secrets.generations;
        assert_eq!(
            TlsVariables::parse(text.as_bytes(), generations).err(),
            outcome.as_ref().err().cloned().filter(|error| error.to_string().starts_with("TLS"))
        );
        outcome.map_err(|error| error.to_string())
    };
    let boot = outcome(&configuration, "generation-7:AQID", "generation-6:AQID").unwrap();
    let BootSecret::Ciphertext(ticket) = boot.ticket_signing_secret else { panic!("a plaintext") };
    assert_eq!(ticket, ciphertext(Some(7), [1, 2, 3]));
    assert_eq!(ticket.to_string(), "generation-7:AQID");
    assert_eq!(boot.tls.unwrap().key_ciphertext, ciphertext(Some(6), [1, 2, 3]));
    assert!(outcome(&configuration, "AQID", "AQID").is_ok());

    let of_the_key = |key: &str, configuration: &Configuration| {
        outcome(configuration, "generation-7:AQID", key).unwrap_err()
    };
    let not_a_generation =
        "TLS_KEY_CIPHERTEXT has a generation that is not a whole number from 1 to 4294967295";
    for key in [
        "generation-AQID",
        "generation-:AQID",
        "generation-0:AQID",
        "generation-07:AQID",
        "generation-x:AQID",
    ] {
        assert_eq!(of_the_key(key, &configuration), not_a_generation, "{key}");
    }
    for key in ["Generation-7:AQID", "7:AQID", "generation-7:AQI", "generation-7:generation-7:AQID"] {
        assert_eq!(of_the_key(key, &configuration), "TLS_KEY_CIPHERTEXT is not standard base64", "{key}");
    }
    assert_eq!(of_the_key("generation-7:", &configuration), "TLS_KEY_CIPHERTEXT is empty");
    assert_eq!(
        of_the_key("generation-8:AQID", &configuration),
        "TLS_KEY_CIPHERTEXT is of generation 8, and the image's is 7"
    );
    configuration.secrets.generations.oldest = Generation::new(6);
    assert_eq!(
        of_the_key("generation-5:AQID", &configuration),
        "TLS_KEY_CIPHERTEXT is of generation 5, and the oldest allowed is 6"
    );
    assert_eq!(
        of_the_key("AQID", &configuration),
        "TLS_KEY_CIPHERTEXT is of no generation, and the oldest allowed is 6"
    );
    configuration.secrets.generations = Generations::default();
    assert_eq!(
        outcome(&configuration, "generation-1:AQID", "AQID").unwrap_err(),
        "TICKET_SIGNING_SECRET_CIPHERTEXT is of generation 1, and nitro.toml has none"
    );
}

#[test]
fn its_length_is_bounded() {
    let text = format!("{API_KEY}{CIPHERTEXT}#");
    let filled = text.clone() + &"x".repeat(MAX_BOOT_FILE_BYTES - text.len());
    assert!(parse(&filled).is_ok());
    assert_eq!(refusal(&(filled + "x")), "the boot file is longer than 64 KiB");
}
