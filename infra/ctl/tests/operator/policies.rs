//! Policies, most of them wrong: each is the committed one for one image, with a change.

use serde_json::{Value, json};
use signerctl::eif::{MeasurementSet, Pcr};
use signerctl::key_policy::{Subjects, render};
use signerctl::parent_pin::ParentPin;

pub(crate) const ACCOUNT: &str = "999988887777";
pub(crate) const KEY: &str = "arn:aws:kms:us-east-1:999988887777:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const INSTANCE: &str = "arn:aws:iam::999988887777:role/nitro-signer-instance";
pub(crate) const SEALER: &str = "arn:aws:iam::999988887777:role/nitro-signer-secret-sealer";
pub(crate) const ADMINISTRATOR: &str = "arn:aws:iam::999988887777:role/nitro-signer-key-administrator";
pub(crate) const OTHER: &str = "arn:aws:iam::999988887777:role/other";
pub(crate) const FOREIGNER: &str = "arn:aws:iam::444455556666:role/other";

/// Statements of the committed policy for one image.
const MAKES: usize = 0;
const OPENS: usize = 1;
const SEALS: usize = 3;
const MANAGES: usize = 4;
const DENIES: usize = 5;

const PCR0: &str = "kms:RecipientAttestation:PCR0";

/// The image that the policy is for.
pub(crate) fn image() -> MeasurementSet {
    named("image")
}

/// Another one.
pub(crate) fn other_image() -> MeasurementSet {
    named("other")
}

fn named(name: &str) -> MeasurementSet {
    let pcr = |register: &str| Pcr::of(&[name.as_bytes(), register.as_bytes()]);
    MeasurementSet { pcr0: pcr("0"), pcr1: pcr("1"), pcr2: pcr("2"), pcr8: None }
}

pub(crate) fn committed(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub(crate) fn rendered(template: &str, images: &[MeasurementSet]) -> Value {
    rendered_with(template, images, &[])
}

/// As [`rendered`], on these parent instances.
pub(crate) fn rendered_with(template: &str, images: &[MeasurementSet], pins: &[ParentPin]) -> Value {
    let subjects = Subjects { pins: pins.to_vec(), ..Subjects::of_keys(&[KEY.parse().unwrap()]) };
    serde_json::from_str(&render(&committed(template), images, &subjects).unwrap()).unwrap()
}

/// The role and the instance of a parent, as pins.
pub(crate) fn pins() -> [ParentPin; 2] {
    [ParentPin::of_role(INSTANCE), ParentPin::of_instances(&["i-0123456789abcdef0".parse().unwrap()])]
}

/// A policy, and what is said of it: of which statement, and a part of the reason.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) policy: Value,
    pub(crate) doubts: Vec<(&'static str, &'static str)>,
}

fn case(
    name: &'static str,
    change: impl FnOnce(&mut Value),
    doubts: &[(&'static str, &'static str)],
) -> Case {
    let mut policy = rendered("kms-key-policy.json", &[image()]);
    change(&mut policy);
    Case { name, policy, doubts: doubts.to_vec() }
}

fn statements(policy: &mut Value) -> &mut Vec<Value> {
    policy["Statement"].as_array_mut().unwrap()
}

/// Takes the denials out.
fn bare(policy: &mut Value) {
    statements(policy).retain(|statement| statement["Effect"] == "Allow");
}

/// Adds a statement.
fn add(policy: &mut Value, statement: Value) {
    statements(policy).push(statement);
}

fn allow(principal: Value, action: Value) -> Value {
    json!({ "Sid": "Added", "Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*" })
}

fn deny(action: Value) -> Value {
    json!({ "Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*" })
}

fn to(arn: &str) -> Value {
    json!({ "AWS": arn })
}

/// The condition of the statement that decrypts becomes this; denials go.
fn asks(condition: Value) -> impl FnOnce(&mut Value) {
    move |policy| {
        bare(policy);
        policy["Statement"][OPENS]["Condition"] = condition;
    }
}

fn root() -> Value {
    to("arn:aws:iam::999988887777:root")
}

/// Policies that open the key for more than the image.
pub(crate) fn wrong() -> Vec<Case> {
    let ours = image().pcr0.to_string();
    let theirs = other_image().pcr0.to_string();
    let zeros = "0".repeat(96);
    let of = |operator: &str, key: &str, value: Value| json!({ operator: { key: value } });
    let without = "kms:Decrypt without an attestation document";
    let any_image = "kms:Decrypt in an enclave of any image";
    let debug = "kms:Decrypt in any enclave in debug mode";
    let opens = "EnclaveOpensBackupsAndBootSecretsOfImage1";
    vec![
        case(
            "the statement of AWS's console",
            |it| add(it, allow(root(), json!("kms:*"))),
            &[
                (
                    "Added",
                    "whomever an IAM policy of account 999988887777 lets call kms:Decrypt, kms:GenerateDataKey, kms:GenerateDataKeyPair, kms:DeriveSharedSecret in an enclave of any image",
                ),
                ("Added", "call kms:Encrypt, kms:ImportKeyMaterial: the author of a ticket secret"),
                ("Added", "kms:ReplicateKey: the copy has another policy"),
                ("Added", "kms:PutKeyPolicy, and so change this policy"),
                ("Added", "kms:ScheduleKeyDeletion, kms:DisableKey"),
            ],
        ),
        case(
            "the same without denials",
            |it| {
                bare(it);
                add(it, allow(root(), json!("kms:*")));
            },
            &[
                ("Added", "without an attestation document: it asks for no PCR0"),
                ("Added", "kms:ReEncryptFrom, and so move what is sealed"),
                ("Added", "kms:CreateGrant: a grant lets others in"),
                ("Added", "kms:ReEncryptTo, kms:Encrypt"),
                ("Added", "kms:ReplicateKey"),
                ("Added", "kms:PutKeyPolicy"),
                ("Added", "kms:ScheduleKeyDeletion"),
            ],
        ),
        case(
            "the account by its number",
            |it| {
                bare(it);
                add(it, allow(to(ACCOUNT), json!("kms:Decrypt")));
            },
            &[("Added", "whomever an IAM policy of account 999988887777 lets call kms:Decrypt without")],
        ),
        case("no condition", asks(json!({})), &[(opens, without)]),
        case(
            "no condition, and denials",
            |it| it["Statement"][OPENS]["Condition"] = json!({}),
            &[(opens, any_image)],
        ),
        case(
            "no condition on data keys",
            |it| {
                bare(it);
                it["Statement"][MAKES]["Condition"] = json!({});
            },
            &[(
                "EnclaveMakesDataKeysForBackupsOfImage1",
                "kms:GenerateDataKey without an attestation document: it asks for no PCR0",
            )],
        ),
        case(
            "only an encryption context",
            asks(of("StringEquals", "kms:EncryptionContext:nitro-signer", json!("sealed-key"))),
            &[(opens, without)],
        ),
        case(
            "only a network",
            asks(of("StringEquals", "aws:SourceVpce", json!("vpce-1"))),
            &[(opens, without)],
        ),
        case(
            "only addresses",
            asks(of("IpAddress", "aws:SourceIp", json!("10.0.0.0/8"))),
            &[(opens, without)],
        ),
        case(
            "IfExists",
            asks(of("StringEqualsIfExists", PCR0, json!(ours))),
            &[(
                opens,
                "without an attestation document: StringEqualsIfExists holds so of kms:RecipientAttestation:PCR0",
            )],
        ),
        case(
            "IgnoreCaseIfExists",
            asks(of("StringEqualsIgnoreCaseIfExists", PCR0, json!(ours))),
            &[(opens, without)],
        ),
        case(
            "ForAllValues",
            asks(of("ForAllValues:StringEquals", PCR0, json!(ours))),
            &[(opens, "without an attestation document: ForAllValues:StringEquals holds so")],
        ),
        case(
            "not debug mode",
            asks(of("StringNotEquals", PCR0, json!(zeros))),
            &[(opens, "without an attestation document: StringNotEquals holds so")],
        ),
        case(
            "not debug mode, and denials",
            |it| it["Statement"][OPENS]["Condition"] = of("StringNotEquals", PCR0, json!(zeros)),
            &[(opens, any_image)],
        ),
        case(
            "any PCR0",
            asks(of("StringLike", PCR0, json!("*"))),
            &[(opens, "in an enclave of any image: StringLike holds so of kms:RecipientAttestation:PCR0")],
        ),
        case(
            "a PCR0 that begins so",
            asks(of("StringLike", PCR0, json!("0123*"))),
            &[(opens, "in an enclave of another image than those given: its PCR0 is 0123*")],
        ),
        case("debug mode", asks(of("StringEquals", PCR0, json!(zeros))), &[(opens, debug)]),
        case("debug mode too", asks(of("StringEquals", PCR0, json!([ours, zeros]))), &[(opens, debug)]),
        case(
            "another image too",
            asks(of("StringEquals", PCR0, json!([ours, theirs]))),
            &[(opens, "in an enclave of another image than those given: its PCR0 is ")],
        ),
        case(
            "another image",
            asks(of("StringEqualsIgnoreCase", PCR0, json!(theirs))),
            &[(opens, "another image")],
        ),
        case(
            "another image by its hash",
            asks(of("StringEquals", "kms:RecipientAttestation:ImageSha384", json!(theirs))),
            &[(opens, "another image")],
        ),
        case(
            "PCR1 alone",
            asks(of("StringEquals", "kms:RecipientAttestation:PCR1", json!(image().pcr1.to_string()))),
            &[(opens, any_image)],
        ),
        case(
            "PCR2 alone",
            asks(of("StringEquals", "kms:RecipientAttestation:PCR2", json!(image().pcr2.to_string()))),
            &[(opens, any_image)],
        ),
        case(
            "parts of two images",
            asks(json!({ "StringEquals": {
                "kms:RecipientAttestation:PCR1": image().pcr1.to_string(),
                "kms:RecipientAttestation:PCR2": other_image().pcr2.to_string(),
            } })),
            &[(opens, any_image)],
        ),
        case(
            "who signed the image",
            asks(of("StringEquals", "kms:RecipientAttestation:PCR8", json!("a0".repeat(48)))),
            &[(opens, "in an enclave of any image: it asks for no PCR0")],
        ),
        case(
            "the instance's role",
            asks(of("StringEquals", "kms:RecipientAttestation:PCR3", json!("a0".repeat(48)))),
            &[(opens, any_image)],
        ),
        case(
            "a NitroTPM",
            asks(of("StringEquals", "kms:RecipientAttestation:NitroTPMPCR4", json!("a0".repeat(48)))),
            &[(opens, "what an instance's NitroTPM attests instead of an enclave")],
        ),
        case("any document", asks(of("Null", PCR0, json!("false"))), &[(opens, any_image)]),
        case("no document", asks(of("Null", PCR0, json!(true))), &[(opens, without)]),
        case(
            "a register that is none",
            asks(of("StringNotEquals", "kms:RecipientAttestation:PRC0", json!(zeros))),
            &[(opens, without)],
        ),
        case(
            "an operator that is none",
            asks(of("StringEqual", PCR0, json!(ours))),
            &[(opens, "asks by \"StringEqual\", which is no operator of IAM"), (opens, without)],
        ),
        case(
            "a wildcard",
            |it| {
                bare(it);
                add(it, allow(to(SEALER), json!("kms:De*")));
            },
            &[("Added", "role/nitro-signer-secret-sealer call kms:Decrypt, kms:DeriveSharedSecret without")],
        ),
        case(
            "everything",
            |it| {
                bare(it);
                add(it, allow(to(OTHER), json!("*")));
            },
            &[
                ("Added", "role/other call kms:Decrypt"),
                ("Added", "kms:ReEncryptFrom"),
                ("Added", "kms:ReEncryptTo"),
                ("Added", "kms:Encrypt under other encryption contexts"),
                ("Added", "kms:CreateGrant"),
                ("Added", "kms:ReplicateKey"),
            ],
        ),
        case(
            "all but",
            |it| {
                bare(it);
                let mut statement = allow(to(SEALER), json!(""));
                let members = statement.as_object_mut().unwrap();
                members.remove("Action");
                members.insert(
                    "NotAction".to_owned(),
                    json!([
                        "kms:Encrypt",
                        "kms:ReEncrypt*",
                        "kms:CreateGrant",
                        "kms:ReplicateKey",
                        "kms:Import*"
                    ]),
                );
                add(it, statement);
            },
            &[("Added", "role/nitro-signer-secret-sealer call kms:Decrypt, kms:GenerateDataKey")],
        ),
        case(
            "everybody but",
            |it| {
                bare(it);
                let mut statement = allow(json!(""), json!("kms:Decrypt"));
                let members = statement.as_object_mut().unwrap();
                members.remove("Principal");
                members.insert("NotPrincipal".to_owned(), to(OTHER));
                add(it, statement);
            },
            &[("Added", "anybody, of any account, call kms:Decrypt without")],
        ),
        case(
            "anybody",
            |it| {
                bare(it);
                add(it, allow(json!("*"), json!("kms:Decrypt")));
            },
            &[("Added", "anybody, of any account, call kms:Decrypt without")],
        ),
        case(
            "anybody of AWS, in one account",
            |it| {
                bare(it);
                let mut statement = allow(to("*"), json!("kms:Decrypt"));
                statement["Condition"] = of("StringEquals", "kms:CallerAccount", json!(ACCOUNT));
                add(it, statement);
            },
            &[("Added", "anybody")],
        ),
        case(
            "a service",
            |it| {
                bare(it);
                add(it, allow(json!({ "Service": "ec2.amazonaws.com" }), json!("kms:Decrypt")));
            },
            &[("Added", "the principal \"ec2.amazonaws.com\" call kms:Decrypt without")],
        ),
        case(
            "roles by a pattern",
            |it| {
                bare(it);
                add(it, allow(to("arn:aws:iam::999988887777:role/*"), json!("kms:Decrypt")));
            },
            &[("Added", "call kms:Decrypt without")],
        ),
        case(
            "another account",
            |it| {
                bare(it);
                add(it, allow(to("arn:aws:iam::444455556666:root"), json!("kms:Decrypt")));
            },
            &[("Added", "account 444455556666")],
        ),
        case(
            "grants",
            |it| {
                bare(it);
                add(it, allow(to(ADMINISTRATOR), json!("kms:CreateGrant")));
            },
            &[("Added", "kms:CreateGrant: a grant lets others in past this policy")],
        ),
        case(
            "re-encryption",
            |it| {
                bare(it);
                add(it, allow(to(ADMINISTRATOR), json!("kms:ReEncryptFrom")));
            },
            &[("Added", "kms:ReEncryptFrom, and so move")],
        ),
        case(
            "re-encryption to it",
            |it| {
                bare(it);
                add(it, allow(to(SEALER), json!("kms:ReEncryptTo")));
            },
            &[("Added", "kms:ReEncryptTo: the author of a ticket secret")],
        ),
        case(
            "derivation",
            |it| {
                bare(it);
                add(it, allow(to(SEALER), json!("kms:DeriveSharedSecret")));
            },
            &[("Added", "kms:DeriveSharedSecret without")],
        ),
        case(
            "data keys in no clear",
            |it| {
                bare(it);
                add(it, allow(to(SEALER), json!("kms:GenerateDataKeyWithoutPlaintext")));
            },
            &[("Added", "kms:GenerateDataKeyWithoutPlaintext without")],
        ),
        case(
            "key material",
            |it| add(it, allow(to(ADMINISTRATOR), json!("kms:ImportKeyMaterial"))),
            &[("Added", "kms:ImportKeyMaterial")],
        ),
        case(
            "replicas",
            |it| add(it, allow(to(ADMINISTRATOR), json!("kms:ReplicateKey"))),
            &[("Added", "kms:ReplicateKey: the copy has another policy")],
        ),
        case(
            "the instance changes the policy",
            |it| add(it, allow(to(INSTANCE), json!("kms:PutKeyPolicy"))),
            &[(
                "Added",
                "lets the instance (arn:aws:iam::999988887777:role/nitro-signer-instance) call kms:PutKeyPolicy",
            )],
        ),
        case(
            "IAM decides who changes the policy",
            |it| it["Statement"][MANAGES]["Principal"] = root(),
            &[
                (
                    "AdministratorManagesTheKeyAndUsesItForNothing",
                    "kms:PutKeyPolicy, and so change this policy",
                ),
                (
                    "AdministratorManagesTheKeyAndUsesItForNothing",
                    "kms:ScheduleKeyDeletion, kms:DisableKey, kms:RevokeGrant",
                ),
            ],
        ),
        case(
            "the instance deletes the key",
            |it| add(it, allow(to(INSTANCE), json!("kms:ScheduleKeyDeletion"))),
            &[("Added", "kms:ScheduleKeyDeletion, and so end what backups depend on")],
        ),
        case(
            "the instance seals",
            |it| {
                bare(it);
                add(it, allow(to(INSTANCE), json!("kms:Encrypt")));
            },
            &[(
                "Added",
                "lets the instance (arn:aws:iam::999988887777:role/nitro-signer-instance) call kms:Encrypt",
            )],
        ),
        case(
            "a session of the instance seals",
            |it| {
                bare(it);
                let session = "arn:aws:sts::999988887777:assumed-role/nitro-signer-instance/i-1";
                add(it, allow(to(session), json!("kms:Encrypt")));
            },
            &[(
                "Added",
                "lets the instance (arn:aws:sts::999988887777:assumed-role/nitro-signer-instance/i-1) call kms:Encrypt",
            )],
        ),
        case(
            "IAM decides who seals",
            |it| it["Statement"][SEALS]["Principal"] = root(),
            &[(
                "SealerEncryptsBootSecrets",
                "whomever an IAM policy of account 999988887777 lets call kms:Encrypt",
            )],
        ),
        case(
            "anything is sealed",
            |it| it["Statement"][SEALS]["Condition"] = json!({}),
            &[("SealerEncryptsBootSecrets", "under other encryption contexts than those of boot secrets")],
        ),
        case(
            "backups are sealed",
            |it| {
                it["Statement"][SEALS]["Condition"]["StringEquals"]["kms:EncryptionContext:nitro-signer"] =
                    json!(["boot-secret", "sealed-key"]);
            },
            &[("SealerEncryptsBootSecrets", "under other encryption contexts")],
        ),
        case(
            "anything is sealed that has a name",
            |it| {
                it["Statement"][SEALS]["Condition"] =
                    of("StringEqualsIfExists", "kms:EncryptionContext:nitro-signer", json!("boot-secret"));
            },
            &[("SealerEncryptsBootSecrets", "under other encryption contexts")],
        ),
        case(
            "a denial for somebody else",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Principal"] = to(SEALER);
            },
            &[(opens, without)],
        ),
        case(
            "a denial with an exception",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                let members = it["Statement"][DENIES].as_object_mut().unwrap();
                members.remove("Principal");
                members.insert("NotPrincipal".to_owned(), to(INSTANCE));
            },
            &[(opens, without)],
        ),
        case(
            "a denial for another key",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Resource"] = json!("arn:aws:kms:us-east-1:999988887777:key/another");
            },
            &[(opens, without)],
        ),
        case(
            "a denial of something else",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Action"] = json!(["kms:Decript", "kms:Encrypt"]);
            },
            &[(opens, without)],
        ),
        case(
            "a denial on one more condition",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Condition"]["Bool"] = json!({ "aws:SecureTransport": "false" });
            },
            &[(opens, without)],
        ),
        case(
            "a denial under one encryption context",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Condition"]["StringEquals"] =
                    json!({ "kms:EncryptionContext:nitro-signer": "sealed-key" });
            },
            &[(opens, without)],
        ),
        case(
            "a denial of any value",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Condition"] = of("ForAnyValue:StringNotEquals", PCR0, json!(ours));
            },
            &[(opens, without)],
        ),
        case(
            "a denial of all but two",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Condition"] = of("StringNotEquals", PCR0, json!([ours, theirs]));
            },
            &[(opens, "another image")],
        ),
        case(
            "a denial of all but a pattern",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Condition"] = of("StringNotLike", PCR0, json!("a*"));
            },
            &[(opens, without)],
        ),
        case(
            "a denial of debug mode",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                it["Statement"][DENIES]["Condition"] = of("StringEquals", PCR0, json!(zeros));
            },
            &[(opens, without)],
        ),
        case(
            "all but what the check is known to try",
            |it| {
                bare(it);
                it["Statement"][OPENS]["Condition"] = of("Null", PCR0, json!(false));
                let mut denial = deny(json!("kms:Decrypt"));
                denial["Condition"] =
                    of("StringEqualsIgnoreCase", PCR0, json!(["e".repeat(96), zeros.clone()]));
                add(it, denial);
            },
            &[(opens, any_image)],
        ),
        case(
            "other PCR0s than those that the check is known to try",
            asks(of("StringNotEquals", PCR0, json!(["e".repeat(96), zeros]))),
            &[(opens, without)],
        ),
        case(
            "the same, and denials",
            |it| {
                it["Statement"][OPENS]["Condition"] =
                    of("StringNotEquals", PCR0, json!(["e".repeat(96), zeros]));
            },
            &[(opens, any_image)],
        ),
        case(
            "other PCR0s than those that begin so, and denials",
            |it| it["Statement"][OPENS]["Condition"] = of("StringNotLike", PCR0, json!(["e*", "0*"])),
            &[(opens, any_image)],
        ),
        case(
            "a denial of the program that the check is known to try",
            |it| {
                bare(it);
                add(it, allow(to("*"), json!("kms:Decrypt")));
                for condition in [
                    of("StringEquals", "aws:UserAgent", json!("anything-else")),
                    of("Null", "aws:UserAgent", json!(true)),
                ] {
                    let mut denial = deny(json!("kms:*"));
                    denial["Condition"] = condition;
                    add(it, denial);
                }
            },
            &[("Added", "anybody, of any account, call kms:Decrypt without")],
        ),
        case(
            "the same for what is sealed",
            |it| {
                bare(it);
                add(it, allow(to("*"), json!("kms:Encrypt")));
                for condition in [
                    of("StringEquals", "aws:UserAgent", json!("anything-else")),
                    of("Null", "aws:UserAgent", json!(true)),
                ] {
                    let mut denial = deny(json!("kms:Encrypt"));
                    denial["Condition"] = condition;
                    add(it, denial);
                }
            },
            &[("Added", "anybody, of any account, call kms:Encrypt: the author")],
        ),
        case(
            "a denial of programs with long names",
            |it| {
                bare(it);
                add(it, allow(to("*"), json!("kms:Decrypt")));
                for condition in [
                    of("StringLike", "aws:UserAgent", json!("????*")),
                    of("Null", "aws:UserAgent", json!(true)),
                ] {
                    let mut denial = deny(json!("kms:Decrypt"));
                    denial["Condition"] = condition;
                    add(it, denial);
                }
            },
            &[("Added", "anybody, of any account, call kms:Decrypt without")],
        ),
        case(
            "PCR0s of every first digit but one are left out",
            |it| {
                let all_but_c: Vec<String> =
                    "0123456789abdef".chars().map(|digit| format!("{digit}*")).collect();
                it["Statement"][OPENS]["Condition"] = of("StringNotLike", PCR0, json!(all_but_c));
            },
            &[(opens, any_image)],
        ),
        case(
            "somebody of another account seals",
            |it| it["Statement"][SEALS]["Principal"]["AWS"] = json!([SEALER, FOREIGNER]),
            &[(
                "SealerEncryptsBootSecrets",
                "lets arn:aws:iam::444455556666:role/other in, of another account than the key's",
            )],
        ),
        case(
            "somebody of another account manages",
            |it| it["Statement"][MANAGES]["Principal"] = to(FOREIGNER),
            &[("AdministratorManagesTheKeyAndUsesItForNothing", "of another account than the key's")],
        ),
        case(
            "no name",
            |it| {
                bare(it);
                let mut statement = allow(to(OTHER), json!("kms:Decrypt"));
                statement.as_object_mut().unwrap().remove("Sid");
                add(it, statement);
            },
            &[("Statement[5]", "role/other call kms:Decrypt without")],
        ),
    ]
}

/// Policies that open the key for the image only, though some look otherwise.
pub(crate) fn good() -> Vec<Case> {
    let ours = image().pcr0.to_string();
    let condition = |condition: Value| move |it: &mut Value| it["Statement"][OPENS]["Condition"] = condition;
    vec![
        case("as committed", |_| {}, &[]),
        case("without denials", bare, &[]),
        case("before there is an image", |it| *it = rendered("kms-key-policy.json", &[]), &[]),
        case("PCR0 alone", condition(json!({ "StringEquals": { PCR0: ours } })), &[]),
        case(
            "the image's hash",
            condition(json!({ "StringEquals": { "kms:RecipientAttestation:ImageSha384": ours } })),
            &[],
        ),
        case(
            "in capitals",
            condition(json!({ "StringEqualsIgnoreCase": { PCR0.to_uppercase(): ours.to_uppercase() } })),
            &[],
        ),
        case("by a pattern of one", condition(json!({ "StringLike": { PCR0: ours } })), &[]),
        case(
            "IfExists, and a document",
            condition(json!({ "StringEqualsIfExists": { PCR0: ours }, "Null": { PCR0: "false" } })),
            &[],
        ),
        case(
            "both parts",
            condition(json!({ "StringEquals": {
            "kms:RecipientAttestation:PCR1": image().pcr1.to_string(), "kms:RecipientAttestation:PCR2": image().pcr2.to_string(),
        } })),
            &[],
        ),
        case(
            "all but the image denied",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                add(
                    it,
                    json!({ "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*",
                "Condition": { "StringNotEqualsIgnoreCase": { PCR0: ours } } }),
                );
            },
            &[],
        ),
        case(
            "two denials that are enough together",
            |it| {
                it["Statement"][OPENS]["Condition"] = json!({});
                add(
                    it,
                    json!({ "Effect": "Deny", "Principal": to(INSTANCE), "NotAction": "kms:Get*", "Resource": KEY,
                "Condition": { "ForAnyValue:StringNotEquals": { PCR0: ours } } }),
                );
            },
            &[],
        ),
        case("grants that are denied", |it| add(it, allow(to(ADMINISTRATOR), json!("kms:CreateGrant"))), &[]),
        case(
            "what is denied in turn",
            |it| {
                add(it, allow(to(SEALER), json!("kms:Decrypt")));
                add(
                    it,
                    json!({ "Effect": "Deny", "Principal": root(), "Action": "kms:D*", "Resource": "*",
                "Condition": { "StringEquals": { "aws:PrincipalArn": [SEALER, OTHER] } } }),
                );
            },
            &[],
        ),
        case(
            "another key",
            |it| {
                let mut statement = allow(json!("*"), json!("*"));
                statement["Resource"] = json!("arn:aws:kms:*:444455556666:key/*");
                add(it, statement);
            },
            &[],
        ),
        case(
            "anybody, in the image",
            |it| {
                let mut statement = it["Statement"][OPENS].clone();
                statement["Principal"] = json!("*");
                add(it, statement);
            },
            &[],
        ),
        case(
            "an action that takes no document",
            |it| {
                bare(it);
                let mut statement = allow(to(INSTANCE), json!(["kms:CreateGrant", "kms:ReEncrypt*"]));
                statement["Condition"] = json!({ "StringEquals": { PCR0: image().pcr0.to_string() } });
                add(it, statement);
            },
            &[],
        ),
        case(
            "reading",
            |it| add(it, allow(to(OTHER), json!(["kms:Describe*", "kms:Get*", "kms:List*"]))),
            &[],
        ),
    ]
}
