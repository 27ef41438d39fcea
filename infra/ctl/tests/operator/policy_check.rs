//! `policy check`

use serde_json::{Value, json};
use signerctl::parent_pin::ParentPin;
use signerctl::policy_check::{Expectation, Finding, check_key_policy, check_role_policy};

use crate::image_parts::ImageParts;
use crate::policies::{
    ACCOUNT, ADMINISTRATOR, Case, KEY, OTHER, SEALER, committed, good, image, other_image, pins, rendered,
    rendered_with, wrong,
};
use crate::process::Outcome;

const EX_USAGE: i32 = 64;
const EX_DATAERR: i32 = 65;
const EX_CONFIG: i32 = 78;

fn find(policy: &Value) -> Finding {
    let expectation =
        Expectation { images: &[image()], keys: &[KEY.parse().unwrap()], instance_role: None, pins: &[] };
    check_key_policy(&policy.to_string(), &expectation).unwrap()
}

#[test]
fn what_opens_the_key_for_more_than_the_image_is_named() {
    let cases = wrong();
    assert!(cases.len() >= 60, "{}", cases.len());
    for Case { name, policy, doubts } in cases {
        let found = find(&policy).doubts;
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        for (statement, reason) in &doubts {
            let is_said =
                lines.iter().any(|line| line.starts_with(&format!("{statement}: ")) && line.contains(reason));
            assert!(is_said, "{name}: {statement}: {reason}\n{lines:#?}");
        }
        // And nothing else is, so that nobody learns to look away.
        assert_eq!(lines.len(), doubts.len(), "{name}\n{lines:#?}");
        assert!(lines.iter().all(|line| line.lines().count() == 1 && line.len() < 600), "{name}");
    }
}

#[test]
fn what_opens_it_for_the_image_only_is_good() {
    for Case { name, policy, .. } in good() {
        assert_eq!(find(&policy).doubts, [], "{name}");
    }
    let both = [image(), other_image()];
    let expectation = Expectation { images: &both, keys: &[], instance_role: None, pins: &[] };
    let policy = rendered("kms-key-policy.json", &both);
    assert_eq!(check_key_policy(&policy.to_string(), &expectation), Ok(Finding::default()));
}

#[test]
fn what_the_image_lacks_is_noted() {
    let finding = find(&rendered("kms-key-policy.json", &[other_image()]));
    assert_eq!(finding.lacks.len(), 2, "{finding:?}");
    assert!(finding.lacks[0].ends_with("may not call kms:Decrypt"), "{finding:?}");
    assert!(find(&rendered("kms-key-policy.json", &[image()])).lacks.is_empty());
    assert_eq!(find(&rendered("kms-key-policy.json", &[])).lacks.len(), 2);
}

fn find_pinned(policy: &Value, pins: &[ParentPin]) -> Finding {
    let (images, keys) = ([image()], [KEY.parse().unwrap()]);
    let expectation = Expectation { images: &images, keys: &keys, instance_role: None, pins };
    check_key_policy(&policy.to_string(), &expectation).unwrap()
}

#[test]
fn a_copy_on_another_parent_is_a_doubt_where_pins_are_expected() {
    let [role, instance] = pins();
    let both = [role.clone(), instance.clone()];
    let with = |pins: &[ParentPin]| rendered_with("kms-key-policy.json", &[image()], pins);
    assert_eq!(find_pinned(&with(&both), &both), Finding::default());
    // Each statement of an image is named that does not ask, once for each register.
    for (pinned, expected, words) in [
        (&[][..], &both[..], &["instance with another role", "another instance"][..]),
        (&both[..1], &both[..], &["another instance"]),
        (&both[1..], &both[..], &["instance with another role"]),
        (&[], &both[1..], &["another instance"]),
    ] {
        let doubts = find_pinned(&with(pinned), expected).doubts;
        let lines: Vec<String> = doubts.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2 * words.len(), "{lines:#?}");
        for words in words {
            assert_eq!(lines.iter().filter(|line| line.contains(words)).count(), 2, "{words}: {lines:#?}");
        }
    }
    // A condition in another letter case, or on no register at all, is no pin.
    let mut policy = with(&both);
    for operator in ["StringEqualsIfExists", "StringNotEquals"] {
        let condition = &mut policy["Statement"][1]["Condition"];
        let pcr4 = condition["StringEqualsIgnoreCase"]["kms:RecipientAttestation:PCR4"].clone();
        condition["StringEqualsIgnoreCase"].as_object_mut().unwrap().remove("kms:RecipientAttestation:PCR4");
        *condition = json!({
            "StringEqualsIgnoreCase": condition["StringEqualsIgnoreCase"],
            operator: { "kms:RecipientAttestation:PCR4": pcr4 },
        });
        let is_strict = operator == "StringEqualsIfExists";
        assert_eq!(find_pinned(&policy, &both).doubts.is_empty(), is_strict, "{operator}");
        policy = with(&both);
    }
}

#[test]
fn an_instance_that_was_replaced_is_a_doubt_and_one_that_is_left_out_a_lack() {
    let [_, new] = pins();
    let old = ParentPin::of_instances(&["i-0fedcba9876543210".parse().unwrap()]);
    let ids = ["i-0123456789abcdef0", "i-0fedcba9876543210"].map(|id| id.parse().unwrap());
    let both = ParentPin::of_instances(&ids);
    let find = |rendered: &ParentPin, expected: &ParentPin| {
        let policy = rendered_with("kms-key-policy.json", &[image()], std::slice::from_ref(rendered));
        find_pinned(&policy, std::slice::from_ref(expected))
    };
    assert_eq!(find(&both, &both), Finding::default());
    let left_over = find(&both, &new);
    assert!(left_over.lacks.is_empty() && left_over.doubts.len() == 2, "{left_over:?}");
    assert!(
        left_over.doubts[0]
            .reason
            .ends_with("for kms:RecipientAttestation:PCR4, which is that of another instance")
    );
    let left_out = find(&old, &both);
    assert!(left_out.doubts.is_empty() && left_out.lacks.len() == 2, "{left_out:?}");
    assert!(left_out.lacks[0].contains(&format!("with PCR4 {}", new.values()[0])), "{left_out:?}");
}

/// A check without the parent's pins says that, and not that the image may do nothing.
#[test]
fn pins_that_were_not_compared_are_noted() {
    let policy = rendered_with("kms-key-policy.json", &[image()], &pins());
    let notes = [
        "it asks for PCR3, which was not compared: --pin-role does that".to_owned(),
        "it asks for PCR4, which was not compared: --pin-instance does that".to_owned(),
    ];
    assert_eq!(find(&policy), Finding { notes: notes.to_vec(), ..Finding::default() });
}

#[test]
fn the_commands_pin_alike() {
    let parts = parts();
    let render = |more: &str| {
        let arguments = format!(
            "policy render --template kms-key-policy.json --nitro-toml nitro.toml --output pinned.json {more}"
        );
        parts.signerctl(arguments.split_whitespace())
    };
    let pins = "--pin-role --pin-instance i-0123456789abcdef0";
    assert_eq!(render(&format!("--measurements measurements.json {pins}")).code, Some(0));
    let outcome = check(&parts, &format!("pinned.json --nitro-toml nitro.toml {pins}"));
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (Some(0), 1), "{outcome:?}");
    let outcome = check(&parts, "pinned.json --nitro-toml nitro.toml --pin-instance i-0fedcba9876543210");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let role = format!("--instance-role arn:aws:iam::{}:role/other", crate::image_parts::ACCOUNT);
    let outcome = check(&parts, &format!("pinned.json --nitro-toml nitro.toml --pin-role {role}"));
    assert!(outcome.stdout.contains("which is that of another role"), "{outcome:?}");
    check(&parts, "pinned.json --measurements measurements.json --pin-role")
        .refuses(EX_USAGE, "--pin-role needs --instance-role, or --nitro-toml with keys");
    render(&format!("--without-image {pins}"))
        .refuses(EX_USAGE, "--pin-role and --pin-instance are for statements of an image");
    assert_eq!(render("--measurements measurements.json --pin-instance i-1").code, Some(EX_USAGE));
}

#[test]
fn several_who_seal_or_govern_are_noted() {
    let mut policy = rendered("kms-key-policy.json", &[image()]);
    for (statement, one) in [(3, SEALER), (4, ADMINISTRATOR)] {
        policy["Statement"][statement]["Principal"]["AWS"] = json!([one, OTHER]);
    }
    let notes = [
        format!("who may seal: {SEALER}, {OTHER}"),
        format!("who may change the policy: {ADMINISTRATOR}, {OTHER}"),
    ];
    assert_eq!(find(&policy), Finding { doubts: Vec::new(), lacks: Vec::new(), notes: notes.to_vec() });
}

/// With an image, its policies, and its measurements noted.
fn parts() -> ImageParts {
    let parts = ImageParts::new();
    let outcome = parts.build(&[("--note-pcrs-in", "nitro.toml")]);
    parts.write("measurements.json", outcome.stdout);
    for name in ["kms-key-policy.json", "iam-policy.json"] {
        parts.write(name, committed(name));
        let arguments = "--nitro-toml nitro.toml --measurements measurements.json --output";
        let outcome = parts.signerctl(
            ["policy", "render", "--template", name]
                .into_iter()
                .chain(arguments.split(' '))
                .chain([&format!("rendered-{name}")[..]]),
        );
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    parts
}

fn check(parts: &ImageParts, arguments: &str) -> Outcome {
    parts.signerctl(["policy", "check"].into_iter().chain(arguments.split_whitespace()))
}

#[test]
fn rendered_policies_are_good() {
    let parts = parts();
    for by in ["--nitro-toml nitro.toml", "--measurements measurements.json"] {
        let outcome = check(
            &parts,
            &format!("rendered-kms-key-policy.json --iam-policy rendered-iam-policy.json {by}"),
        );
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{outcome:?}");
        assert_eq!(
            outcome.stdout,
            "rendered-kms-key-policy.json: no doubt: it opens the key for no other image\n\
             rendered-iam-policy.json: no doubt: it opens the key for no other image\n"
        );
    }
    let json = check(&parts, "rendered-kms-key-policy.json --nitro-toml nitro.toml --json").stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    let expected = json!({
        "good": true,
        "image_gives_away": [],
        "notes": [],
        "policies": [{ "policy": "rendered-kms-key-policy.json", "doubts": [], "notes": [] }],
    });
    assert_eq!(report, expected);
}

#[test]
fn doubts_are_the_exit_status() {
    let parts = parts();
    let mut policy: Value = serde_json::from_slice(&parts.read("rendered-kms-key-policy.json")).unwrap();
    policy["Statement"][1]["Condition"]["StringEqualsIgnoreCase"]["kms:RecipientAttestation:PCR0"] =
        json!("0".repeat(96));
    parts.write("policy.json", policy.to_string());
    let outcome = check(&parts, "policy.json --nitro-toml nitro.toml");
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(1), "signerctl: 1 doubt\n"));
    // PCR1 and PCR2 are still the image's, which no enclave in debug mode has: there is nothing to gain by it.
    let line = format!(
        "policy.json: EnclaveOpensBackupsAndBootSecretsOfImage1: takes {} for kms:RecipientAttestation:PCR0, as in debug mode\n",
        "0".repeat(96)
    );
    assert!(outcome.stdout.starts_with(&line), "{}", outcome.stdout);
    for register in ["PCR1", "PCR2"] {
        let condition = &mut policy["Statement"][1]["Condition"]["StringEqualsIgnoreCase"];
        condition[format!("kms:RecipientAttestation:{register}")] = json!("0".repeat(96));
    }
    parts.write("policy.json", policy.to_string());
    let outcome = check(&parts, "policy.json --nitro-toml nitro.toml --json");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let doubt = &report["policies"][0]["doubts"][0];
    assert_eq!((&report["good"], &doubt["statement"]), (&json!(false), &json!(1)));
    let reason = "lets the instance (arn:aws:iam::999988887777:role/nitro-signer-instance) call kms:Decrypt in any enclave \
                  in debug mode, whose PCRs are all zeros: zeros are among the PCRs that it takes";
    assert_eq!(doubt["reason"], reason);
}

#[test]
fn a_role_is_checked_too() {
    let parts = parts();
    let policy: Value = serde_json::from_slice(&parts.read("rendered-iam-policy.json")).unwrap();
    let rows = [
        (
            json!("kms:Encrypt"),
            json!("*"),
            &["the instance call kms:Encrypt: the author of a ticket secret"][..],
        ),
        (
            json!("kms:Decrypt"),
            json!("*"),
            &["the instance call kms:Decrypt without an attestation document"],
        ),
        (
            json!("sts:AssumeRole"),
            json!("arn:aws:iam::999988887777:role/x"),
            &["sts:AssumeRole, and so take"],
        ),
        (json!(["iam:P*"]), json!("*"), &["lets the instance call iam:P*, and so take another identity"]),
        (
            json!(["iam:CreateAccessKey", "iam:GetRole", "iam:List*", "sts:AssumeRoleWithWebIdentity"]),
            json!("*"),
            &["call iam:CreateAccessKey, sts:AssumeRoleWithWebIdentity, and so take another identity"],
        ),
        (json!(["iam:SetDefaultPolicyVersion"]), json!("*"), &["iam:SetDefaultPolicyVersion, and so"]),
        (json!(["iam:Get*", "iam:ListRoles", "sts:GetCallerIdentity"]), json!("*"), &[]),
        (json!("kms:Encrypt"), json!("arn:aws:kms:us-east-1:444455556666:key/*"), &[]),
        (json!("s3:*"), json!("*"), &[]),
    ];
    for (action, resource, reasons) in rows {
        let mut policy = policy.clone();
        let statement = json!({ "Sid": "Added", "Effect": "Allow", "Action": action, "Resource": resource });
        policy["Statement"].as_array_mut().unwrap().push(statement);
        parts.write("policy.json", policy.to_string());
        let outcome = check(&parts, "--iam-policy policy.json --nitro-toml nitro.toml");
        assert_eq!(outcome.code, Some(i32::from(!reasons.is_empty())), "{action}: {outcome:?}");
        let doubts = outcome.stdout.lines().filter(|line| line.starts_with("policy.json: Added: ")).count();
        assert_eq!(doubts, reasons.len(), "{action}: {outcome:?}");
        for reason in reasons {
            assert!(outcome.stdout.contains(reason), "{action}: {outcome:?}");
        }
    }
    // A key's policy names principals, and a role's none.
    let swapped = check(&parts, "rendered-iam-policy.json --nitro-toml nitro.toml");
    swapped.refuses(
        EX_DATAERR,
        "rendered-iam-policy.json: Statement[0].Principal is not what a policy has there",
    );
    let swapped = check(&parts, "--iam-policy rendered-kms-key-policy.json --nitro-toml nitro.toml");
    swapped.refuses(
        EX_DATAERR,
        "rendered-kms-key-policy.json: Statement[0].Principal is not what a policy has there",
    );
}

/// By patterns, of which denials have to cover all.
#[test]
fn a_role_that_becomes_another_is_named_unless_denied() {
    let expectation =
        Expectation { images: &[image()], keys: &[KEY.parse().unwrap()], instance_role: None, pins: &[] };
    let iam_and_sts = json!(["iam:*", "sts:Assume*"]);
    for (allowed, denied, is_doubted) in [
        (json!({ "Action": "iam:Create*" }), json!({ "Action": "iam:*", "Resource": "*" }), false),
        (json!({ "Action": "iam:Create*" }), json!({ "Action": "iam:CreateUser", "Resource": "*" }), true),
        (json!({ "Action": "iam:Create*" }), json!({ "Action": "iam:Create?", "Resource": "*" }), true),
        (json!({ "Action": "iam:Create*" }), json!({ "Action": "iam:*", "Resource": KEY }), true),
        (json!({ "Action": "iam:Create*" }), json!({ "NotAction": "s3:*", "Resource": "*" }), false),
        (json!({ "NotAction": "kms:*" }), json!({ "Action": iam_and_sts, "Resource": "*" }), false),
        (json!({ "NotAction": "kms:*" }), json!({ "Action": "iam:*", "Resource": "*" }), true),
        (
            json!({ "NotAction": ["kms:*", "iam:*", "sts:*"] }),
            json!({ "Action": "s3:*", "Resource": "*" }),
            false,
        ),
    ] {
        let statement = |effect: &str, of: &Value| {
            let mut statement = json!({ "Effect": effect, "Resource": "*" });
            statement.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
            statement
        };
        let policy = json!({ "Statement": [statement("Allow", &allowed), statement("Deny", &denied)] });
        let finding = check_role_policy(&policy.to_string(), &expectation).unwrap();
        assert_eq!(!finding.doubts.is_empty(), is_doubted, "{policy}: {finding:?}");
    }
}

#[test]
fn the_instances_role_may_have_another_name() {
    let parts = parts();
    let role = format!("arn:aws:iam::{ACCOUNT}:role/signer");
    parts.write(
        "policy.json",
        json!({ "Statement": { "Effect": "Allow", "Principal": { "AWS": role }, "Action": "kms:PutKeyPolicy", "Resource": "*" } })
            .to_string(),
    );
    assert_eq!(check(&parts, "policy.json --nitro-toml nitro.toml").code, Some(0));
    let outcome = check(&parts, &format!("policy.json --nitro-toml nitro.toml --instance-role {role}"));
    assert!(
        outcome.code == Some(1) && outcome.stdout.contains("Statement[0]: lets the instance"),
        "{outcome:?}"
    );
}

#[test]
fn what_is_no_policy_is_refused() {
    let parts = parts();
    let good = String::from_utf8(parts.read("rendered-kms-key-policy.json")).unwrap();
    let statement = |more: &str| {
        format!(
            r#"{{"Statement":[{{"Effect":"Allow","Principal":"*","Action":"kms:ListGrants","Resource":"*"{more}}}]}}"#
        )
    };
    parts.write("policy.json", statement(""));
    assert_eq!(check(&parts, "policy.json --nitro-toml nitro.toml").code, Some(0));
    let wrong = |place: &str| format!("{place} is not what a policy has there");
    let rows = [
        (committed("kms-key-policy.json"), "Statement[0].Principal.AWS still holds a placeholder".to_owned()),
        (
            good.replace("SealerEncrypts", "${Sealer}"),
            "Statement[3].Sid still holds a placeholder".to_owned(),
        ),
        ("policy".to_owned(), "no policy: expected value at line 1 column 1".to_owned()),
        ("[]".to_owned(), wrong("the policy")),
        ("{}".to_owned(), wrong("Statement")),
        (r#"{"Statement": []}"#.to_owned(), wrong("Statement")),
        (r#"{"Version": "2013", "Statement": {}}"#.to_owned(), wrong("Version")),
        (r#"{"Statement": [1]}"#.to_owned(), wrong("Statement[0]")),
        (statement(r#","Principals":"*""#), wrong("Statement[0].Principals")),
        (statement(r#","NotAction":"x""#), wrong("Statement[0].Action")),
        (statement(r#","NotPrincipal":"*""#), wrong("Statement[0].Principal")),
        (statement(r#","Sid":1"#), wrong("Statement[0].Sid")),
        (statement(r#","Condition":[]"#), wrong("Statement[0].Condition")),
        (statement(r#","Condition":{"Null":{"a":{}}}"#), wrong("Statement[0].Condition")),
        (statement("").replace("Allow", "allow"), wrong("Statement[0].Effect")),
        (
            statement("").replace(r#""Principal":"*""#, r#""Principal":{"Aws":"*"}"#),
            wrong("Statement[0].Principal"),
        ),
        (statement("").replace(r#""kms:ListGrants""#, "[]"), wrong("Statement[0].Action")),
    ];
    for (text, line) in rows {
        parts.write("policy.json", &text);
        let outcome = check(&parts, "policy.json --nitro-toml nitro.toml");
        outcome.refuses(EX_DATAERR, &format!("policy.json: {line}"));
    }
    parts.write("policy.json", statement(r#","Effect":"Deny""#));
    let outcome = check(&parts, "policy.json --nitro-toml nitro.toml");
    assert!(
        outcome.stderr.starts_with("signerctl: policy.json: no policy: a member stands twice"),
        "{outcome:?}"
    );

    parts.write("nothing-noted.toml", crate::image_parts::nitro_toml());
    check(&parts, "rendered-kms-key-policy.json --nitro-toml nothing-noted.toml").refuses(
        EX_CONFIG,
        "nothing-noted.toml: no measurements under [pcr], or zeros: build the image, or name --measurements",
    );
    for incomplete in [
        "",
        "rendered-kms-key-policy.json",
        "--nitro-toml nitro.toml",
        "--iam-policy rendered-iam-policy.json",
    ] {
        assert_eq!(check(&parts, incomplete).code, Some(EX_USAGE), "{incomplete}");
    }
}

#[test]
fn an_image_that_gives_trust_away_is_a_doubt_whatever_the_policy_says() {
    let parts = parts();
    let file = String::from_utf8(parts.read("nitro.toml")).unwrap();
    let open = file.replace("ticket_signing_secret = \"kms\"", "ticket_signing_secret = \"env\"");
    parts.write("open.toml", open);
    let outcome = check(&parts, "rendered-kms-key-policy.json --nitro-toml open.toml");
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(1), "signerctl: 1 doubt\n"), "{outcome:?}");
    let last = outcome.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("the image: secrets.ticket_signing_secret in nitro.toml is not"), "{outcome:?}");
    let outcome = check(&parts, "rendered-kms-key-policy.json --nitro-toml open.toml --json");
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &json["good"]), (Some(1), &json!(false)), "{json}");
    assert_eq!(json["image_gives_away"].as_array().unwrap().len(), 1, "{json}");

    // Measurements of our build tell, too. What two files name is one doubt, and a provided TLS key is none.
    let mut measurements: Value = serde_json::from_slice(&parts.read("measurements.json")).unwrap();
    measurements["GivesAway"] = json!(["secrets.ticket_signing_secret", "tls.mode"]);
    parts.write("open.json", measurements.to_string());
    for files in ["--measurements open.json", "--measurements open.json --nitro-toml open.toml"] {
        let outcome = check(&parts, &format!("rendered-kms-key-policy.json {files}"));
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(1), "signerctl: 1 doubt\n"), "{outcome:?}");
        let last = outcome.stdout.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("the image: secrets.ticket_signing_secret in nitro.toml is not"),
            "{outcome:?}"
        );
    }
    measurements["GivesAway"] = json!(["kms.of_a_later_version"]);
    parts.write("later.json", measurements.to_string());
    check(&parts, "rendered-kms-key-policy.json --measurements later.json")
        .refuses(EX_DATAERR, "later.json: the image has a setting for tests that is unknown here");
}

/// A rotation may need it for a while.
#[test]
fn an_old_key_for_boot_secrets_is_noted_and_no_doubt() {
    let parts = parts();
    let file = String::from_utf8(parts.read("nitro.toml")).unwrap();
    let old = KEY.replace("1234abcd", "5678abcd");
    let lists = format!("opening_key_arns = [\"{old}\"]\nboot_secret_key_arns = [\"{old}\"]\n[secrets]");
    parts.write("rotation.toml", file.replace("[secrets]", &lists));
    let line = format!(
        "until {old} leaves kms.boot_secret_key_arns, a principal that may encrypt under it can make a ticket secret"
    );
    let outcome = check(&parts, "rendered-kms-key-policy.json --nitro-toml rotation.toml");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.stdout.lines().last(), Some(&*format!("nitro.toml: note: {line}")), "{outcome:?}");
    let outcome = check(&parts, "rendered-kms-key-policy.json --nitro-toml rotation.toml --json");
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["good"], &json["notes"]), (&json!(true), &json!([line])), "{json}");
}

/// The author of a policy does not decide how long its check takes.
#[test]
fn a_policy_with_too_many_cases_is_a_doubt() {
    let keys: serde_json::Map<String, Value> =
        (0..24).map(|number| (format!("kms:EncryptionContext:{number}"), json!(["a", "b", "c"]))).collect();
    let policy = json!({ "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*", "Condition": { "StringEquals": keys } },
        { "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*" },
    ] });
    let doubts = find(&policy).doubts;
    let lines: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["the policy has too many cases: not all of it was checked"]);
}
