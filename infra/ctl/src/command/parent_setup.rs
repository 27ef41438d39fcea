//! `signerctl parent setup`

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use signerctl::endpoint::Endpoint;
use signerctl::parent::imds::Imds;
use signerctl::parent::machine::Machine;
use signerctl::parent::point::Outcome;
use signerctl::parent::preflight::{Need, preflight};
use signerctl::parent::setup::{Options, setup};

use super::preflight::IMDS_URL;
use crate::failure::{EX_UNAVAILABLE, Failure, print};
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
Prepares this instance (Amazon Linux 2023, launched with Enclave Options) to run the signer. It may run again: it changes
what is not as it should be, and never the contents of /etc/nitro-signer/env.

It installs nitro-cli from Amazon Linux, gives the enclave's CPUs and memory to the allocator in whole pages, makes the
user nitro-signer, and puts the proxy, signerctl, run-enclave.sh and check.sh into /usr/local/libexec/nitro-signer and
their units into /etc/systemd/system. It starts the allocator and no enclave. At its end it prints what `signerctl
preflight` finds, which changes nothing of its exit status.

Exit status: 0 done, 64 wrong command line, 66 a file is missing, 69 not Amazon Linux 2023, too small, or a vsock port is
taken, 73 the output cannot be written, 75 the allocator has to change while an enclave runs, 77 not root, 78 nitro.toml
or allocator.yaml is wrong, a file to install is a link, or /etc/nitro-signer is not root's alone; otherwise that of the
command that failed.

Examples:
  signerctl parent setup --release . --side-by-side
  signerctl parent setup --files infra --dry-run")]
pub(crate) struct ParentSetup {
    /// The output of infra/build-eif.sh [default: the folder of --files, or target/image beside it]. Its nitro.toml
    /// gives the size of the enclave
    #[arg(long, value_name = "FOLDER")]
    release: Option<PathBuf>,

    /// Installs this as the proxy, instead of the release's
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,

    /// Takes CPUs and memory for two enclaves, so that a new one can start beside the old
    #[arg(long)]
    side_by_side: bool,

    /// Also installs aws-nitro-enclaves-cli-devel, with the kernel that AWS builds for enclaves
    #[arg(long)]
    with_kernel_blobs: bool,

    /// Sends the log to this log group, by amazon-cloudwatch-agent
    #[arg(long, value_name = "NAME", value_parser = log_group)]
    cloudwatch_log_group: Option<String>,

    /// Prints what it would do and changes nothing; needs no root
    #[arg(long)]
    dry_run: bool,

    /// Where the scripts and parent/ are [default: the folder of signerctl]
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,

    /// The instance metadata service
    #[arg(long, value_name = "URL", default_value = IMDS_URL)]
    imds_url: Endpoint,
}

/// As CloudWatch has it.
fn log_group(name: &str) -> Result<String, &'static str> {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"_/.#-".contains(&byte);
    if (1..=512).contains(&name.len()) && name.bytes().all(is_of_names) {
        Ok(name.to_owned())
    } else {
        Err("a log group is 1 to 512 letters, digits and _ / . # -")
    }
}

impl ParentSetup {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let signerctl = env::current_exe().map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
        let beside = || signerctl.parent().unwrap_or(Path::new("/")).to_owned();
        let options = Options {
            files: self.files.unwrap_or_else(beside),
            release: self.release,
            proxy: self.proxy,
            signerctl,
            is_side_by_side: self.side_by_side,
            has_kernel_blobs: self.with_kernel_blobs,
            log_group: self.cloudwatch_log_group,
            is_dry: self.dry_run,
        };
        let machine = Machine::this();
        let configuration = wait_for(setup(&machine, &options))??;
        if options.is_dry {
            return Ok(());
        }
        let need = Need { configuration: &configuration, release: None };
        let points = wait_for(preflight(&machine, &Imds::new(self.imds_url), &need))?;
        points.iter().try_for_each(print)?;
        let failed = points.iter().filter(|point| point.outcome == Outcome::Fail).count();
        if failed > 0 {
            print(format_args!(
                "{failed} of {} points failed. Correct them before you start an enclave",
                points.len()
            ))?;
        }
        Ok(())
    }
}
