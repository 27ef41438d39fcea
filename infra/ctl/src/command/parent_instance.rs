//! The options of the commands that change which enclave serves.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use signerctl::parent::deployment::Times;
use signerctl::parent::instance::Instance;
use signerctl::parent::machine::Machine;
use signerctl::parent::ownership::need_root;
use signerctl::parent::release::STORED_RELEASE;

use crate::failure::Failure;

/// This machine, for root.
pub(super) fn instance() -> Result<Instance, Failure> {
    let machine = Machine::this();
    need_root(&machine)?;
    Ok(Instance::new(machine)?)
}

/// Which release.
#[derive(Debug, Args)]
pub(crate) struct ReleaseFolder {
    /// The output of infra/build-eif.sh: nitro-signer.eif, and nitro.toml with its PCRs [default: the last release that
    /// started with success, /var/lib/nitro-signer/release]
    #[arg(long, value_name = "FOLDER")]
    release: Option<PathBuf>,
}

impl ReleaseFolder {
    pub(super) fn of(self, instance: &Instance) -> PathBuf {
        self.release.unwrap_or_else(|| instance.machine().path(STORED_RELEASE))
    }
}

/// How long a new enclave and an old one have.
#[derive(Debug, Args)]
pub(crate) struct Patience {
    /// Time for the new enclave to answer /health with 200
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    health_timeout_s: u32,

    /// Time for the old enclave to finish what it began
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=99_999))]
    drain_s: u32,
}

impl From<Patience> for Times {
    fn from(patience: Patience) -> Self {
        Self {
            health_timeout: Duration::from_secs(patience.health_timeout_s.into()),
            drain: Duration::from_secs(patience.drain_s.into()),
        }
    }
}
