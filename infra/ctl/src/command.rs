//! What each subcommand takes and does.

mod attest_key;
mod attest_show;
mod attest_verify;
mod attestation_report;
mod backup_reseal;
mod bench;
mod completions;
mod eif_build;
mod eif_describe;
mod eif_diff;
mod expected_enclave;
mod health;
mod man;
mod minter;
mod parent_check;
mod parent_ensure;
mod parent_instance;
mod parent_setup;
mod parent_start;
mod parent_status;
mod parent_stop;
mod parent_watch;
mod pinned_parent;
mod policy_check;
mod policy_render;
mod preflight;
mod secret_seal;
mod server;
mod sign;
mod ticket_mint;

pub(crate) use attest_key::AttestKey;
pub(crate) use attest_show::AttestShow;
pub(crate) use attest_verify::AttestVerify;
pub(crate) use backup_reseal::BackupReseal;
pub(crate) use bench::Bench;
pub(crate) use completions::Completions;
pub(crate) use eif_build::EifBuild;
pub(crate) use eif_describe::EifDescribe;
pub(crate) use eif_diff::EifDiff;
pub(crate) use health::Health;
pub(crate) use man::Man;
pub(crate) use minter::Minter;
pub(crate) use parent_check::ParentCheck;
pub(crate) use parent_ensure::ParentEnsure;
pub(crate) use parent_setup::ParentSetup;
pub(crate) use parent_start::ParentStart;
pub(crate) use parent_status::ParentStatus;
pub(crate) use parent_stop::ParentStop;
pub(crate) use parent_watch::ParentWatch;
pub(crate) use policy_check::PolicyCheck;
pub(crate) use policy_render::PolicyRender;
pub(crate) use preflight::Preflight;
pub(crate) use secret_seal::SecretSeal;
pub(crate) use server::{Key, Server};
pub(crate) use sign::Sign;
pub(crate) use ticket_mint::TicketMint;

use std::path::Path;

use configuration::MAX_CONFIGURATION_BYTES;
use signerctl::eif::MeasurementSet;
use signerctl::nitro_toml::NitroToml;
use verification::{ExpectedPcrs, Exposure};

use crate::failure::{EX_CONFIG, EX_DATAERR, Failure, read_text};

/// Measurements in it add 0.4 KiB to what the signer reads.
const MAX_NITRO_TOML_BYTES: usize = MAX_CONFIGURATION_BYTES;

/// Some dozen certificates.
const MAX_ROOTS_BYTES: usize = 256 * 1024;

/// `nitro-cli` prints 0.5 KiB.
const MAX_MEASUREMENTS_BYTES: usize = 64 * 1024;

/// An image's measurements, and what it gives away, as far as the file tells.
fn read_measurements(path: &Path) -> Result<(MeasurementSet, Vec<Exposure>), Failure> {
    let json = read_text(path, MAX_MEASUREMENTS_BYTES)?;
    let measurements = json.parse().map_err(|fault| Failure::of_file(EX_DATAERR, path, fault))?;
    let expected = ExpectedPcrs::from_measurements_json(&json);
    let expected = expected.map_err(|fault| Failure::of_file(EX_DATAERR, path, fault))?;
    Ok((measurements, expected.exposures().to_vec()))
}

fn read_nitro_toml(path: &Path) -> Result<NitroToml, Failure> {
    let text = read_text(path, MAX_NITRO_TOML_BYTES)?;
    NitroToml::read(&text).map_err(|fault| Failure::of_file(EX_CONFIG, path, fault))
}
