//! The check doubts exactly those requests that the KMS emulator allows by a policy.

use std::collections::BTreeMap;

use signerctl::policy_check::{Expectation, check_key_policy};

use crate::emulator::key_arn::KeyArn;
use crate::emulator::policy::{Decision, Facts, Policy};
use crate::emulator::principal::Principal;
use crate::policies::{
    ADMINISTRATOR, Case, FOREIGNER, INSTANCE, KEY, OTHER, SEALER, good, image, other_image, pins,
    rendered_with, wrong,
};

/// The possible callers: those that the policy names, and others.
const PRINCIPALS: [&str; 6] = [
    INSTANCE,
    "arn:aws:sts::999988887777:assumed-role/nitro-signer-instance/i-1",
    SEALER,
    ADMINISTRATOR,
    OTHER,
    FOREIGNER,
];

const OPENS: [&str; 4] =
    ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair", "kms:DeriveSharedSecret"];
const NEVER: [&str; 7] = [
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:CreateGrant",
    "kms:ReplicateKey",
    "kms:ImportKeyMaterial",
];
const BY_THE_ADMINISTRATOR: [&str; 4] =
    ["kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:DeleteImportedKeyMaterial"];

const BOOT_SECRET: &[(&str, &str)] = &[("nitro-signer", "boot-secret"), ("name", "TICKET_SIGNING_SECRET")];
const CONTEXTS: [&[(&str, &str)]; 5] = [
    &[],
    &[("nitro-signer", "sealed-key")],
    &[("nitro-signer", "sealed-key"), ("name", "TICKET_SIGNING_SECRET")],
    BOOT_SECRET,
    &[("nitro-signer", "anything"), ("name", "anything")],
];

type Registers = BTreeMap<u8, Vec<u8>>;

/// The measurements of enclaves other than the image's.
fn documents() -> Vec<Registers> {
    let registers = |pcr0: &[u8], pcr1: &[u8], pcr2: &[u8]| {
        BTreeMap::from([
            (0, pcr0.to_vec()),
            (1, pcr1.to_vec()),
            (2, pcr2.to_vec()),
            (3, vec![0xa0; 48]),
            (8, vec![0xa0; 48]),
        ])
    };
    let (ours, theirs) = (image(), other_image());
    let begins_so = [&[0x01, 0x23][..], &[0xb0; 46]].concat();
    vec![
        BTreeMap::from([(0, vec![0; 48]), (1, vec![0; 48]), (2, vec![0; 48])]),
        registers(theirs.pcr0.as_bytes(), theirs.pcr1.as_bytes(), theirs.pcr2.as_bytes()),
        registers(theirs.pcr0.as_bytes(), ours.pcr1.as_bytes(), theirs.pcr2.as_bytes()),
        registers(theirs.pcr0.as_bytes(), theirs.pcr1.as_bytes(), ours.pcr2.as_bytes()),
        registers(&[0xb0; 48], ours.pcr1.as_bytes(), &[0xb0; 48]),
        registers(&[0xb0; 48], &[0xb0; 48], ours.pcr2.as_bytes()),
        registers(&begins_so, &[0xb0; 48], &[0xb0; 48]),
    ]
}

/// The first thing that the emulator lets happen and nobody should be let do.
fn let_happen(policy: &Policy) -> Option<String> {
    let key: KeyArn = KEY.parse().unwrap();
    for who in PRINCIPALS {
        let principal: Principal = who.parse().unwrap();
        let is_one_of_ours = [INSTANCE, PRINCIPALS[1]].contains(&who);
        for context in CONTEXTS {
            let map: BTreeMap<String, String> =
                context.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let is_allowed = |action: &str, document: Option<&Registers>| {
                let facts = Facts::new(&principal, action, &key, &map);
                policy.decide(&match document {
                    Some(registers) => facts.with_recipient(registers),
                    None => facts,
                }) == Decision::Allowed
            };
            for action in OPENS {
                for document in std::iter::once(None).chain(documents().iter().map(Some)) {
                    if is_allowed(action, document) {
                        return Some(format!("{who} {action} {context:?} {document:?}"));
                    }
                }
            }
            let is_sealing = who == SEALER && context.contains(&BOOT_SECRET[0]);
            let by_the_administrator = BY_THE_ADMINISTRATOR.iter().filter(|_| who != ADMINISTRATOR);
            let sealing = ["kms:Encrypt"].iter().filter(|_| !is_sealing);
            for action in NEVER.iter().chain(by_the_administrator).chain(sealing) {
                if is_allowed(action, None) {
                    return Some(format!("{who} {action} {context:?} {is_one_of_ours}"));
                }
            }
        }
    }
    None
}

#[test]
fn the_emulator_lets_happen_what_is_doubted_and_nothing_else() {
    let expectation =
        Expectation { images: &[image()], keys: &[KEY.parse().unwrap()], instance_role: None, pins: &[] };
    let mut judged = 0;
    for Case { name, policy, .. } in wrong().into_iter().chain(good()) {
        let text = policy.to_string();
        let doubts = check_key_policy(&text, &expectation).unwrap().doubts;
        // Of some operators and condition keys the emulator knows nothing.
        let Ok(emulated) = Policy::parse(&text) else { continue };
        let let_happen = let_happen(&emulated);
        assert_eq!(let_happen.is_some(), !doubts.is_empty(), "{name}\n{let_happen:?}\n{doubts:#?}");
        judged += 1;
    }
    assert!(judged >= 55, "{judged}");
}

/// By the emulator too, a copy of the image gets nothing under another role or on another instance.
#[test]
fn the_emulator_opens_a_pinned_key_on_the_pinned_parent_only() {
    let pins = pins();
    let policy = Policy::parse(&rendered_with("kms-key-policy.json", &[image()], &pins).to_string()).unwrap();
    let (principal, key): (Principal, KeyArn) = (INSTANCE.parse().unwrap(), KEY.parse().unwrap());
    let context = BTreeMap::from([("nitro-signer".to_owned(), "sealed-key".to_owned())]);
    let decide = |registers: &Registers| {
        policy.decide(&Facts::new(&principal, "kms:Decrypt", &key, &context).with_recipient(registers))
    };
    let image = image();
    let mut registers: Registers = [image.pcr0, image.pcr1, image.pcr2]
        .iter()
        .zip(0..)
        .map(|(pcr, register)| (register, pcr.as_bytes().to_vec()))
        .collect();
    registers.extend(pins.iter().map(|pin| (pin.register(), pin.values()[0].as_bytes().to_vec())));
    assert_eq!(decide(&registers), Decision::Allowed);
    for pin in pins {
        for other in [Some(vec![0; 48]), Some(vec![0xa0; 48]), None] {
            let mut registers = registers.clone();
            registers.remove(&pin.register());
            registers.extend(other.map(|value| (pin.register(), value)));
            assert_ne!(decide(&registers), Decision::Allowed, "{}", pin.register());
        }
    }
}
