//! What each subcommand takes and does.

mod backup_reseal;
mod bench;
mod eif_build;
mod eif_describe;
mod health;
mod minter;
mod policy_render;
mod secret;
mod server;

pub(crate) use backup_reseal::BackupReseal;
pub(crate) use bench::Bench;
pub(crate) use eif_build::EifBuild;
pub(crate) use eif_describe::EifDescribe;
pub(crate) use health::Health;
pub(crate) use minter::Minter;
pub(crate) use policy_render::PolicyRender;
pub(crate) use server::{Key, Server};

use std::path::Path;

use enclave_runtime::configuration::MAX_CONFIGURATION_BYTES;
use signerctl::nitro_toml::NitroToml;

use crate::failure::{EX_CONFIG, Failure, read_text};

/// Measurements in it add 0.4 KiB to what the signer reads.
const MAX_NITRO_TOML_BYTES: usize = MAX_CONFIGURATION_BYTES;

fn read_nitro_toml(path: &Path) -> Result<NitroToml, Failure> {
    let text = read_text(path, MAX_NITRO_TOML_BYTES)?;
    NitroToml::read(&text).map_err(|fault| Failure::of_file(EX_CONFIG, path, fault))
}
