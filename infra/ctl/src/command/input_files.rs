//! Files that several commands read: nitro.toml, measurements, roots.

use std::io::{self, Write as _};
use std::path::Path;

use configuration::MAX_CONFIGURATION_BYTES;
use signerctl::eif::MeasurementSet;
use signerctl::nitro_toml::NitroToml;
use verification::{ExpectedPcrs, Exposure, Root};

use crate::failure::{EX_CONFIG, EX_DATAERR, Failure, read_text};

/// The measurements in it add 0.4 KiB to the part that the signer reads.
const MAX_NITRO_TOML_BYTES: usize = MAX_CONFIGURATION_BYTES;

/// Some dozen certificates.
pub(super) const MAX_ROOTS_BYTES: usize = 256 * 1024;

/// `nitro-cli` prints 0.5 KiB.
const MAX_MEASUREMENTS_BYTES: usize = 64 * 1024;

/// An image's measurements, and the settings by which it gives trust away, as far as the file has them.
pub(super) fn read_measurements(path: &Path) -> Result<(MeasurementSet, Vec<Exposure>), Failure> {
    let json = read_text(path, MAX_MEASUREMENTS_BYTES)?;
    let measurements = json.parse().map_err(|error| Failure::of_file(EX_DATAERR, path, error))?;
    let expected = ExpectedPcrs::from_measurements_json(&json);
    let expected = expected.map_err(|error| Failure::of_file(EX_DATAERR, path, error))?;
    Ok((measurements, expected.exposures().to_vec()))
}

pub(super) fn read_nitro_toml(path: &Path) -> Result<NitroToml, Failure> {
    let text = read_text(path, MAX_NITRO_TOML_BYTES)?;
    NitroToml::read(&text).map_err(|error| Failure::of_file(EX_CONFIG, path, error))
}

/// A root of attestation documents, in AWS's place.
pub(super) fn attestation_root(path: &Path) -> Result<Root, Failure> {
    // The warning prevents mistaking a test for the real thing.
    let _ = writeln!(
        io::stderr(),
        "signerctl: WARNING: {} is believed in AWS's place: a holder of its key passes for any enclave",
        path.display()
    );
    let pem = read_text(path, MAX_ROOTS_BYTES)?;
    Root::from_pem(&pem).map_err(|error| Failure::of_file(EX_DATAERR, path, error))
}
