use serde_json::Value;

use super::{INSTANCE_ROLE, NotRendered, ROLES, Subjects, render};
use crate::eif::{MeasurementSet, Pcr};
use crate::parent_pin::ParentPin;

const KEY: &str = "arn:aws-cn:kms:cn-north-1:999988887777:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn committed(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn subjects() -> Subjects {
    Subjects::of_keys(&[KEY.parse().unwrap()])
}

fn image(seed: &[u8]) -> MeasurementSet {
    let pcr = |register: &[u8]| Pcr::of(&[seed, register]);
    MeasurementSet { pcr0: pcr(b"0"), pcr1: pcr(b"1"), pcr2: pcr(b"2"), pcr8: None }
}

fn statements(policy: &str) -> Vec<Value> {
    let policy: Value = serde_json::from_str(policy).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

/// The statements by which KMS gives something to an image.
fn for_images(policy: &str) -> Vec<Value> {
    let asks = |statement: &Value| statement.to_string().contains("\"kms:RecipientAttestation:PCR1\"");
    statements(policy).into_iter().filter(asks).collect()
}

#[test]
fn each_image_gets_statements_of_its_own() {
    for name in ["kms-key-policy.json", "iam-policy.json"] {
        let template = committed(name);
        let one = render(&template, &[image(b"new")], &subjects()).unwrap();
        let two = render(&template, &[image(b"new"), image(b"old")], &subjects()).unwrap();
        let per_image = for_images(&one).len();
        assert!(per_image >= 1, "{name}");
        assert_eq!(for_images(&two).len(), 2 * per_image, "{name}");
        for statement in for_images(&two) {
            let text = statement.to_string();
            let has = |image: &MeasurementSet| {
                [image.pcr0, image.pcr1, image.pcr2].map(|pcr| text.contains(&pcr.to_string()))
            };
            let (new, old) = (has(&image(b"new")), has(&image(b"old")));
            assert!(
                matches!(
                    (new, old),
                    ([true, true, true], [false, false, false]) | ([false, false, false], [true, true, true])
                ),
                "{text}"
            );
        }
        let mut sids: Vec<String> = statements(&two).iter().map(|it| it["Sid"].to_string()).collect();
        sids.sort();
        sids.dedup();
        assert_eq!(sids.len(), statements(&two).len(), "{name}: a Sid stands twice");
        for text in ["111122223333", "of-the-image", "us-east-1", "arn:aws:", "00000000-0000"] {
            assert!(!two.contains(text), "{name}: {text} in {two}");
        }
    }
}

#[test]
fn pinned_parents_are_asked_for_beside_each_image_and_nowhere_else() {
    let instances = ["i-0123456789abcdef0", "i-0fedcba9876543210"].map(|id| id.parse().unwrap());
    for name in ["kms-key-policy.json", "iam-policy.json"] {
        let mut subjects = subjects();
        let pinned =
            |subjects: &Subjects| render(&committed(name), &[image(b"a"), image(b"b")], subjects).unwrap();
        let plain = pinned(&subjects);
        assert!(!plain.contains("PCR3") && !plain.contains("PCR4"), "{plain}");
        let role = ParentPin::of_role(&subjects.role_arn(INSTANCE_ROLE));
        subjects.pins = vec![role.clone(), ParentPin::of_instances(&instances)];
        let policy = pinned(&subjects);
        for statement in for_images(&policy) {
            let asked = &statement["Condition"]["StringEqualsIgnoreCase"];
            assert_eq!(asked["kms:RecipientAttestation:PCR3"], role.values()[0].to_string(), "{statement}");
            let of_instances: Vec<String> =
                ParentPin::of_instances(&instances).values().iter().map(ToString::to_string).collect();
            assert_eq!(asked["kms:RecipientAttestation:PCR4"], Value::from(of_instances), "{statement}");
        }
        assert_eq!(policy.matches("PCR4").count(), for_images(&policy).len(), "{policy}");
        // AWS's limits without blanks: of a key's policy, and of all policies of a role.
        let bytes = serde_json::from_str::<Value>(&policy).unwrap().to_string().len();
        assert!(bytes < if name == "iam-policy.json" { 10_240 } else { 32 * 1024 }, "{name}: {bytes}");
    }
    let many = ["i-00000001", "i-00000002", "i-00000003", "i-00000004", "i-00000005"];
    let pins = vec![ParentPin::of_instances(&many.map(|id| id.parse().unwrap()))];
    let refused = render(&committed("kms-key-policy.json"), &[image(b"a")], &Subjects { pins, ..subjects() });
    assert_eq!(refused, Err(NotRendered::TooManyInstances));
}

/// With another role or without, in any partition.
#[test]
fn the_instances_role_has_an_arn() {
    let mut subjects = subjects();
    assert_eq!(subjects.role_arn(INSTANCE_ROLE), "arn:aws-cn:iam::999988887777:role/nitro-signer-instance");
    subjects.roles = vec![(INSTANCE_ROLE, "arn:aws-cn:iam::999988887777:role/path/other".to_owned())];
    assert_eq!(subjects.role_arn(INSTANCE_ROLE), "arn:aws-cn:iam::999988887777:role/path/other");
}

#[test]
fn before_there_is_an_image_nobody_decrypts() {
    for name in ["kms-key-policy.json", "iam-policy.json"] {
        let policy = render(&committed(name), &[], &subjects()).unwrap();
        for statement in statements(&policy).iter().filter(|it| it["Effect"] == "Allow") {
            let actions = statement["Action"].to_string();
            for action in
                ["kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncrypt", "kms:CreateGrant", "\"*\"", "kms:*"]
            {
                assert!(!actions.contains(action), "{name}: {statement}");
            }
        }
    }
}

#[test]
fn roles_and_several_keys_are_the_operators() {
    let mut subjects = subjects();
    subjects.key_arns.push(KEY.replace("1234abcd", "5678abcd"));
    subjects.roles =
        ROLES.map(|role| (role, format!("arn:aws-cn:iam::999988887777:role/path/{role}-x"))).into();
    let key_policy = render(&committed("kms-key-policy.json"), &[image(b"x")], &subjects).unwrap();
    for role in ROLES {
        assert!(key_policy.contains(&format!("role/path/{role}-x\"")), "{key_policy}");
    }
    let iam_policy = render(&committed("iam-policy.json"), &[image(b"x")], &subjects).unwrap();
    for key in &subjects.key_arns {
        assert!(iam_policy.contains(key.as_str()), "{iam_policy}");
    }
    let makes_data_keys = |statement: &&Value| statement["Action"] == "kms:GenerateDataKey";
    assert_eq!(statements(&iam_policy).iter().find(makes_data_keys).unwrap()["Resource"], KEY);
    // A list of resources takes the keys up, and stays flat.
    let one = r#""arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000000""#;
    let template = committed("iam-policy.json").replace(one, &format!("[{one}]"));
    let listed = render(&template, &[image(b"x")], &subjects).unwrap();
    let resources = |policy: &str| -> Vec<Vec<Value>> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        statements(policy).iter().map(|statement| list(&statement["Resource"])).collect()
    };
    assert_eq!(resources(&listed), resources(&iam_policy));
}

#[test]
fn what_would_open_too_much_or_nothing_is_refused() {
    let template = committed("kms-key-policy.json");
    let render = |template: &str, images: &[MeasurementSet]| render(template, images, &subjects());
    assert_eq!(render(&template, &[image(b"a"), image(b"a")]), Err(NotRendered::SameImage));
    let many: Vec<MeasurementSet> = (0..5).map(|seed| image(&[seed])).collect();
    assert_eq!(render(&template, &many), Err(NotRendered::TooManyImages));
    assert!(matches!(render("", &many[..1]), Err(NotRendered::Template(_))));
    assert!(matches!(render("{}", &many[..1]), Err(NotRendered::Template(_))));
    assert_eq!(render(r#"{"Statement":[]}"#, &many[..1]), Err(NotRendered::NothingToRender));
    let refused = |from: &str, to: &str| match render(&template.replace(from, to), &many[..1]) {
        Err(NotRendered::Placeholder(place)) => place,
        other => panic!("{from} as {to}: {other:?}"),
    };
    assert!(template.contains("PCR1-of-the-image"));
    refused("PCR1-of-the-image", "PCR7-of-the-image");
    refused("PCR1-of-the-image", &"0".repeat(96));
    refused("PCR1-of-the-image", "${PCR1}");
    refused("PCR1-of-the-image", "");
    refused("PCR1-of-the-image", &"x".repeat(96));
    let pcr1 = "\"kms:RecipientAttestation:PCR1\": \"PCR1-of-the-image\"";
    refused(pcr1, &pcr1.replace("\"PCR1-of-the-image\"", &format!("[\"{}\"]", "0".repeat(96))));
    refused(pcr1, &pcr1.replace("\"PCR1-of-the-image\"", "1"));
    refused(pcr1, "\"KMS:recipientattestation:PCR1\": \"*\"");
    let place = refused("PCR2-of-the-image", "<PCR2>");
    assert!(place.starts_with("Statement[") && place.ends_with("kms:RecipientAttestation:PCR2"), "{place}");
}

#[test]
fn before_there_is_a_key_only_its_own_policy_is_rendered() {
    let subjects = Subjects::of_account("999988887777", &"eu-central-1".parse().unwrap()).unwrap();
    let policy = render(&committed("kms-key-policy.json"), &[], &subjects).unwrap();
    assert!(policy.contains("arn:aws:iam::999988887777:role/nitro-signer-key-administrator"));
    let refused = render(&committed("iam-policy.json"), &[image(b"x")], &subjects).unwrap_err();
    assert!(matches!(refused, NotRendered::Placeholder(_)));
    for wrong in ["", "99998888777", "99998888777x"] {
        let refused = Subjects::of_account(wrong, &"eu-central-1".parse().unwrap()).unwrap_err();
        assert_eq!(refused, NotRendered::Account);
    }
}

#[test]
fn a_role_is_one() {
    for wrong in [
        "nitro",
        "arn:aws:iam::999988887777:user/x",
        "arn:aws:iam::1:role/x",
        "arn:aws:iam::999988887777:role/",
    ] {
        let subjects = Subjects { roles: vec![(ROLES[0], wrong.to_owned())], ..subjects() };
        let refused = render(&committed("kms-key-policy.json"), &[image(b"x")], &subjects).unwrap_err();
        assert_eq!(refused, NotRendered::Role(ROLES[0]), "{wrong}");
    }
}
