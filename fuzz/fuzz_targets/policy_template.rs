//! A policy rendered from any template is JSON in which no value replaces another by accident.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use signerctl::eif::{MeasurementSet, Pcr};
use signerctl::key_policy::{ROLES, Subjects, render};
use signerctl::parent_pin::ParentPin;

const KEYS: [&str; 2] = [
    "arn:aws-cn:kms:cn-north-1:999988887777:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws-cn:kms:cn-north-1:999988887777:key/mrk-1234abcd12ab34cd56ef1234567890ab",
];

static IMAGES: LazyLock<[MeasurementSet; 2]> = LazyLock::new(|| {
    [b"old", b"new"].map(|seed| {
        let pcr = |register: &[u8]| Pcr::of(&[seed, register]);
        MeasurementSet { pcr0: pcr(b"0"), pcr1: pcr(b"1"), pcr2: pcr(b"2"), pcr8: None }
    })
});

static SUBJECTS: LazyLock<[Subjects; 3]> = LazyLock::new(|| {
    let of_keys = |count: usize| {
        Subjects::of_keys(&KEYS[..count].iter().map(|key| key.parse().expect("an ARN")).collect::<Vec<_>>())
    };
    let mut with_roles = of_keys(1);
    with_roles.roles = ROLES.map(|role| (role, format!("arn:aws-cn:iam::999988887777:role/x/{role}"))).into();
    let instances = ["i-0123456789abcdef0", "i-01234567"].map(|id| id.parse().expect("an id"));
    with_roles.pins =
        vec![ParentPin::of_role("arn:aws-cn:iam::999988887777:role/x"), ParentPin::of_instances(&instances)];
    let region = "cn-north-1".parse().expect("a region");
    [of_keys(2), with_roles, Subjects::of_account("999988887777", &region).expect("an account")]
});

fuzz_target!(|template: &str| {
    for subjects in &*SUBJECTS {
        for images in [&IMAGES[..0], &IMAGES[..1], &IMAGES[..]] {
            check(template, images, subjects);
        }
    }
});

fn check(template: &str, images: &[MeasurementSet], subjects: &Subjects) {
    let policy = match render(template, images, subjects) {
        Ok(policy) => policy,
        Err(error) => return drop(error.to_string()),
    };
    let template: Value = serde_json::from_str(template).expect("it was rendered");
    let policy: Value = serde_json::from_str(&policy).expect("a policy is JSON");
    let statements = |policy: &Value| policy["Statement"].as_array().expect("a list").len();
    assert!(statements(&policy) <= statements(&template) * images.len().max(1));
    assert!(!images.is_empty() || statements(&policy) < statements(&template), "{policy}");
    let mut has_nested = false;
    each(&template, false, &mut |_, is_nested| has_nested |= is_nested);
    each(&policy, false, &mut |text, is_nested| {
        assert!(has_nested || !is_nested, "{policy}");
        for placeholder in ["111122223333", "key/00000000-0000-0000-0000-000000000000", "-of-the-image", "${"]
        {
            assert!(!text.contains(placeholder), "{placeholder} in {policy}");
        }
        assert!(text.len() != 96 || text.bytes().any(|byte| byte != b'0'), "{policy}");
    });
}

/// Gives every text, names included, and whether it is an empty one for a list within a list.
fn each(value: &Value, is_in_list: bool, see: &mut impl FnMut(&str, bool)) {
    match value {
        Value::String(text) => see(text, false),
        Value::Array(values) => {
            see("", is_in_list);
            values.iter().for_each(|value| each(value, true, see));
        }
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            see(name, false);
            each(value, false, see);
        }),
        _ => {}
    }
}
