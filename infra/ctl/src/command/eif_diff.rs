//! `signerctl eif diff`

use std::path::{Path, PathBuf};

use clap::Args;
use signerctl::eif::MAX_IMAGE_BYTES;
use signerctl::image_difference::{Difference, Side};

use crate::failure::{EX_DATAERR, Failure, NOT_GOOD, print, read};

#[derive(Debug, Args)]
#[command(after_help = "\
Shows measurements, kernel and its version, command line, ramdisks and the files in them, metadata, certificate and
signature, each where it differs, and the lines of nitro.toml that do.

Exit status: 0 the same, 1 different, 64 wrong command line, 65 one of them is no image, or a damaged one, 66 one of them
cannot be read, 73 the output cannot be written.

Example:
  signerctl eif diff target/image/nitro-signer.eif target/image-next/nitro-signer.eif")]
pub(crate) struct EifDiff {
    /// The image before
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The image after
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl EifDiff {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let read = |path: &Path| read(path, MAX_IMAGE_BYTES);
        let difference = Difference::of(&read(&self.old)?, &read(&self.new)?).map_err(|(side, error)| {
            let path = match side {
                Side::Old => &self.old,
                Side::New => &self.new,
            };
            Failure::of_file(EX_DATAERR, path, error)
        })?;
        let is_same = difference.changes.is_empty();
        if self.json {
            print(format_args!("{:#}", difference.to_json()))?;
        } else if !is_same {
            print(difference.to_string().trim_end())?;
        }
        if is_same { Ok(()) } else { Err(Failure::new(NOT_GOOD, "the images differ")) }
    }
}
