//! Starts a release. A running enclave serves until the new one is ready. If a step before that fails, the new one is
//! ended and the old one goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::allocator::Pages;
use super::boot_file::{self, BootFile};
use super::cid_file::{self, CID_FILE};
use super::failed::{Failed, Kind};
use super::instance::Instance;
use super::lock::Lock;
use super::nitro_cli::{Enclave, NitroCliFailed, Start, Started};
use super::ours::Ours;
use super::probe::{Probe, local_endpoint};
use super::release::{self, Release, STORED_RELEASE};
use super::running::{ids, terminate_all};
use super::watch::{self, ENCLAVE_UNIT};
use super::{report, systemd};

const NODES: &str = "/sys/devices/system/node";
const ALLOCATOR_UNIT: &str = "nitro-enclaves-allocator.service";
const PROXY_UNIT: &str = "nitro-parent.service";
const ALLOCATOR_YAML: &str = "/etc/nitro_enclaves/allocator.yaml";

/// For the proxy to reach the new enclave, whose CID it reads for each connection.
const SWITCH_PATIENCE: Duration = Duration::from_secs(15);

/// For an enclave to be listed that nitro-cli told nothing about.
const UNTOLD_PATIENCE: Duration = Duration::from_secs(30);

/// The driver may refuse an enclave (E29) just after another one has ended.
const AFTER_ANOTHER: Duration = Duration::from_secs(3);

/// As the two above, where a folder stands for the machine.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks at `/health`.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Between two looks at `/health` through the proxy, which takes no time to boot.
const SWITCH_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Looks at `/health` for each look at the list of enclaves, which takes nitro-cli a second.
const LOOKS_PER_LISTING: u32 = 10;

/// The release to start, and the options.
#[derive(Clone, Debug)]
pub struct Options {
    /// The release's folder.
    pub release: PathBuf,
    /// Ends the old enclave first where there is no room for both.
    pub is_replacing: bool,
    /// Starts it with a console and without measurements.
    pub is_debugged: bool,
    /// How long the enclaves have.
    pub times: Times,
}

/// How long a new enclave and an old one have.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For the new enclave to answer `/health` with 200.
    pub health_timeout: Duration,
    /// The time in which the old enclave finishes its requests.
    pub drain: Duration,
}

/// The answer that a new enclave has to give before it takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enough {
    /// 200 on `/health`.
    Ready,
    /// Any answer. A missing secret concerns KMS or the boot file, and another enclave would miss it too.
    Alive,
}

impl Enough {
    fn is_met(self, status: Option<u16>) -> bool {
        status == Some(200) || (self == Self::Alive && status.is_some())
    }
}

/// Starts the enclave of a release and has it take over.
///
/// # Errors
/// [`Failed`]. If the new enclave has not taken over, every step is undone: the last release that started with success
/// starts again, with its boot file, if it was ended for the new one.
pub fn start(instance: &Instance, options: &Options) -> Result<(), Failed> {
    let lock = Lock::take(instance)?;
    let mut deployment = Deployment::prepare(instance, options, Enough::Ready, false)?;
    let outcome = deployment.run();
    let is_to_be_restored = deployment.are_old_ended && !deployment.is_committed;
    drop(deployment);
    if let Err(failed) = outcome {
        let stored = instance.machine().path(STORED_RELEASE);
        if is_to_be_restored && stored.exists() {
            // The watch starts the stored release if this was interrupted.
            if let Err(also) = boot_file::restore(instance.machine(), &stored) {
                report(also);
            }
            if !matches!(failed.kind, Kind::Interrupted(_)) {
                report("starting again what was last started with success");
                if let Err(also) = watch::ensure_locked(instance, options.times) {
                    report(also);
                }
            }
        }
        return Err(failed);
    }
    drop(lock);
    if options.is_debugged {
        return Ok(());
    }
    // After the first start by hand.
    let machine = instance.machine();
    if systemd::is_enabled(machine, ENCLAVE_UNIT)? && !systemd::is_active(machine, ENCLAVE_UNIT)? {
        systemd::start_later(machine, ENCLAVE_UNIT).map_err(|failed| {
            Failed::new(
                failed.kind,
                format_args!(
                    "the new enclave serves, but {ENCLAVE_UNIT}, which watches it, does not start: {failed}"
                ),
            )
        })?;
    }
    Ok(())
}

/// Checks everything and changes nothing.
///
/// # Errors
/// [`Failed`]
pub fn plan(instance: &Instance, options: &Options) -> Result<Vec<String>, Failed> {
    let deployment = Deployment::prepare(instance, options, Enough::Ready, true)?;
    let machine = instance.machine();
    let mut lines = Vec::new();
    if !systemd::is_active(machine, PROXY_UNIT)? {
        lines.push(format!("systemctl start {PROXY_UNIT}"));
    }
    let image = deployment.release.image();
    let arguments = deployment.start_of(&image).arguments();
    let words: Vec<_> = arguments.iter().map(|word| word.display().to_string()).collect();
    lines.push(format!("nitro-cli {}", words.join(" ")));
    lines.push(format!("wait at most {} s for its /health", options.times.health_timeout.as_secs()));
    lines.push(format!("write its CID to {}", machine.path(CID_FILE).display()));
    if !options.is_debugged {
        let stored = machine.path(STORED_RELEASE);
        if !release::is_stored(machine, &options.release) {
            lines.push(format!("keep a copy of the release as {}", stored.display()));
        }
        lines.push(format!("keep a copy of the boot file in {}", stored.display()));
    }
    for enclave in &deployment.old {
        let drain_s = options.times.drain.as_secs();
        lines.push(format!("after {drain_s} s: nitro-cli terminate-enclave --enclave-id {}", enclave.id));
    }
    Ok(lines)
}

/// Starts the stored release in the place of an enclave that does not answer. The caller holds the lock.
pub(super) fn restart(instance: &Instance, times: Times) -> Result<(), Failed> {
    let options = Options {
        release: instance.machine().path(STORED_RELEASE),
        is_replacing: true,
        is_debugged: false,
        times,
    };
    Deployment::prepare(instance, &options, Enough::Alive, false)?.run()
}

/// One release on its way to serve.
struct Deployment<'a> {
    instance: &'a Instance,
    options: &'a Options,
    enough: Enough,
    release: Release,
    ours: Ours,
    /// Our enclaves that ran before.
    old: Vec<Enclave>,
    /// Whether another enclave has ended just before.
    has_ended_one: bool,
    are_old_ended: bool,
    is_starting: bool,
    started: Option<Started>,
    is_committed: bool,
}

impl<'a> Deployment<'a> {
    /// Makes the checks that are possible before anything is started.
    fn prepare(
        instance: &'a Instance,
        options: &'a Options,
        enough: Enough,
        is_dry: bool,
    ) -> Result<Self, Failed> {
        let machine = instance.machine();
        let release = Release::open(machine, &options.release, is_dry)?;
        release.check_image(instance.nitro_cli())?;
        boot_file::check(machine, release.configuration())?;
        if !is_dry {
            // From a folder that is known to be root's.
            boot_file::remove_drafts(machine);
        }
        let ours = Ours::read(machine, Some(&release.configuration().name));
        let enough = if options.is_debugged { Enough::Alive } else { enough };
        let mut deployment = Self {
            instance,
            options,
            enough,
            release,
            ours,
            old: Vec::new(),
            has_ended_one: false,
            are_old_ended: false,
            is_starting: false,
            started: None,
            is_committed: false,
        };
        deployment.note_old_enclaves(is_dry)?;
        Ok(deployment)
    }

    fn note_old_enclaves(&mut self, is_dry: bool) -> Result<(), Failed> {
        self.old = self.running_ours()?;
        let serving = cid_file::read(self.instance.machine())?;
        if self.old.iter().any(|enclave| Some(enclave.cid) == serving) && !is_dry {
            // A run that was killed may have left an enclave that serves no client. It takes the room of a new one.
            let is_stray = |enclave: &Enclave| Some(enclave.cid) != serving;
            let strays: Vec<_> = self.old.iter().filter(|enclave| is_stray(enclave)).cloned().collect();
            if !strays.is_empty() {
                match terminate_all(self.instance, &mut self.ours, &strays) {
                    Ok(()) => self.has_ended_one = true,
                    Err(failed) if matches!(failed.kind, Kind::Interrupted(_)) => return Err(failed),
                    Err(failed) => report(format_args!(
                        "cannot end an enclave that serves no client; it keeps its CPUs and memory: {failed}"
                    )),
                }
                self.old = self.running_ours()?;
            }
        }
        let debugged: Vec<_> = self.old.iter().filter(|enclave| enclave.is_debugged()).cloned().collect();
        if !debugged.is_empty() {
            report(format_args!(
                "WARNING: runs in debug mode, in which KMS refuses every call: {}",
                ids(&debugged)
            ));
        }
        if self.options.is_debugged {
            if debugged.len() < self.old.len() {
                let line = "--debug-mode would take the place of an enclave that serves; end that first, with \
                            infra/run-enclave.sh --stop";
                return Err(Failed::new(Kind::Configuration, line));
            }
            let bar = "!".repeat(100);
            report(bar.as_str());
            report("!! DEBUG MODE. Its PCRs are zero, so KMS gives it nothing and it cannot open a backup.");
            report("!! Each root user of this machine reads its console. It is not kept for the next boot.");
            report(bar.as_str());
        }
        Ok(())
    }

    fn running_ours(&self) -> Result<Vec<Enclave>, Failed> {
        Ok(self.ours.of(self.instance.nitro_cli().describe_enclaves()?))
    }

    /// From the start of the enclave to the end of the old ones.
    fn run(&mut self) -> Result<(), Failed> {
        if let Err(failed) = self.take_over() {
            if self.is_starting {
                self.undo();
            }
            return Err(failed);
        }
        self.is_committed = true;
        if let Some(Started { id, cid }) = &self.started {
            report(format_args!("enclave {id} serves (CID {cid})"));
        }
        self.end_old_enclaves()
    }

    fn take_over(&mut self) -> Result<(), Failed> {
        for unit in [ALLOCATOR_UNIT, PROXY_UNIT] {
            systemd::start(self.instance.machine(), unit)?;
        }
        let started = self.start_enclave()?;
        report(format_args!("enclave {} started (CID {}); waiting for it", started.id, started.cid));
        self.wait_for(&started)?;
        self.switch_to(&started)?;
        if !self.options.is_debugged {
            // An enclave that is only alive may lack a secret that another boot file had.
            if self.enough == Enough::Ready {
                boot_file::keep(self.instance.machine(), self.release.folder())?;
            }
            self.release.keep(self.instance.machine())?;
        }
        self.instance.go_on()
    }

    fn start_of<'b>(&'b self, eif: &'b Path) -> Start<'b> {
        let configuration = self.release.configuration();
        Start {
            eif,
            cpu_count: configuration.enclave.cpu_count,
            memory_mib: configuration.enclave.memory_mib,
            name: &configuration.name,
            is_debugged: self.options.is_debugged,
        }
    }

    fn start_enclave(&mut self) -> Result<Started, Failed> {
        let failed = match self.run_enclave()? {
            Ok(started) => return Ok(started),
            Err(failed) => failed,
        };
        report(&failed);
        if !failed.is_no_room() {
            return Err(failed.into());
        }
        self.report_room();
        if self.old.is_empty() {
            return Err(Failed::new(Kind::TryLater, "no room for it"));
        }
        if !self.options.is_replacing {
            let line = "no room for both; --replace ends the old one first, and nobody is served meanwhile";
            return Err(Failed::new(Kind::TryLater, line));
        }
        if failed.is_no_memory() && self.is_larger_than_all_pages() {
            let line = "the allocator's pages have no room for it, even without the old enclave; \
                        infra/setup-parent.sh --release FOLDER makes room. The old enclave goes on serving";
            return Err(Failed::new(Kind::Unavailable, line));
        }
        self.remove_new_enclaves();
        self.are_old_ended = true;
        self.has_ended_one = true;
        terminate_all(self.instance, &mut self.ours, &self.old).map_err(|failed| {
            Failed::new(failed.kind, format_args!("the old enclave cannot be ended: {failed}"))
        })?;
        self.run_enclave()?.map_err(Failed::from)
    }

    /// Starts it, perhaps twice; see [`AFTER_ANOTHER`].
    fn run_enclave(&mut self) -> Result<Result<Started, NitroCliFailed>, Failed> {
        let outcome = self.run_enclave_once()?;
        match outcome {
            Err(failed) if failed.is_ioctl_failure() && self.has_ended_one => {
                report(format_args!("{failed}; trying again, because another enclave has just ended"));
                self.instance.pause(self.patience(AFTER_ANOTHER))?;
                self.run_enclave_once()
            }
            outcome => Ok(outcome),
        }
    }

    fn run_enclave_once(&mut self) -> Result<Result<Started, NitroCliFailed>, Failed> {
        self.instance.go_on()?;
        self.is_starting = true;
        let image = self.release.image();
        let started = match self.instance.nitro_cli().run_enclave(&self.start_of(&image)) {
            Ok(started) => started,
            Err(failed) if failed.is_outcome_unknown() => match self.find_untold() {
                Some(started) => {
                    report(format_args!("{failed}; it started {} all the same", started.id));
                    started
                }
                None => return Ok(Err(failed)),
            },
            Err(failed) => return Ok(Err(failed)),
        };
        self.started = Some(started.clone());
        let running = if self.are_old_ended { &[][..] } else { &self.old };
        self.ours.record(&started, running)?;
        Ok(Ok(started))
    }

    /// The enclave that was started though nitro-cli did not tell, once it has booted.
    fn find_untold(&self) -> Option<Started> {
        let deadline = Instant::now() + self.patience(UNTOLD_PATIENCE);
        loop {
            let new = self.running_ours().map(|listed| self.new_among(listed)).unwrap_or_default();
            if let [only] = &new[..] {
                return Some(Started { id: only.id.clone(), cid: only.cid });
            }
            if new.len() > 1 || Instant::now() >= deadline {
                return None;
            }
            thread::sleep(POLL_INTERVAL.min(self.patience(POLL_INTERVAL)));
        }
    }

    /// Those that came after the old ones were noted.
    fn new_among(&self, mut listed: Vec<Enclave>) -> Vec<Enclave> {
        listed.retain(|enclave| self.old.iter().all(|old| old.id != enclave.id));
        listed
    }

    fn patience(&self, patience: Duration) -> Duration {
        if self.instance.machine().is_folder() { patience.min(SHORT_PATIENCE) } else { patience }
    }

    /// Whether no NUMA node has pages enough, the ones that enclaves have included. An enclave takes those of one node.
    fn is_larger_than_all_pages(&self) -> bool {
        let memory_mib = self.release.configuration().enclave.memory_mib;
        let nodes = Pages::of_nodes(&self.instance.machine().path(NODES)).unwrap_or_default();
        !nodes.is_empty() && nodes.iter().all(|node| !node.reserved.fit(1, memory_mib))
    }

    fn report_room(&self) {
        let enclave = self.release.configuration().enclave;
        let yaml = fs::read_to_string(self.instance.machine().path(ALLOCATOR_YAML)).unwrap_or_default();
        let is_setting =
            |line: &&str| ["memory_mib", "cpu_count", "cpu_pool"].iter().any(|key| line.starts_with(key));
        let settings: Vec<_> = yaml.lines().filter(is_setting).collect();
        let has = if settings.is_empty() { "nothing".to_owned() } else { settings.join(", ") };
        let takes = match self.instance.nitro_cli().describe_enclaves() {
            Ok(listing) => {
                let cpus: u32 = listing.enclaves.iter().map(|enclave| enclave.cpu_count).sum();
                let memory_mib: u64 = listing.enclaves.iter().map(|enclave| enclave.memory_mib).sum();
                format!("{cpus} CPUs and {memory_mib} MiB")
            }
            Err(_) => "an unknown part".to_owned(),
        };
        report(format_args!(
            "it needs {} CPUs and {} MiB; the allocator has {has}, of which running enclaves take {takes}. \
             infra/setup-parent.sh --side-by-side makes room for two",
            enclave.cpu_count, enclave.memory_mib
        ));
    }

    fn wait_for(&self, started: &Started) -> Result<(), Failed> {
        let deadline = Instant::now() + self.options.times.health_timeout;
        let probe = Probe::start(self.instance, self.release.configuration(), started.cid)?;
        let mut looks = 0;
        loop {
            let status = self.instance.health(probe.endpoint());
            if self.enough.is_met(status) {
                return Ok(());
            }
            if looks % LOOKS_PER_LISTING == 0 && !self.is_running(started)? {
                let line =
                    "the enclave ended while it booted; it may have said why: journalctl -u nitro-parent";
                return Err(Failed::new(Kind::NotReady, line));
            }
            looks += 1;
            if Instant::now() >= deadline {
                let line = format_args!(
                    "the enclave is not ready after {} s (/health: {}); it says what it waits for: journalctl -u \
                     nitro-parent",
                    self.options.times.health_timeout.as_secs(),
                    told(status)
                );
                return Err(Failed::new(Kind::NotReady, line));
            }
            self.instance.pause(POLL_INTERVAL)?;
        }
    }

    fn is_running(&self, started: &Started) -> Result<bool, Failed> {
        let ours = self.running_ours()?;
        let is_it =
            |enclave: &Enclave| enclave.id == started.id && (enclave.is_running() || enclave.is_silent());
        Ok(ours.iter().any(is_it))
    }

    fn switch_to(&self, started: &Started) -> Result<(), Failed> {
        let machine = self.instance.machine();
        let boot_file = BootFile::read(machine)?;
        let port = boot_file.listen_port()?;
        let endpoint = local_endpoint(self.release.configuration(), port)?;
        cid_file::write(machine, started.cid)?;
        // A proxy of an earlier version dials the CID in the boot file until it restarts with its new unit.
        if boot_file.enclave_cid().is_some() {
            systemd::restart(machine, PROXY_UNIT)?;
        }
        let deadline = Instant::now() + SWITCH_PATIENCE;
        loop {
            let status = self.instance.health(&endpoint);
            if self.enough.is_met(status) {
                return boot_file::remove_enclave_cid(machine);
            }
            if Instant::now() >= deadline {
                let line = format_args!(
                    "{endpoint}/health: {}, through the proxy; does {PROXY_UNIT} run with this BRIDGE_LISTEN_PORT?",
                    told(status)
                );
                return Err(Failed::new(Kind::NotReady, line));
            }
            self.instance.pause(SWITCH_POLL_INTERVAL)?;
        }
    }

    fn end_old_enclaves(&mut self) -> Result<(), Failed> {
        if self.old.is_empty() || self.are_old_ended {
            return Ok(());
        }
        report(format_args!("the old enclave has {} s to finish", self.options.times.drain.as_secs()));
        self.instance.pause(self.options.times.drain).map_err(|failed| {
            let line = format_args!(
                "{failed}; the new enclave serves, and the old one still runs beside it: {}. The next start ends it",
                ids(&self.old)
            );
            Failed::new(failed.kind, line)
        })?;
        terminate_all(self.instance, &mut self.ours, &self.old).map_err(|failed| {
            let line = format_args!(
                "the new enclave serves, but an old one could not be ended, and keeps its CPUs and memory; see --status: \
                 {failed}"
            );
            Failed::new(failed.kind, line)
        })
    }

    /// Undoes every step, as far as possible. Signals do not interrupt it.
    fn undo(&self) {
        let machine = self.instance.machine();
        let serving = cid_file::read(machine).ok().flatten();
        let now = self.running_ours();
        // The one that served, or else any earlier one.
        let known = now.as_ref().unwrap_or(&self.old);
        let is_old = |enclave: &&Enclave| self.old.iter().any(|old| old.id == enclave.id);
        // One that does not answer nitro-cli may serve all the same.
        let may_serve = |enclave: &&Enclave| enclave.is_running() || enclave.is_silent();
        let survivors: Vec<_> = known.iter().filter(may_serve).filter(is_old).collect();
        let survivor = survivors.iter().find(|enclave| Some(enclave.cid) == serving).or(survivors.first());
        let is_switched = self.started.as_ref().is_some_and(|started| Some(started.cid) == serving);
        if let (true, Some(survivor)) = (is_switched, survivor) {
            let cid = survivor.cid;
            match cid_file::write(machine, cid) {
                Ok(()) => report(format_args!("switched back to the enclave with CID {cid}")),
                Err(failed) => report(format_args!("{failed}; write {cid} and a line break there by hand")),
            }
        }
        self.remove_new_enclaves();
        match survivor {
            Some(survivor) => report(format_args!("the enclave with CID {} goes on serving", survivor.cid)),
            None => report("no enclave of ours runs: nobody is served"),
        }
    }

    /// Ends the enclave that this run started by its ID, and those that came meanwhile under our name.
    fn remove_new_enclaves(&self) {
        let new = self.running_ours().map(|listed| self.new_among(listed));
        let is_known = new.is_ok();
        let mut ids: Vec<_> = new.unwrap_or_default().into_iter().map(|enclave| enclave.id).collect();
        if let Some(started) = &self.started
            && !is_known
        {
            ids.push(started.id.clone());
        }
        for id in ids {
            if let Err(failed) = self.instance.nitro_cli().terminate_enclave(&id) {
                report(format_args!(
                    "{failed}; {id} serves no client, end it by hand: nitro-cli terminate-enclave --enclave-id {id}"
                ));
            }
        }
    }
}

/// The status of an answer, for messages.
pub(super) fn told(status: Option<u16>) -> String {
    status.map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}
