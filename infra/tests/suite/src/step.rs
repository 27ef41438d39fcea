//! One check or build, and how it runs its commands.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::process_groups::ProcessGroups;

/// The first characters of a command in a log.
pub(crate) const COMMAND_MARK: &str = "$ ";

/// How much a step asks of the machine while it runs, which decides how many run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Computes on all cores.
    Build,
    /// Computes on one core.
    Test,
    /// Waits most of its time, for deadlines.
    Wait,
}

/// The work of a step. The steps that it returns join the plan.
pub(crate) type Action = Box<dyn FnOnce(&mut Log) -> Result<Vec<Step>, Failure> + Send>;

/// A part of the plan.
pub(crate) struct Step {
    /// Unique in the plan.
    pub(crate) name: String,
    pub(crate) load: Load,
    /// The names of the steps that have to pass first.
    pub(crate) after: Vec<String>,
    /// The resource that it uses alone, such as a build folder that cargo locks. Two steps with the same one never run
    /// at the same time.
    pub(crate) alone_in: Option<&'static str>,
    pub(crate) action: Action,
}

impl Step {
    pub(crate) fn new(
        name: impl Into<String>,
        load: Load,
        action: impl FnOnce(&mut Log) -> Result<Vec<Self>, Failure> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), load, after: Vec::new(), alone_in: None, action: Box::new(action) }
    }

    /// A step that runs one command.
    pub(crate) fn command(name: impl Into<String>, load: Load, command: Command) -> Self {
        Self::commands(name, load, vec![command])
    }

    /// A step that runs commands one after the other.
    pub(crate) fn commands(name: impl Into<String>, load: Load, commands: Vec<Command>) -> Self {
        Self::new(name, load, |log| {
            for command in commands {
                log.run(command)?;
            }
            Ok(Vec::new())
        })
    }

    /// The step uses this alone.
    pub(crate) fn alone_in(mut self, place: &'static str) -> Self {
        self.alone_in = Some(place);
        self
    }

    /// The step waits until all these have passed.
    pub(crate) fn after(mut self, names: &[&str]) -> Self {
        self.after.extend(names.iter().map(|&name| name.to_owned()));
        self
    }
}

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A command ended with this status.
    Status(ExitStatus),
    /// A command could not be started.
    Start(String, io::Error),
    /// A file or process of the run cannot be used.
    Io(io::Error),
    /// The run is being stopped.
    Stopped,
    /// A check found an error.
    Found(String),
}

/// Of sysexits.h.
const EX_UNAVAILABLE: i32 = 69;

impl Failure {
    /// Whether a script reported that something it needs of the system or a registry is missing.
    pub(crate) fn is_something_missing(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Some(EX_UNAVAILABLE))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "ended with {status}"),
            Self::Start(program, error) => write!(formatter, "cannot start {program}: {error}"),
            Self::Io(error) => write!(formatter, "a file or process of the run cannot be used: {error}"),
            Self::Stopped => formatter.write_str("stopped"),
            Self::Found(text) => formatter.write_str(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the output of a step goes, and the way in which it starts processes.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    groups: Arc<ProcessGroups>,
    used: Duration,
}

impl Log {
    /// Creates the file `path`.
    pub(crate) fn create(path: PathBuf, groups: Arc<ProcessGroups>) -> io::Result<Self> {
        let file = File::create(&path)?;
        Ok(Self { path, file, groups, used: Duration::ZERO })
    }

    /// The CPU time that its commands have used.
    pub(crate) fn used(&self) -> Duration {
        self.used
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line of the step's own.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.file, "{text}").map_err(Failure::Io)
    }

    /// Runs `command` to its end. Both of its outputs go to the log.
    pub(crate) fn run(&mut self, mut command: Command) -> Result<(), Failure> {
        command.stdout(self.file.try_clone()?);
        self.finish(command).map(drop)
    }

    /// Runs `command` to its end and returns what it wrote to standard output.
    pub(crate) fn output(&mut self, mut command: Command) -> Result<String, Failure> {
        command.stdout(Stdio::piped());
        self.finish(command)
    }

    fn finish(&mut self, mut command: Command) -> Result<String, Failure> {
        let shown = shown(&command);
        self.line(format_args!("{COMMAND_MARK}{shown}"))?;
        command.stdin(Stdio::null()).stderr(self.file.try_clone()?).process_group(0);
        let mut child = match self.groups.spawn(&mut command) {
            Some(Ok(child)) => child,
            Some(Err(error)) => return Err(Failure::Start(shown, error)),
            None => return Err(Failure::Stopped),
        };
        let mut output = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut output)?;
        }
        let (status, used) = self.groups.wait(child)?;
        self.used += used;
        if status.success() {
            Ok(String::from_utf8_lossy(&output).into_owned())
        } else {
            Err(Failure::Status(status))
        }
    }
}

/// On one line, as a person would type it.
fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy);
    words
        .flat_map(|word| word.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>()
        .join(" ")
}
