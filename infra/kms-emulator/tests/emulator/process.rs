//! A running emulator.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::fixture::Fixture;

/// A process, killed when dropped.
pub(crate) struct Emulator {
    child: Child,
    pub(crate) address: String,
    pub(crate) imds_address: String,
    pub(crate) control_address: String,
}

impl Emulator {
    pub(crate) fn start(fixture: &Fixture, more: &[&str]) -> Self {
        Self::start_on("tcp:127.0.0.1:0", fixture, more)
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start_on(listen: &str, fixture: &Fixture, more: &[&str]) -> Self {
        let mut child = Self::command(listen, fixture, more).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |after: &str| {
            let line = lines.next().expect("the emulator ended").unwrap();
            line.strip_prefix(after).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        Self {
            address: address("kms-emulator: listening on "),
            imds_address: address("kms-emulator: imds on "),
            control_address: address("kms-emulator: control on "),
            child,
        }
    }

    /// The policy that is committed, an attacker's key and another of theirs, and everybody who is somebody.
    pub(crate) fn command(listen: &str, fixture: &Fixture, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-emulator"));
        command
            .args(["--listen", listen, "--ca-out", &fixture.path("ca.pem"), "--region", "eu-central-1"])
            .arg(format!(
                "--key=arn:aws:kms:eu-central-1:111122223333:key/signer={}",
                fixture.path("policy.json")
            ));
        for id in ["open", "other"] {
            let key = format!("arn:aws:kms:eu-central-1:444455556666:key/{id}");
            command.arg(format!("--key={key}={}", fixture.path("permissive.json")));
        }
        for (access_key_id, role) in [
            ("AKIASEALER", "nitro-signer-secret-sealer"),
            ("AKIAADMINISTRATOR", "nitro-signer-key-administrator"),
        ] {
            command
                .arg(format!("--principal={access_key_id}:its-secret=arn:aws:iam::111122223333:role/{role}"));
        }
        command
            .args(["--imds-listen=tcp:127.0.0.1:0", "--control-listen=tcp:127.0.0.1:0"])
            .arg("--imds-role=arn:aws:iam::111122223333:role/nitro-signer-instance")
            .args(more);
        command
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
