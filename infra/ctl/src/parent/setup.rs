//! Prepares an instance with Amazon Linux 2023 to be the parent of the signer's enclave.
//!
//! It may run again: it corrects what differs, and never changes the contents of the boot file. A failure stops it, and
//! the next run completes the rest.

mod actor;
mod boot_file_text;
mod cloudwatch;
mod reservation;
mod units;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use configuration::Configuration;

use self::actor::Actor;
use super::allocator::ALLOCATOR_UNIT;
use super::boot_file::{self, BOOT_FILE, BootFile};
use super::cid_file::{self, CID_FILE};
use super::failed::{Failed, Kind};
use super::machine::{Call, Ended, Machine};
use super::vsock_ports;
use super::{INSTALLED_PROXY, SERVICE_USER, ownership, release, report, systemd};

/// Where the programs and scripts go.
const LIBEXEC: &str = "/usr/local/libexec/nitro-signer";

/// Each of these commands reads something and ends.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The programs that the parent runs; the scripts find signerctl beside them.
const SCRIPTS: [&str; 2] = ["run-enclave.sh", "check.sh"];

const EXECUTABLE: u32 = 0o755;

/// The options of the set-up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with the scripts and `parent/`.
    pub files: PathBuf,
    /// The output of infra/build-eif.sh. Without it, the folder of the files, or target/image beside it.
    pub release: Option<PathBuf>,
    /// Another proxy than the release's.
    pub proxy: Option<PathBuf>,
    /// This program, for a release that has no signerctl.
    pub signerctl: PathBuf,
    /// With room for two enclaves, so that a new one can start beside the old.
    pub is_side_by_side: bool,
    /// With the kernel that AWS builds for enclaves.
    pub has_kernel_blobs: bool,
    /// Where CloudWatch keeps the log, if it does.
    pub log_group: Option<String>,
    /// Prints the changes and makes none.
    pub is_dry: bool,
}

/// Prepares `machine`, and returns the release's configuration.
///
/// # Errors
/// [`Failed`]; of a command that fails, its exit status.
pub async fn setup(machine: &Machine, options: &Options) -> Result<Configuration, Failed> {
    if !options.is_dry {
        ownership::need_root(machine)?;
    }
    check_system(machine)?;
    let sources = Sources::choose(options)?;
    let configuration = release::read_nitro_toml_at(&sources.nitro_toml)?.configuration().clone();
    let setup = Setup {
        actor: Actor::new(machine, options.is_dry),
        machine,
        options,
        sources,
        configuration: &configuration,
    };
    let reservation = setup.check_room()?;
    setup.check_ports().await?;
    boot_file::check_folder(machine)?;
    setup.install_packages()?;
    setup.make_user()?;
    let is_proxy_new = setup.install_programs()?;
    setup.make_boot_file()?;
    setup.make_cid_file()?;
    let are_units_new = setup.install_units()?;
    setup.reserve(reservation)?;
    if let Some(log_group) = &options.log_group {
        setup.send_log_to_cloudwatch(log_group)?;
    }
    setup.start_units()?;
    report("done");
    setup.report_what_is_next(is_proxy_new || are_units_new)?;
    Ok(configuration)
}

fn check_system(machine: &Machine) -> Result<(), Failed> {
    let path = machine.path("/etc/os-release");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"')
    };
    match (value("ID"), value("VERSION_ID")) {
        ("amzn", "2023") => Ok(()),
        (id, version) => {
            let line = format!(
                "this is made for Amazon Linux 2023; {} names ID={id} VERSION_ID={version}",
                path.display()
            );
            Err(Failed::new(Kind::Unavailable, line))
        }
    }
}

/// The files that are installed or read.
#[derive(Debug)]
struct Sources {
    nitro_toml: PathBuf,
    proxy: PathBuf,
    signerctl: PathBuf,
}

impl Sources {
    fn choose(options: &Options) -> Result<Self, Failed> {
        let files = &options.files;
        let folder = options.release.clone().unwrap_or_else(|| {
            // The release folder; in a checkout, the output of build-eif.sh there.
            if files.join(release::IMAGE).exists() { files.clone() } else { files.join("../target/image") }
        });
        let mut nitro_toml = folder.join(release::NITRO_TOML);
        if options.release.is_none() && !nitro_toml.exists() {
            nitro_toml = files.join(release::NITRO_TOML);
        }
        release::open_regular(&nitro_toml)?;
        let proxy = options.proxy.clone().unwrap_or_else(|| folder.join("proxy"));
        release::open_regular(&proxy).map_err(|failed| match failed.kind {
            Kind::NoInput => Failed::new(
                Kind::NoInput,
                format_args!("{failed}; infra/build-eif.sh makes it, or name another with --proxy"),
            ),
            _ => failed,
        })?;
        let of_release = folder.join("signerctl");
        let is_there = of_release.symlink_metadata().is_ok();
        let signerctl = if is_there { of_release } else { options.signerctl.clone() };
        Ok(Self { nitro_toml, proxy, signerctl })
    }
}

struct Setup<'s> {
    actor: Actor<'s>,
    machine: &'s Machine,
    options: &'s Options,
    sources: Sources,
    configuration: &'s Configuration,
}

impl Setup<'_> {
    /// Refuses a machine where another program has a port that the proxy needs.
    async fn check_ports(&self) -> Result<(), Failed> {
        let ports = vsock_ports::ports_of(self.configuration);
        // If this machine cannot tell, the proxy will.
        let taken = vsock_ports::taken(self.machine, &ports).await.unwrap_or_default();
        match taken.iter().find(|taken| taken.is_foreign) {
            None => Ok(()),
            Some(taken) => {
                let line = format_args!("{}; {}", taken.finding(), taken.remedy());
                Err(Failed::new(Kind::Unavailable, line))
            }
        }
    }

    fn install_packages(&self) -> Result<(), Failed> {
        let mut packages = vec!["aws-nitro-enclaves-cli"];
        if self.options.has_kernel_blobs {
            packages.push("aws-nitro-enclaves-cli-devel");
        }
        if self.options.log_group.is_some() {
            packages.extend(["amazon-cloudwatch-agent", "logrotate"]);
        }
        let mut missing = Vec::new();
        for package in packages {
            if !self.holds("rpm", &["--quiet", "-q", package])? {
                missing.push(package);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.actor.run("dnf", ["install", "--assumeyes"].into_iter().chain(missing))
    }

    /// In no group but its own: neither `ne`, which may start enclaves, nor one that reads the journal.
    fn make_user(&self) -> Result<(), Failed> {
        if self.holds("getent", &["passwd", SERVICE_USER])? {
            return Ok(());
        }
        let arguments =
            ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell"];
        self.actor.run("useradd", arguments.into_iter().chain(["/sbin/nologin", SERVICE_USER]))
    }

    /// Returns whether the proxy is another one than before.
    fn install_programs(&self) -> Result<bool, Failed> {
        let libexec = self.machine.path(LIBEXEC);
        let is_proxy_new =
            self.actor.put_file(&self.sources.proxy, &self.machine.path(INSTALLED_PROXY), EXECUTABLE)?;
        self.actor.put_file(&self.sources.signerctl, &libexec.join("signerctl"), EXECUTABLE)?;
        for script in SCRIPTS {
            self.actor.put_file(&self.options.files.join(script), &libexec.join(script), EXECUTABLE)?;
        }
        Ok(is_proxy_new)
    }

    /// Makes it once, and never changes the operator's words. A deployment removes ENCLAVE_CID, which earlier versions
    /// wrote.
    fn make_boot_file(&self) -> Result<(), Failed> {
        let path = self.machine.path(BOOT_FILE);
        let owner = format!("{SERVICE_USER}:{SERVICE_USER}");
        let chown = |path: &Path| {
            let arguments = [owner.clone().into(), "--".into(), path.as_os_str().to_owned()];
            self.actor.run("chown", arguments)
        };
        if path.symlink_metadata().is_ok() {
            let arguments = ["-c".into(), "%a %U:%G".into(), "--".into(), path.as_os_str().to_owned()];
            let is = self.output(&Call::new("stat", arguments, TIMEOUT))?;
            let should = format!("600 {owner}");
            if is.trim() != should {
                chown(&path)?;
                self.actor.set_mode(&path, 0o600)?;
                report(format_args!(
                    "WARNING: {} was {}, and is {should} now; each user who could read it may know its secrets",
                    path.display(),
                    is.trim()
                ));
            }
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            self.actor.make_folder(folder)?;
        }
        if self.options.is_dry {
            self.actor.print(format_args!("create {}, 600 {owner}", path.display()));
            return Ok(());
        }
        // Private from its first moment; and a link never takes the place of a file that came meanwhile.
        let draft = path.with_file_name(format!("{}{:08x}", boot_file::DRAFT_PREFIX, std::process::id()));
        let unwritten = |error: std::io::Error| {
            Failed::new(Kind::Unavailable, format_args!("{}: it cannot be written: {error}", path.display()))
        };
        let text = boot_file_text::first_boot_file(self.configuration);
        let make = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&draft)
                .map_err(unwritten)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritten)?;
            chown(&draft)?;
            fs::hard_link(&draft, &path).map_err(unwritten)
        };
        let made = make();
        // It may not be there.
        let _ = fs::remove_file(&draft);
        made?;
        report(format_args!("made {}; put your secrets in", path.display()));
        Ok(())
    }

    /// Makes the file of the CID on a parent where an earlier version wrote the CID into the boot file. That line stays
    /// until the next deployment: the proxy that runs still reads it.
    fn make_cid_file(&self) -> Result<(), Failed> {
        let Some(cid) = BootFile::read(self.machine)?.enclave_cid() else { return Ok(()) };
        if cid_file::read(self.machine)?.is_some() {
            return Ok(());
        }
        if self.options.is_dry {
            self.actor.print(format_args!("write {cid} to {}", self.machine.path(CID_FILE).display()));
            return Ok(());
        }
        cid_file::write(self.machine, cid)
    }

    /// Returns whether one is another than before.
    fn install_units(&self) -> Result<bool, Failed> {
        let units = self.machine.path("/etc/systemd/system");
        let mut is_new = false;
        for unit in self.units() {
            let name = format!("{unit}.service");
            let source = self.options.files.join("parent").join(&name);
            is_new |= self.actor.put_file(&source, &units.join(&name), 0o644)?;
        }
        let listen_port = BootFile::read(self.machine)?.listen_port()?;
        let drop_in = units::drop_in(self.configuration, listen_port);
        let place = units.join("nitro-parent.service.d/nitro-toml.conf");
        Ok(is_new | self.actor.put(drop_in.as_bytes(), &place, 0o644)?)
    }

    /// Ours; the log's only where CloudWatch keeps it.
    fn units(&self) -> impl Iterator<Item = &'static str> {
        let logs = self.options.log_group.is_some().then_some("nitro-logs");
        ["nitro-parent", "nitro-enclave"].into_iter().chain(logs)
    }

    fn start_units(&self) -> Result<(), Failed> {
        self.actor.run("systemctl", ["daemon-reload"])?;
        for unit in ["nitro-enclaves-allocator"].into_iter().chain(self.units()) {
            let unit = format!("{unit}.service");
            if !systemd::is_enabled(self.machine, &unit)? {
                self.actor.run("systemctl", ["enable", &unit])?;
            }
        }
        let logs = self.options.log_group.is_some().then_some("nitro-logs.service");
        for unit in [ALLOCATOR_UNIT].into_iter().chain(logs) {
            if !systemd::is_active(self.machine, unit)? {
                self.actor.run("systemctl", ["start", unit]).map_err(|failed| match unit {
                    ALLOCATOR_UNIT => {
                        let line =
                            format_args!("the allocator does not start. {}", self.allocator_cause(&failed));
                        Failed::new(failed.kind, line)
                    }
                    _ => failed,
                })?;
            }
        }
        Ok(())
    }

    fn report_what_is_next(&self, is_new: bool) -> Result<(), Failed> {
        if is_new && systemd::is_active(self.machine, "nitro-parent.service")? {
            report(
                "nitro-parent.service still runs as before; when clients can do without for a moment: systemctl restart \
                 nitro-parent.service",
            );
        }
        if self.machine.path(release::STORED_RELEASE).symlink_metadata().is_err() {
            report(format_args!(
                "next: fill in {}, then run-enclave.sh --release FOLDER starts the enclave, and the proxy with it",
                self.machine.path(BOOT_FILE).display()
            ));
        }
        Ok(())
    }

    /// Whether a command that only answers a question succeeds.
    fn holds(&self, program: &str, arguments: &[&str]) -> Result<bool, Failed> {
        let call = Call::new(program, arguments, TIMEOUT);
        match self.machine.run(&call) {
            Ok(ended) => Ok(ended.status == 0),
            Err(error) => Err(Failed::new(Kind::Unavailable, format_args!("{call}: {error}"))),
        }
    }

    fn output(&self, call: &Call) -> Result<String, Failed> {
        match self.machine.run(call) {
            Ok(Ended { status: 0, stdout, .. }) => Ok(stdout),
            Ok(ended) => {
                let line =
                    format_args!("{call} fails (exit status {}): {}", ended.status, ended.stderr.trim());
                Err(Failed::new(Kind::Unavailable, line))
            }
            Err(error) => Err(Failed::new(Kind::Unavailable, format_args!("{call}: {error}"))),
        }
    }
}
