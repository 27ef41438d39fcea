//! Checks a running signer from its parent instance. Changes nothing.
//!
//! Root on this instance can fake everything that it sees. It finds mistakes and no attackers.

mod aws;
mod settings;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use configuration::{KeyArn, TlsMode};
use tokio::time::timeout;
use verification::{Expectation, ExpectedPcrs, Finding, Root};

use self::aws::Aws;
use super::boot_file::{BOOT_FILE, BootFile};
use super::cid_file::{self, CID_FILE};
use super::failed::{Failed, Kind};
use super::imds::Imds;
use super::machine::Machine;
use super::nitro_cli::{Enclave, NitroCli};
use super::ours::Ours;
use super::point::Point;
use super::{SERVICE_USER, ownership, release, systemd};
use crate::attestation::question;
use crate::connection::Client;
use crate::eif::MeasurementSet;
use crate::nitro_toml::NitroToml;
use crate::parent_pin::{InstanceId, ParentPin};
use crate::policy_check::{Expectation as ExpectedPolicy, check_key_policy};
use crate::tls_trust::TlsTrust;

/// The proxy and the enclave are on this machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Read and write, for the owner.
const PRIVATE: u32 = 0o600;

const KEY_POLICY: &str = "key policy";
const ENCRYPT: &str = "kms:Encrypt";

/// The expected state.
pub struct Options {
    /// The folder of the expected release. Its image may be missing.
    pub release: PathBuf,
    /// The policy of the key and its name for reports, unless KMS is to be asked.
    pub policy: Option<(String, String)>,
    /// The name of the instance's role, unless AWS is to be asked.
    pub role: Option<String>,
    /// Whether the key's policy has to ask for the instance's role.
    pub is_role_pinned: bool,
    /// The instances that the key's policy has to ask for; any will do if there are none.
    pub pinned_instances: Vec<InstanceId>,
    /// The metadata service.
    pub imds: Imds,
    /// A root of attestation documents in AWS's place, and its name for reports.
    pub root: Option<(Root, String)>,
}

/// Checks each point.
///
/// # Errors
/// [`Kind::NoInput`] without the release's `nitro.toml`, and the refusals of its settings and of the boot file.
pub async fn check(machine: &Machine, options: &Options) -> Result<Vec<Point>, Failed> {
    let check = Check {
        machine,
        options,
        nitro_toml: release::read_nitro_toml(&options.release)?,
        boot_file: BootFile::read(machine)?,
        aws: Aws::new(machine),
    };
    let port = check.boot_file.listen_port()?;
    let mut points = Vec::new();
    let running = check.enclave(&mut points);
    points.push(check.measurements(running.as_ref()));
    points.push(settings::judge(&check.nitro_toml, &options.release.join(release::IMAGE)));
    points.push(check.attestation(port).await);
    points.extend(check.key_policies());
    points.extend([check.boot_file_mode(), check.proxy()?, check.imds().await]);
    points.extend([check.security_groups(port).await, check.trails()]);
    Ok(points)
}

struct Check<'c> {
    machine: &'c Machine,
    options: &'c Options,
    nitro_toml: NitroToml,
    boot_file: BootFile,
    aws: Aws<'c>,
}

impl Check<'_> {
    /// The enclave that the proxy dials, if it runs.
    fn enclave(&self, points: &mut Vec<Point>) -> Option<Enclave> {
        const NAME: &str = "enclave";
        const DEBUG: &str = "debug mode";
        let name = &self.nitro_toml.configuration().name;
        let ours = match NitroCli::new(self.machine).describe_enclaves() {
            Ok(listing) => Ours::read(self.machine, Some(name)).of(listing),
            Err(error) => {
                points.extend([Point::fail(NAME, error), Point::fail(DEBUG, "the enclaves are not known")]);
                return None;
            }
        };
        let cid = match cid_file::read(self.machine) {
            Ok(cid) => cid,
            Err(failed) => {
                points.extend([Point::fail(NAME, failed), Point::fail(DEBUG, "the enclave is not known")]);
                return None;
            }
        };
        let running = ours.iter().find(|enclave| enclave.is_running() && Some(enclave.cid) == cid).cloned();
        points.push(match &running {
            None => Point::fail(NAME, format_args!("none of {name} runs with the CID of {CID_FILE}")),
            Some(_) if ours.len() > 1 => {
                let ids: Vec<_> = ours.iter().map(|enclave| enclave.id.as_str()).collect();
                let finding = format!("{} of {name} run, and one should: {}", ours.len(), ids.join(", "));
                Point::fail(NAME, finding)
                    .with_remedy("nitro-cli terminate-enclave --enclave-id ends the old one")
            }
            Some(enclave) => {
                Point::pass(NAME, format_args!("{} runs, with the CID of {CID_FILE}", enclave.id))
            }
        });
        let debugged: Vec<_> = ours
            .iter()
            .filter(|enclave| enclave.flags != "NONE")
            .map(|enclave| format!("{} has {}", enclave.id, enclave.flags))
            .collect();
        points.push(Point::unless(&debugged, DEBUG, "off"));
        running
    }

    fn noted(&self) -> Result<&MeasurementSet, String> {
        let none = "[pcr] of nitro.toml has no measurements, or zeros as in debug mode; infra/build-eif.sh writes them";
        self.nitro_toml.noted_measurements().ok_or_else(|| none.to_owned())
    }

    fn measurements(&self, running: Option<&Enclave>) -> Point {
        const NAME: &str = "measurements";
        let noted = match self.noted() {
            Ok(noted) => noted,
            Err(error) => return Point::fail(NAME, error),
        };
        let (mut errors, mut looked) = (Vec::new(), vec!["nitro.toml"]);
        let image = self.options.release.join(release::IMAGE);
        if image.exists() {
            match NitroCli::new(self.machine).describe_eif(&image) {
                Ok(measured) => errors.extend(differing(noted, &measured, "of the image")),
                Err(error) => errors.push(error.to_string()),
            }
            looked.push("the image");
        }
        if let Some(running) = running {
            match &running.measurements {
                Some(measured) => errors.extend(differing(noted, measured, "of the running enclave")),
                None => {
                    errors
                        .push("nitro-cli describe-enclaves names no PCRs of the running enclave".to_owned());
                }
            }
            looked.push("the running enclave by nitro-cli");
        }
        Point::unless(&errors, NAME, format_args!("the same in {}", looked.join(", ")))
    }

    /// Asks the enclave for a document, as a client does, and checks all of it.
    async fn attestation(&self, port: u16) -> Point {
        const NAME: &str = "attestation";
        let expected = self.noted().and_then(|noted| {
            let json = noted.to_json().to_string();
            ExpectedPcrs::from_measurements_json(&json).map_err(|error| error.to_string())
        });
        let expected =
            expected.and_then(|pcrs| Expectation::one_of(vec![pcrs]).map_err(|doubt| doubt.to_string()));
        let mut expectation = match expected {
            Ok(expectation) => expectation,
            Err(error) => return Point::fail(NAME, error),
        };
        let has_tls = !matches!(self.nitro_toml.configuration().tls, TlsMode::Off);
        if !has_tls {
            expectation = expectation.accepting_http();
        }
        let mut root = "AWS's root".to_owned();
        if let Some((other, name)) = &self.options.root {
            expectation = expectation.with_root(other.clone());
            root = format!("the root in {name}, WHICH IS NOT AWS'S");
        }
        let scheme = if has_tls { "https" } else { "http" };
        let Ok(endpoint) = format!("{scheme}://127.0.0.1:{port}").parse() else {
            return Point::fail(NAME, format_args!("{port} is no port"));
        };
        let client = Client::new(endpoint, &TlsTrust::Anyone);
        let ask = async { question(&mut client.connect().await?, &expectation).await };
        let examination = match timeout(ANSWER_DEADLINE, ask).await {
            Ok(Ok(questioned)) => questioned.examination,
            Ok(Err(error)) => {
                return Point::fail(NAME, format_args!("port {port} gives no document: {error}"));
            }
            Err(_) => {
                let seconds = ANSWER_DEADLINE.as_secs();
                return Point::fail(NAME, format_args!("port {port} gives no document within {seconds} s"));
            }
        };
        let errors: Vec<String> = examination
            .findings()
            .filter_map(|(check, finding)| match finding {
                Finding::Doubtful(doubt) => Some(format!("{check}: {doubt}")),
                Finding::Good | Finding::Waived | Finding::NotReached => None,
            })
            .collect();
        let connection = if has_tls { ", and is for the TLS key of this connection" } else { "" };
        let good = format!(
            "the enclave's document is signed under {root}, answers this request, has the PCRs of nitro.toml{connection}"
        );
        Point::unless(&errors, NAME, good)
    }

    fn key_policies(&self) -> Vec<Point> {
        let caller = self.options.role.clone().map_or_else(|| self.aws.role(), |name| self.role_arn(&name));
        if let Some((text, name)) = &self.options.policy {
            return self.key_policy(text, name, caller.as_deref());
        }
        let kms = &self.nitro_toml.configuration().kms;
        let region = kms.region.to_string();
        let policy = |arn: &KeyArn| match self.aws.key_policy(arn.as_str(), &region) {
            Ok(text) => self.key_policy(&text, arn.as_str(), caller.as_deref()),
            Err(error) => vec![
                Point::fail(KEY_POLICY, format_args!("that of {arn} cannot be read: {error}"))
                    .with_remedy("allow kms:GetKeyPolicy, or give it with --policy"),
                Point::fail(ENCRYPT, format_args!("the key policy of {arn} was not read")),
            ],
        };
        kms.key_arns().iter().flat_map(policy).collect()
    }

    /// The role `name` in the account of the keys.
    fn role_arn(&self, name: &str) -> Option<String> {
        let key = self.nitro_toml.configuration().kms.sealing_key_arn.as_str();
        let mut parts = key.split(':');
        let (partition, account) = (parts.nth(1)?, parts.nth(2)?);
        Some(format!("arn:{partition}:iam::{account}:role/{name}"))
    }

    /// The pins that the key's policy has to require of this instance. `None` if the role is required and not known.
    fn pins(&self, instance_role: Option<&str>) -> Option<Vec<ParentPin>> {
        let mut pins = Vec::new();
        if self.options.is_role_pinned {
            pins.push(ParentPin::of_role(&role_of_session(instance_role?)?));
        }
        if !self.options.pinned_instances.is_empty() {
            pins.push(ParentPin::of_instances(&self.options.pinned_instances));
        }
        Some(pins)
    }

    fn key_policy(&self, text: &str, of: &str, instance_role: Option<&str>) -> Vec<Point> {
        let not_read = |error: &dyn std::fmt::Display| {
            [KEY_POLICY, ENCRYPT].map(|name| Point::fail(name, format_args!("of {of}: {error}"))).to_vec()
        };
        let noted = match self.noted() {
            Ok(noted) => noted,
            Err(error) => return vec![Point::fail(KEY_POLICY, error)],
        };
        let Some(pins) = self.pins(instance_role) else {
            return not_read(
                &"the instance's role, which --pin-role asks for, is not known: give it with --role",
            );
        };
        let expectation = ExpectedPolicy {
            images: std::slice::from_ref(noted),
            keys: &self.nitro_toml.configuration().kms.key_arns(),
            instance_role,
            pins: &pins,
        };
        let found = match check_key_policy(text, &expectation) {
            Ok(found) => found,
            Err(error) => return not_read(&error),
        };
        let (encrypts, uses): (Vec<_>, Vec<_>) =
            found.doubts.iter().partition(|doubt| doubt.is_about_encrypting());
        let words =
            |doubts: Vec<&crate::policy_check::Doubt>| doubts.iter().map(ToString::to_string).collect();
        let mut uses: Vec<String> = words(uses);
        uses.extend(found.lacks);
        let encrypts: Vec<String> = words(encrypts);
        let errors_of = |errors: Vec<String>| errors.into_iter().map(|it| format!("of {of}: {it}")).collect();
        let (uses, encrypts): (Vec<_>, Vec<_>) = (errors_of(uses), errors_of(encrypts));
        let uses = Point::unless(
            &uses,
            KEY_POLICY,
            format_args!("of {of}: the key is used by the image of nitro.toml only"),
        );
        vec![
            if found.notes.is_empty() { uses } else { uses.with_remedy(found.notes.join("; ")) },
            Point::unless(
                &encrypts,
                ENCRYPT,
                format_args!("of {of}: not for this instance, so it cannot make a ticket secret"),
            ),
        ]
    }

    fn boot_file_mode(&self) -> Point {
        const NAME: &str = "boot file";
        let path = self.machine.path(BOOT_FILE);
        match owner_and_mode(self.machine, &path) {
            Ok((owner, PRIVATE)) if owner == SERVICE_USER => {
                Point::pass(NAME, format_args!("{} is readable by {SERVICE_USER} only", path.display()))
            }
            Ok((owner, mode)) => {
                let finding = format!("{} is {mode:o} {owner} and not 600 {SERVICE_USER}", path.display());
                Point::fail(NAME, finding)
                    .with_remedy("setup-parent.sh corrects it; then change the secrets in it")
            }
            Err(error) => Point::fail(NAME, error),
        }
    }

    fn proxy(&self) -> Result<Point, Failed> {
        const NAME: &str = "proxy";
        Ok(if systemd::is_active(self.machine, "nitro-parent.service")? {
            Point::pass(NAME, "nitro-parent.service is active")
        } else {
            Point::fail(NAME, "nitro-parent.service is not active")
                .with_remedy("systemctl status nitro-parent.service")
        })
    }

    async fn imds(&self) -> Point {
        const NAME: &str = "IMDS";
        match self.options.imds.status_without_token().await {
            Ok(401) => Point::pass(NAME, "asks for a token (IMDSv2)"),
            Ok(status) => Point::fail(NAME, format_args!("answers {status} without a token"))
                .with_remedy("aws ec2 modify-instance-metadata-options --http-tokens required"),
            Err(error) => Point::unknown(NAME, error),
        }
    }

    async fn security_groups(&self, port: u16) -> Point {
        const NAME: &str = "security groups";
        let imds = &self.options.imds;
        let groups = async {
            let token = imds.token().await?;
            let mac = imds.get(&token, "/latest/meta-data/mac", "a MAC address").await?;
            let path = format!(
                "/latest/meta-data/network/interfaces/macs/{}/security-group-ids",
                mac.trim_end_matches('/')
            );
            imds.get(&token, &path, "ids of security groups").await
        };
        let groups = match groups.await {
            Ok(groups) => groups,
            Err(error) => return Point::unknown(NAME, error),
        };
        let region = self.nitro_toml.configuration().kms.region.to_string();
        match self.aws.open_groups(groups.lines(), port, &region) {
            Ok(open) => Point::unless(
                &open,
                NAME,
                format_args!("no security group opens port {port} to every address"),
            ),
            Err(error) => Point::unknown(NAME, error).with_remedy("allow ec2:DescribeSecurityGroups"),
        }
    }

    fn trails(&self) -> Point {
        const NAME: &str = "CloudTrail";
        let region = self.nitro_toml.configuration().kms.region.to_string();
        match self.aws.trails(&region) {
            Ok(0) => Point::fail(NAME, "no trail: the use of the key is not recorded"),
            Ok(count) => {
                Point::pass(NAME, format_args!("{count} here; whether they record KMS is not checked"))
            }
            Err(error) => Point::unknown(NAME, error).with_remedy("allow cloudtrail:DescribeTrails"),
        }
    }
}

fn differing(noted: &MeasurementSet, measured: &MeasurementSet, whose: &str) -> Vec<String> {
    let pairs = [(noted.pcr0, measured.pcr0), (noted.pcr1, measured.pcr1), (noted.pcr2, measured.pcr2)];
    let differing = pairs.into_iter().enumerate().filter(|(_, (noted, measured))| noted != measured);
    differing.map(|(index, _)| format!("PCR{index} {whose} is not that of nitro.toml")).collect()
}

/// The ARN of the role of a session, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`. Another ARN is the role's own.
fn role_of_session(arn: &str) -> Option<String> {
    let Some((account, session)) = arn.split_once(":assumed-role/") else { return Some(arn.to_owned()) };
    let (role, _) = session.split_once('/')?;
    Some(format!("{}:role/{role}", account.replacen(":sts:", ":iam:", 1)))
}

fn owner_and_mode(machine: &Machine, path: &Path) -> Result<(String, u32), Failed> {
    let unread =
        |error: io::Error| Failed::new(Kind::Unavailable, format_args!("{}: {error}", path.display()));
    let mode = fs::symlink_metadata(path).map_err(unread)?.mode() & 0o7777;
    Ok((ownership::owner(machine, path)?, mode))
}
