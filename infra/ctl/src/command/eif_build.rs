//! `signerctl eif build`

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;
use signerctl::eif::{MAX_IMAGE_BYTES, NotSigned, SigningKey};
use signerctl::enclave_image::{NotBuilt, Parts, build};
use signerctl::kernel::bring_up_cmdline;
use signerctl::nitro_toml::NitroToml;
use verification::Exposure;

use super::attestation_report::warn;
use super::input_files::read_nitro_toml;
use crate::failure::{EX_CONFIG, EX_DATAERR, EX_USAGE, Failure, print, read, read_text, write};

/// A certificate, a key or a command line.
const MAX_SMALL_FILE_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 built, 64 wrong command line, 65 a file is not what it should be, 66 a file cannot be read, 73 a file
cannot be written, 78 nitro.toml is wrong, gives trust away, or leaves the image too little memory.

Example:
  signerctl eif build --enclave enclave --nitro-toml infra/nitro.toml --kernel bzImage \\
      --cmdline infra/emulator/kernel.cmdline --output nitro-signer.eif

The same files give the same image, byte for byte, except a signature. `infra/build-eif.sh` makes the files too.")]
pub(crate) struct EifBuild {
    /// The signer, linked statically
    #[arg(long, value_name = "FILE")]
    enclave: PathBuf,

    /// The configuration; what it has under [pcr] stays out of the image
    #[arg(long, value_name = "FILE")]
    nitro_toml: PathBuf,

    /// The kernel, a bzImage
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// The file with the kernel's command line
    #[arg(long, value_name = "FILE")]
    cmdline: PathBuf,

    /// The driver of the security module, nsm.ko, for a kernel that has none built in
    #[arg(long, value_name = "FILE")]
    nsm_module: Option<PathBuf>,

    /// Signs the image: PCR8 measures this certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "private_key")]
    signing_certificate: Option<PathBuf>,

    /// The private key of the certificate, in PEM, without a password
    #[arg(long, value_name = "FILE", requires = "signing_certificate")]
    private_key: Option<PathBuf>,

    /// Builds although nitro.toml has this setting, which is for tests: kms.trust_anchors, acme.trust_anchors or
    /// secrets.ticket_signing_secret. May be repeated
    #[arg(long, value_name = "SETTING", value_parser = setting_for_tests)]
    accept: Vec<Exposure>,

    /// Makes an image for debug mode, whose kernel prints from its first line on; PCR0 and PCR1 differ
    #[arg(long, conflicts_with_all = ["signing_certificate", "note_pcrs_in"])]
    bring_up: bool,

    /// Where the image goes
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Where the configuration goes with the measurements under [pcr]; may be the file of --nitro-toml
    #[arg(long, value_name = "FILE")]
    note_pcrs_in: Option<PathBuf>,
}

impl EifBuild {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.note_pcrs_in.as_ref() == Some(&self.output) {
            return Err(Failure::new(EX_USAGE, "--output and --note-pcrs-in name the same file"));
        }
        let nitro_toml = read_nitro_toml(&self.nitro_toml)?;
        self.check_exposures(&nitro_toml)?;
        let kernel = read(&self.kernel, MAX_IMAGE_BYTES)?;
        let mut cmdline = read_text(&self.cmdline, MAX_SMALL_FILE_BYTES)?;
        if self.bring_up {
            cmdline = bring_up_cmdline(&cmdline);
        }
        let enclave = read(&self.enclave, MAX_IMAGE_BYTES)?;
        let nsm_module = self.nsm_module.as_deref().map(|path| read(path, MAX_IMAGE_BYTES)).transpose()?;
        let signing_key = match (&self.signing_certificate, &self.private_key) {
            (Some(certificate), Some(key)) => Some(read_signing_key(certificate, key)?),
            _ => None,
        };
        let built = build(&Parts {
            kernel: &kernel,
            cmdline: &cmdline,
            nsm_module: nsm_module.as_deref(),
            enclave: &enclave,
            nitro_toml: &nitro_toml,
            signing_key: signing_key.as_ref(),
        })
        .map_err(|error| match error {
            NotBuilt::Memory { .. } => Failure::new(EX_CONFIG, error),
            _ => Failure::new(EX_DATAERR, error),
        })?;
        write(&self.output, &built.bytes)?;
        if let Some(path) = &self.note_pcrs_in {
            write(path, nitro_toml.with_measurements(&built.measurements).as_bytes())?;
        }
        let mut printed = built.measurements.to_json();
        note_exposures(&mut printed, nitro_toml.exposures());
        print(format_args!("{printed:#}"))
    }

    /// An image for tests is only built on purpose.
    fn check_exposures(&self, nitro_toml: &NitroToml) -> Result<(), Failure> {
        let for_tests: Vec<&Exposure> =
            nitro_toml.exposures().iter().filter(|it| it.is_for_tests()).collect();
        // An option that outlives its setting would accept it again unseen.
        if let Some(absent) = self.accept.iter().find(|accepted| !for_tests.contains(accepted)) {
            let line =
                format!("--accept {0}: nitro.toml does not set {0}; leave the option out", absent.setting());
            return Err(Failure::new(EX_USAGE, line));
        }
        let refused: Vec<&Exposure> =
            for_tests.iter().copied().filter(|exposure| !self.accept.contains(exposure)).collect();
        if !refused.is_empty() {
            let said: Vec<&str> = refused.iter().map(|exposure| exposure.description()).collect();
            let options: Vec<String> =
                refused.iter().map(|exposure| format!("--accept {}", exposure.setting())).collect();
            let line = format!(
                "{}; correct it, or build an image for tests with {}",
                said.join("; "),
                options.join(" ")
            );
            return Err(Failure::of_file(EX_CONFIG, &self.nitro_toml, line));
        }
        for_tests.iter().for_each(|exposure| warn(exposure.description()));
        Ok(())
    }
}

/// Adds the settings by which the image gives trust away to its measurements, for verifiers without `nitro.toml`.
pub(super) fn note_exposures(printed: &mut Value, exposures: &[Exposure]) {
    if !exposures.is_empty() {
        let settings: Vec<&str> = exposures.iter().map(|exposure| exposure.setting()).collect();
        printed["GivesAway"] = settings.into();
    }
}

/// A setting that only images for tests have, by its key.
fn setting_for_tests(key: &str) -> Result<Exposure, String> {
    let exposure = Exposure::of_setting(key).filter(|exposure| exposure.is_for_tests());
    exposure.ok_or_else(|| "no setting for tests".to_owned())
}

fn read_signing_key(certificate: &Path, key: &Path) -> Result<SigningKey, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let certificate_pem = read(certificate, MAX_SMALL_FILE_BYTES)?;
    let key_pem = read(key, MAX_SMALL_FILE_BYTES)?;
    SigningKey::from_pem(&certificate_pem, &key_pem, now.try_into().unwrap_or(i64::MAX)).map_err(|error| {
        let path = match error {
            NotSigned::Certificate | NotSigned::Expired => certificate,
            NotSigned::PrivateKey | NotSigned::Mismatch => key,
        };
        Failure::of_file(EX_DATAERR, path, error)
    })
}
