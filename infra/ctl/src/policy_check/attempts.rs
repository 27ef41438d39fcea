//! The requests that a statement is tried with.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::condition::{ATTESTATION, Condition, Request};
use super::document::Statement;
use super::principal::Principal;
use super::stand_ins::{PCR_DIGITS, StandIns};
use crate::eif::{MeasurementSet, Pcr};
use crate::parent_pin::ParentPin;

/// Requests that are tried for one policy; the committed one takes some hundred. As many take half a second.
const MAX_REQUESTS: u32 = 1 << 18;

/// The last register that a document has (AWS, Nitro Enclaves user guide, "Root of trust").
const LAST_PCR: u8 = 15;

/// The register that measures the role of the parent instance.
pub(super) const ROLE_REGISTER: u8 = 3;

/// The registers that depend on the parent instance: by its role, and by its id.
pub(super) const PARENT_REGISTERS: [u8; 2] = [ROLE_REGISTER, 4];

/// The part of the encryption context with the purpose of a ciphertext.
const PURPOSE: &str = "kms:encryptioncontext:nitro-signer";

/// A request for a boot secret has this purpose; one for a backup has the other.
const BOOT_SECRET: &str = "boot-secret";
const SEALED_KEY: &str = "sealed-key";

/// The document that vouches for the recipient of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Enclave {
    /// There is no document: the answer is in the clear.
    None,
    /// An instance, measured by its NitroTPM.
    NitroTpm,
    /// An enclave of an image that the policy does not know.
    AnyImage,
    /// An enclave in debug mode.
    Debugged,
    /// An enclave of a given image, on a parent instance for which this register is another one than it has to be.
    Elsewhere(u8),
    /// An enclave of an image that a policy names and that is none of those given.
    OtherImage {
        /// As a document has it.
        pcr0: String,
        /// As the policy has it, which may be a pattern.
        named: String,
    },
}

/// How many requests are left.
#[derive(Debug)]
pub(super) struct Budget(Cell<u32>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MAX_REQUESTS))
    }
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    fn take(&self) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        !self.is_spent()
    }
}

/// One action by one principal that a statement allows.
pub(super) struct Attempts<'a> {
    pub(super) statement: &'a Statement,
    /// The statements that deny this, where their conditions hold.
    pub(super) denials: &'a [&'a Statement],
    pub(super) subject: &'a Principal,
    /// Whether it can come with an attestation document.
    pub(super) has_recipient: bool,
    pub(super) images: &'a [MeasurementSet],
    /// The pins of the parent instance that have to be required.
    pub(super) pins: &'a [ParentPin],
    pub(super) stand_ins: &'a StandIns,
    /// Whether boot secrets are no error.
    pub(super) is_sealing: bool,
    pub(super) budget: &'a Budget,
}

/// The values that a request may have for one key.
type Choice = (String, Vec<Option<String>>);

impl Attempts<'_> {
    /// With whose documents, other than the images', it is possible: the widest of them.
    pub(super) fn worst(&self) -> Vec<Enclave> {
        if self.is_possible(&Enclave::None) {
            return vec![Enclave::None];
        }
        if !self.has_recipient {
            return Vec::new();
        }
        let mut found = Vec::new();
        if self.is_possible(&Enclave::NitroTpm) {
            found.push(Enclave::NitroTpm);
        }
        if self.is_possible(&Enclave::AnyImage) {
            found.push(Enclave::AnyImage);
            return found;
        }
        let elsewhere = self.pins.iter().map(|pin| Enclave::Elsewhere(pin.register()));
        let named = std::iter::once(Enclave::Debugged).chain(self.other_images()).chain(elsewhere);
        found.extend(named.filter(|enclave| self.is_possible(enclave)));
        found
    }

    /// Whether an enclave of this image may do it on a parent instance with these registers. Those of PCR3 and PCR4
    /// that are not given are as the statement asks.
    pub(super) fn may_be_allowed(&self, image: &MeasurementSet, parent: &[(u8, Pcr)]) -> bool {
        let mut values = self.of_image(image);
        values.extend(parent.iter().map(|(register, pcr)| (register_key(*register), Some(pcr.to_string()))));
        let is_of_parent = |condition: &&Condition| {
            PARENT_REGISTERS.iter().any(|register| condition.is_of_register(*register))
        };
        satisfy(self.statement.conditions.iter().filter(is_of_parent), &mut values);
        self.any(values, true)
    }

    /// Whether an enclave of one of the images may do it on a parent instance with another value of this register.
    fn is_possible_elsewhere(&self, elsewhere: u8) -> bool {
        let is_possible_for = |image: &MeasurementSet| {
            let mut values = self.of_image(image);
            for pin in self.pins {
                let value = if pin.register() == elsewhere {
                    self.stand_ins.registers().first().cloned()
                } else {
                    pin.values().first().map(ToString::to_string)
                };
                values.insert(register_key(pin.register()), value);
            }
            // Other measurements may be as the statement requires.
            let measured = self.statement.conditions.iter().filter(|condition| condition.is_of_attestation());
            satisfy(measured, &mut values);
            self.any(values, true)
        };
        self.images.iter().any(is_possible_for)
    }

    /// The facts about a request that follow from its principal and the image.
    fn of_image(&self, image: &MeasurementSet) -> BTreeMap<String, Option<String>> {
        let registers = [
            ("pcr0", &image.pcr0),
            ("imagesha384", &image.pcr0),
            ("pcr1", &image.pcr1),
            ("pcr2", &image.pcr2),
        ];
        let fixed = registers.map(|(name, pcr)| (format!("{ATTESTATION}{name}"), Some(pcr.to_string())));
        let mut values = self.of_subject();
        values.extend(fixed);
        values
    }

    fn is_possible(&self, enclave: &Enclave) -> bool {
        match enclave {
            Enclave::AnyImage => {
                self.stand_ins.registers().iter().any(|pcr0| self.is_possible_with(enclave, Some(pcr0)))
            }
            Enclave::OtherImage { pcr0, .. } => self.is_possible_with(enclave, Some(pcr0)),
            Enclave::Elsewhere(register) => self.is_possible_elsewhere(*register),
            Enclave::None | Enclave::NitroTpm | Enclave::Debugged => self.is_possible_with(enclave, None),
        }
    }

    fn is_possible_with(&self, enclave: &Enclave, pcr0: Option<&String>) -> bool {
        let mut values = self.of_subject();
        let register = |name: &str| format!("{ATTESTATION}{name}");
        for name in ["pcr0", "imagesha384"] {
            values.extend(pcr0.map(|pcr0| (register(name), Some(pcr0.clone()))));
        }
        if *enclave == Enclave::Debugged {
            let zeros = "0".repeat(PCR_DIGITS);
            values.insert(register("imagesha384"), Some(zeros.clone()));
            values.extend((0..=LAST_PCR).map(|pcr| (register(&format!("pcr{pcr}")), Some(zeros.clone()))));
        }
        let is_enclave = matches!(enclave, Enclave::AnyImage | Enclave::OtherImage { .. });
        // The author of the image, or the starter of the instance, decides the other registers.
        for condition in self.conditions().filter(|condition| condition.is_of_attestation()) {
            let name = &condition.key_in_lower_case[ATTESTATION.len()..];
            let is_free = match enclave {
                Enclave::NitroTpm => name.starts_with("nitrotpm"),
                _ => is_enclave && name.starts_with("pcr"),
            };
            if is_free && !values.contains_key(&condition.key_in_lower_case) {
                let any = self.stand_ins.registers().first().cloned();
                values.insert(condition.key_in_lower_case.clone(), any);
            }
        }
        self.any(values, false)
    }

    /// The facts about a request that follow from its principal.
    fn of_subject(&self) -> BTreeMap<String, Option<String>> {
        let mut values = BTreeMap::new();
        if let Some(account) = self.subject.account() {
            for key in ["aws:principalaccount", "kms:calleraccount"] {
                values.insert(key.to_owned(), Some(account.to_owned()));
            }
        }
        if let Principal::Identity { arn, .. } = self.subject {
            values.insert("aws:principalarn".to_owned(), Some(arn.clone()));
        }
        values
    }

    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.denials.iter().copied().chain([self.statement]).flat_map(|statement| &statement.conditions)
    }

    /// Whether there is a request with these values, and any for the keys that it may choose, which is allowed.
    fn any(&self, values: BTreeMap<String, Option<String>>, is_ours: bool) -> bool {
        let choices = self.choices(&values, is_ours);
        let mut request = Request { values };
        let mut chosen = vec![0; choices.len()];
        loop {
            for ((key, options), index) in choices.iter().zip(&chosen) {
                request.values.insert(key.clone(), options[*index].clone());
            }
            if !self.budget.take() {
                return false;
            }
            if self.counts(&request, is_ours) && self.is_allowed(&request) {
                return true;
            }
            // The next combination, as an odometer counts.
            let mut place = 0;
            loop {
                let (Some(index), Some((_, options))) = (chosen.get_mut(place), choices.get(place)) else {
                    return false;
                };
                *index += 1;
                if *index < options.len() {
                    break;
                }
                *index = 0;
                place += 1;
            }
        }
    }

    /// The keys whose values are up to the request, by the conditions that name some.
    fn choices(&self, values: &BTreeMap<String, Option<String>>, is_ours: bool) -> Vec<Choice> {
        let mut choices: BTreeMap<&str, BTreeSet<Option<String>>> = BTreeMap::new();
        let filler = self.stand_ins.filler();
        let any_text =
            |key: &str| Some(self.stand_ins.text(self.conditions().filter(|it| it.key_in_lower_case == key)));
        for condition in self.conditions() {
            let key = &condition.key_in_lower_case[..];
            let is_measured = condition.is_of_attestation();
            // A document lacks some registers; those that it has are in `values`.
            let is_register = is_measured && !key.ends_with(":pcr0") && !key.ends_with(":imagesha384");
            let is_chosen = match values.get(key) {
                None => !is_measured,
                Some(value) => {
                    !is_ours && is_register && value.as_ref() == self.stand_ins.registers().first()
                }
            };
            // A list of names, of which conditions are too many kinds.
            if !is_chosen || key == "kms:encryptioncontextkeys" {
                continue;
            }
            let options = choices.entry(key).or_default();
            if is_measured {
                options.extend(self.stand_ins.registers().iter().cloned().map(Some));
                let named = condition.wanted.iter().filter_map(|wanted| self.stand_ins.register_like(wanted));
                options.extend(named.map(Some));
                if key[ATTESTATION.len()..].starts_with("nitrotpm") {
                    options.extend(condition.examples(&filler).into_iter().map(Some));
                }
            } else {
                options.extend([None, any_text(key)]);
                options.extend(condition.examples(&filler).into_iter().map(Some));
            }
        }
        if self.is_sealing {
            let purposes = [None, Some(SEALED_KEY.to_owned()), any_text(PURPOSE)];
            choices.entry(PURPOSE).or_default().extend(purposes);
        }
        choices.into_iter().map(|(key, options)| (key.to_owned(), options.into_iter().collect())).collect()
    }

    /// Whether the request can be, and is one that should not be allowed.
    fn counts(&self, request: &Request, is_ours: bool) -> bool {
        let value = |key: &str| request.values.get(key).and_then(Option::as_deref);
        if self.is_sealing && value(PURPOSE).is_some_and(|purpose| purpose.eq_ignore_ascii_case(BOOT_SECRET))
        {
            return false;
        }
        let register =
            |number: u8| value(&format!("{ATTESTATION}pcr{number}")).unwrap_or_default().to_owned();
        let (pcr1, pcr2) = (register(1), register(2));
        // Between them they measure all that PCR0 does.
        let is_image = self.images.iter().any(|image| is(&pcr1, &image.pcr1) && is(&pcr2, &image.pcr2));
        is_ours || !is_image
    }

    fn is_allowed(&self, request: &Request) -> bool {
        let conditions = &self.statement.conditions;
        // Of several patterns for one key, no example may be described by all.
        let is_open = |condition: &Condition| {
            condition.has_wildcards()
                && conditions.iter().filter(|it| it.key_in_lower_case == condition.key_in_lower_case).count()
                    > 1
        };
        conditions.iter().all(|condition| is_open(condition) || condition.may_hold(request))
            && !self.denials.iter().any(|denial| denial.conditions.iter().all(|it| it.is_certain(request)))
    }

    /// The images that conditions name and that are none of those given.
    fn other_images(&self) -> Vec<Enclave> {
        let mut found: Vec<Enclave> = Vec::new();
        for condition in self.conditions() {
            let key = &condition.key_in_lower_case;
            if !condition.is_of_attestation() || !key.ends_with(":pcr0") && !key.ends_with(":imagesha384") {
                continue;
            }
            for named in &condition.wanted {
                let Some(pcr0) = self.stand_ins.register_like(named) else { continue };
                let is_known = self.images.iter().any(|image| is(&pcr0, &image.pcr0))
                    || pcr0.bytes().all(|byte| byte == b'0');
                let enclave = Enclave::OtherImage { pcr0, named: named.clone() };
                if !is_known && !found.contains(&enclave) {
                    found.push(enclave);
                }
            }
        }
        found
    }
}

/// Sets the facts that these conditions require, where none is known yet.
fn satisfy<'c>(
    conditions: impl Iterator<Item = &'c Condition>,
    values: &mut BTreeMap<String, Option<String>>,
) {
    for condition in conditions.filter(|condition| !condition.asked_for().is_empty()) {
        let asked_for = || condition.asked_for().first().cloned();
        values.entry(condition.key_in_lower_case.clone()).or_insert_with(asked_for);
    }
}

/// The condition key of a register, in lower case.
fn register_key(register: u8) -> String {
    format!("{ATTESTATION}pcr{register}")
}

fn is(text: &str, pcr: &Pcr) -> bool {
    text.eq_ignore_ascii_case(&pcr.to_string())
}
