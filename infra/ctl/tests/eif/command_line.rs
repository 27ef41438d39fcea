//! The accepted and the refused command lines: an exit status of sysexits.h, and the reason in one line.

use std::fs;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, date_time_ymd};
use serde_json::Value;

use crate::image_parts::{ImageParts, KEY, build_arguments, committed, elf, key_arn, nitro_toml};
use crate::keys::{self, ALGORITHMS, Form};
use crate::process::succeed;
use crate::signatures::SIGNED;

const EX_USAGE: i32 = 64;
const EX_DATAERR: i32 = 65;
const EX_NOINPUT: i32 = 66;
const EX_CONFIG: i32 = 78;

/// Makes one thing wrong.
type Change = fn(&ImageParts);

#[test]
fn help_is_no_error_and_names_every_exit_status() {
    let parts = ImageParts::new();
    let help = |subcommand: &[&str]| {
        let outcome = parts.signerctl([subcommand, &["--help"]].concat());
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{subcommand:?}");
        outcome.stdout
    };
    let whole = help(&[]);
    for text in [
        "Exit status: 0 done, 1 what was looked at is not as it should be, 64 wrong command line, 65 a file is not what it",
        "66 a file cannot be read, 69 a service does not answer, ",
        "\n  eif ",
        "\n  policy ",
    ] {
        assert!(whole.contains(text), "{text} is not in\n{whole}");
    }
    assert!(help(&["eif"]).contains("\n  build ") && help(&["eif"]).contains("\n  describe "));
    let build = help(&["eif", "build"]);
    for argument in build_arguments(&SIGNED).iter().filter(|it| it.starts_with("--")) {
        assert!(build.contains(&format!("{argument} <FILE>")), "{argument} is not in\n{build}");
    }
    assert!(build.contains("--bring-up"), "{build}");
    assert!(build.contains("--note-pcrs-in <FILE>") && build.contains("--nsm-module <FILE>"), "{build}");
    assert!(help(&["eif", "describe"]).contains("<FILE>"));
    assert!(help(&["policy", "render"]).contains("--without-image"));
    let version = parts.signerctl(["--version"]);
    assert_eq!(
        (version.code, version.stdout),
        (Some(0), format!("signerctl {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn a_wrong_command_line_makes_nothing() {
    let parts = ImageParts::new();
    let before = parts.names();
    let render = ["policy", "render", "--template", "template"];
    let rows: Vec<Vec<&str>> = vec![
        vec![],
        vec!["eif"],
        vec!["policy"],
        vec!["eif", "describe"],
        vec!["eif", "describe", "image.eif", "another.eif"],
        vec!["eif", "sign"],
        vec!["--unknown"],
        render.to_vec(),
        [&render[..], &["--without-image"]].concat(),
        [&render[..], &["--nitro-toml", "nitro.toml"]].concat(),
    ];
    for row in rows {
        let outcome = parts.signerctl(&row);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_USAGE), ""), "{row:?}");
        assert_ne!(outcome.stderr, "", "{row:?}");
    }
    for options in [
        &SIGNED[..1],
        &SIGNED[1..],
        &[("--unknown", "x")],
        &[("--output", "")],
        &[("--enclave", "x"), ("--enclave", "y")],
    ] {
        let outcome = parts.build(options);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_USAGE), ""), "{options:?}");
    }
    for missing in ["--enclave", "--nitro-toml", "--kernel", "--cmdline", "--output"] {
        let mut arguments = build_arguments(&[]);
        let at = arguments.iter().position(|argument| argument == missing).unwrap();
        arguments.drain(at..at + 2);
        let outcome = parts.signerctl(&arguments);
        assert_eq!(outcome.code, Some(EX_USAGE), "{missing}");
        assert!(outcome.stderr.contains(missing), "{outcome:?}");
    }
    assert_eq!(parts.names(), before);
}

/// A setting left over from a test makes no image, unless the command names it.
#[test]
fn settings_for_tests_make_no_image_unless_they_are_accepted_by_name() {
    let parts = ImageParts::new();
    let anchor = rcgen::generate_simple_self_signed(["kms.example".to_owned()]).unwrap().cert.pem();
    let file = nitro_toml()
        .replace("ticket_signing_secret = \"kms\"", "ticket_signing_secret = \"env\"")
        .replace("[secrets]", &format!("trust_anchors = ['''{anchor}''']\n[secrets]"));
    parts.write("nitro.toml", &file);
    let before = parts.names();
    let kms = ("--accept", "kms.trust_anchors");
    let secret = ("--accept", "secrets.ticket_signing_secret");
    let (kms_words, secret_words) =
        ("kms.trust_anchors in nitro.toml: ", "secrets.ticket_signing_secret in nitro.toml is not");
    for (accepted, refused) in [
        (&[][..], &[(kms, kms_words), (secret, secret_words)][..]),
        (&[kms], &[(secret, secret_words)]),
        (&[secret], &[(kms, kms_words)]),
    ] {
        let outcome = parts.build(accepted);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_CONFIG), ""), "{outcome:?}");
        for ((option, setting), words) in [(kms, kms_words), (secret, secret_words)] {
            let is_refused = refused.contains(&((option, setting), words));
            assert_eq!(outcome.stderr.contains(words), is_refused, "{accepted:?}: {outcome:?}");
            assert_eq!(outcome.stderr.contains(&format!("{option} {setting}")), is_refused, "{outcome:?}");
        }
    }
    assert_eq!(parts.names(), before);
    let outcome = parts.build(&[kms, secret]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("WARNING: {kms_words}")), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("WARNING: {secret_words}")), "{outcome:?}");
    // The measurements and the image tell of it, too.
    let given_away = serde_json::json!([kms.1, secret.1]);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(printed["GivesAway"], given_away);
    let described = parts.signerctl(["eif", "describe", "image.eif"]);
    let described: Value = serde_json::from_str(&described.stdout).unwrap();
    assert_eq!(
        (&described["GivesAway"], &described["Measurements"]),
        (&given_away, &printed["Measurements"])
    );

    // An option that the file does not need would accept the setting unseen one day.
    parts.write("nitro.toml", nitro_toml());
    parts.build(&[kms]).refuses(
        EX_USAGE,
        "--accept kms.trust_anchors: nitro.toml does not set kms.trust_anchors; leave the option out",
    );
    for unknown in ["tls.mode", "kms.key_arns", ""] {
        assert_eq!(parts.build(&[("--accept", unknown)]).code, Some(EX_USAGE), "{unknown}");
    }
}

/// The newer key sealed where the boot file selected it, and not the first of the list.
#[test]
fn an_old_key_list_is_refused_with_the_lines_to_write_instead() {
    let parts = ImageParts::new();
    let (old, new) = (key_arn(), key_arn().replace(KEY, "5678abcd-12ab-34cd-56ef-1234567890ab"));
    let setting = format!("sealing_key_arn = \"{old}\"");
    let file = nitro_toml();
    assert!(file.contains(&setting));
    let build = |kms: &str| {
        parts.write("nitro.toml", file.replace(&setting, kms));
        parts.build(&[])
    };
    let start = "nitro.toml: kms.key_arns: replaced: its key that KMS_KEY_ARN of the boot file names, or else its \
                 first, becomes sealing_key_arn, and the others opening_key_arns";
    let boot_secrets = "# Only if boot secrets are under another key than the sealing key: those keys.\n\
                        # boot_secret_key_arns = [\"ARN\"]";
    build("key_arns = 1").refuses(EX_CONFIG, start);
    let lines = format!("{setting}\n{boot_secrets}");
    build(&format!("key_arns = [\"{old}\"]"))
        .refuses(EX_CONFIG, &format!("{start}; write instead:\n\n{lines}"));
    assert_eq!(build(&lines).code, Some(0));

    let lines = format!(
        "# Uncomment the key that KMS_KEY_ARN in /etc/nitro-signer/env names, or the first if that is not set.\n\
         # sealing_key_arn = \"{old}\"\n# sealing_key_arn = \"{new}\"\n\
         # Delete that key here. The others only open old backups.\n\
         opening_key_arns = [\n    \"{old}\",\n    \"{new}\",\n]\n{boot_secrets}"
    );
    build(&format!("key_arns = [\"{old}\", \"{new}\"]"))
        .refuses(EX_CONFIG, &format!("{start}; write instead:\n\n{lines}"));
    // Nothing is built until a key is chosen, once.
    build(&lines).refuses(EX_CONFIG, "nitro.toml: kms.sealing_key_arn: missing");
    let chosen =
        lines.replace(&format!("# sealing_key_arn = \"{new}\""), &format!("sealing_key_arn = \"{new}\""));
    build(&chosen).refuses(
        EX_CONFIG,
        "nitro.toml: kms.opening_key_arns[1]: the sealing key, which already opens backups: remove it here",
    );
    assert_eq!(build(&chosen.replace(&format!("    \"{new}\",\n"), "")).code, Some(0));
}

#[test]
fn a_part_that_cannot_be_read_is_named() {
    let parts = ImageParts::new();
    keys::make(&parts, ALGORITHMS[0], Form::Sec1);
    fs::create_dir(parts.path("folder")).unwrap();
    let before = parts.names();
    for part in [
        "--enclave",
        "--nitro-toml",
        "--kernel",
        "--cmdline",
        "--nsm-module",
        "--signing-certificate",
        "--private-key",
    ] {
        let with = |name: &str| {
            let signed = if part == "--nsm-module" { &[] } else { &SIGNED[..] };
            let others: Vec<(&str, &str)> =
                signed.iter().copied().filter(|(other, _)| *other != part).collect();
            parts.build(&[&others[..], &[(part, name)]].concat())
        };
        with("missing").refuses(EX_NOINPUT, "missing: No such file or directory (os error 2)");
        with("folder").refuses(EX_NOINPUT, "folder: Is a directory (os error 21)");
        with("enclave/x").refuses(EX_NOINPUT, "enclave/x: Not a directory (os error 20)");
    }
    let describe = |name| parts.signerctl(["eif", "describe", name]);
    describe("missing").refuses(EX_NOINPUT, "missing: No such file or directory (os error 2)");
    describe("folder").refuses(EX_NOINPUT, "folder: Is a directory (os error 21)");
    assert_eq!(parts.names(), before);
}

#[test]
fn a_part_that_is_none_makes_no_image() {
    const KERNEL: &str = "the kernel is no bzImage for x86";
    const CMDLINE: &str = "the command line is not one line of printable ASCII";
    const NO_ELF: &str = "the signer is no executable for x86-64";
    let rows: [(&str, Change, &str); 15] = [
        ("no kernel", |it| it.write("bzImage", ""), KERNEL),
        ("an executable for a kernel", |it| it.write("bzImage", elf(&[])), KERNEL),
        ("no command line", |it| it.write("cmdline", "\n"), CMDLINE),
        ("two lines", |it| it.write("cmdline", "quiet\nreboot=k\n"), CMDLINE),
        ("a NUL", |it| it.write("cmdline", "quiet\0"), CMDLINE),
        ("umlauts", |it| it.write("cmdline", "grün"), CMDLINE),
        ("Latin 1", |it| it.write("cmdline", b"gr\xfcn"), "cmdline: not text in UTF-8"),
        (
            "longer than the kernel takes",
            |it| it.write("cmdline", "x".repeat(2049)),
            "the image would not be read: section 1 is of no kind and size that is known",
        ),
        ("huge", |it| it.write("cmdline", "x".repeat(65_537)), "cmdline: larger than 65536 bytes"),
        ("no signer", |it| it.write("enclave", ""), NO_ELF),
        ("a script", |it| it.write("enclave", "#!/bin/sh\n"), NO_ELF),
        ("a signer that is cut", |it| it.write("enclave", &elf(&[1, 1])[..100]), NO_ELF),
        (
            "a dynamic signer",
            |it| it.write("enclave", elf(&[6, 3, 1])),
            "the signer is linked dynamically, and the image has no loader",
        ),
        (
            "no driver",
            |it| it.write("nsm.ko", "\x1f\u{8b}"),
            "the driver of the security module is no kernel module",
        ),
        (
            "an empty driver",
            |it| it.write("nsm.ko", ""),
            "the driver of the security module is no kernel module",
        ),
    ];
    for (row, change, line) in rows {
        let parts = ImageParts::new();
        change(&parts);
        let outcome = parts.build(&[("--nsm-module", "nsm.ko")]);
        assert_eq!(outcome.stderr, format!("signerctl: {line}\n"), "{row}");
        outcome.refuses(EX_DATAERR, line);
        assert!(!parts.path("image.eif").exists(), "{row}");
    }
}

/// The compiler's own word for what is static, and what is not.
#[test]
fn a_compilers_static_executables_are_taken_and_others_are_not() {
    let parts = ImageParts::new();
    parts.write("enclave.c", "void _start(void) { for (;;); }");
    for (options, is_taken) in [
        (&["-static"][..], true),
        (&["-static-pie", "-fPIE"], true),
        (&["-pie", "-fPIE"], false),
        (&["-static", "-m32"], false),
    ] {
        let mut compiler = parts.command("cc");
        compiler.args(["-nostdlib", "-o", "enclave", "enclave.c"]).args(options);
        succeed(&mut compiler);
        let outcome = parts.build(&[]);
        assert_eq!(outcome.code, Some(if is_taken { 0 } else { EX_DATAERR }), "{options:?}: {outcome:?}");
    }
}

#[test]
fn a_configuration_that_the_signer_would_refuse_makes_no_image() {
    fn changed(parts: &ImageParts, from: &str, to: &str) {
        let text = nitro_toml();
        assert!(text.contains(from), "{from}");
        parts.write("nitro.toml", text.replace(from, to));
    }
    const TWICE: &str = "nitro.toml: measurements stand elsewhere than under one [pcr] at its end";
    let rows: [(&str, Change, &str); 8] = [
        (
            "as committed",
            |it| it.write("nitro.toml", committed("nitro.toml")),
            "nitro.toml: kms.sealing_key_arn: still the example: write the ARN of your KMS key",
        ),
        ("empty", |it| it.write("nitro.toml", ""), "nitro.toml: version: missing"),
        ("another version", |it| changed(it, "version = 1", "version = 2"), "nitro.toml: version: not 1"),
        (
            "an unknown key",
            |it| it.write("nitro.toml", format!("port = 1\n{}", nitro_toml())),
            "nitro.toml: line 1: unknown key port",
        ),
        (
            "no memory for its limits",
            |it| changed(it, "memory_mib = 512", "memory_mib = 64"),
            "nitro.toml: limits: take 271 MiB, more than enclave.memory_mib, which is 64: lower the limits, or raise it",
        ),
        (
            "measurements in another spelling",
            |it| {
                it.write(
                    "nitro.toml",
                    format!("{}[\"pcr\"]\nPCR0 = \"{}\"\n", nitro_toml(), "a0".repeat(48)),
                );
            },
            TWICE,
        ),
        (
            "measurements that are not the end",
            |it| changed(it, "[tls]", &format!("[pcr]\nPCR0 = \"{}\"\n[tls]", "a0".repeat(48))),
            TWICE,
        ),
        (
            "too little memory for the image",
            |it| {
                fs::File::options().write(true).open(it.path("bzImage")).unwrap().set_len(130 << 20).unwrap();
            },
            "enclave.memory_mib in nitro.toml: this image needs 521 or more",
        ),
    ];
    for (row, change, line) in rows {
        let parts = ImageParts::new();
        change(&parts);
        let outcome = parts.build(&[]);
        assert_eq!(outcome.stderr, format!("signerctl: {line}\n"), "{row}");
        outcome.refuses(EX_CONFIG, line);
        assert!(!parts.path("image.eif").exists(), "{row}");
    }
    // TOML itself refuses a table that stands twice.
    let parts = ImageParts::new();
    parts.built(&[("--note-pcrs-in", "nitro.toml")]);
    let noted = String::from_utf8(parts.read("nitro.toml")).unwrap();
    let (_, pcr) = noted.rsplit_once("\n[pcr]\n").unwrap();
    parts.write("nitro.toml", format!("{noted}\n[pcr]\n{pcr}"));
    let outcome = parts.build(&[]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(EX_CONFIG), 1), "{outcome:?}");
}

#[test]
fn only_a_certificate_and_its_key_sign() {
    const CERTIFICATE: &str = "certificate.pem: not one certificate in PEM and nothing else";
    const EXPIRED: &str =
        "certificate.pem: the certificate is not valid now; Nitro would not start the enclave";
    const KEY: &str = "key.pem: not a private key of P-256, P-384 or P-521 in PEM, without a password";
    fn valid(parts: &ImageParts, from: i32, to: i32) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.not_before = date_time_ymd(from, 1, 1);
        parameters.not_after = date_time_ymd(to, 1, 1);
        parts.write("certificate.pem", parameters.self_signed(&key).unwrap().pem());
        parts.write("key.pem", key.serialize_pem());
    }
    /// The file `name` becomes what OpenSSL makes, perhaps of it.
    fn openssl(parts: &ImageParts, arguments: &str, name: &str) {
        let arguments = arguments.split(' ').chain(["-out", "made.pem"]);
        succeed(parts.command("openssl").args(arguments));
        fs::rename(parts.path("made.pem"), parts.path(name)).unwrap();
    }
    let rows: [(&str, Change, &str); 12] = [
        ("expired", |it| valid(it, 2020, 2021), EXPIRED),
        ("not yet valid", |it| valid(it, 2200, 2201), EXPIRED),
        (
            "another's key",
            |it| openssl(it, "ecparam -name prime256v1 -genkey", "key.pem"),
            "key.pem: the private key is not the certificate's",
        ),
        (
            "another curve",
            |it| openssl(it, "ecparam -name secp384r1 -genkey", "key.pem"),
            "key.pem: the private key is not the certificate's",
        ),
        (
            "a curve that Nitro does not take",
            |it| openssl(it, "ecparam -name secp256k1 -genkey", "key.pem"),
            KEY,
        ),
        (
            "a password, SEC 1",
            |it| openssl(it, "ec -aes256 -passout pass:secret -in key.pem", "key.pem"),
            KEY,
        ),
        (
            "a password, PKCS #8",
            |it| openssl(it, "pkcs8 -topk8 -passout pass:secret -in key.pem", "key.pem"),
            KEY,
        ),
        ("RSA", |it| openssl(it, "genrsa", "key.pem"), KEY),
        (
            "Ed25519",
            |it| it.write("key.pem", KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem()),
            KEY,
        ),
        ("DER", |it| openssl(it, "x509 -in certificate.pem -outform DER", "certificate.pem"), CERTIFICATE),
        ("the key twice", |it| it.write("certificate.pem", it.read("key.pem")), CERTIFICATE),
        ("the certificate twice", |it| it.write("key.pem", it.read("certificate.pem")), KEY),
    ];
    for (row, change, line) in rows {
        let parts = ImageParts::new();
        keys::make(&parts, ALGORITHMS[0], Form::Sec1);
        change(&parts);
        let outcome = parts.build(&SIGNED);
        assert_eq!(outcome.stderr, format!("signerctl: {line}\n"), "{row}");
        outcome.refuses(EX_DATAERR, line);
        assert!(!parts.path("image.eif").exists(), "{row}");
    }
    let parts = ImageParts::new();
    valid(&parts, 2020, 2200);
    assert!(parts.built(&SIGNED)["PCR8"].is_string());
}

#[test]
fn an_image_is_described_with_the_names_of_nitro_cli() {
    let parts = ImageParts::new();
    let measurements = parts.built(&[]);
    let outcome = parts.signerctl(["eif", "describe", "image.eif"]);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    let described: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let names: Vec<&str> = described.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "EifVersion",
            "Measurements",
            "IsSigned",
            "CheckCRC",
            "ImageName",
            "ImageVersion",
            "Metadata",
            "Sections"
        ]
    );
    assert_eq!(described["Measurements"], measurements);
    assert_eq!((&described["IsSigned"], &described["CheckCRC"]), (&Value::from(false), &Value::from(true)));
    assert_eq!(described["ImageName"], "nitro-signer");
    assert_eq!(described["Sections"]["KernelVersion"], "6.12.1");
    assert_eq!(described["Sections"]["KernelBytes"], 4096);
    assert_eq!(described["Sections"]["Cmdline"], "reboot=k panic=-1 console=ttyS0");
}

#[test]
fn a_bring_up_image_has_another_command_line_and_is_neither_signed_nor_noted() {
    let parts = ImageParts::new();
    keys::make(&parts, ALGORITHMS[0], Form::Sec1);
    let built = parts.built(&[]);
    let bring_up = |options: &[(&str, &str)]| {
        parts.signerctl([build_arguments(options), vec!["--bring-up".to_owned()]].concat())
    };
    let outcome = bring_up(&[]);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    let measurements: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let same = ["PCR0", "PCR1", "PCR2"].map(|pcr| measurements["Measurements"][pcr] == built[pcr]);
    assert_eq!(same, [false, false, true]);
    let outcome = parts.signerctl(["eif", "describe", "image.eif"]);
    let described: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        described["Sections"]["Cmdline"],
        "reboot=k console=ttyS0 earlycon=uart8250,io,0x3f8 loglevel=8 panic=30"
    );

    for options in [&SIGNED[..], &[("--note-pcrs-in", "nitro.toml")]] {
        let outcome = bring_up(options);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_USAGE), ""), "{options:?}");
        assert!(outcome.stderr.contains("--bring-up"), "{outcome:?}");
    }
}
