//! Policies of KMS and IAM for given images, from the committed templates.
//!
//! A statement with the PCRs of "the image" becomes one for each accepted image. So an old and a new image can both be
//! served during a roll-over. Account, region, key and roles become the operator's.
//! A placeholder that remains is refused: it would match nothing, or the wrong thing.

mod conditions;

use std::fmt;

use configuration::{KeyArn, Region};
use serde_json::{Map, Value};

use crate::eif::MeasurementSet;
use crate::parent_pin::ParentPin;

/// The condition keys that name a register, less its number.
const PCR_KEY: &str = "kms:RecipientAttestation:PCR";

/// A register in hex.
const PCR_DIGITS: usize = 96;

/// The rest of a placeholder for a register's value in a template, after the register.
const PCR_PLACEHOLDER: &str = "-of-the-image";

/// The account, region and key of the templates.
const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";
const KEY_ID: &str = "key/00000000-0000-0000-0000-000000000000";

/// An old image, a new one and one to go back to; more than seven do not fit into the policies of a role (10,240
/// bytes).
const MAX_IMAGES: usize = 4;

/// One at work, one that takes its place, and two to spare. With two images they fit into the policies of a role.
const MAX_PINNED_INSTANCES: usize = 4;

/// The names that a policy uses.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// Such as `aws`.
    pub partition: String,
    /// Such as `eu-central-1`.
    pub region: String,
    /// 12 digits.
    pub account: String,
    /// The keys of the measured configuration, the sealing key first; none before there is a key.
    pub key_arns: Vec<String>,
    /// The roles that stand in place of the templates', as `(role name in the template, ARN)`.
    pub roles: Vec<(&'static str, String)>,
    /// The measurements of its parent instance that an enclave needs, beside its image.
    pub pins: Vec<ParentPin>,
}

/// The role of the instance, as templates name it.
pub const INSTANCE_ROLE: &str = "nitro-signer-instance";

/// The roles that a template may name: of the instance, of the sealer, of the key administrator.
pub const ROLES: [&str; 3] = [INSTANCE_ROLE, "nitro-signer-secret-sealer", "nitro-signer-key-administrator"];

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRendered {
    /// The template is not a policy in JSON.
    Template(String),
    /// More images than there is room for.
    TooManyImages,
    /// More instances than there is room for.
    TooManyInstances,
    /// Two sets of measurements are the same.
    SameImage,
    /// No statement of the template asks for an image.
    NothingToRender,
    /// This place of the policy still has a placeholder.
    Placeholder(String),
    /// This statement could give the key to something else than an image.
    Open(String),
    /// An account is not 12 digits.
    Account,
    /// A role is not the ARN of one.
    Role(&'static str),
}

impl fmt::Display for NotRendered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(reason) => write!(formatter, "the template is no policy: {reason}"),
            Self::TooManyImages => write!(formatter, "more than {MAX_IMAGES} images"),
            Self::TooManyInstances => write!(formatter, "more than {MAX_PINNED_INSTANCES} instances"),
            Self::SameImage => formatter.write_str("the same measurements are given twice"),
            Self::NothingToRender => {
                formatter.write_str("no statement of the template asks for the PCRs of an image")
            }
            Self::Placeholder(place) => write!(formatter, "{place} still holds a placeholder"),
            Self::Open(error) => formatter.write_str(error),
            Self::Account => formatter.write_str("an account is 12 digits"),
            Self::Role(role) => write!(formatter, "what is given for {role} is not the ARN of a role"),
        }
    }
}

impl std::error::Error for NotRendered {}

/// The policy for these images, or, for none, the one for the time before there is an image: without any statement
/// that an image could satisfy.
///
/// # Errors
/// [`NotRendered`]
pub fn render(template: &str, images: &[MeasurementSet], subjects: &Subjects) -> Result<String, NotRendered> {
    if images.len() > MAX_IMAGES {
        return Err(NotRendered::TooManyImages);
    }
    if subjects.pins.iter().any(|pin| pin.values().len() > MAX_PINNED_INSTANCES) {
        return Err(NotRendered::TooManyInstances);
    }
    if images
        .iter()
        .enumerate()
        .any(|(index, image)| images[..index].iter().any(|other| other.pcr0 == image.pcr0))
    {
        return Err(NotRendered::SameImage);
    }
    let mut policy: Map<String, Value> =
        serde_json::from_str(template).map_err(|error| NotRendered::Template(error.to_string()))?;
    let statements = policy.get_mut("Statement").and_then(Value::as_array_mut);
    let statements = statements.ok_or_else(|| NotRendered::Template("no list of statements".to_owned()))?;
    if !statements.iter().any(asks_for_an_image) {
        return Err(NotRendered::NothingToRender);
    }
    *statements =
        statements.iter().flat_map(|statement| for_images(statement, images, &subjects.pins)).collect();
    let mut policy = Value::Object(policy);
    each_text(&mut policy, &mut |text| subjects.put_into(text))?;
    let statements = policy.get_mut("Statement").and_then(Value::as_array_mut);
    for statement in statements.into_iter().flatten() {
        let makes_data_keys = statement["Action"] == "kms:GenerateDataKey";
        // The image makes them under the sealing key only.
        let key_count = if makes_data_keys { 1 } else { subjects.key_arns.len() };
        put_keys_into(statement, subjects.key_arns.get(..key_count).unwrap_or_default());
    }
    find_placeholder(&policy, "").map_or(Ok(()), |place| Err(NotRendered::Placeholder(place)))?;
    let statements = policy.get("Statement").and_then(Value::as_array).into_iter().flatten();
    for (index, statement) in statements.enumerate() {
        conditions::check(statement)
            .map_err(|error| NotRendered::Open(format!("Statement[{index}] {error}")))?;
    }
    Ok(format!("{policy:#}\n"))
}

impl Subjects {
    /// The keys of a measured configuration, the sealing key first, and where that is.
    #[must_use]
    pub fn of_keys(key_arns: &[KeyArn]) -> Self {
        let sealing_key = key_arns.first().map_or("", KeyArn::as_str);
        let part = |index| sealing_key.split(':').nth(index).unwrap_or_default().to_owned();
        Self {
            partition: part(1),
            region: part(3),
            account: part(4),
            key_arns: key_arns.iter().map(ToString::to_string).collect(),
            roles: Vec::new(),
            pins: Vec::new(),
        }
    }

    /// An account in which there is no key yet.
    ///
    /// # Errors
    /// [`NotRendered::Account`]
    pub fn of_account(account: &str, region: &Region) -> Result<Self, NotRendered> {
        if !is_account(account) {
            return Err(NotRendered::Account);
        }
        Ok(Self {
            partition: region.partition().name().to_owned(),
            region: region.to_string(),
            account: account.to_owned(),
            key_arns: Vec::new(),
            roles: Vec::new(),
            pins: Vec::new(),
        })
    }

    /// The ARN that stands in place of this role of the templates.
    #[must_use]
    pub fn role_arn(&self, role: &str) -> String {
        let given = self.roles.iter().find(|(name, _)| *name == role).map(|(_, arn)| arn.clone());
        given.unwrap_or_else(|| format!("arn:{}:iam::{}:role/{role}", self.partition, self.account))
    }

    /// Replaces the templates' parts of an ARN.
    fn put_into(&self, text: &mut String) -> Result<(), NotRendered> {
        for (role, arn) in &self.roles {
            if !is_role_arn(arn) {
                return Err(NotRendered::Role(role));
            }
            if *text == format!("arn:aws:iam::{ACCOUNT}:role/{role}") {
                arn.clone_into(text);
                return Ok(());
            }
        }
        if text.contains(KEY_ID) {
            return Ok(());
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        if let ["arn", "aws", service, region, account, resource] = parts[..] {
            let region = if region == REGION { &self.region } else { region };
            let account = if account == ACCOUNT { &self.account } else { account };
            *text = format!("arn:{}:{service}:{region}:{account}:{resource}", self.partition);
        } else if text == ACCOUNT {
            self.account.clone_into(text);
        }
        Ok(())
    }
}

/// The statement for each image, on a parent instance with these pins; or as it is, if it asks for no image.
fn for_images(statement: &Value, images: &[MeasurementSet], pins: &[ParentPin]) -> Vec<Value> {
    if !asks_for_an_image(statement) {
        return vec![statement.clone()];
    }
    let of_image = |(index, image): (usize, &MeasurementSet)| {
        let mut statement = statement.clone();
        let operators = statement.get_mut("Condition").and_then(Value::as_object_mut);
        for keys in operators.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
            let mut asks_for_image = false;
            for (register, pcr) in [&image.pcr0, &image.pcr1, &image.pcr2].into_iter().enumerate() {
                // A placeholder of another register stays, and is found.
                if let Some(value) = keys.get_mut(&format!("{PCR_KEY}{register}"))
                    && *value == format!("PCR{register}{PCR_PLACEHOLDER}")
                {
                    *value = pcr.to_string().into();
                    asks_for_image = true;
                }
            }
            for pin in pins.iter().filter(|_| asks_for_image) {
                let mut values: Vec<Value> = pin.values().iter().map(|pcr| pcr.to_string().into()).collect();
                let value = if values.len() == 1 { values.remove(0) } else { values.into() };
                keys.insert(format!("{PCR_KEY}{}", pin.register()), value);
            }
        }
        if let Some(Value::String(sid)) = statement.get_mut("Sid") {
            sid.push_str(&format!("OfImage{}", index + 1));
        }
        statement
    };
    images.iter().enumerate().map(of_image).collect()
}

fn asks_for_an_image(statement: &Value) -> bool {
    let mut asks = false;
    if let Some(Value::Object(operators)) = statement.get("Condition") {
        for (key, value) in operators.values().filter_map(Value::as_object).flatten() {
            asks |=
                key.starts_with(PCR_KEY) && value.as_str().is_some_and(|it| it.ends_with(PCR_PLACEHOLDER));
        }
    }
    asks
}

/// The template's one key becomes all of `key_arns`.
fn put_keys_into(value: &mut Value, key_arns: &[String]) {
    match value {
        Value::String(text) if text.ends_with(KEY_ID) => match key_arns {
            // Stays, and is found to be a placeholder.
            [] => {}
            [one] => one.clone_into(text),
            several => *value = several.into(),
        },
        Value::Array(values) => {
            let with_keys = |mut value: Value| {
                let is_list = value.is_array();
                put_keys_into(&mut value, key_arns);
                match value {
                    // A list within a list is no policy.
                    Value::Array(several) if !is_list => several,
                    value => vec![value],
                }
            };
            *values = std::mem::take(values).into_iter().flat_map(with_keys).collect();
        }
        Value::Object(members) => members.values_mut().for_each(|value| put_keys_into(value, key_arns)),
        _ => {}
    }
}

fn each_text(
    value: &mut Value,
    change: &mut impl FnMut(&mut String) -> Result<(), NotRendered>,
) -> Result<(), NotRendered> {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().try_for_each(|value| each_text(value, change)),
        Value::Object(members) => members.values_mut().try_for_each(|value| each_text(value, change)),
        _ => Ok(()),
    }
}

/// Where a text is still the template's.
fn find_placeholder(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::String(text) => is_placeholder(text).then(|| place.to_owned()),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| find_placeholder(value, &format!("{place}[{index}]"))),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            if is_placeholder(name) || is_pcr_key(name) && !is_pcr(value) {
                return Some(place);
            }
            find_placeholder(value, &place)
        }),
        _ => None,
    }
}

/// The names of condition keys have no case.
fn is_pcr_key(name: &str) -> bool {
    name.get(..PCR_KEY.len()).is_some_and(|start| start.eq_ignore_ascii_case(PCR_KEY))
}

/// The value of a register, or several, or the value of the operator Null.
fn is_pcr(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            matches!(text.as_str(), "true" | "false")
                || text.len() == PCR_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        Value::Array(values) => !values.is_empty() && values.iter().all(is_pcr),
        Value::Bool(_) => true,
        _ => false,
    }
}

fn is_placeholder(text: &str) -> bool {
    let is_debug_mode = text.len() == PCR_DIGITS && text.bytes().all(|byte| byte == b'0');
    is_debug_mode || stands_for_something(text)
}

/// Whether a text has something in it that was to be replaced.
pub(crate) fn stands_for_something(text: &str) -> bool {
    let marks = [ACCOUNT, KEY_ID, PCR_PLACEHOLDER, "${", "<", ">", "REPLACE", "PLACEHOLDER"];
    marks.iter().any(|mark| text.contains(mark))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, "iam", "", account, resource] => {
            partition.starts_with("aws")
                && is_account(account)
                && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
