use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::{
    Capacity, Configuration, Generation, Generations, KeyArn, Limits, MAX_CONFIGURATION_BYTES, RateLimits,
    Role, SecretSource, TlsMode,
};

const COMMITTED: &str = include_str!("../../../infra/nitro.toml");

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// The smallest valid configuration.
const LEAST: &str = r#"version = 1
name = "n"
[enclave]
cpu_count = 2
memory_mib = 512
[kms]
region = "eu-central-1"
sealing_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
"#;

/// A root that issues certificates of Amazon, from the Debian package ca-certificates.
pub(super) const AMAZON_ROOT_CA_3: &str = "\
-----BEGIN CERTIFICATE-----
MIIBtjCCAVugAwIBAgITBmyf1XSXNmY/Owua2eiedgPySjAKBggqhkjOPQQDAjA5
MQswCQYDVQQGEwJVUzEPMA0GA1UEChMGQW1hem9uMRkwFwYDVQQDExBBbWF6b24g
Um9vdCBDQSAzMB4XDTE1MDUyNjAwMDAwMFoXDTQwMDUyNjAwMDAwMFowOTELMAkG
A1UEBhMCVVMxDzANBgNVBAoTBkFtYXpvbjEZMBcGA1UEAxMQQW1hem9uIFJvb3Qg
Q0EgMzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCmXp8ZBf8ANm+gBG1bG8lKl
ui2yEujSLtf6ycXYqm0fc4E7O5hrOXwzpcVOho6AF2hiRVd9RFgdszflZwjrZt6j
QjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgGGMB0GA1UdDgQWBBSr
ttvXBp43rDCGB5Fwx5zEGbF4wDAKBggqhkjOPQQDAgNJADBGAiEA4IWSoxe3jfkr
BqWTrBqYaGFy+uGh0PsceGCmQ5nFuMQCIQCcAu/xlJyzlvnrxir4tiz+OpAUFteM
YyRIHN8wfdVoOw==
-----END CERTIFICATE-----
";

fn refusal(text: &str) -> String {
    Configuration::parse(text).unwrap_err().to_string()
}

/// `LEAST` with `old` replaced by `new`.
fn with(old: &str, new: &str) -> String {
    assert!(LEAST.contains(old), "{old}");
    LEAST.replacen(old, new, 1)
}

#[test]
fn the_committed_file_lacks_only_the_key() {
    assert_eq!(refusal(COMMITTED), "kms.sealing_key_arn: still the example: write the ARN of your KMS key");
    let text = COMMITTED
        .replace("key/00000000-0000-0000-0000-000000000000", "key/1234abcd-12ab-34cd-56ef-1234567890ab");
    let configuration = Configuration::parse(&text).unwrap();
    assert_eq!(configuration.name, "nitro-signer");
    assert_eq!((configuration.enclave.cpu_count, configuration.enclave.memory_mib), (2, 512));
    assert_eq!(configuration.kms.endpoint_host(), "kms.us-east-1.amazonaws.com");
    assert!(configuration.kms.trust_anchors.is_none());
    assert_eq!(configuration.kms.roots().unwrap().len(), 5, "Amazon's");

    // The values that the file states are the defaults.
    let least = Configuration::parse(LEAST).unwrap();
    assert_eq!(format!("{:?}", configuration.vsock), format!("{:?}", least.vsock));
    assert_eq!(format!("{:?}", configuration.secrets), format!("{:?}", least.secrets));
    assert_eq!(format!("{:?}", configuration.capacity), format!("{:?}", least.capacity));
    assert_eq!(format!("{:?}", configuration.limits), format!("{:?}", least.limits));
    assert_eq!(configuration.tls, least.tls);
    assert_eq!(configuration.proxy_protocol, least.proxy_protocol);
}

#[test]
fn omitted_keys_have_their_defaults() {
    let least = Configuration::parse(LEAST).unwrap();
    let vsock = least.vsock;
    assert_eq!(
        [
            vsock.enclave_app_port,
            vsock.admin_port,
            vsock.acme_challenge_port,
            vsock.kms_proxy_port,
            vsock.imds_port,
            vsock.boot_port,
            vsock.log_port,
            vsock.acme_port,
            vsock.certificate_store_port,
            vsock.certificate_store_write_port
        ],
        [5000, 5001, 5002, 7100, 7101, 7102, 7103, 7104, 7105, 7106]
    );
    assert_eq!(least.secrets.internal_api_key, SecretSource::Env);
    assert_eq!(least.secrets.ticket_signing_secret, SecretSource::Kms);
    assert_eq!(least.kms.boot_secret_key_arns, [KEY.parse().unwrap()]);
    assert!(least.kms.opening_key_arns.is_empty());
    assert_eq!(least.secrets.generations, Generations::default());
    assert_eq!(least.tls, TlsMode::Off);
    assert!(!least.proxy_protocol);
    assert_eq!(format!("{:?}", least.capacity), format!("{:?}", Capacity::default()));
    assert_eq!(format!("{:?}", least.limits), format!("{:?}", Limits::default()));
    assert_eq!(least.pcr.pcr0, None);
}

#[test]
fn reads_every_key() {
    let text = format!(
        r#"
        version = 1
        name = "signer-2"
        [enclave]
        cpu_count = 4
        memory_mib = 2048
        [vsock]
        enclave_app_port = 4294967294
        log_port = 1
        [kms]
        region = "cn-north-1"
        sealing_key_arn = "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        boot_secret_key_arns = [
            "arn:aws-cn:kms:cn-north-1:111122223333:key/5678abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        ]
        opening_key_arns = [
            "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        ]
        trust_anchors = ["""{AMAZON_ROOT_CA_3}"""]
        [secrets]
        internal_api_key = "kms"
        ticket_signing_secret = "env"
        generation = 7
        oldest_generation = 6
        [tls]
        mode = "off"
        [limits]
        max_keys = 1
        max_nonces = 2
        max_ticket_ttl_s = 90
        max_requests_in_flight = 3
        max_connections = 4
        idle_timeout_s = 355
        connection_lifetime_s = 86400
        max_requests_per_connection = 4294967295
        [pcr]
        PCR0 = "{}"
        PCR2 = "{}"
        "#,
        "0a".repeat(48),
        "FF".repeat(48),
    );
    let configuration = Configuration::parse(&text).unwrap();
    assert_eq!(configuration.name, "signer-2");
    assert_eq!((configuration.enclave.cpu_count, configuration.enclave.memory_mib), (4, 2048));
    assert_eq!((configuration.vsock.enclave_app_port, configuration.vsock.log_port), (u32::MAX - 1, 1));
    assert_eq!(configuration.kms.region.as_str(), "cn-north-1");
    assert_eq!(configuration.kms.endpoint_host(), "kms.cn-north-1.amazonaws.com.cn");
    let ids = |arns: &[KeyArn]| -> Vec<String> {
        arns.iter().map(|arn| arn.as_str().split('/').next_back().unwrap()[..8].to_owned()).collect()
    };
    assert_eq!(ids(&configuration.kms.boot_secret_key_arns), ["5678abcd", "mrk-1234"]);
    assert_eq!(ids(&configuration.kms.opening_key_arns), ["mrk-1234"]);
    assert_eq!(ids(&configuration.kms.backup_key_arns()), ["1234abcd", "mrk-1234"]);
    assert_eq!(ids(&configuration.kms.key_arns()), ["1234abcd", "mrk-1234", "5678abcd"]);
    assert_eq!(configuration.kms.roots().unwrap().len(), 1);
    assert_eq!(configuration.secrets.internal_api_key, SecretSource::Kms);
    assert_eq!(configuration.secrets.ticket_signing_secret, SecretSource::Env);
    let Generations { own, oldest } = configuration.secrets.generations;
    assert_eq!((own, oldest), (Generation::new(7), Generation::new(6)));
    let capacity = configuration.capacity;
    assert_eq!((capacity.max_keys, capacity.max_nonces, capacity.max_ticket_ttl_s), (1, 2, 90));
    let limits = configuration.limits;
    assert_eq!((limits.max_requests_in_flight, limits.max_connections), (3, 4));
    assert_eq!(limits.deadlines.idle, Duration::from_secs(355));
    assert_eq!(limits.connection_lifetime, Duration::from_secs(86_400));
    assert_eq!(limits.max_requests_per_connection, u32::MAX);
    let pcr = configuration.pcr;
    assert_eq!((pcr.pcr0, pcr.pcr1, pcr.pcr2), (Some([0x0a; 48]), None, Some([0xff; 48])));
}

#[test]
fn api_keys_have_roles() {
    let read = |table: &str| -> Vec<(String, Role)> {
        let configuration = Configuration::parse(&format!("{LEAST}{table}\n")).unwrap();
        configuration.api_keys.into_iter().map(|key| (key.variable, key.role)).collect()
    };
    let key = |name: &str, role| (name.to_owned(), role);
    let alone = [key("INTERNAL_API_KEY", Role::Full)];
    assert_eq!(read(""), alone);
    assert_eq!(read("[api_keys]"), alone);
    assert_eq!(read("[api_keys]\nINTERNAL_API_KEY = \"full\""), alone);
    let named =
        "INTERNAL_API_KEY_A = \"full\"\nINTERNAL_API_KEY = \"sign\"\nINTERNAL_API_KEY_2_B = \"backup\"";
    assert_eq!(
        read(&format!("[api_keys]\n{named}")),
        [
            key("INTERNAL_API_KEY", Role::Sign),
            key("INTERNAL_API_KEY_2_B", Role::Backup),
            key("INTERNAL_API_KEY_A", Role::Full),
        ]
    );
    let seven: String = (1..8).map(|number| format!("INTERNAL_API_KEY_{number} = \"sign\"\n")).collect();
    assert_eq!(read(&format!("[api_keys]\n{seven}")).len(), 8);

    let refused = |line: &str| refusal(&format!("{LEAST}[api_keys]\n{line}\n"));
    let no_name = "api_keys: a name that is neither INTERNAL_API_KEY nor INTERNAL_API_KEY_ and 1 to 32 of A to Z, 0 to 9 \
                   and _, not ending in CIPHERTEXT";
    for name in [
        "worker",
        "INTERNAL_API_KEY_",
        "INTERNAL_API_KEYS",
        "INTERNAL_API_KEY_worker",
        "INTERNAL_API_KEY_A-B",
        "INTERNAL_API_KEY_CIPHERTEXT",
        "INTERNAL_API_KEY_A_CIPHERTEXT",
        "\"INTERNAL_API_KEY_A B\"",
        "TICKET_SIGNING_SECRET",
        &format!("INTERNAL_API_KEY_{}", "A".repeat(33)),
    ] {
        assert_eq!(refused(&format!("{name} = \"sign\"")), no_name, "{name}");
    }
    let no_role = "api_keys.INTERNAL_API_KEY_A: neither full, sign nor backup";
    for role in ["\"\"", "\"Sign\"", "\"sign,backup\"", "[\"sign\", \"backup\"]", "1", "true"] {
        assert_eq!(refused(&format!("INTERNAL_API_KEY_A = {role}")), no_role, "{role}");
    }
    assert_eq!(
        refused("INTERNAL_API_KEY_A = \"sign\"\nINTERNAL_API_KEY_A = \"full\""),
        "line 11: not TOML: duplicate key"
    );
    assert_eq!(
        refused(&format!("{seven}INTERNAL_API_KEY_8 = \"sign\"")),
        "api_keys: more than 8 keys, INTERNAL_API_KEY included"
    );
    assert_eq!(refusal(&format!("api_keys = 1\n{LEAST}")), "api_keys: not a table");
}

#[test]
fn rate_limits_are_off_by_default() {
    let read = |table: &str| Configuration::parse(&format!("{LEAST}{table}\n")).unwrap().rate_limits;
    assert_eq!(read(""), RateLimits::default());
    assert_eq!(read("[rate_limits]"), RateLimits::default());
    let limits = read(
        "[rate_limits]\nsignatures_per_second_per_identity = 10\nsignatures_per_second = 1000000\n\
         keys_generated_per_minute = 1",
    );
    let expected = RateLimits {
        signatures_per_second_per_identity: NonZeroU32::new(10),
        signatures_per_second: NonZeroU32::new(1_000_000),
        keys_generated_per_minute: NonZeroU32::new(1),
    };
    assert_eq!(limits, expected);
    for name in ["signatures_per_second_per_identity", "signatures_per_second", "keys_generated_per_minute"] {
        for value in ["0", "-1", "1000001", "1.5", "\"1\"", "true"] {
            assert_eq!(
                refusal(&format!("{LEAST}[rate_limits]\n{name} = {value}\n")),
                format!("rate_limits.{name}: not a whole number from 1 to 1000000")
            );
        }
    }
    let more = "[rate_limits]\nsignatures_per_second_per_identity = 2\nsignatures_per_second = 1\n";
    assert_eq!(
        refusal(&format!("{LEAST}{more}")),
        "rate_limits.signatures_per_second_per_identity: more than rate_limits.signatures_per_second"
    );
    assert_eq!(refusal(&format!("{LEAST}[rate_limits]\nsign = 1\n")), "line 10: unknown key sign");
    // 8 bytes more for each key.
    let keys = "[limits]\nmax_keys = 4700000\nmax_nonces = 1\n";
    let keys = format!("{}{keys}", LEAST.replace("memory_mib = 512", "memory_mib = 625"));
    Configuration::parse(&keys).unwrap();
    assert_eq!(
        refusal(&format!("{keys}[rate_limits]\nsignatures_per_second_per_identity = 1\n")),
        "limits: take 657 MiB, more than enclave.memory_mib, which is 625: lower the limits, or raise it"
    );
}

#[test]
fn fewer_connections_lower_the_default_of_requests_in_flight() {
    let configuration = Configuration::parse(&format!("{LEAST}[limits]\nmax_connections = 10\n")).unwrap();
    assert_eq!(configuration.limits.max_requests_in_flight, 10);
}

#[test]
fn trust_anchors_are_one_text_or_several() {
    let anchors = |value: &str| {
        let text = format!("{LEAST}trust_anchors = {value}\n");
        Configuration::parse(&text).map(|it| it.kms.trust_anchors.unwrap().len()).map_err(|it| it.to_string())
    };
    let quoted = format!("\"\"\"\n{AMAZON_ROOT_CA_3}\"\"\"");
    let twice = format!("\"\"\"\n{AMAZON_ROOT_CA_3}# Another.\n{AMAZON_ROOT_CA_3}\"\"\"");
    assert_eq!(anchors(&quoted), Ok(1));
    assert_eq!(anchors(&twice), Ok(2));
    assert_eq!(anchors(&format!("[{quoted}, {twice}]")), Ok(3));
    let many = vec![quoted.clone(); 17].join(",");
    let no_certificate = quoted.replace("MIIB", "MIIC");
    let key = quoted.replace("CERTIFICATE", "PRIVATE KEY");
    for (value, line) in [
        ("\"\"", "kms.trust_anchors: not only certificates in PEM"),
        ("[]", "kms.trust_anchors: not 1 to 16 certificates"),
        (&format!("[{many}]"), "kms.trust_anchors: not 1 to 16 certificates"),
        ("1", "kms.trust_anchors: neither text nor a list of texts"),
        ("[1]", "kms.trust_anchors[0]: not text"),
        (&format!("[{quoted}, \"\"]"), "kms.trust_anchors[1]: not only certificates in PEM"),
        (&format!("[{quoted}, {key}]"), "kms.trust_anchors[1]: not only certificates in PEM"),
        (&quoted.replace("END", "EN"), "kms.trust_anchors: not only certificates in PEM"),
        (&no_certificate, "kms.trust_anchors: not a certificate of X.509"),
    ] {
        assert_eq!(anchors(value), Err(line.to_owned()), "{value}");
    }
}

/// The smallest configuration with ACME.
fn with_acme() -> String {
    format!(
        "{LEAST}[tls]\nmode = \"acme\"\nserver_names = [\"signer.example\", \"a.b\"]\n\
         [acme]\ndirectory = \"https://ca.example/directory\"\nterms_of_service_agreed = true\n"
    )
}

#[test]
fn acme_takes_a_directory_names_and_consent() {
    let read = |text: &str| match Configuration::parse(text).unwrap().tls {
        TlsMode::Acme(acme) => acme,
        other => panic!("{other:?}"),
    };
    let acme = read(&with_acme());
    assert_eq!(acme.directory.to_string(), "https://ca.example/directory");
    assert_eq!(acme.server_names, ["a.b", "signer.example"], "sorted");
    assert!(acme.contact.is_empty() && acme.trust_anchors.is_none());
    assert_eq!(acme.roots().unwrap().len(), webpki_roots::TLS_SERVER_ROOTS.len(), "Mozilla's");
    let more = format!("contact = [\"mailto:a@b.c\"]\ntrust_anchors = [\"\"\"{AMAZON_ROOT_CA_3}\"\"\"]\n");
    let acme = read(&(with_acme() + &more));
    assert_eq!(acme.contact, ["mailto:a@b.c"]);
    assert_eq!(acme.roots().unwrap().len(), 1);

    let without = |line: &str| {
        let lines = with_acme();
        assert!(lines.contains(line), "{line}");
        lines.lines().filter(|it| !it.starts_with(line)).map(|it| format!("{it}\n")).collect::<String>()
    };
    let and = |text: &str| format!("{}{text}\n", with_acme());
    let instead = |old: &str, new: &str| with_acme().replace(old, new);
    let no_url = "acme.directory: not the https URL of a host with a DNS name";
    let not_true =
        "acme.terms_of_service_agreed: not true: the ACME server issues only after consent to its terms";
    for (text, line) in [
        (without("server_names"), "tls.server_names: missing"),
        (without("directory"), "acme.directory: missing"),
        (without("terms"), "acme.terms_of_service_agreed: missing"),
        (instead("= true", "= false"), not_true),
        (instead("= true", "= 1"), not_true),
        (instead("https:", "http:"), no_url),
        (instead("ca.example", "10.0.0.1"), no_url),
        (instead("\"https", "#"), "line 13: not TOML: string values must be quoted, expected literal string"),
        (
            instead("\"a.b\"", "\"*.b\""),
            "tls.server_names[1]: not a DNS name in lower case, without a wildcard or a final dot",
        ),
        (
            instead("mode = \"acme\"\nserver_names", "mode = \"off\"\n# "),
            "acme: only for tls.mode = \"acme\"",
        ),
        (instead("mode = \"acme\"", "mode = \"self-signed\""), "acme: only for tls.mode = \"acme\""),
        (and("contact = \"mailto:a@b\""), "acme.contact: not a list"),
        (and("contact = [\"a@b\"]"), "acme.contact[0]: not the mailto URL of an address"),
        (
            and("contact = [\"mailto:a@b\", \"mailto:a b@c\"]"),
            "acme.contact[1]: not the mailto URL of an address",
        ),
        (and(&format!("contact = {:?}", vec!["mailto:a@b"; 9])), "acme.contact: more than 8"),
        (and("trust_anchors = [\"\"]"), "acme.trust_anchors[0]: not only certificates in PEM"),
        (and("eab = 1"), "line 15: unknown key eab"),
        (and("[vsock]\nacme_port = 7100"), "vsock.acme_port: the same port as vsock.kms_proxy_port"),
    ] {
        assert_eq!(refusal(&text), line, "{text}");
    }
}

#[test]
fn tls_has_modes_and_names() {
    let tls = |table: &str| {
        let configuration = Configuration::parse(&format!("{LEAST}[tls]\n{table}\n"));
        configuration.map(|it| it.tls).map_err(|error| error.to_string())
    };
    let self_signed = |names: &[&str]| {
        Ok(TlsMode::SelfSigned { server_names: names.iter().map(|name| (*name).to_owned()).collect() })
    };
    assert_eq!(tls(""), Ok(TlsMode::Off));
    assert_eq!(tls("mode = \"off\""), Ok(TlsMode::Off));
    assert_eq!(tls("mode = \"provided\""), Ok(TlsMode::Provided));
    assert_eq!(tls("mode = \"self-signed\""), self_signed(&["n"]));
    let named = |names: &str| tls(&format!("mode = \"self-signed\"\nserver_names = {names}"));
    let longest = format!("{}{}", "a.".repeat(126), "b");
    assert_eq!(named("[\"signer.example.com\", \"a-1\"]"), self_signed(&["signer.example.com", "a-1"]));
    assert_eq!(named(&format!("[\"{longest}\"]")), self_signed(&[&longest]));
    let many =
        |count: usize| format!("{:?}", (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>());
    assert!(named(&many(16)).is_ok());
    for (names, told) in [
        ("\"signer\"", ": not a list"),
        ("[]", ": not 1 to 16 DNS names"),
        (&many(17), ": not 1 to 16 DNS names"),
        ("[\"a\", \"a\"]", "[1]: named twice"),
    ] {
        assert_eq!(named(names), Err(format!("tls.server_names{told}")), "{names}");
    }
    for name in [
        "1",
        "\"\"",
        "\"Signer\"",
        "\"*.example.com\"",
        "\"signer.\"",
        "\"-a\"",
        "\"a-\"",
        "\"a..b\"",
        "\"a_b\"",
        "\"192.0.2.1\"",
        "\"::1\"",
        "\"a b\"",
        "\"ä\"",
        &format!("\"{}\"", "a".repeat(64)),
        &format!("\"{longest}b\""),
    ] {
        let told = "tls.server_names[1]: not a DNS name in lower case, without a wildcard or a final dot";
        assert_eq!(named(&format!("[\"good\", {name}]")), Err(told.to_owned()), "{name}");
    }
    for mode in ["off", "provided"] {
        assert_eq!(
            tls(&format!("mode = \"{mode}\"\nserver_names = [\"a\"]")),
            Err("tls.server_names: only for tls.mode = \"self-signed\" or \"acme\": remove it, or change the mode"
                .to_owned())
        );
    }
    // A name that only nitro-cli takes.
    let text = with("\"n\"", "\"n-\"") + "[tls]\nmode = \"self-signed\"\n";
    assert_eq!(
        refusal(&text),
        "tls.server_names: missing, and the default, the enclave's name, is not a DNS name"
    );
    let text = text + "server_names = [\"signer\"]\n";
    assert_eq!(Configuration::parse(&text).unwrap().tls, self_signed(&["signer"]).unwrap());
}

#[test]
fn every_refusal_has_its_line() {
    let zero = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000";
    let elsewhere = KEY.replace("eu-central-1", "us-east-1");
    let alias = "arn:aws:kms:eu-central-1:111122223333:alias/signer";
    let sealing = |arn: &str| with(&format!("\"{KEY}\""), arn);
    let boot_secret = |arns: &[&str]| format!("{LEAST}boot_secret_key_arns = {arns:?}\n");
    let opening = |arns: &[&str]| format!("{LEAST}opening_key_arns = {arns:?}\n");
    let instead = "kms.key_arns: replaced: its key that KMS_KEY_ARN of the boot file names, or else its first, becomes \
                   sealing_key_arn, and the others opening_key_arns";
    let distinct: Vec<String> =
        (10..27).map(|number| KEY.replace("1234abcd-", &format!("1234ab{number}-"))).collect();
    let distinct: Vec<&str> = distinct.iter().map(String::as_str).collect();
    let and = |text: &str| format!("{LEAST}{text}\n");
    for (text, line) in [
        // Missing values.
        (String::new(), "version: missing"),
        (with("version = 1\n", ""), "version: missing"),
        (with("name = \"n\"\n", ""), "name: missing"),
        (with("cpu_count = 2\n", ""), "enclave.cpu_count: missing"),
        (with("memory_mib = 512\n", ""), "enclave.memory_mib: missing"),
        (with("region = \"eu-central-1\"\n", ""), "kms.region: missing"),
        (with("sealing_key_arn", "#"), "kms.sealing_key_arn: missing"),
        // Keys of older versions.
        (with(&format!("sealing_key_arn = \"{KEY}\""), &format!("key_arns = [\"{KEY}\"]")), instead),
        (and("key_arns = 1"), instead),
        // Unknown keys.
        (and("[extra]\na = 1"), "line 9: unknown key extra"),
        (with("name", "nmae"), "line 2: unknown key nmae"),
        (and("cmk = 1"), "line 9: unknown key cmk"),
        (and("[vsock]\nhttp_port = 1"), "line 10: unknown key http_port"),
        (and("[secrets]\nTICKET = 1"), "line 10: unknown key TICKET"),
        (and("[limits]\n\nmax_key = 1"), "line 11: unknown key max_key"),
        (and("[tls]\ncert = 1"), "line 10: unknown key cert"),
        (and("[pcr]\nPCR8 = 1"), "line 10: unknown key PCR8"),
        (and("[enclave.more]"), "line 9: unknown key more"),
        (and("\"a\\nb\" = 1"), "line 9: unknown key"),
        (and(&format!("{} = 1", "a".repeat(41))), "line 9: unknown key"),
        // Invalid values.
        (with("= 1", "= 2"), "version: not 1"),
        (with("= 1", "= \"1\""), "version: not 1"),
        (with("\"n\"", "1"), "name: not text"),
        (with("\"n\"", "\"\""), "name: not 1 to 64 of a to z, 0 to 9 and -"),
        (with("\"n\"", "\"N\""), "name: not 1 to 64 of a to z, 0 to 9 and -"),
        (with("\"n\"", "\"a b\""), "name: not 1 to 64 of a to z, 0 to 9 and -"),
        (with("n\"", &format!("{}\"", "n".repeat(65))), "name: not 1 to 64 of a to z, 0 to 9 and -"),
        (with("= 2", "= 0"), "enclave.cpu_count: not a whole number from 1 to 1024"),
        (with("= 2", "= 2.0"), "enclave.cpu_count: not a whole number from 1 to 1024"),
        (with("= 2", "= -1"), "enclave.cpu_count: not a whole number from 1 to 1024"),
        (with("= 512", "= 63"), "enclave.memory_mib: not a whole number from 64 to 4194304"),
        (
            with("= 512", "= 64"),
            "limits: take 271 MiB, more than enclave.memory_mib, which is 64: lower the limits, or raise it",
        ),
        (
            and("[limits]\nmax_keys = 16777216"),
            "limits: take 1720 MiB, more than enclave.memory_mib, which is 512: lower the limits, or raise it",
        ),
        (
            and("[limits]\nmax_connections = 3000"),
            "limits: take 611 MiB, more than enclave.memory_mib, which is 512: lower the limits, or raise it",
        ),
        (with("\"eu-central-1\"", "\"eu-central\""), "kms.region: not the name of an AWS region"),
        (with("\"eu-central-1\"", "\"https://kms\""), "kms.region: not the name of an AWS region"),
        (
            with("\"eu-central-1\"", "\"us-iso-east-1\""),
            "kms.region: of an isolated partition, whose endpoints this version does not know",
        ),
        (sealing("1"), "kms.sealing_key_arn: not the ARN of a KMS key in eu-central-1"),
        (sealing("[]"), "kms.sealing_key_arn: not the ARN of a KMS key in eu-central-1"),
        (sealing(&format!("{alias:?}")), "kms.sealing_key_arn: not the ARN of a KMS key in eu-central-1"),
        (sealing(&format!("{elsewhere:?}")), "kms.sealing_key_arn: not the ARN of a KMS key in eu-central-1"),
        (
            sealing(&format!("{zero:?}")),
            "kms.sealing_key_arn: still the example: write the ARN of your KMS key",
        ),
        (and("boot_secret_key_arns = \"\""), "kms.boot_secret_key_arns: not a list"),
        (boot_secret(&[]), "kms.boot_secret_key_arns: not 1 to 16 ARNs"),
        (boot_secret(&distinct), "kms.boot_secret_key_arns: not 1 to 16 ARNs"),
        (boot_secret(&[KEY, alias]), "kms.boot_secret_key_arns[1]: not the ARN of a KMS key in eu-central-1"),
        (
            boot_secret(&[zero]),
            "kms.boot_secret_key_arns[0]: still the example: write the ARN of your KMS key",
        ),
        (boot_secret(&[KEY, distinct[0], KEY]), "kms.boot_secret_key_arns[2]: named twice"),
        (and("opening_key_arns = true"), "kms.opening_key_arns: not a list"),
        (opening(&distinct), "kms.opening_key_arns: not 0 to 16 ARNs"),
        (opening(&[&elsewhere]), "kms.opening_key_arns[0]: not the ARN of a KMS key in eu-central-1"),
        (opening(&[distinct[0], distinct[0]]), "kms.opening_key_arns[1]: named twice"),
        (
            opening(&[distinct[0], KEY]),
            "kms.opening_key_arns[1]: the sealing key, which already opens backups: remove it here",
        ),
        (and("[vsock]\nlog_port = 0"), "vsock.log_port: not a whole number from 1 to 4294967294"),
        (and("[vsock]\nlog_port = 4294967295"), "vsock.log_port: not a whole number from 1 to 4294967294"),
        (and("[vsock]\nimds_port = 9000"), "vsock.imds_port: the port of nitro-cli's heartbeat"),
        (and("[vsock]\nadmin_port = 5000"), "vsock.admin_port: the same port as vsock.enclave_app_port"),
        (and("[vsock]\nenclave_app_port = 7103"), "vsock.log_port: the same port as vsock.enclave_app_port"),
        (and("[secrets]\ninternal_api_key = \"Env\""), "secrets.internal_api_key: neither env nor kms"),
        (and("[secrets]\nticket_signing_secret = true"), "secrets.ticket_signing_secret: not text"),
        (and("[secrets]\ngeneration = 0"), "secrets.generation: not a whole number from 1 to 4294967295"),
        (and("[secrets]\ngeneration = \"7\""), "secrets.generation: not a whole number from 1 to 4294967295"),
        (
            and("[secrets]\ngeneration = 4294967296"),
            "secrets.generation: not a whole number from 1 to 4294967295",
        ),
        (
            and("[secrets]\ngeneration = 7\noldest_generation = 0"),
            "secrets.oldest_generation: not a whole number from 1 to 4294967295",
        ),
        (and("[secrets]\noldest_generation = 1"), "secrets.oldest_generation: only with secrets.generation"),
        (
            and("[secrets]\ngeneration = 6\noldest_generation = 7"),
            "secrets.oldest_generation: higher than secrets.generation",
        ),
        (and("[tls]\nmode = \"acme\""), "tls.server_names: missing"),
        (and("[tls]\nmode = \"on\""), "tls.mode: neither off, self-signed, provided nor acme"),
        (and("[tls]\nmode = true"), "tls.mode: not text"),
        (and("[http]\nproxy_protocol = \"on\""), "http.proxy_protocol: neither true nor false"),
        (and("[http]\nproxy_protocol = 1"), "http.proxy_protocol: neither true nor false"),
        (and("[http]\nproxy = true"), "line 10: unknown key proxy"),
        (and("http = true"), "line 9: unknown key http"),
        (and("[limits]\nmax_keys = 0"), "limits.max_keys: not a whole number from 1 to 16777216"),
        (and("[limits]\nmax_nonces = 67108865"), "limits.max_nonces: not a whole number from 1 to 67108864"),
        (
            and("[limits]\nmax_ticket_ttl_s = 86401"),
            "limits.max_ticket_ttl_s: not a whole number from 1 to 86400",
        ),
        (
            and("[limits]\nmax_connections = 16385"),
            "limits.max_connections: not a whole number from 1 to 16384",
        ),
        (
            and("[limits]\nmax_requests_in_flight = 0"),
            "limits.max_requests_in_flight: not a whole number from 1 to 16384",
        ),
        (
            and("[limits]\nmax_requests_in_flight = 1025"),
            "limits.max_requests_in_flight: more than limits.max_connections",
        ),
        (and("[limits]\nidle_timeout_s = 0"), "limits.idle_timeout_s: not a whole number from 1 to 4000"),
        (and("[limits]\nidle_timeout_s = 4001"), "limits.idle_timeout_s: not a whole number from 1 to 4000"),
        (
            and("[limits]\nconnection_lifetime_s = 0"),
            "limits.connection_lifetime_s: not a whole number from 1 to 86400",
        ),
        (
            and("[limits]\nconnection_lifetime_s = 86401"),
            "limits.connection_lifetime_s: not a whole number from 1 to 86400",
        ),
        (
            and("[limits]\nmax_requests_per_connection = 0"),
            "limits.max_requests_per_connection: not a whole number from 1 to 4294967295",
        ),
        (
            and("[limits]\nmax_requests_per_connection = 4294967296"),
            "limits.max_requests_per_connection: not a whole number from 1 to 4294967295",
        ),
        (and("[pcr]\nPCR0 = \"00\""), "pcr.PCR0: not 96 hex digits"),
        (and(&format!("[pcr]\nPCR1 = \"{}\"", "0g".repeat(48))), "pcr.PCR1: not 96 hex digits"),
        (and("[pcr]\nPCR2 = 0"), "pcr.PCR2: not text"),
        // Invalid TOML, or values of the wrong shape.
        (and("[kms]"), "line 9: not TOML: duplicate key"),
        (and("region = \"eu-central-1\""), "line 9: not TOML: duplicate key"),
        (and("a"), "line 9: not TOML: key with no value, expected `=`"),
        (with("\"n\"", "\"n"), "line 2: not TOML: invalid basic string, expected `\"`"),
        (with("[enclave]", "[enclave"), "line 3: not TOML: unclosed table, expected `]`"),
        ("vsock = 1".to_owned(), "vsock: not a table"),
        (format!("limits = [1, 1, 1, 1, 1]\n{LEAST}"), "limits: not a table"),
        (and("[[pcr]]"), "pcr: not a table"),
        (" ".repeat(MAX_CONFIGURATION_BYTES + 1), "longer than 64 KiB"),
    ] {
        assert_eq!(refusal(&text), line, "{text}");
    }
}

proptest! {
    #[test]
    fn every_refusal_is_one_short_line(text in "[a-z\\[\\]\"'=#\\\\{}.\n\r\t 0-9é\u{0}]{0,60}") {
        let line = refusal(&text);
        prop_assert!(!line.contains(char::is_control) && line.len() < 160, "{line:?}");
    }

    #[test]
    fn every_damaged_byte_outside_of_values_is_noticed(position in 0..LEAST.len(), byte in b' '..=b'~') {
        let mut text = LEAST.as_bytes().to_vec();
        text[position] = byte;
        let text = String::from_utf8(text).unwrap();
        match Configuration::parse(&text) {
            Ok(configuration) => {
                prop_assert!(text.contains(configuration.kms.sealing_key_arn.as_str()));
                prop_assert_eq!(configuration.kms.key_arns().len(), 1);
                prop_assert_eq!(configuration.kms.region.as_str(), "eu-central-1");
            }
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
        }
    }

    #[test]
    fn numbers_come_back(keys in Capacity::KEYS, nonces in Capacity::NONCES, ttl_s in Capacity::TICKET_TTL_S) {
        let text = LEAST.replace("512", "8192")
            + &format!("[limits]\nmax_keys = {keys}\nmax_nonces = {nonces}\nmax_ticket_ttl_s = {ttl_s}\n");
        let capacity = Configuration::parse(&text).unwrap().capacity;
        prop_assert_eq!((capacity.max_keys, capacity.max_nonces, capacity.max_ticket_ttl_s), (keys, nonces, ttl_s));
    }
}
