//! Checks whether a policy lets any caller but the image use a key, and names the statement and the reason.
//!
//! Each statement that allows something is tried with requests: by each of its principals, for each action that
//! matters, without an attestation document and with those of other enclaves, and with each value that a condition
//! names. A request that another statement surely denies is no doubt. Where a fact is unknown, an allowing statement is
//! taken to apply, and a denying one not to.
//!
//! ```text
//! document ─▶ statements (principal, action, condition) ─▶ attempts ─▶ Doubt
//! ```

mod action;
mod attempts;
mod condition;
mod document;
mod json;
mod principal;
mod stand_ins;

use std::collections::BTreeSet;
use std::fmt;

use configuration::KeyArn;
use serde_json::{Value, json};

use self::action::{ALL_ESCALATIONS, Action, ENCRYPT, Harm, OF_KMS, PUT_KEY_POLICY, may_escalate};
use self::attempts::{Attempts, Budget, Enclave, PARENT_REGISTERS, ROLE_REGISTER};
use self::condition::{ATTESTATION, Condition};
use self::document::{Effect, Of, Patterns, Statement, statements};
use self::principal::Principal;
use self::stand_ins::StandIns;
use crate::eif::{MeasurementSet, Pcr};
use crate::key_policy::INSTANCE_ROLE;
use crate::parent_pin::ParentPin;
use crate::printable::{MAX_WORDS_CHARS, printable};

pub use document::{InvalidPolicy, MAX_POLICY_BYTES};

/// The expectations of a policy.
#[derive(Clone, Debug)]
pub struct Expectation<'e> {
    /// The images that may use the key; at least one, and none of zeros.
    pub images: &'e [MeasurementSet],
    /// The keys that it may be of; none, if that is not known.
    pub keys: &'e [KeyArn],
    /// The role of the instance, if it has another name than the usual one.
    pub instance_role: Option<&'e str>,
    /// The pins of the parent instance that each statement for an image has to require.
    pub pins: &'e [ParentPin],
}

/// Something that a statement lets happen, and should not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// From 0 on; none for the policy as a whole.
    pub index: Option<usize>,
    /// Its Sid.
    pub sid: Option<String>,
    /// The doubt, in a sentence.
    pub reason: String,
}

/// `Sid: reason`, or `Statement[0]: reason`.
impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.sid, self.index) {
            (Some(sid), _) => write!(formatter, "{sid}: {}", self.reason),
            (None, Some(index)) => write!(formatter, "Statement[{index}]: {}", self.reason),
            (None, None) => write!(formatter, "the policy {}", self.reason),
        }
    }
}

impl Doubt {
    /// Whether it concerns encryption: with a ticket secret of its own, a caller signs with every key.
    #[must_use]
    pub fn is_about_encrypting(&self) -> bool {
        self.reason.contains(ENCRYPT)
    }

    /// As a report for scripts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "statement": self.index, "sid": self.sid, "reason": self.reason })
    }
}

/// The findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The callers other than the image that can use the key, and how.
    pub doubts: Vec<Doubt>,
    /// The actions that the images need and may not perform.
    pub lacks: Vec<String>,
    /// A name for several principals that may do the same.
    pub notes: Vec<String>,
}

/// Checks the policy of a key.
///
/// # Errors
/// [`InvalidPolicy`]
pub fn check_key_policy(text: &str, expectation: &Expectation<'_>) -> Result<Finding, InvalidPolicy> {
    check(&statements(text, Of::Key)?, Of::Key, expectation)
}

/// Checks a policy of the instance's role.
///
/// # Errors
/// [`InvalidPolicy`]
pub fn check_role_policy(text: &str, expectation: &Expectation<'_>) -> Result<Finding, InvalidPolicy> {
    check(&statements(text, Of::Role)?, Of::Role, expectation)
}

fn check(statements: &[Statement], of: Of, expectation: &Expectation<'_>) -> Result<Finding, InvalidPolicy> {
    let checker = Checker {
        statements,
        of,
        expectation,
        stand_ins: StandIns::of(statements),
        budget: Budget::default(),
    };
    let mut doubts = BTreeSet::new();
    for statement in statements {
        doubts.extend(checker.not_understood(statement));
        if statement.effect == Effect::Allow {
            doubts.extend(checker.allowed_by(statement));
        }
    }
    if !checker.stand_ins.are_enough() {
        let reason = "names too many values: not all of it was checked";
        doubts.insert(Doubt { index: None, sid: None, reason: reason.to_owned() });
    }
    if checker.budget.is_spent() {
        let reason = "has too many cases: not all of it was checked";
        doubts.insert(Doubt { index: None, sid: None, reason: reason.to_owned() });
    }
    Ok(Finding { doubts: doubts.into_iter().collect(), lacks: checker.lacks(), notes: checker.notes() })
}

struct Checker<'c> {
    statements: &'c [Statement],
    of: Of,
    expectation: &'c Expectation<'c>,
    stand_ins: StandIns,
    budget: Budget,
}

impl Checker<'_> {
    fn not_understood(&self, statement: &Statement) -> Vec<Doubt> {
        let unknown = statement.conditions.iter().filter(|condition| !condition.is_known());
        unknown
            .map(|condition| {
                doubt(
                    statement,
                    format!("asks by \"{}\", which is no operator of IAM", line(&condition.operator)),
                )
            })
            .collect()
    }

    fn allowed_by(&self, statement: &Statement) -> Vec<Doubt> {
        let subjects = match &statement.principals {
            Some(principals) => principals.subjects(),
            None => vec![Principal::Other("the instance".to_owned())],
        };
        let mut doubts = Vec::new();
        for subject in &subjects {
            let before = doubts.len();
            let is_instance = statement.principals.is_none() || self.is_instance(subject);
            for harm in [
                Harm::Opens,
                Harm::Moves,
                Harm::Plants,
                Harm::Grants,
                Harm::Copies,
                Harm::Governs,
                Harm::Destroys,
            ] {
                doubts.extend(self.harm_by(statement, subject, is_instance, harm));
            }
            if doubts.len() == before && self.is_of_keys(statement) && self.is_foreign(subject) {
                let who = line(&subject.to_string());
                let reason = format!(
                    "lets {who} in, of another account than the key's: that account chooses its callers"
                );
                doubts.push(doubt(statement, reason));
            }
        }
        if self.of == Of::Role {
            doubts.extend(self.escalations(statement));
        }
        if doubts.is_empty() { self.strange_registers(statement) } else { doubts }
    }

    /// Values that no image has, next to others that keep the statement from being used.
    fn strange_registers(&self, statement: &Statement) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for condition in statement.conditions.iter().filter(|condition| condition.is_of_attestation()) {
            let of_image = |image: &MeasurementSet| match &condition.key_in_lower_case[ATTESTATION.len()..] {
                "pcr0" | "imagesha384" => Some(image.pcr0),
                "pcr1" => Some(image.pcr1),
                "pcr2" => Some(image.pcr2),
                _ => None,
            };
            let pin = self.expectation.pins.iter().find(|pin| condition.is_of_register(pin.register()));
            for named in condition.asked_for() {
                let mut registers: Vec<_> = self.expectation.images.iter().filter_map(of_image).collect();
                registers.extend(pin.into_iter().flat_map(ParentPin::values));
                let is_known = registers.iter().any(|pcr| named.eq_ignore_ascii_case(&pcr.to_string()));
                if is_known || registers.is_empty() {
                    continue;
                }
                let is_debug = named.bytes().all(|byte| byte == b'0');
                let whose = match pin {
                    _ if is_debug => "as in debug mode",
                    Some(pin) if pin.register() == ROLE_REGISTER => "which is that of another role",
                    Some(_) => "which is that of another instance",
                    None => "which none of the given images has",
                };
                let (key, named) = (line(&condition.key), line(named));
                doubts.push(doubt(statement, format!("takes {named} for {key}, {whose}")));
            }
        }
        doubts
    }

    /// How the role becomes another, or gets other policies.
    fn escalations(&self, statement: &Statement) -> Option<Doubt> {
        let allowed: Vec<(String, &str)> = match (&statement.actions, &statement.actions_as_written) {
            (Patterns::These(patterns), Patterns::These(written)) => {
                patterns.iter().cloned().zip(written.iter().map(String::as_str)).collect()
            }
            (actions, _) => ALL_ESCALATIONS
                .into_iter()
                .filter(|pattern| !actions.is_without(pattern))
                .map(|pattern| (pattern.to_owned(), pattern))
                .collect(),
        };
        let instance = Principal::Other("the instance".to_owned());
        let is_possible = |pattern: &str| {
            let denials: Vec<&Statement> = self
                .statements
                .iter()
                .filter(|it| {
                    it.effect == Effect::Deny && it.resources.are_all() && it.actions.cover_pattern(pattern)
                })
                .collect();
            let attempts = Attempts {
                statement,
                denials: &denials,
                subject: &instance,
                has_recipient: false,
                images: self.expectation.images,
                pins: self.expectation.pins,
                stand_ins: &self.stand_ins,
                is_sealing: false,
                budget: &self.budget,
            };
            !attempts.worst().is_empty()
        };
        let is_everything = |pattern: &str| matches!(pattern, "*" | "*:*");
        let named: Vec<String> = allowed
            .iter()
            .filter(|(pattern, _)| may_escalate(pattern))
            .filter(|(pattern, _)| {
                // Of everything, only this is looked at.
                if is_everything(pattern) {
                    ALL_ESCALATIONS.into_iter().any(is_possible)
                } else {
                    is_possible(pattern)
                }
            })
            .map(|(_, written)| line(written))
            .collect();
        let what = named.join(", ");
        let reason = format!("lets the instance call {what}, and so take another identity");
        (!named.is_empty()).then(|| doubt(statement, reason))
    }

    /// The harm of that kind that `subject` can do, by each kind of enclave that allows it.
    fn harm_by(
        &self,
        statement: &Statement,
        subject: &Principal,
        is_instance: bool,
        harm: Harm,
    ) -> Vec<Doubt> {
        let actions: Vec<&Action> = OF_KMS.iter().filter(|action| action.harm == harm).collect();
        // One or two people do these, and their names are in the policy.
        let is_trusted = subject.is_one() && !is_instance;
        let is_for_people = matches!(harm, Harm::Governs | Harm::Destroys);
        if is_trusted && is_for_people {
            return Vec::new();
        }
        let mut found: Vec<((Enclave, bool), Vec<&str>)> = Vec::new();
        for action in actions {
            if !self.allows(statement, action) {
                continue;
            }
            let denials = self.denials(subject, action);
            // The sealer may encrypt under the encryption contexts of boot secrets.
            let is_sealing = is_trusted && action.name == ENCRYPT;
            let attempts = Attempts {
                statement,
                denials: &denials,
                subject,
                has_recipient: action.has_recipient,
                images: self.expectation.images,
                pins: self.expectation.pins,
                stand_ins: &self.stand_ins,
                is_sealing,
                budget: &self.budget,
            };
            for enclave in attempts.worst() {
                let kind = (enclave, is_sealing);
                match found.iter_mut().find(|(other, _)| *other == kind) {
                    Some((_, names)) => names.push(action.name),
                    None => found.push((kind, vec![action.name])),
                }
            }
        }
        found
            .into_iter()
            .map(|((enclave, is_sealing), names)| {
                let who = if statement.principals.is_none() {
                    "the instance".to_owned()
                } else if is_instance {
                    format!("the instance ({subject})")
                } else {
                    line(&subject.to_string())
                };
                let what = names.join(", ");
                let reason = match harm {
                    Harm::Opens => format!("lets {who} call {what} {}", enclave_in_words(&enclave, statement)),
                    Harm::Moves => format!("lets {who} call {what}, and so move what is sealed under another key"),
                    Harm::Plants if is_sealing => {
                        format!("lets {who} call {what} under other encryption contexts than those of boot secrets")
                    }
                    Harm::Plants => {
                        format!("lets {who} call {what}: the author of a ticket secret can sign with every key")
                    }
                    Harm::Grants => format!("lets {who} call {what}: a grant lets others in past this policy"),
                    Harm::Copies => format!("lets {who} call {what}: the copy has another policy"),
                    Harm::Governs => format!("lets {who} call {what}, and so change this policy"),
                    Harm::Destroys => {
                        format!("lets {who} call {what}, and so end what backups depend on")
                    }
                };
                doubt(statement, reason)
            })
            .collect()
    }

    /// Whether the statement is about this action with a key of ours.
    fn allows(&self, statement: &Statement, action: &Action) -> bool {
        self.is_of_keys(statement) && statement.actions.cover(&action.name.to_lowercase())
    }

    /// Whether the statement is about a key of ours.
    fn is_of_keys(&self, statement: &Statement) -> bool {
        let keys = self.expectation.keys;
        keys.is_empty()
            || statement.resources.are_all()
            || keys.iter().any(|key| statement.resources.cover(key.as_str()))
    }

    /// Whether it is of an account that has none of the keys.
    fn is_foreign(&self, subject: &Principal) -> bool {
        let keys = self.expectation.keys;
        subject.account().is_some_and(|account| {
            !keys.is_empty() && keys.iter().all(|key| key.as_str().split(':').nth(4) != Some(account))
        })
    }

    /// The statements that deny this action to the subject with any key of ours.
    fn denials(&self, subject: &Principal, action: &Action) -> Vec<&Statement> {
        let keys = self.expectation.keys;
        let covers = |statement: &&Statement| {
            statement.effect == Effect::Deny
                && statement.actions.cover(&action.name.to_lowercase())
                && statement.principals.as_ref().is_none_or(|principals| principals.cover(subject))
                && (statement.resources.are_all()
                    || !keys.is_empty() && keys.iter().all(|key| statement.resources.cover(key.as_str())))
        };
        self.statements.iter().filter(covers).collect()
    }

    fn is_instance(&self, subject: &Principal) -> bool {
        let is_named = match self.expectation.instance_role {
            Some(arn) => Principal::of_aws(arn).is_role_of(subject),
            None => subject.role() == Some(INSTANCE_ROLE),
        };
        // A caller with documents is on the parent.
        let comes_with_documents = || {
            self.statements.iter().any(|statement| {
                statement.effect == Effect::Allow
                    && statement.conditions.iter().any(Condition::is_of_attestation)
                    && statement.principals.as_ref().is_some_and(|principals| {
                        principals
                            .subjects()
                            .iter()
                            .any(|other| other.is_one() && (other == subject || other.is_role_of(subject)))
                    })
            })
        };
        subject.is_one() && (is_named || comes_with_documents())
    }

    /// Points that a person should look at, though they may be intended.
    fn notes(&self) -> Vec<String> {
        let several = [self.several("seal", ENCRYPT), self.several("change the policy", PUT_KEY_POLICY)];
        let not_compared = PARENT_REGISTERS.into_iter().filter(|register| {
            let is_pinned = self.expectation.pins.iter().any(|pin| pin.register() == *register);
            let mut conditions = self.statements.iter().flat_map(|statement| &statement.conditions);
            !is_pinned && conditions.any(|condition| condition.is_of_register(*register))
        });
        let not_compared = not_compared.map(|register| {
            let option = if register == ROLE_REGISTER { "--pin-role" } else { "--pin-instance" };
            format!("it asks for PCR{register}, which was not compared: {option} does that")
        });
        several.into_iter().flatten().chain(not_compared).collect()
    }

    /// The principals that may perform the actions of one person, if they are several.
    fn several(&self, what: &str, name: &str) -> Option<String> {
        let action = OF_KMS.iter().find(|action| action.name == name)?;
        let allowing =
            self.statements.iter().filter(|it| it.effect == Effect::Allow && self.allows(it, action));
        let subjects =
            allowing.filter_map(|it| it.principals.as_ref()).flat_map(principal::Principals::subjects);
        let is_denied = |subject: &Principal| {
            self.denials(subject, action).iter().any(|denial| denial.conditions.is_empty())
        };
        let who: BTreeSet<String> = subjects
            .filter(|subject| subject.is_one() && !is_denied(subject))
            .map(|subject| line(&subject.to_string()))
            .collect();
        let names = who.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        (who.len() > 1).then(|| format!("who may {what}: {names}"))
    }

    /// The registers of each parent instance that has to do: a value for each pin.
    fn parents(&self) -> Vec<Vec<(u8, Pcr)>> {
        let with_pin = |parents: Vec<Vec<(u8, Pcr)>>, pin: &ParentPin| {
            let with = |parent: &Vec<(u8, Pcr)>, pcr: &Pcr| [&parent[..], &[(pin.register(), *pcr)]].concat();
            parents.iter().flat_map(|parent| pin.values().iter().map(move |pcr| with(parent, pcr))).collect()
        };
        self.expectation.pins.iter().fold(vec![Vec::new()], with_pin)
    }

    /// The actions that each image needs and nothing allows.
    fn lacks(&self) -> Vec<String> {
        let needed =
            OF_KMS.iter().filter(|action| matches!(action.name, "kms:Decrypt" | "kms:GenerateDataKey"));
        let parents = self.parents();
        let images = self.expectation.images.iter();
        let enclaves: Vec<_> =
            images.flat_map(|image| parents.iter().map(move |parent| (image, parent))).collect();
        let mut notes = Vec::new();
        for (action, (image, parent)) in
            needed.flat_map(|action| enclaves.iter().map(move |enclave| (action, *enclave)))
        {
            let is_allowed = self.statements.iter().any(|statement| {
                let subjects = statement.principals.as_ref().map(principal::Principals::subjects);
                let subjects = subjects.unwrap_or_else(|| vec![Principal::Other("the instance".to_owned())]);
                statement.effect == Effect::Allow
                    && self.allows(statement, action)
                    && subjects.iter().any(|subject| {
                        let denials: Vec<&Statement> = self
                            .statements
                            .iter()
                            .filter(|other| {
                                other.effect == Effect::Deny
                                    && other.actions.cover(&action.name.to_lowercase())
                                    && other
                                        .principals
                                        .as_ref()
                                        .is_none_or(|principals| principals.meet(subject))
                            })
                            .collect();
                        let attempts = Attempts {
                            statement,
                            denials: &denials,
                            subject,
                            has_recipient: action.has_recipient,
                            images: self.expectation.images,
                            pins: self.expectation.pins,
                            stand_ins: &self.stand_ins,
                            is_sealing: false,
                            budget: &self.budget,
                        };
                        attempts.may_be_allowed(image, parent)
                    })
            });
            if !is_allowed {
                let parent: String =
                    parent.iter().map(|(register, pcr)| format!(" with PCR{register} {pcr}")).collect();
                notes
                    .push(format!("the image with PCR0 {}{parent} may not call {}", image.pcr0, action.name));
            }
        }
        notes
    }
}

fn doubt(statement: &Statement, reason: String) -> Doubt {
    Doubt { index: Some(statement.index), sid: statement.sid.clone(), reason }
}

/// The action on the key, and the condition that permits it.
fn enclave_in_words(enclave: &Enclave, statement: &Statement) -> String {
    let asked: Vec<&Condition> =
        statement.conditions.iter().filter(|condition| condition.is_of_attestation()).collect();
    let asks_for_nothing = ": it asks for no PCR0".to_owned();
    let by = |holds: &dyn Fn(&Condition) -> bool| match asked.iter().find(|condition| holds(condition)) {
        Some(condition) => format!(": {} holds so of {}", line(&condition.operator), line(&condition.key)),
        None => asks_for_nothing.clone(),
    };
    match enclave {
        Enclave::None => format!("without an attestation document{}", by(&|_| true)),
        Enclave::NitroTpm => {
            format!("with what an instance's NitroTPM attests instead of an enclave{}", by(&|_| true))
        }
        Enclave::AnyImage => {
            let is_of_image = |condition: &Condition| {
                let key = &condition.key_in_lower_case;
                key.ends_with(":pcr0") || key.ends_with(":imagesha384")
            };
            format!("in an enclave of any image{}", by(&is_of_image))
        }
        Enclave::Elsewhere(ROLE_REGISTER) => {
            "in an enclave of the image on an instance with another role: it does not ask for PCR3 of the role".to_owned()
        }
        Enclave::Elsewhere(register) => {
            format!("in an enclave of the image on another instance: it does not ask for PCR{register} of the given ones")
        }
        Enclave::Debugged => {
            "in any enclave in debug mode, whose PCRs are all zeros: zeros are among the PCRs that it takes"
                .to_owned()
        }
        Enclave::OtherImage { named, .. } => {
            format!("in an enclave of another image than those given: its PCR0 is {}", line(named))
        }
    }
}

/// Text of a stranger's choice, as a part of one line.
fn line(text: &str) -> String {
    printable(text, MAX_WORDS_CHARS)
}
