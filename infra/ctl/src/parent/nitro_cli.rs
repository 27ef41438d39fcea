//! Calls of `nitro-cli`. `infra/tests/transcripts/nitro-cli` records its output.

mod error_report;
mod printed;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use self::error_report::ErrorReport;
use self::printed::{Form, read_json};
use super::machine::{Call, Ended, Machine, NotRun};
use crate::eif::MeasurementSet;

const PROGRAM: &str = "nitro-cli";

/// No call but `run-enclave` takes longer: it waits 3 s for each enclave that does not answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `run-enclave` waits 180 s for an enclave's heartbeat, and loads the image before.
const RUN_TIMEOUT: Duration = Duration::from_secs(600);

/// As [`RUN_TIMEOUT`], where a folder stands for the machine.
const RUN_TIMEOUT_IN_TESTS: Duration = Duration::from_secs(15);

/// The status of an enclave process that did not answer. Above its report stands the real cause, if there is one.
const CONNECTION_FAILURE: u16 = 39;

/// An enclave that runs, as `describe-enclaves` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Enclave {
    /// The name that it was started with; `nitro-cli` adds `_1`, `_2` and so on to a name that is taken.
    #[serde(rename = "EnclaveName")]
    pub name: String,
    /// The identifier that ends it.
    #[serde(rename = "EnclaveID")]
    pub id: String,
    /// Its vsock address.
    #[serde(rename = "EnclaveCID")]
    pub cid: u32,
    /// Virtual CPUs that it has.
    #[serde(rename = "NumberOfCPUs")]
    pub cpu_count: u32,
    /// Memory that it has, in whole huge pages: perhaps more than was asked for.
    #[serde(rename = "MemoryMiB")]
    pub memory_mib: u64,
    /// `RUNNING`, `TERMINATING` or `EMPTY`.
    pub state: String,
    /// `NONE` or `DEBUG_MODE`.
    pub flags: String,
    /// PCR0 to PCR2 of its image, also in debug mode; none if they are missing.
    #[serde(default, deserialize_with = "measurements")]
    pub measurements: Option<MeasurementSet>,
}

/// Reads `Measurements`. A wrong value is skipped: no deployment depends on it.
fn measurements<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MeasurementSet>, D::Error> {
    let measurements = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::json!({ "Measurements": measurements }).to_string().parse().ok())
}

impl Enclave {
    /// Whether it has started and was not told to end.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "RUNNING"
    }

    /// Whether it has a console, and measurements of zeros.
    #[must_use]
    pub fn is_debugged(&self) -> bool {
        self.flags == "DEBUG_MODE"
    }
}

/// The list of `describe-enclaves`. An enclave that still boots is in no list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The enclaves whose processes answered, in no certain order.
    pub enclaves: Vec<Enclave>,
    /// Whether all processes answered.
    pub is_complete: bool,
}

/// The image to start, and its resources.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The image.
    pub eif: &'a Path,
    /// Virtual CPUs.
    pub cpu_count: u32,
    /// Memory.
    pub memory_mib: u32,
    /// The name to ask for; see [`Enclave::name`].
    pub name: &'a str,
    /// With a console, and with measurements of zeros.
    pub is_debugged: bool,
}

impl Start<'_> {
    /// The arguments of the call.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            "run-enclave".into(),
            "--eif-path".into(),
            self.eif.into(),
            "--cpu-count".into(),
            self.cpu_count.to_string().into(),
            "--memory".into(),
            self.memory_mib.to_string().into(),
            "--enclave-name".into(),
            self.name.into(),
        ];
        if self.is_debugged {
            arguments.push("--debug-mode".into());
        }
        arguments
    }
}

/// An enclave that `run-enclave` started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Started {
    /// The identifier that ends it.
    #[serde(rename = "EnclaveID")]
    pub id: String,
    /// Its vsock address.
    #[serde(rename = "EnclaveCID")]
    pub cid: u32,
}

/// A version of `nitro-cli`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a call of `nitro-cli` gave nothing.
#[derive(Debug)]
pub struct NitroCliFailed {
    /// Such as `describe-enclaves`.
    verb: &'static str,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    NotRun(NotRun),
    Status { status: i32, report: ErrorReport },
    Unexpected { wanted: &'static str, error: String },
}

impl NitroCliFailed {
    /// Whether an enclave could not start because others have CPUs or memory of the pool: E27, and E29 before any
    /// memory was allocated. E22 and E26 are not among them: the pool has fewer CPUs, or the image needs more than
    /// `enclave.memory_mib`, whatever else runs.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        match &self.cause {
            Cause::Status { report, .. } => {
                report.code == Some(27) || (report.code == Some(29) && !report.is_after_allocation)
            }
            Cause::NotRun(_) | Cause::Unexpected { .. } => false,
        }
    }

    /// Whether it is memory that others have: E27.
    #[must_use]
    pub fn is_no_memory(&self) -> bool {
        matches!(&self.cause, Cause::Status { report, .. } if report.code == Some(27))
    }

    /// Whether there is no enclave of this ID: E11.
    #[must_use]
    pub fn is_unknown_enclave(&self) -> bool {
        matches!(&self.cause, Cause::Status { report, .. } if report.code == Some(11))
    }

    /// Whether an ioctl of the driver failed: E29. It may do so just after another enclave has ended, and not again.
    #[must_use]
    pub fn is_ioctl_failure(&self) -> bool {
        matches!(&self.cause, Cause::Status { report, .. } if report.code == Some(29))
    }

    /// Whether what was asked for may have happened all the same: the call was killed, or printed no cause that is
    /// known.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match &self.cause {
            Cause::NotRun(NotRun::TimedOut(_)) | Cause::Unexpected { .. } => true,
            Cause::NotRun(_) => false,
            Cause::Status { report, .. } => matches!(report.code, None | Some(CONNECTION_FAILURE)),
        }
    }
}

impl fmt::Display for NitroCliFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PROGRAM} {}: ", self.verb)?;
        match &self.cause {
            Cause::NotRun(error) => error.fmt(formatter),
            Cause::Status { status, report } => write!(formatter, "{report} (exit status {status})"),
            Cause::Unexpected { wanted, error } => {
                write!(formatter, "expected {wanted} on its standard output, got another text: {error}")
            }
        }
    }
}

impl std::error::Error for NitroCliFailed {}

/// `nitro-cli` of one machine.
#[derive(Clone, Copy, Debug)]
pub struct NitroCli<'a> {
    machine: &'a Machine,
}

impl<'a> NitroCli<'a> {
    /// The one that `machine` has.
    #[must_use]
    pub const fn new(machine: &'a Machine) -> Self {
        Self { machine }
    }

    /// All enclaves of this machine, also those of others.
    ///
    /// # Errors
    /// [`NitroCliFailed`]. An enclave process that does not answer is none: see [`Listing::is_complete`].
    pub fn describe_enclaves(&self) -> Result<Listing, NitroCliFailed> {
        const VERB: &str = "describe-enclaves";
        let ended = self.run(VERB, [VERB], TIMEOUT)?;
        let is_complete = ended.status == 0;
        if !is_complete && ErrorReport::read(&ended.stderr).code != Some(CONNECTION_FAILURE) {
            return Err(refused(VERB, &ended));
        }
        let enclaves = read(VERB, &ended, Form::Array, "a JSON array of enclaves")?;
        Ok(Listing { enclaves, is_complete })
    }

    /// The measurements of the image `eif`.
    ///
    /// # Errors
    /// [`NitroCliFailed`]
    pub fn describe_eif(&self, eif: &Path) -> Result<MeasurementSet, NitroCliFailed> {
        const VERB: &str = "describe-eif";
        const WANTED: &str = "a JSON object with the image's Measurements";
        let arguments = [VERB.as_ref(), "--eif-path".as_ref(), eif.as_os_str()];
        let ended = succeeded(VERB, self.run(VERB, arguments, TIMEOUT)?)?;
        let json: serde_json::Value = read(VERB, &ended, Form::Object, WANTED)?;
        let measurements = json.to_string().parse::<MeasurementSet>();
        measurements.map_err(|error| unexpected(VERB, WANTED, error.to_string()))
    }

    /// Starts an enclave and waits until it has booted.
    ///
    /// # Errors
    /// [`NitroCliFailed`]
    pub fn run_enclave(&self, start: &Start<'_>) -> Result<Started, NitroCliFailed> {
        const VERB: &str = "run-enclave";
        let timeout = if self.machine.is_folder() { RUN_TIMEOUT_IN_TESTS } else { RUN_TIMEOUT };
        let ended = succeeded(VERB, self.run(VERB, start.arguments(), timeout)?)?;
        read(VERB, &ended, Form::Object, "a JSON object with the EnclaveID and EnclaveCID of what it started")
    }

    /// Tells the enclave `id` to end. It may still be listed for a moment.
    ///
    /// # Errors
    /// [`NitroCliFailed`]
    pub fn terminate_enclave(&self, id: &str) -> Result<(), NitroCliFailed> {
        const VERB: &str = "terminate-enclave";
        const WANTED: &str = "a JSON object that says Terminated";
        let ended = succeeded(VERB, self.run(VERB, [VERB, "--enclave-id", id], TIMEOUT)?)?;
        let answer: Terminated = read(VERB, &ended, Form::Object, WANTED)?;
        if answer.terminated && answer.id == id {
            Ok(())
        } else {
            Err(unexpected(VERB, WANTED, format!("it is not about {id}, or not ended")))
        }
    }

    /// Which version it is.
    ///
    /// # Errors
    /// [`NitroCliFailed`]
    pub fn version(&self) -> Result<Version, NitroCliFailed> {
        const VERB: &str = "--version";
        const WANTED: &str = "a line such as `Nitro CLI 1.4.2`";
        let ended = succeeded(VERB, self.run(VERB, [VERB], TIMEOUT)?)?;
        let version = ended.stdout.lines().find_map(printed::version);
        version.ok_or_else(|| unexpected(VERB, WANTED, "no line is like that".to_owned()))
    }

    fn run<I>(&self, verb: &'static str, arguments: I, timeout: Duration) -> Result<Ended, NitroCliFailed>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        // Ctrl-C ends the work on an enclave, but never in the middle of a call about it.
        let call = Call::new(PROGRAM, arguments, timeout).without_terminal_signals();
        self.machine.run(&call).map_err(|error| NitroCliFailed { verb, cause: Cause::NotRun(error) })
    }
}

#[derive(Deserialize)]
struct Terminated {
    #[serde(rename = "EnclaveID")]
    id: String,
    #[serde(rename = "Terminated")]
    terminated: bool,
}

fn succeeded(verb: &'static str, ended: Ended) -> Result<Ended, NitroCliFailed> {
    if ended.status == 0 { Ok(ended) } else { Err(refused(verb, &ended)) }
}

fn refused(verb: &'static str, ended: &Ended) -> NitroCliFailed {
    let report = ErrorReport::read(&ended.stderr);
    NitroCliFailed { verb, cause: Cause::Status { status: ended.status, report } }
}

fn unexpected(verb: &'static str, wanted: &'static str, error: String) -> NitroCliFailed {
    NitroCliFailed { verb, cause: Cause::Unexpected { wanted, error } }
}

fn read<T: for<'de> Deserialize<'de>>(
    verb: &'static str,
    ended: &Ended,
    form: Form,
    wanted: &'static str,
) -> Result<T, NitroCliFailed> {
    read_json(&ended.stdout, form).map_err(|error| unexpected(verb, wanted, error.to_string()))
}

#[cfg(test)]
mod tests;
