//! The options that pin the parent instances on which the key may be used.

use clap::Args;
use signerctl::parent_pin::{InstanceId, ParentPin};

/// Which parent instances will do, if not all that have the role's credentials.
#[derive(Debug, Args)]
pub(super) struct PinnedParent {
    /// Asks for PCR3 too, the role of the instance on which the enclave runs
    #[arg(long)]
    pub(super) pin_role: bool,

    /// Asks for PCR4 too, this instance; may be repeated, and one will do. An instance that is replaced has another id
    #[arg(long, value_name = "INSTANCE-ID")]
    pub(super) pin_instance: Vec<InstanceId>,
}

impl PinnedParent {
    pub(super) fn is_any(&self) -> bool {
        !self.pin_role && self.pin_instance.is_empty()
    }

    /// The pins to require. `None` if the role is required and not known.
    pub(super) fn pins(&self, role_arn: Option<&str>) -> Option<Vec<ParentPin>> {
        let mut pins = Vec::new();
        if self.pin_role {
            pins.push(ParentPin::of_role(role_arn?));
        }
        if !self.pin_instance.is_empty() {
            pins.push(ParentPin::of_instances(&self.pin_instance));
        }
        Some(pins)
    }
}
