//! The committed policy, and the rules of IAM one at a time.

use std::collections::BTreeMap;

use super::*;
use crate::key_arn::KeyArn;
use crate::principal::Principal;

const COMMITTED: &str = include_str!("../../../kms-key-policy.json");

const INSTANCE: &str = "arn:aws:sts::111122223333:assumed-role/nitro-signer-instance/i-0123456789abcdef0";
const SEALER: &str = "arn:aws:iam::111122223333:role/nitro-signer-secret-sealer";
const ADMINISTRATOR: &str = "arn:aws:iam::111122223333:role/nitro-signer-key-administrator";

const SEALED_KEY: &[(&str, &str)] = &[("nitro-signer", "sealed-key")];
const BOOT_SECRET: &[(&str, &str)] = &[("nitro-signer", "boot-secret"), ("name", "TICKET_SIGNING_SECRET")];

/// The PCRs of the image that the committed policy is rendered for.
fn image_pcrs() -> BTreeMap<u8, Vec<u8>> {
    BTreeMap::from([(0, vec![0xa0; 48]), (1, vec![0xa1; 48]), (2, vec![0xa2; 48]), (4, vec![0xa4; 48])])
}

fn committed_text() -> String {
    let mut text = COMMITTED.to_owned();
    for (index, value) in image_pcrs() {
        // Upper case, as nobody writes them, and the policy does not mind.
        text = text.replace(&format!("PCR{index}-of-the-image"), &hex::encode_upper(value));
    }
    text
}

fn committed() -> Policy {
    Policy::parse(&committed_text()).unwrap()
}

fn decide(
    policy: &Policy,
    principal: &str,
    action: &str,
    context: &[(&str, &str)],
    pcrs: Option<&BTreeMap<u8, Vec<u8>>>,
) -> Decision {
    let principal: Principal = principal.parse().unwrap();
    let key: KeyArn = "arn:aws:kms:eu-central-1:111122223333:key/abc".parse().unwrap();
    let context = context.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let facts = Facts::new(&principal, action, &key, &context);
    policy.decide(&match pcrs {
        Some(pcrs) => facts.with_recipient(pcrs),
        None => facts,
    })
}

#[test]
fn the_committed_policy_lets_the_measured_enclave_make_and_open_backups() {
    let (policy, pcrs) = (committed(), image_pcrs());
    let allowed = |action, context| decide(&policy, INSTANCE, action, context, Some(&pcrs));
    assert_eq!(allowed("kms:GenerateDataKey", SEALED_KEY), Decision::Allowed);
    assert_eq!(allowed("kms:Decrypt", SEALED_KEY), Decision::Allowed);
    assert_eq!(allowed("kms:Decrypt", BOOT_SECRET), Decision::Allowed);
    assert_eq!(allowed("kms:Decrypt", &[]), Decision::Allowed);
    assert_eq!(allowed("kms:GenerateDataKey", BOOT_SECRET), Decision::NotAllowed);
    assert_eq!(allowed("kms:GenerateDataKey", &[]), Decision::NotAllowed);
    for action in ["kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant", "kms:PutKeyPolicy"] {
        for context in [SEALED_KEY, BOOT_SECRET, &[]] {
            assert_eq!(allowed(action, context), Decision::NotAllowed, "{action}");
            assert_eq!(allowed("kms:Encrypt", context), Decision::Denied);
        }
    }
    assert_eq!(decide(&policy, INSTANCE, "kms:GetKeyPolicy", &[], None), Decision::Allowed);
}

#[test]
fn the_committed_policy_lets_no_other_enclave_do_anything() {
    let policy = committed();
    let uses =
        [("kms:GenerateDataKey", SEALED_KEY), ("kms:Decrypt", SEALED_KEY), ("kms:Decrypt", BOOT_SECRET)];
    for (action, context) in uses {
        assert_eq!(decide(&policy, INSTANCE, action, context, None), Decision::Denied);
        let debug = BTreeMap::from([(0, vec![0; 48]), (1, vec![0; 48]), (2, vec![0; 48])]);
        assert_eq!(decide(&policy, INSTANCE, action, context, Some(&debug)), Decision::NotAllowed);
        for index in 0..3 {
            let mut other = image_pcrs();
            other.insert(index, vec![0xb0; 48]);
            assert_eq!(decide(&policy, INSTANCE, action, context, Some(&other)), Decision::NotAllowed);
            other.remove(&index);
            // Without PCR0 there is no attestation at all.
            let expected = if index == 0 { Decision::Denied } else { Decision::NotAllowed };
            assert_eq!(decide(&policy, INSTANCE, action, context, Some(&other)), expected);
        }
        let pcrs = image_pcrs();
        for principal in [SEALER, ADMINISTRATOR, "arn:aws:iam::444455556666:role/nitro-signer-instance"] {
            assert_eq!(decide(&policy, principal, action, context, Some(&pcrs)), Decision::NotAllowed);
        }
    }
}

#[test]
fn the_committed_policy_keeps_sealing_and_management_apart() {
    let policy = committed();
    let decide = |principal, action, context| decide(&policy, principal, action, context, None);
    assert_eq!(decide(SEALER, "kms:Encrypt", BOOT_SECRET), Decision::Allowed);
    assert_eq!(decide(SEALER, "kms:Encrypt", SEALED_KEY), Decision::NotAllowed);
    assert_eq!(decide(SEALER, "kms:Encrypt", &[]), Decision::NotAllowed);
    for (context, expected) in [
        (&[("nitro-signer", "boot-secret"), ("name", "INTERNAL_API_KEY")], Decision::Allowed),
        (&[("nitro-signer", "boot-secret"), ("name", "internal_api_key")], Decision::NotAllowed),
        (&[("nitro-signer", "boot-secret"), ("name", "TLS_KEY")], Decision::Allowed),
        (&[("nitro-signer", "boot-secret"), ("name", "")], Decision::NotAllowed),
    ] {
        assert_eq!(decide(SEALER, "kms:Encrypt", context), expected, "{context:?}");
    }
    assert_eq!(decide(SEALER, "kms:Encrypt", &BOOT_SECRET[..1]), Decision::NotAllowed);
    assert_eq!(decide(SEALER, "kms:Decrypt", BOOT_SECRET), Decision::Denied);
    assert_eq!(decide(SEALER, "kms:DescribeKey", &[]), Decision::NotAllowed);
    assert_eq!(decide(ADMINISTRATOR, "kms:DescribeKey", &[]), Decision::Allowed);
    assert_eq!(decide(ADMINISTRATOR, "kms:PutKeyPolicy", &[]), Decision::Allowed);
    for action in [
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DeriveSharedSecret",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyPair",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:ReplicateKey",
        "kms:ImportKeyMaterial",
    ] {
        assert_ne!(decide(ADMINISTRATOR, action, BOOT_SECRET), Decision::Allowed, "{action}");
    }
}

/// The statement that AWS's console puts into every new key's policy.
#[test]
fn leaving_the_key_to_the_account_opens_it_to_nobody_outside_an_enclave() {
    let careless = r#""Statement": [{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},
        "Action":"kms:*","Resource":"*"},"#;
    let text = committed_text().replacen(r#""Statement": ["#, careless, 1);
    let policy = Policy::parse(&text).unwrap();
    for action in [
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DeriveSharedSecret",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyPair",
        "kms:GenerateDataKeyPairWithoutPlaintext",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ] {
        for principal in [INSTANCE, SEALER, ADMINISTRATOR] {
            assert_eq!(decide(&policy, principal, action, BOOT_SECRET, None), Decision::Denied, "{action}");
        }
    }
    assert_eq!(decide(&policy, INSTANCE, "kms:Encrypt", BOOT_SECRET, None), Decision::Denied);
    // It is still ours to repair.
    assert_eq!(decide(&policy, ADMINISTRATOR, "kms:PutKeyPolicy", &[], None), Decision::Allowed);
}

#[test]
fn a_policy_with_placeholders_is_not_used() {
    let why = |text: &str| Policy::parse(text).unwrap_err().to_string();
    let no_pcr =
        "statement EnclaveMakesDataKeysForBackups: 'PCR0-of-the-image' is no PCR of 96 hexadecimal digits";
    assert_eq!(why(COMMITTED), no_pcr);
    let variables = COMMITTED.replace("PCR0-of-the-image", "${PCR0}");
    assert_eq!(why(&variables), "placeholder ${PCR0} is not replaced");
}

/// A policy of one statement for anybody, with more of it.
fn statement(more: &str) -> String {
    let statement = format!(r#"{{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"{more}}}"#);
    format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
}

fn condition_holds(condition: &str, context: &[(&str, &str)]) -> bool {
    let policy = Policy::parse(&statement(&format!(r#","Condition":{condition}"#))).unwrap();
    decide(&policy, SEALER, "kms:Decrypt", context, None) == Decision::Allowed
}

/// A condition on the encryption context `a`, and whether it holds without it, with `x` and with `Y`.
const ON_ONE_VALUE: &[(&str, [bool; 3])] = &[
    (r#"{"StringEquals":{"kms:EncryptionContext:a":"x"}}"#, [false, true, false]),
    (r#"{"StringEquals":{"kms:EncryptionContext:A":["x","y"]}}"#, [false, true, false]),
    (r#"{"StringEqualsIfExists":{"kms:EncryptionContext:a":"x"}}"#, [true, true, false]),
    (r#"{"StringEqualsIgnoreCase":{"kms:EncryptionContext:a":["x","y"]}}"#, [false, true, true]),
    (r#"{"StringNotEquals":{"kms:EncryptionContext:a":"x"}}"#, [true, false, true]),
    (r#"{"StringNotEquals":{"kms:EncryptionContext:a":["x","Y"]}}"#, [true, false, false]),
    (r#"{"StringNotEqualsIgnoreCase":{"kms:EncryptionContext:a":"y"}}"#, [true, true, false]),
    (r#"{"StringNotEqualsIfExists":{"kms:EncryptionContext:a":"x"}}"#, [true, false, true]),
    (r#"{"StringLike":{"kms:EncryptionContext:a":"?"}}"#, [false, true, true]),
    (r#"{"StringLike":{"kms:EncryptionContext:a":"*x*"}}"#, [false, true, false]),
    (r#"{"StringNotLike":{"kms:EncryptionContext:a":"*x*"}}"#, [true, false, true]),
    (r#"{"Null":{"kms:EncryptionContext:a":"true"}}"#, [true, false, false]),
    (r#"{"Null":{"kms:EncryptionContext:a":false}}"#, [false, true, true]),
    (r#"{"Null":{"kms:RecipientAttestation:ImageSha384":"true"}}"#, [true, true, true]),
    (
        concat!(
            r#"{"StringNotEquals":{"kms:RecipientAttestation:PCR0":"#,
            r#""000000000000000000000000000000000000000000000000"#,
            r#"000000000000000000000000000000000000000000000000"}}"#
        ),
        [true, true, true],
    ),
    (r#"{"StringEquals":{"kms:CallerAccount":"111122223333"}}"#, [true, true, true]),
    (
        r#"{"StringEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/other"}}"#,
        [false, false, false],
    ),
    (
        r#"{"StringEquals":{"kms:EncryptionContext:a":"x"},"StringLike":{"aws:PrincipalAccount":"4*"}}"#,
        [false, false, false],
    ),
];

#[test]
fn conditions_hold_as_in_iam() {
    for (condition, expected) in ON_ONE_VALUE {
        let found =
            [&[][..], &[("a", "x")], &[("a", "Y")]].map(|context| condition_holds(condition, context));
        assert_eq!(found, *expected, "{condition}");
    }
}

/// A condition on the names in the encryption context, and whether it holds without any, of `a`, of `a` and `b`.
const ON_SEVERAL_VALUES: &[(&str, [bool; 3])] = &[
    (r#"{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a","c"]}}"#, [true, true, false]),
    (r#"{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":["b","c"]}}"#, [false, false, true]),
    (r#"{"ForAllValues:StringNotEquals":{"kms:EncryptionContextKeys":["b","c"]}}"#, [true, true, false]),
    (r#"{"ForAnyValue:StringNotEquals":{"kms:EncryptionContextKeys":["a","c"]}}"#, [false, false, true]),
    (r#"{"ForAnyValue:StringEqualsIfExists":{"kms:EncryptionContextKeys":"a"}}"#, [true, true, true]),
    (r#"{"Null":{"kms:EncryptionContextKeys":"false"}}"#, [false, true, true]),
];

#[test]
fn conditions_on_several_values_hold_as_in_iam() {
    for (condition, expected) in ON_SEVERAL_VALUES {
        let contexts = [&[][..], &[("a", "x")], &[("a", "x"), ("b", "y")]];
        assert_eq!(contexts.map(|context| condition_holds(condition, context)), *expected, "{condition}");
    }
}

#[test]
fn an_explicit_denial_wins() {
    let text = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"},
        {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:role/nitro-signer-secret-sealer"},
         "Action":["kms:Dec*"],"Resource":"arn:aws:kms:*:111122223333:key/*"},
        {"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;
    let policy = Policy::parse(text).unwrap();
    assert_eq!(decide(&policy, SEALER, "kms:Decrypt", &[], None), Decision::Denied);
    assert_eq!(decide(&policy, SEALER, "kms:Encrypt", &[], None), Decision::Allowed);
    assert_eq!(decide(&policy, ADMINISTRATOR, "kms:Decrypt", &[], None), Decision::Allowed);
}

#[test]
fn principals_are_those_of_their_account_or_themselves() {
    let session = "arn:aws:sts::111122223333:assumed-role/nitro-signer-instance/i-0123456789abcdef0";
    for (principal, expected) in [
        (r#""*""#, true),
        (r#"{"AWS":"*"}"#, true),
        (r#"{"AWS":"111122223333"}"#, true),
        (r#"{"AWS":"arn:aws:iam::111122223333:root"}"#, true),
        (r#"{"AWS":"arn:aws:iam::111122223333:role/nitro-signer-instance"}"#, true),
        (
            r#"{"AWS":["arn:aws:iam::444455556666:root","arn:aws:iam::111122223333:role/nitro-signer-instance"]}"#,
            true,
        ),
        (
            r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/nitro-signer-instance/i-0123456789abcdef0"}"#,
            true,
        ),
        (r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/nitro-signer-instance/other"}"#, false),
        (r#"{"AWS":"arn:aws:iam::111122223333:role/nitro-signer"}"#, false),
        (r#"{"AWS":"arn:aws:iam::444455556666:root"}"#, false),
    ] {
        let text = statement("").replace(r#""Principal":"*""#, &format!(r#""Principal":{principal}"#));
        let decision = decide(&Policy::parse(&text).unwrap(), session, "kms:Decrypt", &[], None);
        assert_eq!(decision == Decision::Allowed, expected, "{principal}");
    }
}

#[test]
fn another_resource_is_not_meant() {
    let other =
        statement("").replace(r#""Resource":"*""#, r#""Resource":"arn:aws:kms:*:444455556666:key/*""#);
    let policy = Policy::parse(&other).unwrap();
    assert_eq!(decide(&policy, SEALER, "kms:Decrypt", &[], None), Decision::NotAllowed);
}

#[test]
fn what_is_not_understood_is_an_error() {
    Policy::parse(&statement("")).unwrap();
    let condition = |condition: &str| statement(&format!(r#","Condition":{condition}"#));
    for wrong in [
        "",
        "{}",
        r#"{"Version":"2012-10-17","Statement":[]}"#,
        &statement("").replace("2012-10-17", "2008-10-17"),
        &statement("").replace("Allow", "Permit"),
        &statement("").replace(r#""Principal":"*""#, r#""Principal":"all""#),
        &statement("").replace(r#""Principal":"*""#, r#""Principal":{"Service":"ec2.amazonaws.com"}"#),
        &statement("")
            .replace(r#""Principal":"*""#, r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/*"}"#),
        &statement("").replace(r#""Principal":"*""#, r#""NotPrincipal":"*""#),
        &statement("").replace("kms:*", "kms:Decript"),
        &statement("").replace(r#""Action":"kms:*""#, r#""NotAction":"kms:Encrypt""#),
        &statement("").replace(r#""Action":"kms:*""#, r#""Action":[]"#),
        &statement("").replace(r#","Resource":"*""#, ""),
        &statement(r#","Principals":"*""#),
        &statement(r#","Effect":"Deny""#),
        &condition(r#"{"StringEqual":{"kms:EncryptionContext:a":"x"}}"#),
        &condition(r#"{"ArnLike":{"aws:PrincipalArn":"*"}}"#),
        &condition(r#"{"ForSomeValues:StringEquals":{"kms:EncryptionContextKeys":"x"}}"#),
        &condition(r#"{"StringEquals":{"kms:EncryptionContextKeys":"x"}}"#),
        &condition(r#"{"StringEquals":{"kms:ViaService":"x"}}"#),
        &condition(r#"{"StringEquals":{"kms:RecipientAttestation:PCR99":"x"}}"#),
        &condition(r#"{"StringEquals":{"kms:RecipientAttestation:PCR0":"00"}}"#),
        &condition(&format!(r#"{{"StringLike":{{"kms:RecipientAttestation:PCR0":"{}*"}}}}"#, "0".repeat(95))),
        &condition(&format!(
            r#"{{"StringEquals":{{"kms:RecipientAttestation:ImageSha384":"{}g"}}}}"#,
            "0".repeat(95)
        )),
        &condition(r#"{"StringEquals":{"kms:EncryptionContext:a":["x",1]}}"#),
        &condition(r#"{"StringEquals":{"kms:EncryptionContext:a":"x","kms:EncryptionContext:a":"y"}}"#),
        &condition(r#"{"Null":{"kms:EncryptionContext:a":"maybe"}}"#),
        &condition(r#"{"NullIfExists":{"kms:EncryptionContext:a":"true"}}"#),
    ] {
        assert!(Policy::parse(wrong).is_err(), "{wrong}");
    }
}
