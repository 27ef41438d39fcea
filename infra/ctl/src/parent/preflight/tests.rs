use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::parent::imds::tests::playing;
use crate::parent::machine::Commands;
use crate::parent::point::Outcome;

/// A machine whose commands print the same each time. A missing command is not installed.
#[derive(Default)]
struct Printing(BTreeMap<&'static str, Ended>);

impl Commands for Printing {
    fn run(&self, call: &Call) -> Result<Ended, NotRun> {
        let program = call.program.to_string_lossy();
        let line = call.to_string();
        let printed = self.0.get(line.as_str()).or_else(|| self.0.get(program.as_ref()));
        printed.cloned().ok_or(NotRun::Missing)
    }
}

const IS_ACTIVE: &str = "systemctl is-active --quiet nitro-enclaves-allocator.service";
const DESCRIBE_ENCLAVES: &str = "nitro-cli describe-enclaves";
const NO_ENCLAVES: &str =
    include_str!("../../../../tests/transcripts/nitro-cli/describe-enclaves-none.stdout");
const ONE_ENCLAVE: &str =
    include_str!("../../../../tests/transcripts/nitro-cli/describe-enclaves-one.stdout");
const SYSTEMCTL_VERSION: &str = include_str!("../../../../tests/transcripts/parent/systemctl-version.txt");
const TRACKING: &str = include_str!("../../../../tests/transcripts/parent/chronyc-tracking.txt");
const UNSYNCHRONIZED: &str =
    include_str!("../../../../tests/transcripts/parent/chronyc-tracking-unsynchronized.txt");
const NO_MEMORY: &str = include_str!("../../../../tests/transcripts/allocator/insufficient-memory.txt");

fn printing(stdout: &str) -> Ended {
    Ended { stdout: stdout.to_owned(), ..Ended::default() }
}

fn failing(status: i32) -> Ended {
    Ended { status, ..Ended::default() }
}

/// A folder that is a machine on which all is well.
struct Rack {
    folder: tempfile::TempDir,
    commands: Printing,
}

impl Rack {
    fn new() -> Self {
        let commands = Printing(BTreeMap::from([
            ("nproc", printing("4\n")),
            (IS_ACTIVE, failing(0)),
            ("systemctl --version", printing(SYSTEMCTL_VERSION)),
            ("chronyc", printing(TRACKING)),
            ("nitro-cli", printing("Nitro CLI 1.5.0\n")),
            (DESCRIBE_ENCLAVES, printing(NO_ENCLAVES)),
            ("setpriv", printing("setpriv from util-linux 2.37.4\n")),
        ]));
        let rack = Self { folder: tempfile::tempdir().unwrap(), commands };
        rack.write("dev/nitro_enclaves", "");
        rack.write("sys/module/nitro_enclaves/parameters/ne_cpus", "1,3\n");
        rack.write("sys/fs/selinux/enforce", "0");
        rack.pages("2048kB", 256, 256);
        fs::create_dir_all(rack.folder.path().join("var/lib")).unwrap();
        rack
    }

    fn with(mut self, call: &'static str, ended: Ended) -> Self {
        self.commands.0.insert(call, ended);
        self
    }

    fn without(mut self, call: &str) -> Self {
        self.commands.0.remove(call);
        self
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn pages(&self, size: &str, reserved: u32, free: u32) {
        let folder = format!("sys/devices/system/node/node0/hugepages/hugepages-{size}");
        self.write(&format!("{folder}/nr_hugepages"), &format!("{reserved}\n"));
        self.write(&format!("{folder}/free_hugepages"), &format!("{free}\n"));
    }

    fn machine(self) -> (Machine, tempfile::TempDir) {
        (Machine::new(self.folder.path().into(), Box::new(self.commands)), self.folder)
    }

    /// The findings of `look` here: the outcomes, and the lines.
    fn look(self, look: impl Fn(&Machine) -> Vec<Point>) -> (Vec<Outcome>, String) {
        let (machine, _folder) = self.machine();
        let points = look(&machine);
        let lines: Vec<_> = points.iter().map(ToString::to_string).collect();
        (points.iter().map(|point| point.outcome).collect(), lines.join("\n"))
    }
}

pub(super) fn configuration() -> Configuration {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../nitro.toml")).unwrap();
    let text = text.replace("00000000-0000-0000-0000-000000000000", "1234abcd-12ab-34cd-56ef-1234567890ab");
    Configuration::parse(&text).unwrap()
}

fn allocated(machine: &Machine) -> Vec<Point> {
    allocator(machine, &configuration())
}

#[tokio::test]
async fn a_parent_that_is_ready_passes_every_point_but_those_of_this_network() {
    let rack = Rack::new();
    let (machine, _folder) = rack.machine();
    let imds = playing(&["token-200", "role-200", "token-200", "role-200", "credentials-200"]);
    let configuration = configuration();
    let need = Need { configuration: &configuration, release: Some(Path::new("/nowhere")) };
    let points = preflight(&machine, &imds, &need).await;
    for point in &points {
        let is_of_here = matches!(point.name, "KMS" | "vsock ports" | "instance type" | "role");
        assert!(is_of_here || point.outcome == Outcome::Pass, "{point}");
        let is_told = point.remedy.is_some() || point.outcome == Outcome::Pass;
        assert!(is_told && !point.to_string().contains('\n'), "{point}");
    }
    let kms = points.iter().find(|point| point.name == "KMS").unwrap();
    assert_eq!(kms.outcome, Outcome::Unknown);
    assert!(kms.finding.contains("/nowhere/proxy is missing"), "{kms}");
}

#[test]
fn a_missing_device_and_a_small_instance_fail() {
    let rack = Rack::new();
    fs::remove_file(rack.folder.path().join("dev/nitro_enclaves")).unwrap();
    let (outcomes, lines) = rack.look(|machine| vec![device(machine)]);
    assert_eq!(outcomes, [Outcome::Fail]);
    assert!(lines.contains("--enclave-options Enabled=true"), "{lines}");
    let visit = || Visit { token: Ok(()), instance_type: Some("m5.large".into()), role: None };
    let (outcomes, lines) =
        Rack::new().with("nproc", printing("2\n")).look(|machine| vec![instance_type(machine, &visit())]);
    assert_eq!(outcomes, [Outcome::Fail]);
    assert!(lines.contains("m5.large, 2 vCPUs; an instance with an enclave needs 4"), "{lines}");
    for other in [printing("<html>"), failing(1)] {
        let (outcomes, lines) =
            Rack::new().with("nproc", other).look(|machine| vec![instance_type(machine, &visit())]);
        assert_eq!(outcomes, [Outcome::Unknown]);
        assert!(lines.contains("nproc --all"), "{lines}");
    }
}

#[test]
fn an_allocator_that_failed_says_why() {
    let rack = Rack::new().with(IS_ACTIVE, failing(3)).with("journalctl", printing(NO_MEMORY));
    let (outcomes, lines) = rack.look(allocated);
    assert_eq!(outcomes, [Outcome::Fail]);
    assert!(lines.contains("Failed to configure entire amount of requested memory"), "{lines}");
    assert!(lines.contains("reboot"), "{lines}");
    let (outcomes, lines) = Rack::new().without(IS_ACTIVE).look(allocated);
    assert_eq!(outcomes, [Outcome::Fail]);
    assert!(lines.contains("nitro-enclaves-allocator.service is not active; setup-parent.sh"), "{lines}");
}

#[test]
fn room_is_counted_in_pages_and_cpus() {
    let (outcomes, lines) = Rack::new().look(allocated);
    assert_eq!(outcomes, [Outcome::Pass, Outcome::Pass]);
    assert!(lines.contains("256 x 2 MiB free on node0, for 512 MiB"), "{lines}");
    let taken = Rack::new();
    taken.pages("2048kB", 256, 0);
    let (outcomes, lines) = taken.look(allocated);
    assert_eq!(outcomes[0], Outcome::Unknown);
    assert!(lines.contains("an enclave has them"), "{lines}");
    let small = Rack::new();
    small.pages("2048kB", 128, 128);
    small.write("sys/module/nitro_enclaves/parameters/ne_cpus", "\n");
    let (outcomes, lines) = small.look(allocated);
    assert_eq!(outcomes, [Outcome::Fail, Outcome::Fail]);
    assert!(lines.contains("no 512 MiB in the reserved pages (node0: 128 x 2 MiB)"), "{lines}");
    assert!(lines.contains("the pool has 0, and an enclave takes 2"), "{lines}");
}

#[test]
fn cpus_that_an_enclave_has_are_not_free() {
    let cpus_of = |printed: Ended, pool: &str| {
        let rack = Rack::new().with(DESCRIBE_ENCLAVES, printed);
        rack.write("sys/module/nitro_enclaves/parameters/ne_cpus", pool);
        rack.look(|machine| vec![cpus(machine, 2)])
    };
    for (printed, pool, outcome, words) in [
        (printing(NO_ENCLAVES), "1,3", Outcome::Pass, "2 of the pool's 2 are free, for 2"),
        (printing(ONE_ENCLAVE), "1,3", Outcome::Unknown, "enclaves have 2 of the pool's 2"),
        (printing(ONE_ENCLAVE), "1-4", Outcome::Pass, "2 of the pool's 4 are free"),
        (failing(1), "1,3", Outcome::Unknown, "which are free is not known"),
    ] {
        let (outcomes, lines) = cpus_of(printed, pool);
        assert_eq!(outcomes, [outcome], "{lines}");
        assert!(lines.contains(words), "{lines}");
    }
}

#[test]
fn setpriv_has_to_be_there() {
    assert_eq!(Rack::new().look(|machine| vec![setpriv(machine)]).0, [Outcome::Pass]);
    let (outcomes, lines) = Rack::new().without("setpriv").look(|machine| vec![setpriv(machine)]);
    assert_eq!(outcomes, [Outcome::Fail]);
    assert!(lines.contains("setpriv is not installed; dnf install util-linux"), "{lines}");
}

#[test]
fn an_allocator_that_is_not_there_is_no_reason_to_end() {
    let bare = Rack::new();
    fs::remove_dir_all(bare.folder.path().join("sys")).unwrap();
    let (outcomes, lines) = bare.look(allocated);
    assert_eq!(outcomes, [Outcome::Unknown, Outcome::Fail]);
    assert!(lines.contains("the driver is not loaded"), "{lines}");
}

#[test]
fn lists_of_cpus_are_counted() {
    for (list, count) in
        [("", Some(0)), ("1,3", Some(2)), ("2,3,6-9", Some(6)), ("1-", None), ("9-6", None), ("<html>", None)]
    {
        assert_eq!(count_of_cpus(list), count, "{list}");
    }
}

#[tokio::test]
async fn each_error_of_the_metadata_service_has_its_own_remedy() {
    let broken = ["token-200", "role-200", "role-200", "role-not-assumable-200"];
    for (answers, name, remedy) in [
        (&["forbidden-403"][..], "metadata service", "--http-endpoint enabled"),
        (&["unauthorized-401"], "metadata service", "a metadata proxy"),
        (&["token-200", "role-200", "no-role-404"], "role", "associate-iam-instance-profile"),
        (&broken, "role", "trust policy has to let ec2.amazonaws.com"),
        (&["token-200", "role-200", "unauthorized-401-page"], "role", "a metadata proxy"),
    ] {
        let visit = Visit::make(&playing(answers)).await;
        let points = [metadata_service(&visit), role(visit.role)];
        let failed = points.iter().find(|point| point.outcome == Outcome::Fail).unwrap();
        assert_eq!(failed.name, name, "{answers:?}: {failed}");
        assert!(failed.to_string().contains(remedy), "{answers:?}: {failed}");
    }
}

#[test]
fn a_clock_that_is_off_fails() {
    let clock_of = |rack: Rack| rack.look(|machine| vec![clock(machine)]);
    let (outcomes, lines) = clock_of(Rack::new());
    assert_eq!(outcomes, [Outcome::Pass]);
    assert_eq!(lines, "PASS clock: -0.000001 s off");
    let late = TRACKING.replace("0.000000626", "1557.763061523");
    for (text, outcome, words) in [
        (late.as_str(), Outcome::Fail, "-1557.763062 s off; chronyc makestep"),
        (UNSYNCHRONIZED, Outcome::Fail, "chrony reaches no time server"),
        ("<html>", Outcome::Unknown, "chronyc tracking: expected a line"),
    ] {
        let (outcomes, lines) = clock_of(Rack::new().with("chronyc", printing(text)));
        assert_eq!(outcomes, [outcome]);
        assert!(lines.contains(words), "{lines}");
    }
    let (outcomes, lines) = clock_of(Rack::new().without("chronyc"));
    assert_eq!(outcomes, [Outcome::Unknown]);
    assert!(lines.contains("chronyc is not installed"), "{lines}");
}

#[test]
fn versions_are_compared() {
    for (text, version) in [
        (SYSTEMCTL_VERSION, Some(252)),
        ("systemd 249 (249.11-0ubuntu3.12)\n+PAM", Some(249)),
        ("systemd 252", None),
        ("<html>", None),
        ("", None),
    ] {
        assert_eq!(systemd_version(text), version, "{text}");
    }
    let end = SYSTEMCTL_VERSION.trim_end().len();
    for length in 0..end {
        assert_eq!(systemd_version(&SYSTEMCTL_VERSION[..length]), None, "{length}");
    }
    let old = Rack::new()
        .with("nitro-cli", printing("Nitro CLI 1.0.12\n"))
        .with("systemctl --version", printing("systemd 219 (219)\n"));
    let (outcomes, lines) = old.look(|machine| vec![nitro_cli(machine), systemd(machine)]);
    assert_eq!(outcomes, [Outcome::Fail, Outcome::Fail]);
    assert!(lines.contains("1.0.12; 1.2.0 or newer is needed"), "{lines}");
    assert!(lines.contains("219; 252 or newer is needed"), "{lines}");
}

#[test]
fn selinux_that_enforces_is_not_known_to_work() {
    for (text, outcome) in [("1", Outcome::Unknown), ("0\n", Outcome::Pass), ("", Outcome::Unknown)] {
        let rack = Rack::new();
        rack.write("sys/fs/selinux/enforce", text);
        assert_eq!(rack.look(|machine| vec![selinux(machine)]).0, [outcome], "{text}");
    }
}
