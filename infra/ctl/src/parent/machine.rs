//! The parent's machine: a tree of files, and commands.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::geteuid;

use super::report;

/// Bytes of each output of a command that are read. `nitro-cli describe-enclaves` prints 1 KiB for an enclave; an AWS
/// key policy has at most 32 KiB.
pub const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;

/// Between two looks at whether a command has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// For tests: the folder that stands for the root of the machine.
const ROOT_VARIABLE: &str = "NITRO_SIGNER_ROOT";

/// A command to run, with nothing on its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The program, which is looked for in `PATH` unless it has a slash.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// It is killed when it takes longer.
    pub timeout: Duration,
    /// Whether it is out of reach of Ctrl-C at the terminal.
    is_without_terminal_signals: bool,
}

impl Call {
    /// A call of `program` with `arguments`.
    pub fn new<I>(program: impl Into<OsString>, arguments: I, timeout: Duration) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, timeout, is_without_terminal_signals: false }
    }

    /// The same, out of reach of Ctrl-C at the terminal: it runs to its end, and the caller decides the next step.
    #[must_use]
    pub fn without_terminal_signals(mut self) -> Self {
        self.is_without_terminal_signals = true;
        self
    }
}

/// As a person would type it, for messages.
impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.program.display())?;
        self.arguments.iter().try_for_each(|argument| write!(formatter, " {}", argument.display()))
    }
}

/// The output and status of a command that ended by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 and the signal's number if a signal ended it, as shells report it.
    pub status: i32,
    /// The first [`MAX_OUTPUT_BYTES`] of its standard output, without bytes that are not UTF-8.
    pub stdout: String,
    /// Likewise, of its standard error.
    pub stderr: String,
}

/// Why there is nothing that a command said.
#[derive(Debug)]
pub enum NotRun {
    /// The program is not installed.
    Missing,
    /// It did not end in time and was killed.
    TimedOut(Duration),
    /// The system failed to run it.
    System(io::Error),
}

impl fmt::Display for NotRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("the program is not installed"),
            Self::TimedOut(timeout) => write!(formatter, "it did not end within {} s", timeout.as_secs()),
            Self::System(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for NotRun {}

/// Runs commands: the system's, or those of a test, which come from transcripts.
pub trait Commands {
    /// Runs `call` to its end.
    ///
    /// # Errors
    /// [`NotRun`]. An exit status other than 0 is none.
    fn run(&self, call: &Call) -> Result<Ended, NotRun>;
}

/// The commands of the system that this runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemCommands;

impl Commands for SystemCommands {
    fn run(&self, call: &Call) -> Result<Ended, NotRun> {
        // Not pipes: a process that outlives the command could keep them open.
        let output = |name| memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from);
        let mut stdout = output(c"stdout").map_err(|errno| NotRun::System(errno.into()))?;
        let mut stderr = output(c"stderr").map_err(|errno| NotRun::System(errno.into()))?;
        let mut command = Command::new(&call.program);
        command
            .args(&call.arguments)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().map_err(NotRun::System)?)
            .stderr(stderr.try_clone().map_err(NotRun::System)?);
        if call.is_without_terminal_signals {
            // A terminal signals the group in its foreground.
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NotRun::Missing,
            _ => NotRun::System(error),
        })?;
        let deadline = Instant::now() + call.timeout;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(NotRun::System)? {
                break status;
            }
            if Instant::now() >= deadline {
                // It may have ended meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                return Err(NotRun::TimedOut(call.timeout));
            }
            thread::sleep(POLL_INTERVAL);
        };
        Ok(Ended {
            status: exit_status(status),
            stdout: text(&mut stdout).map_err(NotRun::System)?,
            stderr: text(&mut stderr).map_err(NotRun::System)?,
        })
    }
}

fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A machine's files and commands.
pub struct Machine {
    root: PathBuf,
    commands: Box<dyn Commands>,
}

impl Machine {
    /// The one that this runs on. For tests, `NITRO_SIGNER_ROOT` names the folder that stands for its root; root is
    /// warned about that.
    #[must_use]
    pub fn this() -> Self {
        let root = env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty());
        if let Some(root) = root.as_ref().filter(|_| geteuid().is_root()) {
            report(format_args!(
                "WARNING: {ROOT_VARIABLE} is set, so {} stands for this machine, with the short deadlines of tests; unset it",
                root.display()
            ));
        }
        Self::new(root.map_or_else(|| PathBuf::from("/"), PathBuf::from), Box::new(SystemCommands))
    }

    /// One whose root is the folder `root`.
    #[must_use]
    pub fn new(root: PathBuf, commands: Box<dyn Commands>) -> Self {
        Self { root, commands }
    }

    /// Whether a folder stands for the root, as in tests, which wait less long.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.root != Path::new("/")
    }

    /// Where `path`, which begins at the root, is.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs `call` to its end.
    ///
    /// # Errors
    /// [`NotRun`]
    pub fn run(&self, call: &Call) -> Result<Ended, NotRun> {
        self.commands.run(call)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Machine").field("root", &self.root).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str, timeout: Duration) -> Result<Ended, NotRun> {
        SystemCommands.run(&Call::new("sh", ["-c", line], timeout))
    }

    #[test]
    fn a_command_gives_its_outputs_and_its_status() {
        let ended = shell("echo out; echo err >&2; exit 39", Duration::from_secs(10)).unwrap();
        assert_eq!(ended, Ended { status: 39, stdout: "out\n".into(), stderr: "err\n".into() });
        assert_eq!(shell("kill -TERM $$", Duration::from_secs(10)).unwrap().status, 143);
        let missing = SystemCommands.run(&Call::new("/nowhere/x", [""; 0], Duration::from_secs(10)));
        assert!(matches!(missing, Err(NotRun::Missing)));
    }

    #[test]
    fn a_process_that_outlives_the_command_is_not_waited_for() {
        let began = Instant::now();
        let ended = shell("sleep 30 & echo $!", Duration::from_secs(10)).unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        shell(&format!("kill {}", ended.stdout), Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let hung = shell("exec sleep 30", Duration::from_millis(50));
        assert!(matches!(hung, Err(NotRun::TimedOut(_))));
    }

    #[test]
    fn paths_are_below_the_root() {
        let machine = Machine::new("/a machine".into(), Box::new(SystemCommands));
        assert_eq!(machine.path("/etc/x"), Path::new("/a machine/etc/x"));
        assert!(machine.is_folder());
    }
}
