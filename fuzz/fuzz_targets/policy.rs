//! The check of any policy ends and reports each doubt in one line. The order of statements, their names, and one more
//! denial do not change its result.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use signerctl::eif::{MeasurementSet, Pcr};
use signerctl::parent_pin::ParentPin;
use signerctl::policy_check::{Expectation, Finding, check_key_policy, check_role_policy};

static IMAGES: LazyLock<[MeasurementSet; 1]> = LazyLock::new(|| {
    // The registers of the seeds.
    let pcr = |byte: u8| Pcr::of_bytes([byte; 48]);
    [MeasurementSet { pcr0: pcr(0xa0), pcr1: pcr(0xa1), pcr2: pcr(0xa2), pcr8: None }]
});

static PINS: LazyLock<[ParentPin; 2]> = LazyLock::new(|| {
    let instances = ["i-0123456789abcdef0", "i-01234567"].map(|id| id.parse().expect("an id"));
    [ParentPin::of_role("arn:aws:iam::999988887777:role/x"), ParentPin::of_instances(&instances)]
});

fuzz_target!(|text: &str| {
    let expectation = Expectation { images: &*IMAGES, keys: &[], instance_role: None, pins: &[] };
    if let Ok(finding) = check_key_policy(text, &Expectation { pins: &*PINS, ..expectation.clone() }) {
        check_lines(&finding);
    }
    if let Ok(finding) = check_role_policy(text, &expectation) {
        check_lines(&finding);
    }
    let Ok(finding) = check_key_policy(text, &expectation) else { return };
    check_lines(&finding);
    let policy: Value = serde_json::from_str(text).expect("it was checked");
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.clone(),
        one => vec![one.clone()],
    };
    // Where not everything is looked at, it matters what comes first.
    if finding.doubts.iter().any(|doubt| doubt.index.is_none()) {
        return;
    }
    let again = |statements: Vec<Value>| {
        check_key_policy(&json!({ "Statement": statements }).to_string(), &expectation)
    };
    let reversed = again(statements.iter().rev().cloned().collect()).expect("it has the same statements");
    let reasons = |finding: &Finding| -> BTreeSet<String> {
        finding.doubts.iter().map(|doubt| doubt.reason.clone()).collect()
    };
    if reversed.doubts.iter().all(|doubt| doubt.index.is_some()) {
        assert_eq!(reasons(&reversed), reasons(&finding), "{text}");
    }
    // Nothing is left to be done once all of it is denied, whatever is allowed.
    let all = json!({ "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*" });
    if let Ok(denied) = again([&statements[..], &[all]].concat()) {
        // Doubts about values and operators, and doubts after which the check ends early.
        let is_about_words =
            |reason: &str| ["asks by ", "takes ", "has more cases"].iter().any(|it| reason.starts_with(it));
        assert!(denied.doubts.iter().all(|doubt| is_about_words(&doubt.reason)), "{denied:?}");
    }
    // A policy that allows everything to anybody is reported.
    let anybody =
        json!({ "Effect": "Allow", "Principal": "*", "Action": "kms:PutKeyPolicy", "Resource": "*" });
    let only_allows = statements.iter().all(|statement| statement["Effect"] == "Allow");
    if let (true, Ok(open)) = (only_allows, again([&statements[..], &[anybody]].concat())) {
        let is_told =
            open.doubts.iter().any(|it| it.index.is_none() || it.reason.contains("kms:PutKeyPolicy"));
        assert!(is_told, "{open:?}");
    }
});

fn check_lines(finding: &Finding) {
    for line in finding.doubts.iter().map(ToString::to_string).chain(finding.notes.iter().cloned()) {
        assert!(line.lines().count() == 1 && line.len() < 4096, "{line:?}");
    }
}
