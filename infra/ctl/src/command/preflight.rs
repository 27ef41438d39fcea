//! `signerctl preflight`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use signerctl::endpoint::Endpoint;
use signerctl::parent::imds::Imds;
use signerctl::parent::machine::Machine;
use signerctl::parent::point::{Outcome, Point};
use signerctl::parent::preflight::{Need, preflight};
use signerctl::parent::release::STORED_RELEASE;
use signerctl::printable::json_in_ascii;

use super::input_files::read_nitro_toml;
use crate::failure::{Failure, NOT_GOOD, print};
use crate::wait::wait_for;

/// Where the metadata service is on every instance.
pub(super) const IMDS_URL: &str = "http://169.254.169.254";

#[derive(Debug, Args)]
#[command(after_help = "\
Looks at what a first start needs, on the parent instance, and changes nothing: the enclave device and the instance type,
the pages and CPUs that the allocator reserved, the vsock ports, the metadata service and the role, KMS through the proxy,
the clock, SELinux, the versions of nitro-cli and systemd, setpriv, and the disk. It prints PASS, FAIL or `cannot tell`
for each, and what to do. As root it also names the program that has a port. For the way to KMS it runs the installed
proxy or, where none is installed, a copy of the release's.

Exit status: 0 nothing failed, 1 something failed, 64 wrong command line, 65 nitro.toml is too long, 66 the release has no
nitro.toml, 69 the system gives no thread, 73 the output cannot be written, 78 nitro.toml is wrong.

Examples:
  signerctl preflight --release .
  signerctl preflight --json")]
pub(crate) struct Preflight {
    /// The output of infra/build-eif.sh [default: the last release that started with success,
    /// /var/lib/nitro-signer/release, or else the folder of signerctl]
    #[arg(long, value_name = "FOLDER")]
    release: Option<PathBuf>,

    /// Prints JSON
    #[arg(long)]
    json: bool,

    /// The instance metadata service
    #[arg(long, value_name = "URL", default_value = IMDS_URL)]
    imds_url: Endpoint,
}

impl Preflight {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let machine = Machine::this();
        let release = self.release.unwrap_or_else(|| {
            let stored = machine.path(STORED_RELEASE);
            let own = std::env::current_exe().ok().and_then(|file| file.parent().map(Path::to_owned));
            if stored.exists() { stored } else { own.unwrap_or(stored) }
        });
        let nitro_toml = read_nitro_toml(&release.join("nitro.toml"))?;
        let need = Need { configuration: nitro_toml.configuration(), release: Some(&release) };
        let points = wait_for(preflight(&machine, &Imds::new(self.imds_url), &need))?;
        let failed = points.iter().filter(|point| point.outcome == Outcome::Fail).count();
        if self.json {
            let points: Vec<_> = points.iter().map(Point::to_json).collect();
            print(json_in_ascii(&json!({ "ready": failed == 0, "points": points })))?;
        } else {
            points.iter().try_for_each(print)?;
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(NOT_GOOD, format_args!("{failed} of {} points failed", points.len()))),
        }
    }
}
