//! `signerctl`, as an operator runs it.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::binaries::signerctl;
use crate::failure::fail;
use crate::process::Process;
use crate::stack::Secrets;
use crate::{Failure, Server};

/// Longer than any command of a test takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running command.
pub struct Operator {
    process: Process,
}

/// The result of a command.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, if no signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output, and to standard error.
    pub said: String,
}

impl Operator {
    /// Starts `signerctl` with these arguments; the secrets are in its environment.
    pub fn starts(arguments: &[&str], secrets: &Secrets) -> Result<Self, Failure> {
        let environment = [
            ("INTERNAL_API_KEY", secrets.api_key.as_str()),
            ("TICKET_SIGNING_SECRET", secrets.ticket_secret.as_str()),
        ];
        Ok(Self { process: Process::start("signerctl", signerctl(), arguments, &environment)? })
    }

    /// Runs it to its end.
    pub fn runs(arguments: &[&str], secrets: &Secrets) -> Result<Ended, Failure> {
        Self::starts(arguments, secrets)?.ends()
    }

    /// Waits for its end.
    pub fn ends(mut self) -> Result<Ended, Failure> {
        let status = self.process.ended_within(PATIENCE)?;
        let said = String::from_utf8_lossy(&self.process.stop()).into_owned();
        Ok(Ended { code: status.code(), said })
    }

    /// Sends it a signal.
    pub fn gets(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill(self.process.pid(), signal)?)
    }

    /// Waits until it has written `text`.
    pub fn says(&mut self, text: &str) -> Result<(), Failure> {
        let started = Instant::now();
        while !String::from_utf8_lossy(&self.process.output()).contains(text) {
            if !self.process.is_running() || started.elapsed() > PATIENCE {
                let output = self.process.output();
                return fail(format!("`{text}` is not in:\n{}", String::from_utf8_lossy(&output)));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether it is at work.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }
}

impl Ended {
    /// Checks its exit status and that it said these things.
    pub fn is(&self, code: i32, said: &[&str]) -> Result<(), Failure> {
        match said.iter().find(|text| !self.said.contains(**text)) {
            None if self.code == Some(code) => Ok(()),
            missing => fail(format!("expected exit status {code}, missing {missing:?}: {self:?}")),
        }
    }

    /// The JSON that it printed, if it had this exit status.
    pub fn json(&self, code: i32) -> Result<Value, Failure> {
        self.is(code, &[])?;
        let line = self.said.lines().find(|line| line.starts_with('{'));
        Ok(serde_json::from_str(line.ok_or_else(|| Failure::new(format!("no JSON: {self:?}")))?)?)
    }
}

impl Server {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}
