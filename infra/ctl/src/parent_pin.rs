//! Registers that depend on the parent instance and not on the image: PCR3 measures the ARN of the instance's role,
//! PCR4 the instance's id (AWS, Nitro Enclaves user guide, "Where to get an enclave's measurements").

use std::fmt;
use std::str::FromStr;

use crate::eif::Pcr;

/// The lengths of an instance's id after `i-`: since 2016, and before.
const ID_DIGITS: [usize; 2] = [17, 8];

/// A register of the parent instance, and the values that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentPin {
    register: u8,
    values: Vec<Pcr>,
}

/// The id of an EC2 instance, such as `i-0123456789abcdef0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId(String);

/// A text is not the id of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInstanceId;

impl fmt::Display for InvalidInstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not the id of an instance, such as i-0123456789abcdef0")
    }
}

impl std::error::Error for InvalidInstanceId {}

impl FromStr for InstanceId {
    type Err = InvalidInstanceId;

    fn from_str(text: &str) -> Result<Self, InvalidInstanceId> {
        let digits = text.strip_prefix("i-").ok_or(InvalidInstanceId)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if ID_DIGITS.contains(&digits.len()) && digits.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidInstanceId)
        }
    }
}

impl ParentPin {
    /// PCR3 of an instance with this role.
    #[must_use]
    pub fn of_role(arn: &str) -> Self {
        Self { register: 3, values: vec![Pcr::of_text(arn)] }
    }

    /// PCR4 of one of these instances.
    #[must_use]
    pub fn of_instances(ids: &[InstanceId]) -> Self {
        Self { register: 4, values: ids.iter().map(|id| Pcr::of_text(&id.0)).collect() }
    }

    /// 3 or 4.
    #[must_use]
    pub const fn register(&self) -> u8 {
        self.register
    }

    /// Each value that will do.
    #[must_use]
    pub fn values(&self) -> &[Pcr] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use attestation::Document;

    use super::{InstanceId, ParentPin};

    /// A document that AWS's hardware signed: its module is named after the instance.
    #[test]
    fn pcr4_is_what_nitro_hardware_measures() {
        let document = include_bytes!("../../attestation/tests/data/attestation-doc-2022.cose");
        let document = Document::parse(document).unwrap();
        let (instance, _) = document.module_id.split_once("-enc").unwrap();
        let pin = ParentPin::of_instances(&[instance.parse().unwrap()]);
        assert_eq!(document.pcrs.get(pin.register()), Some(&pin.values()[0].as_bytes()[..]));
    }

    /// The formula of AWS's guide, by Python's hashlib:
    /// `hashlib.sha384(bytes(48) + b"arn:aws:iam::999988887777:role/nitro-signer-instance").hexdigest()`
    #[test]
    fn pcr3_is_made_of_the_roles_arn() {
        let pin = ParentPin::of_role("arn:aws:iam::999988887777:role/nitro-signer-instance");
        let [value] = pin.values() else { panic!("{pin:?}") };
        assert_eq!((pin.register(), &value.to_string()[..]), (3, PYTHONS));
    }

    const PYTHONS: &str =
        "1ca1598fda049a58ebd00371b64e59b80bb3ff3a921ddf2579db6ac971c2c205a8cc5f6b0bf79293386e734e0370a242";

    #[test]
    fn an_instance_id_is_one() {
        for good in ["i-0123456789abcdef0", "i-01234567"] {
            good.parse::<InstanceId>().unwrap();
        }
        for bad in [
            "",
            "i-",
            "0123456789abcdef0",
            "i-0123456789ABCDEF0",
            "i-0123456789abcdef",
            "i-0123456789abcdeg0",
            "I-01234567",
        ] {
            bad.parse::<InstanceId>().unwrap_err();
        }
    }
}
