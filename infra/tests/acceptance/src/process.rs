//! A child process whose output is kept and whose end is certain.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Failure, fail};

/// How long a process may take until it says that it listens.
const START: Duration = Duration::from_secs(20);

/// A running (or ended) child. Dropping it kills and reaps it.
pub struct Process {
    name: &'static str,
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    stdout: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `program`; its environment is ours plus `environment`.
    pub fn start<S: AsRef<OsStr>>(
        name: &'static str,
        program: &Path,
        arguments: &[S],
        environment: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::new(format!("cannot start {}: {e}", program.display())))?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(collect(pipe, vec![Arc::clone(&output), Arc::clone(&stdout)]));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(collect(pipe, vec![Arc::clone(&output)]));
        }
        Ok(Self { name, child, output, stdout, readers })
    }

    /// Waits for the line on stdout that starts with `prefix` and gives what follows it.
    pub fn ready(&mut self, prefix: &str) -> Result<String, Failure> {
        let deadline = Instant::now() + START;
        loop {
            // Its last output may still be in the pipe when it has ended.
            let has_said_all = self.readers.iter().all(JoinHandle::is_finished);
            let stdout = String::from_utf8_lossy(&bytes_of(&self.stdout)).into_owned();
            let complete = stdout.split_inclusive('\n').filter(|l| l.ends_with('\n'));
            if let Some(rest) = complete.filter_map(|l| l.strip_prefix(prefix)).next() {
                return Ok(rest.trim_end().to_owned());
            }
            let ended = self.child.try_wait()?;
            if (ended.is_some() && has_said_all) || Instant::now() > deadline {
                return fail(format!(
                    "{} did not say `{prefix}…` (ended: {ended:?}); output:\n{}",
                    self.name,
                    String::from_utf8_lossy(&self.output())
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid is positive and small"))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<(), Failure> {
        kill(self.pid(), Signal::SIGTERM)?;
        Ok(())
    }

    /// Waits for the end.
    pub fn ended_within(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return fail(format!("{} still runs after {patience:?}", self.name));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// All that it wrote so far to stdout and stderr.
    #[must_use]
    pub fn output(&self) -> Vec<u8> {
        bytes_of(&self.output)
    }

    /// Kills it, reaps it, and gives all that it ever wrote.
    #[must_use]
    pub fn stop(&mut self) -> Vec<u8> {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.output()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn bytes_of(buffer: &Mutex<Vec<u8>>) -> Vec<u8> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn collect(mut pipe: impl Read + Send + 'static, into: Vec<Arc<Mutex<Vec<u8>>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = pipe.read(&mut buffer) {
            if n == 0 {
                break;
            }
            for sink in &into {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.extend_from_slice(&buffer[..n]);
            }
        }
    })
}
