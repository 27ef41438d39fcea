//! Policies from the committed templates, and what is none.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::image_parts::{ACCOUNT, ImageParts, committed, key_arn};
use crate::process::Outcome;

const EX_USAGE: i32 = 64;
const EX_DATAERR: i32 = 65;
const EX_NOINPUT: i32 = 66;
const EX_CANTCREAT: i32 = 73;
const EX_CONFIG: i32 = 78;

/// With the templates, and the measurements of two images.
fn parts() -> ImageParts {
    let parts = ImageParts::new();
    for name in ["kms-key-policy.json", "iam-policy.json"] {
        parts.write(name, committed(name));
    }
    for name in ["old.json", "new.json"] {
        parts.write("enclave", crate::image_parts::elf(if name == "old.json" { &[] } else { &[1] }));
        let outcome = parts.build(&[]);
        assert_eq!(outcome.code, Some(0));
        parts.write(name, outcome.stdout);
    }
    parts
}

fn render(parts: &ImageParts, template: &str, arguments: &str) -> Outcome {
    let arguments = arguments.split_whitespace();
    parts.signerctl(["policy", "render", "--template", template].into_iter().chain(arguments))
}

#[test]
fn a_policy_names_the_images_and_nothing_of_the_template() {
    let parts = parts();
    let pcr = |name: &str, register: &str| {
        let printed: Value = serde_json::from_slice(&parts.read(name)).unwrap();
        printed["Measurements"][register].as_str().unwrap().to_owned()
    };
    for template in ["kms-key-policy.json", "iam-policy.json"] {
        let arguments = "--nitro-toml nitro.toml --measurements new.json --measurements old.json";
        let outcome = render(&parts, template, arguments);
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{template}");
        let policy: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert!(policy["Statement"].as_array().is_some_and(|statements| statements.len() > 4));
        for (name, register) in ["old.json", "new.json"]
            .into_iter()
            .flat_map(|name| ["PCR0", "PCR1", "PCR2"].into_iter().map(move |register| (name, register)))
        {
            assert!(outcome.stdout.contains(&pcr(name, register)), "{template}: {register} of {name}");
        }
        assert!(outcome.stdout.contains(ACCOUNT), "{template}");
        for text in ["111122223333", "00000000-0000", "-of-the-image"] {
            assert!(!outcome.stdout.contains(text), "{template}: {text}");
        }
        assert_eq!(outcome.stdout.contains(&key_arn()), template == "iam-policy.json");

        // The same goes to a file, whose permissions stay.
        parts.write("policy.json", "");
        fs::set_permissions(parts.path("policy.json"), PermissionsExt::from_mode(0o604)).unwrap();
        let quiet = render(&parts, template, &format!("{arguments} --output policy.json"));
        assert_eq!((quiet.code, &quiet.stdout[..], &quiet.stderr[..]), (Some(0), "", ""));
        assert_eq!(parts.read("policy.json"), outcome.stdout.as_bytes());
        let mode = fs::metadata(parts.path("policy.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o604);
    }
}

#[test]
fn a_key_is_created_before_there_is_an_image_or_a_key() {
    let parts = parts();
    let of_account = format!("--without-image --account {ACCOUNT} --region eu-central-1");
    let outcome = render(&parts, "kms-key-policy.json", &of_account);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
    assert!(outcome.stdout.contains(&format!("arn:aws:iam::{ACCOUNT}:role/nitro-signer-key-administrator")));
    let policy: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let allowed = policy["Statement"].as_array().unwrap().iter().filter(|it| it["Effect"] == "Allow");
    assert!(allowed.into_iter().all(|it| !it["Action"].to_string().contains("kms:Decrypt")), "{policy:#}");
    let china = of_account.replace("eu-central-1", "cn-north-1");
    let outcome = render(&parts, "kms-key-policy.json", &china);
    assert!(
        outcome.stdout.contains("arn:aws-cn:iam::") && !outcome.stdout.contains("arn:aws:"),
        "{outcome:?}"
    );
    let iam = render(&parts, "iam-policy.json", &of_account);
    iam.refuses(EX_DATAERR, "iam-policy.json: Statement[1].Resource still holds a placeholder");
}

#[test]
fn measurements_that_are_none_are_refused() {
    let parts = parts();
    let good = String::from_utf8(parts.read("new.json")).unwrap();
    let printed: Value = serde_json::from_str(&good).unwrap();
    let pcr1 = printed["Measurements"]["PCR1"].as_str().unwrap();
    let rows = [
        ("zeros", good.replace(pcr1, &"0".repeat(96)), "PCR1 is all zeros, as in debug mode"),
        ("a placeholder", good.replace(pcr1, "PCR1-of-the-image"), "PCR1 is not 96 hex digits"),
        ("cut", good.replace(pcr1, &pcr1[1..]), "PCR1 is not 96 hex digits"),
        ("no JSON", "PCR1".to_owned(), "no measurements: expected value at line 1 column 1"),
        ("another JSON", "{}".to_owned(), "no measurements: missing field `Measurements` at line 1 column 2"),
        ("huge", good + &" ".repeat(65_536), "larger than 65536 bytes"),
    ];
    for (row, text, line) in rows {
        parts.write("wrong.json", text);
        for template in ["kms-key-policy.json", "iam-policy.json"] {
            let arguments = "--nitro-toml nitro.toml --measurements new.json --measurements wrong.json";
            let outcome = render(&parts, template, &format!("{arguments} --output policy.json"));
            assert_eq!(outcome.stderr, format!("signerctl: wrong.json: {line}\n"), "{row}");
            outcome.refuses(EX_DATAERR, &format!("wrong.json: {line}"));
        }
    }
    assert!(!parts.path("policy.json").exists());
}

#[test]
fn a_policy_that_opens_too_much_or_nothing_is_refused() {
    let parts = parts();
    let template = committed("kms-key-policy.json");
    let change = |from: &str, to: &str| {
        assert!(template.contains(from), "{from}");
        template.replace(from, to)
    };
    let pcr0 = "Statement[0].Condition.StringEqualsIgnoreCase.kms:RecipientAttestation:PCR0";
    let rows = [
        (
            "text",
            "PCR0".to_owned(),
            "the template is no policy: expected value at line 1 column 1".to_owned(),
        ),
        (
            "a list",
            "[]".to_owned(),
            "the template is no policy: invalid type: sequence, expected a map at line 1 column 0".to_owned(),
        ),
        ("no statements", "{}".to_owned(), "the template is no policy: no list of statements".to_owned()),
        (
            "no image",
            r#"{"Statement": []}"#.to_owned(),
            "no statement of the template asks for the PCRs of an image".to_owned(),
        ),
        ("zeros", change("PCR0-of-the-image", &"0".repeat(96)), format!("{pcr0} still holds a placeholder")),
        (
            "another's placeholder",
            change("PCR0-of-the-image", "${PCR0}"),
            format!("{pcr0} still holds a placeholder"),
        ),
        ("any image", change("PCR0-of-the-image", "*"), format!("{pcr0} still holds a placeholder")),
        (
            "an account within",
            change("nitro-signer-instance\"", "111122223333\""),
            "Statement[0].Principal.AWS still holds a placeholder".to_owned(),
        ),
    ];
    for (row, text, line) in rows {
        parts.write("template.json", text);
        let outcome = render(&parts, "template.json", "--nitro-toml nitro.toml --measurements new.json");
        assert_eq!(outcome.stderr, format!("signerctl: template.json: {line}\n"), "{row}");
        outcome.refuses(EX_DATAERR, &format!("template.json: {line}"));
    }
}

#[test]
fn a_wrong_request_renders_nothing() {
    let parts = parts();
    parts.write("example.toml", committed("nitro.toml"));
    let no_file = "No such file or directory (os error 2)";
    let rows = [
        (
            "--nitro-toml nitro.toml --measurements new.json --measurements new.json",
            EX_USAGE,
            "the same measurements are given twice".to_owned(),
        ),
        (
            "--nitro-toml nitro.toml --measurements new.json --instance-role nitro-signer-instance",
            EX_USAGE,
            "what is given for nitro-signer-instance is not the ARN of a role".to_owned(),
        ),
        (
            "--without-image --account 12345678901 --region us-east-1",
            EX_USAGE,
            "an account is 12 digits".to_owned(),
        ),
        ("--nitro-toml missing --measurements new.json", EX_NOINPUT, format!("missing: {no_file}")),
        ("--nitro-toml nitro.toml --measurements missing", EX_NOINPUT, format!("missing: {no_file}")),
        (
            "--nitro-toml example.toml --measurements new.json",
            EX_CONFIG,
            "example.toml: kms.sealing_key_arn: still the example: write the ARN of your KMS key".to_owned(),
        ),
        (
            "--without-image --account 111122223333 --region us-east-1",
            EX_DATAERR,
            "kms-key-policy.json: Statement[0].Principal.AWS still holds a placeholder".to_owned(),
        ),
        (
            "--nitro-toml nitro.toml --without-image --output missing/policy.json",
            EX_CANTCREAT,
            format!("missing/policy.json: {no_file}"),
        ),
    ];
    for (arguments, code, line) in rows {
        let outcome = render(&parts, "kms-key-policy.json", arguments);
        assert_eq!(outcome.stderr, format!("signerctl: {line}\n"), "{arguments}");
        outcome.refuses(code, &line);
    }
    render(&parts, "missing", "--nitro-toml nitro.toml --without-image")
        .refuses(EX_NOINPUT, &format!("missing: {no_file}"));
    for contradiction in [
        "--nitro-toml nitro.toml",
        "--measurements new.json",
        "--nitro-toml nitro.toml --measurements new.json --without-image",
        "--nitro-toml nitro.toml --without-image --account 999988887777 --region us-east-1",
        "--without-image --account 999988887777",
        "--without-image --region us-east-1",
        "--without-image --account 999988887777 --region nowhere",
    ] {
        let outcome = render(&parts, "kms-key-policy.json", contradiction);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_USAGE), ""), "{contradiction}");
    }
}
