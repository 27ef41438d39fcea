//! Checks the needs of a first start before it. Changes nothing.

mod kms_route;

use std::path::Path;
use std::time::Duration;

use configuration::Configuration;
use nix::sys::statvfs::statvfs;

use self::kms_route::{Program, handshake};
use super::allocator::{ALLOCATOR_FILE, ALLOCATOR_UNIT, NodePages, Pages, failure_in};
use super::clock::Tracking;
use super::imds::{Imds, ImdsError, Role};
use super::machine::{Call, Ended, Machine, NotRun};
use super::nitro_cli::{Listing, NitroCli, Version};
use super::point::Point;
use super::vsock_ports::{self, Taken};
use crate::printable::{MAX_WORDS_CHARS, printable};

/// Each of these commands reads something and ends.
const TIMEOUT: Duration = Duration::from_secs(10);

/// AWS gives Enclave Options to instances with 4 vCPUs and more; those with Graviton need 2.
const MIN_VCPUS: u32 = 4;

/// Named enclaves, which `run-enclave --enclave-name` needs.
const MIN_NITRO_CLI: Version = Version { major: 1, minor: 2, patch: 0 };

/// That of Amazon Linux 2023. The units were made for it.
const MIN_SYSTEMD: u32 = 252;

/// The enclave does not go by this clock, but an API on this machine makes tickets by it, and tools verify documents by
/// it. Chrony keeps a clock within milliseconds.
const MAX_CLOCK_OFFSET_S: f64 = 1.0;

/// Two releases of 64 MiB, and the journal.
const MIN_FREE_MIB: u64 = 256;

/// Where releases are kept.
const RELEASES_VOLUME: &str = "/var/lib";

/// The remedy where there is room for one enclave only.
const ROOM_IS_TAKEN: &str =
    "an enclave has them: a start needs run-enclave.sh --replace, or setup-parent.sh --side-by-side";

/// The needs of a start.
#[derive(Clone, Debug)]
pub struct Need<'n> {
    /// That of the release.
    pub configuration: &'n Configuration,
    /// Where its proxy is, for a machine that has none installed.
    pub release: Option<&'n Path>,
}

/// Looks at each point.
pub async fn preflight(machine: &Machine, imds: &Imds, need: &Need<'_>) -> Vec<Point> {
    let mut points = vec![device(machine)];
    let visit = Visit::make(imds).await;
    points.push(instance_type(machine, &visit));
    points.extend(allocator(machine, need.configuration));
    points.extend(ports(machine, need.configuration).await);
    points.extend([metadata_service(&visit), role(visit.role), kms(machine, need).await, clock(machine)]);
    points.extend([selinux(machine), nitro_cli(machine), systemd(machine), setpriv(machine), disk(machine)]);
    points
}

/// The answers of the metadata service.
struct Visit {
    token: Result<(), ImdsError>,
    instance_type: Option<String>,
    /// None without a token.
    role: Option<Result<Role, ImdsError>>,
}

impl Visit {
    async fn make(imds: &Imds) -> Self {
        match imds.token().await {
            Ok(token) => {
                let path = "/latest/meta-data/instance-type";
                let instance_type = imds.get(&token, path, "an instance type").await.ok();
                Self { token: Ok(()), instance_type, role: Some(imds.role(&token).await) }
            }
            Err(error) => Self { token: Err(error), instance_type: None, role: None },
        }
    }
}

fn device(machine: &Machine) -> Point {
    const NAME: &str = "enclave device";
    if machine.path("/dev/nitro_enclaves").exists() {
        return Point::pass(NAME, "/dev/nitro_enclaves exists");
    }
    let remedy =
        "launch an instance with --enclave-options Enabled=true; on one that has it, modprobe nitro_enclaves";
    Point::fail(NAME, "/dev/nitro_enclaves is missing").with_remedy(remedy)
}

fn instance_type(machine: &Machine, visit: &Visit) -> Point {
    const NAME: &str = "instance type";
    let kind = visit.instance_type.as_deref().unwrap_or("of an unknown type");
    let vcpus = output(machine, "nproc", &["--all"]).and_then(|text| {
        text.trim().parse::<u32>().map_err(|_| "nproc --all: expected a number, got another text".to_owned())
    });
    match vcpus {
        Ok(vcpus) if vcpus >= MIN_VCPUS => Point::pass(NAME, format_args!("{kind}, {vcpus} vCPUs")),
        Ok(vcpus) => Point::fail(
            NAME,
            format_args!("{kind}, {vcpus} vCPUs; an instance with an enclave needs {MIN_VCPUS}"),
        )
        .with_remedy("take a larger instance of a Nitro type, such as m5.xlarge"),
        Err(error) => Point::unknown(NAME, error).with_remedy("see the list of vCPUs in the EC2 console"),
    }
}

/// CPUs and memory for one enclave.
fn allocator(machine: &Machine, configuration: &Configuration) -> Vec<Point> {
    const NAME: &str = "allocator";
    let call = systemctl(&["is-active", "--quiet", ALLOCATOR_UNIT]);
    if !matches!(machine.run(&call), Ok(Ended { status: 0, .. })) {
        let failure = allocator_failure(machine);
        let (finding, remedy) = match &failure {
            Some(failure) => (failure.line.as_str(), failure.remedy),
            None => ("nitro-enclaves-allocator.service is not active", "setup-parent.sh starts it"),
        };
        return vec![Point::fail(NAME, finding).with_remedy(remedy)];
    }
    vec![memory(machine, configuration.enclave.memory_mib), cpus(machine, configuration.enclave.cpu_count)]
}

/// The cause in the journal of the allocator's last start.
pub(super) fn allocator_failure(machine: &Machine) -> Option<super::allocator::AllocatorFailure> {
    let arguments = ["--unit", ALLOCATOR_UNIT, "--boot", "--lines=30", "--no-pager"];
    let ended = machine.run(&Call::new("journalctl", arguments, TIMEOUT)).ok()?;
    failure_in(&ended.stdout)
}

fn memory(machine: &Machine, enclave_mib: u32) -> Point {
    const NAME: &str = "enclave memory";
    let nodes = machine.path("/sys/devices/system/node");
    let nodes = match Pages::of_nodes(&nodes) {
        Ok(nodes) => nodes,
        Err(error) => {
            let finding = format!("the huge pages below {} cannot be read: {error}", nodes.display());
            return Point::unknown(NAME, finding)
                .with_remedy("cat /sys/devices/system/node/node*/hugepages/*/free_hugepages");
        }
    };
    let fits = |pages: &Pages| pages.fit(1, enclave_mib);
    let words = |pages: fn(&NodePages) -> &Pages| {
        let nodes: Vec<_> = nodes.iter().map(|node| format!("{}: {}", node.name, pages(node))).collect();
        nodes.join(", ")
    };
    if let Some(node) = nodes.iter().find(|node| fits(&node.free)) {
        return Point::pass(NAME, format_args!("{} free on {}, for {enclave_mib} MiB", node.free, node.name));
    }
    let free = words(|node| &node.free);
    if nodes.iter().any(|node| fits(&node.reserved)) {
        return Point::unknown(NAME, format_args!("no {enclave_mib} MiB in the free pages ({free})"))
            .with_remedy(ROOM_IS_TAKEN);
    }
    let reserved = words(|node| &node.reserved);
    let remedy = format!(
        "run setup-parent.sh again, or correct {ALLOCATOR_FILE} and systemctl restart {ALLOCATOR_UNIT}"
    );
    Point::fail(NAME, format_args!("no {enclave_mib} MiB in the reserved pages ({reserved})"))
        .with_remedy(remedy)
}

fn cpus(machine: &Machine, cpu_count: u32) -> Point {
    const NAME: &str = "enclave CPUs";
    let path = machine.path("/sys/module/nitro_enclaves/parameters/ne_cpus");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let finding = format!("{}: {error}", path.display());
            return Point::fail(NAME, finding)
                .with_remedy("the driver is not loaded: modprobe nitro_enclaves");
        }
    };
    let remedy = format!(
        "run setup-parent.sh again, or correct {ALLOCATOR_FILE} and systemctl restart {ALLOCATOR_UNIT}"
    );
    let Some(has) = count_of_cpus(text.trim()) else {
        let finding = "ne_cpus: expected a list such as 1,3,6-9, got another text";
        return Point::unknown(NAME, finding).with_remedy(remedy);
    };
    if has < cpu_count {
        let finding = format!("the pool has {has}, and an enclave takes {cpu_count}");
        return Point::fail(NAME, finding).with_remedy(remedy);
    }
    // Without a complete list, the free resources are unknown.
    let taken: u32 = match NitroCli::new(machine).describe_enclaves() {
        Ok(Listing { enclaves, is_complete: true }) => enclaves.iter().map(|enclave| enclave.cpu_count).sum(),
        Ok(_) => {
            let finding = format!("the pool has {has}; nitro-cli did not list every enclave that has some");
            return Point::unknown(NAME, finding).with_remedy("sudo nitro-cli describe-enclaves");
        }
        Err(error) => {
            let finding = format!("the pool has {has}; which are free is not known: {error}");
            return Point::unknown(NAME, finding).with_remedy("sudo nitro-cli describe-enclaves");
        }
    };
    let free = has.saturating_sub(taken);
    if free < cpu_count {
        let finding = format!("enclaves have {taken} of the pool's {has}, and another one takes {cpu_count}");
        return Point::unknown(NAME, finding).with_remedy(ROOM_IS_TAKEN);
    }
    Point::pass(NAME, format_args!("{free} of the pool's {has} are free, for {cpu_count}"))
}

/// How many CPUs a list such as `1,3,6-9` names.
fn count_of_cpus(list: &str) -> Option<u32> {
    if list.is_empty() {
        return Some(0);
    }
    let count = |part: &str| match part.split_once('-') {
        None => part.parse::<u32>().ok().map(|_| 1),
        Some((first, last)) => last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1),
    };
    list.split(',').try_fold(0_u32, |sum, part| sum.checked_add(count(part)?))
}

async fn ports(machine: &Machine, configuration: &Configuration) -> Vec<Point> {
    const NAME: &str = "vsock ports";
    let ports = vsock_ports::ports_of(configuration);
    match vsock_ports::taken(machine, &ports).await {
        Ok(taken) if taken.is_empty() => {
            let numbers: Vec<_> = ports.iter().map(|port| port.number.to_string()).collect();
            vec![Point::pass(NAME, format_args!("{} are free or the proxy's", numbers.join(", ")))]
        }
        Ok(taken) => {
            let point = |taken: &Taken| {
                let point = if taken.is_foreign { Point::fail } else { Point::unknown };
                point(NAME, taken.finding()).with_remedy(taken.remedy())
            };
            taken.iter().map(point).collect()
        }
        Err(error) => vec![Point::unknown(NAME, error).with_remedy("modprobe vsock, then look again")],
    }
}

fn metadata_service(visit: &Visit) -> Point {
    const NAME: &str = "metadata service";
    match &visit.token {
        Ok(()) => Point::pass(NAME, "gives tokens (IMDSv2)"),
        Err(error) => Point::fail(NAME, error).with_remedy(service_remedy(error)),
    }
}

/// The remedy for an error of the metadata service.
fn service_remedy(error: &ImdsError) -> &'static str {
    match error.status() {
        Some(403) => {
            "it is switched off: aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required"
        }
        Some(401) => "it refused its own token: something between answers for it, such as a metadata proxy",
        Some(_) => "aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required",
        None => match error {
            ImdsError::Unexpected(..) => "something else answers for it, such as a captive portal or a proxy",
            _ => {
                "let this instance reach 169.254.169.254: no firewall rule, no proxy, and in a container a hop limit of 2"
            }
        },
    }
}

fn role(role: Option<Result<Role, ImdsError>>) -> Point {
    const NAME: &str = "role";
    match role {
        None => Point::unknown(NAME, "the metadata service gave no token")
            .with_remedy("see the point `metadata service`"),
        Some(Ok(Role::Usable(name))) => Point::pass(NAME, format_args!("{name} has credentials")),
        Some(Ok(Role::Broken { name, code })) => {
            let remedy = match code.as_str() {
                "AssumeRoleUnauthorizedAccess" => {
                    "the role's trust policy has to let ec2.amazonaws.com call sts:AssumeRole"
                }
                _ => "see the trust policy of the role, and whether the role still exists",
            };
            Point::fail(NAME, format_args!("{name} has no credentials: {code}")).with_remedy(remedy)
        }
        Some(Err(error)) if error.status() == Some(404) => {
            let remedy = "aws ec2 associate-iam-instance-profile with the profile of the role";
            Point::fail(NAME, "this instance has no instance profile").with_remedy(remedy)
        }
        Some(Err(error)) => {
            let remedy = service_remedy(&error);
            Point::fail(NAME, error).with_remedy(remedy)
        }
    }
}

async fn kms(machine: &Machine, need: &Need<'_>) -> Point {
    const NAME: &str = "KMS";
    let host = need.configuration.kms.endpoint_host();
    let proxy = Program::choose(machine, need.release).and_then(|program| program.open_route(&host));
    let reached = match proxy {
        Ok(proxy) => handshake(proxy.address(), &host, need.configuration).await,
        Err(error) => {
            return Point::unknown(NAME, error).with_remedy("name the release's folder with --release");
        }
    };
    match reached {
        Ok(()) => Point::pass(NAME, format_args!("{host} is reached through the proxy, by TLS")),
        Err(error) => Point::fail(NAME, format_args!("{host}, through the proxy: {error}")).with_remedy(
            "let this instance reach port 443 there: DNS, security group, route or a VPC endpoint for KMS",
        ),
    }
}

fn clock(machine: &Machine) -> Point {
    const NAME: &str = "clock";
    let remedy = "systemctl enable --now chronyd.service, with the server 169.254.169.123";
    let text = match output(machine, "chronyc", &["-n", "tracking"]) {
        Ok(text) => text,
        Err(error) => return Point::unknown(NAME, error).with_remedy(remedy),
    };
    match Tracking::read(&text) {
        Ok(Tracking::Synchronized { offset_s }) if offset_s.abs() <= MAX_CLOCK_OFFSET_S => {
            Point::pass(NAME, format_args!("{offset_s:+.6} s off"))
        }
        Ok(Tracking::Synchronized { offset_s }) => {
            Point::fail(NAME, format_args!("{offset_s:+.6} s off")).with_remedy("chronyc makestep")
        }
        Ok(Tracking::NotSynchronized) => {
            Point::fail(NAME, "chrony reaches no time server").with_remedy(remedy)
        }
        Err(error) => Point::unknown(NAME, format_args!("chronyc tracking: {error}")).with_remedy(remedy),
    }
}

fn selinux(machine: &Machine) -> Point {
    const NAME: &str = "SELinux";
    match std::fs::read_to_string(machine.path("/sys/fs/selinux/enforce")) {
        Err(_) => Point::pass(NAME, "off"),
        Ok(text) if text.trim() == "0" => Point::pass(NAME, "permissive"),
        Ok(text) if text.trim() == "1" => {
            Point::unknown(NAME, "enforcing, which was never tried; Amazon Linux 2023 is permissive")
                .with_remedy("if a unit does not start: ausearch -m avc -ts recent")
        }
        Ok(_) => Point::unknown(NAME, "/sys/fs/selinux/enforce: expected 0 or 1, got another text")
            .with_remedy("getenforce"),
    }
}

fn nitro_cli(machine: &Machine) -> Point {
    const NAME: &str = "nitro-cli";
    let remedy = "dnf install aws-nitro-enclaves-cli, or dnf upgrade it";
    match NitroCli::new(machine).version() {
        Ok(version) if version >= MIN_NITRO_CLI => Point::pass(NAME, version),
        Ok(version) => Point::fail(NAME, format_args!("{version}; {MIN_NITRO_CLI} or newer is needed"))
            .with_remedy(remedy),
        Err(error) => Point::fail(NAME, error).with_remedy(remedy),
    }
}

fn systemd(machine: &Machine) -> Point {
    const NAME: &str = "systemd";
    let remedy = "the units are made for Amazon Linux 2023";
    let version = output(machine, "systemctl", &["--version"]).and_then(|text| {
        let wanted = "systemctl --version: expected `systemd NUMBER ...`, got another text";
        systemd_version(&text).ok_or_else(|| wanted.to_owned())
    });
    match version {
        Ok(version) if version >= MIN_SYSTEMD => Point::pass(NAME, version),
        Ok(version) => {
            Point::fail(NAME, format_args!("{version}; {MIN_SYSTEMD} or newer is needed")).with_remedy(remedy)
        }
        Err(error) => Point::unknown(NAME, error).with_remedy(remedy),
    }
}

/// Reads the output of `systemctl --version`.
fn systemd_version(text: &str) -> Option<u32> {
    let (number, build) = text.lines().next()?.strip_prefix("systemd ")?.split_once(' ')?;
    (build.starts_with('(') && build.ends_with(')')).then(|| number.parse().ok()).flatten()
}

/// Each start and each watch of an enclave starts a proxy with it.
fn setpriv(machine: &Machine) -> Point {
    const NAME: &str = "setpriv";
    match output(machine, NAME, &["--version"]) {
        Ok(text) => Point::pass(NAME, printable(text.trim(), MAX_WORDS_CHARS)),
        Err(error) => Point::fail(NAME, error).with_remedy("dnf install util-linux"),
    }
}

fn disk(machine: &Machine) -> Point {
    const NAME: &str = "disk";
    let path = machine.path(RELEASES_VOLUME);
    match free_mib(&path) {
        Ok(free) if free >= MIN_FREE_MIB => {
            Point::pass(NAME, format_args!("{free} MiB free in {RELEASES_VOLUME}"))
        }
        Ok(free) => {
            Point::fail(NAME, format_args!("{free} MiB free in {RELEASES_VOLUME}; {MIN_FREE_MIB} are needed"))
                .with_remedy("journalctl --vacuum-size=100M, or a larger volume")
        }
        Err(error) => {
            Point::unknown(NAME, format_args!("{RELEASES_VOLUME}: {error}")).with_remedy("df -h /var/lib")
        }
    }
}

fn free_mib(path: &Path) -> nix::Result<u64> {
    let volume = statvfs(path)?;
    Ok(volume.blocks_available() * volume.fragment_size() / (1024 * 1024))
}

fn systemctl(arguments: &[&str]) -> Call {
    Call::new("systemctl", arguments, TIMEOUT)
}

/// The standard output of a command that succeeded, or a line that names the command and its error.
fn output(machine: &Machine, program: &str, arguments: &[&str]) -> Result<String, String> {
    let call = Call::new(program, arguments, TIMEOUT);
    match machine.run(&call) {
        Ok(ended) if ended.status == 0 => Ok(ended.stdout),
        Ok(ended) => Err(format!("{call}: exit status {}", ended.status)),
        Err(NotRun::Missing) => Err(format!("{program} is not installed")),
        Err(error) => Err(format!("{call}: {error}")),
    }
}

#[cfg(test)]
mod tests;
