//! The options with the expectations of a command that judges enclaves.

use std::path::PathBuf;

use clap::Args;
use verification::{Expectation, ExpectedPcr, ExpectedPcrs, Exposure, Image, MAX_MEASUREMENTS_BYTES};

use super::input_files::attestation_root;
use crate::failure::{EX_DATAERR, EX_USAGE, Failure, read_text};

/// Which enclaves will do.
#[derive(Debug, Args)]
pub(crate) struct ExpectedEnclave {
    /// Expects the image whose measurements are noted under [pcr] of this nitro.toml; may be repeated, and one will do
    #[arg(long, value_name = "FILE")]
    nitro_toml: Vec<PathBuf>,

    /// Expects the image with these measurements, as `signerctl eif build` prints them; may be repeated, and one will
    /// do
    #[arg(long, value_name = "FILE")]
    measurements: Vec<PathBuf>,

    /// Expects an image with this register, 96 hex digits; repeated, with all of them. They have to say what runs:
    /// PCR0, PCR1 with PCR2, or PCR8
    #[arg(long, value_name = "INDEX=HEX")]
    pcr: Vec<ExpectedPcr>,

    /// Accepts any program. Any AWS customer can start an enclave: the document does not show what happens to secrets
    #[arg(long, conflicts_with_all = ["nitro_toml", "measurements", "pcr"])]
    any_image: bool,

    /// Believes documents under this root, in PEM, instead of AWS's. For tests: a holder of its key passes for any
    /// enclave
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

/// An expectation, and the names of its parts.
pub(crate) struct Expected {
    pub(crate) expectation: Expectation,
    /// The root that the certificates of documents lead to, in words.
    pub(crate) root: String,
    pub(crate) has_other_root: bool,
    /// Where each image's measurements were read.
    names: Vec<String>,
}

impl Expected {
    /// The name of the image that was found; none if any would do.
    pub(crate) fn name_of(&self, image: Image) -> Option<&str> {
        match image {
            Image::Any => None,
            Image::Expected(place) => self.names.get(place).map(String::as_str),
        }
    }

    /// The settings by which the found image gives trust away.
    pub(crate) fn exposures_of(&self, image: Image) -> &[Exposure] {
        self.expectation.exposures_of(image)
    }
}

impl ExpectedEnclave {
    /// The expectations. At least one is required.
    pub(crate) fn read(&self) -> Result<Expected, Failure> {
        let any_or_none = || {
            if self.any_image {
                return Ok(Expectation::any_image());
            }
            let line = "no expectation given: an enclave is only as good as the image it runs; name that with \
                --nitro-toml, --measurements or --pcr, or accept any with --any-image";
            Err(Failure::new(EX_USAGE, line))
        };
        self.read_or(any_or_none)
    }

    /// The expectations; any image without one.
    pub(crate) fn read_or_any(&self) -> Result<Expected, Failure> {
        self.read_or(|| Ok(Expectation::any_image()))
    }

    fn read_or(&self, otherwise: impl FnOnce() -> Result<Expectation, Failure>) -> Result<Expected, Failure> {
        let (mut images, mut names) = (Vec::new(), Vec::new());
        let nitro_tomls = self.nitro_toml.iter().map(|path| (path, true));
        for (path, is_toml) in nitro_tomls.chain(self.measurements.iter().map(|path| (path, false))) {
            let text = read_text(path, MAX_MEASUREMENTS_BYTES)?;
            let read =
                if is_toml { ExpectedPcrs::from_nitro_toml } else { ExpectedPcrs::from_measurements_json };
            images.push(read(&text).map_err(|error| Failure::of_file(EX_DATAERR, path, error))?);
            names.push(path.display().to_string());
        }
        if !self.pcr.is_empty() {
            let registers = self.pcr.iter().copied();
            let image = ExpectedPcrs::from_registers(registers);
            images.push(image.map_err(|error| Failure::new(EX_USAGE, format_args!("--pcr: {error}")))?);
            names.push("--pcr".to_owned());
        }
        let mut expectation = if images.is_empty() {
            otherwise()?
        } else {
            Expectation::one_of(images).map_err(|doubt| Failure::new(EX_USAGE, doubt))?
        };
        let mut root = "aws's root g1".to_owned();
        if let Some(path) = &self.root {
            expectation = expectation.with_root(attestation_root(path)?);
            root = format!("the root in {}, which is not aws's", path.display());
        }
        Ok(Expected { expectation, root, has_other_root: self.root.is_some(), names })
    }
}
