//! Python finds in an image what we say is in it, and our signatures good.

use serde_json::{Value, json};

use crate::image_parts::ImageParts;
use crate::keys::{self, ALGORITHMS, FORMS, Form};
use crate::python::ask;

pub(crate) const SIGNED: [(&str, &str); 2] =
    [("--signing-certificate", "certificate.pem"), ("--private-key", "key.pem")];

#[test]
fn python_reads_an_image_as_we_do() {
    let parts = ImageParts::new();
    for options in [&[][..], &[("--nsm-module", "nsm.ko")]] {
        let measurements = parts.built(options);
        let read = ask("image.py", &parts.path("image.eif"));
        // Magic, version, flags, memory, processors, reserved, unused.
        assert_eq!(read["header"], json!([".eif", 4, 0, 1 << 30, 2, 0, 0]));
        assert_eq!(read["kinds"], json!([1, 2, 5, 3, 3]));
        assert_eq!(read["cmdline"], "reboot=k panic=-1 console=ttyS0");
        assert_eq!(
            read["metadata"].to_string(),
            format!(
                r#"{{"ImageName":"nitro-signer","ImageVersion":"{version}","BuildMetadata":{{"BuildTime":"1970-01-01T00:00:00+00:00","BuildTool":"signerctl","BuildToolVersion":"{version}","OperatingSystem":"Linux","KernelVersion":"6.12.1"}},"DockerInfo":null,"CustomMetadata":null}}"#,
                version = env!("CARGO_PKG_VERSION")
            )
        );
        assert_measured(&measurements, &read, &["PCR0", "PCR1", "PCR2"]);
        assert_eq!((&measurements["PCR8"], &read["PCR8"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn python_and_openssl_take_our_signatures() {
    for algorithm in ALGORITHMS {
        for form in FORMS {
            let parts = ImageParts::new();
            keys::make(&parts, algorithm, form);
            let unsigned = parts.built(&[]);
            let measurements = parts.built(&SIGNED);
            let read = ask("image.py", &parts.path("image.eif"));
            assert_eq!(read["kinds"], json!([1, 2, 5, 3, 3, 4]));
            assert_eq!(read["is_good"], true, "{algorithm} {form:?}");
            assert_measured(&measurements, &read, &["PCR0", "PCR1", "PCR2", "PCR8"]);
            assert_measured(&measurements, &unsigned, &["PCR0", "PCR1", "PCR2"]);
            let signature = &read["signature"];
            assert_eq!(signature["members"], json!(["signing_certificate", "signature"]));
            assert_eq!(signature["bytes"], algorithm.signature_bytes);
            assert_eq!(signature["protected"], algorithm.protected);
            assert_eq!(signature["unprotected"], json!({}));
            let certificate = String::from_utf8(parts.read("certificate.pem")).unwrap();
            assert_eq!(signature["certificate"], certificate);
            let described = parts.signerctl(["eif", "describe", "image.eif"]);
            assert_eq!((described.code, &described.stderr[..]), (Some(0), ""));
            let described: Value = serde_json::from_str(&described.stdout).unwrap();
            assert_eq!(described["SignatureCheck"], true);
            assert_eq!(described["Measurements"], measurements);
            let issuer = described["SigningCertificate"]["IssuerName"].as_str().unwrap();
            assert!(issuer.contains("CN=AWS") && issuer.contains("OU=AWS"), "{issuer}");
        }
    }
}

/// Only the signature differs from one build to the next, and with another certificate PCR8.
#[test]
fn a_signature_changes_no_measurement_and_a_certificate_only_its_own() {
    let parts = ImageParts::new();
    keys::make(&parts, ALGORITHMS[1], Form::Sec1);
    let first = parts.built(&SIGNED);
    let first_bytes = parts.read("image.eif");
    assert_eq!(parts.built(&SIGNED), first);
    assert_ne!(parts.read("image.eif"), first_bytes, "randomness was used twice");
    keys::make(&parts, ALGORITHMS[1], Form::Sec1);
    let second = parts.built(&SIGNED);
    assert_measured(&first, &second, &["PCR0", "PCR1", "PCR2"]);
    assert_ne!(first["PCR8"], second["PCR8"]);
}

#[track_caller]
fn assert_measured(ours: &Value, theirs: &Value, registers: &[&str]) {
    for register in registers {
        assert!(ours[register].is_string());
        assert_eq!(ours[register], theirs[register], "{register}");
    }
}
