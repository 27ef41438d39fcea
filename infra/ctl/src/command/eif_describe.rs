//! `signerctl eif describe`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use signerctl::eif::{Image, MAX_IMAGE_BYTES, MeasurementSet, Metadata, examine, verify};
use signerctl::enclave_image::nitro_toml_in;
use signerctl::kernel::Kernel;
use verification::Exposure;

use super::eif_build::note_exposures;
use crate::failure::{EX_DATAERR, Failure, NOT_GOOD, print, read};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints JSON with the names of `nitro-cli describe-eif`, the sections, and under GivesAway the settings in the image's
nitro.toml by which it gives trust away. A damaged image is an error; so is one whose
signature is not over its own PCR0, after it is printed.

Exit status: 0 printed, 1 its signature is not over its own PCR0, 64 wrong command line, 65 it is no image, or a damaged
one, 66 it cannot be read, 73 the output cannot be written.

Example:
  signerctl eif describe target/image/nitro-signer.eif | jq -r .Measurements.PCR0")]
pub(crate) struct EifDescribe {
    /// The image
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl EifDescribe {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let bytes = read(&self.file, MAX_IMAGE_BYTES)?;
        let not_an_image = |error: &dyn std::fmt::Display| Failure::of_file(EX_DATAERR, &self.file, error);
        let image = Image::read(&bytes).map_err(|error| not_an_image(&error))?;
        let certificate = image.signature.map(examine).transpose().map_err(|error| not_an_image(&error))?;
        let measurements = MeasurementSet::of(&image, certificate.as_ref().map(|facts| &facts.der[..]));
        let signature_check = image.signature.map(|section| verify(section, &measurements.pcr0));
        let signature_check = signature_check.transpose().map_err(|error| not_an_image(&error))?;

        let mut description = Map::new();
        // A file that was read is of this version, and its checksum fits.
        description.insert("EifVersion".to_owned(), json!(4));
        description.insert("Measurements".to_owned(), measurements.to_json()["Measurements"].clone());
        description.insert("IsSigned".to_owned(), json!(certificate.is_some()));
        if let Some(facts) = &certificate {
            let facts = json!({ "IssuerName": facts.issuer, "NotBefore": facts.not_before, "NotAfter": facts.not_after });
            description.insert("SigningCertificate".to_owned(), facts);
        }
        description.insert("CheckCRC".to_owned(), json!(true));
        if let Some(check) = signature_check {
            description.insert("SignatureCheck".to_owned(), json!(check));
        }
        if let Some(metadata) = image.metadata {
            // In a stranger's image it may be anything.
            match serde_json::from_slice::<Metadata>(metadata) {
                Ok(metadata) => {
                    description.insert("ImageName".to_owned(), json!(metadata.image_name));
                    description.insert("ImageVersion".to_owned(), json!(metadata.image_version));
                    description.insert("Metadata".to_owned(), json!(metadata));
                }
                Err(_) => drop(description.insert("Metadata".to_owned(), Value::Null)),
            }
        }
        description.insert("Sections".to_owned(), sections(&image));
        let mut description = Value::Object(description);
        if let Some(nitro_toml) = nitro_toml_in(&image) {
            note_exposures(&mut description, &Exposure::all_in(&nitro_toml));
        }
        print(format_args!("{description:#}"))?;
        match signature_check {
            Some(false) => Err(Failure::of_file(NOT_GOOD, &self.file, "its signature is not over its PCR0")),
            _ => Ok(()),
        }
    }
}

fn sections(image: &Image<'_>) -> Value {
    json!({
        "Architecture": if image.is_arm64 { "aarch64" } else { "x86_64" },
        "KernelBytes": image.kernel.len(),
        "KernelVersion": Kernel::read(image.kernel).ok().map(|kernel| kernel.version),
        "Cmdline": String::from_utf8_lossy(image.cmdline),
        "RamdiskBytes": image.ramdisks.iter().map(|ramdisk| ramdisk.len()).collect::<Vec<_>>(),
    })
}
