//! `nitro.toml` in its two forms: the operator's, with the image's measurements under `[pcr]`, and the measured one,
//! which is the same text without them. No image can carry its own measurements.

use std::fmt;

use configuration::{Configuration, InvalidConfiguration, KeyArn, Pcrs};
use verification::Exposure;

use crate::eif::{MeasurementSet, Pcr};

/// The heading of the part that is not measured.
const HEADING: &str = "[pcr]";

/// Why there is no image with this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusableNitroToml {
    /// The signer would refuse it.
    Invalid(InvalidConfiguration),
    /// Measurements are noted in another way than the build notes them, and would be measured.
    Measurements,
}

impl fmt::Display for UnusableNitroToml {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error @ InvalidConfiguration::OldKeyList { key_arns }) => {
                write!(formatter, "{error}{}", Instead(key_arns))
            }
            Self::Invalid(error) => error.fmt(formatter),
            Self::Measurements => {
                write!(formatter, "measurements stand elsewhere than under one {HEADING} at its end")
            }
        }
    }
}

impl std::error::Error for UnusableNitroToml {}

/// The lines that replace a `kms.key_arns` with these keys.
///
/// Which of several keys sealed is in the boot file on the parent. So the lines are refused until one is chosen.
struct Instead<'k>(&'k [KeyArn]);

impl fmt::Display for Instead<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => return Ok(()),
            [only] => write!(formatter, "; write instead:\n\nsealing_key_arn = \"{only}\"\n")?,
            several => {
                formatter.write_str(
                    "; write instead:\n\n\
                     # Uncomment the key that KMS_KEY_ARN in /etc/nitro-signer/env names, or the first if \
                     that is not set.\n",
                )?;
                several.iter().try_for_each(|arn| writeln!(formatter, "# sealing_key_arn = \"{arn}\""))?;
                formatter.write_str(
                    "# Delete that key here. The others only open old backups.\nopening_key_arns = [\n",
                )?;
                several.iter().try_for_each(|arn| writeln!(formatter, "    \"{arn}\","))?;
                formatter.write_str("]\n")?;
            }
        }
        formatter.write_str(
            "# Only if boot secrets are under another key than the sealing key: those keys.\n\
             # boot_secret_key_arns = [\"ARN\"]",
        )
    }
}

/// An operator's `nitro.toml`, which the signer would take.
#[derive(Clone, Debug)]
pub struct NitroToml {
    measured: String,
    configuration: Configuration,
    noted: Option<MeasurementSet>,
    exposures: Vec<Exposure>,
}

impl NitroToml {
    /// Reads it, with or without measurements.
    ///
    /// # Errors
    /// [`UnusableNitroToml`]
    pub fn read(text: &str) -> Result<Self, UnusableNitroToml> {
        let Pcrs { pcr0, pcr1, pcr2 } = Configuration::parse(text).map_err(UnusableNitroToml::Invalid)?.pcr;
        let noted = match (pcr0, pcr1, pcr2) {
            // Zeros are those of debug mode, and of no image.
            (Some(pcr0), Some(pcr1), Some(pcr2)) if ![pcr0, pcr1, pcr2].contains(&[0; 48]) => {
                let [pcr0, pcr1, pcr2] = [pcr0, pcr1, pcr2].map(Pcr::of_bytes);
                Some(MeasurementSet { pcr0, pcr1, pcr2, pcr8: None })
            }
            _ => None,
        };
        let kept = match heading(text) {
            Some(start) => &text[..start],
            None => text,
        };
        let measured = format!("{}\n", kept.trim_end());
        // As the signer will read it. What follows the heading was the table of measurements and nothing more, if
        // everything else is still there.
        let same = |text: &str| text.parse::<toml::Table>().map(|mut table| (table.remove("pcr"), table));
        match (same(text), same(&measured), Configuration::parse(&measured)) {
            (Ok((_, before)), Ok((None, after)), Ok(configuration)) if before == after => {
                Ok(Self { measured, configuration, noted, exposures: Exposure::all_in(&after) })
            }
            _ => Err(UnusableNitroToml::Measurements),
        }
    }

    /// The bytes in the image.
    #[must_use]
    pub fn measured(&self) -> &str {
        &self.measured
    }

    /// The configuration.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The measurements that the build noted; none, if it has not yet.
    #[must_use]
    pub const fn noted_measurements(&self) -> Option<&MeasurementSet> {
        self.noted.as_ref()
    }

    /// The settings by which it gives trust away.
    #[must_use]
    pub fn exposures(&self) -> &[Exposure] {
        &self.exposures
    }

    /// For each key that opens old backups and boot secrets too, what that gives away until it is taken out of
    /// `kms.boot_secret_key_arns`. A rotation needs it for a while, so it is no error.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let kms = &self.configuration.kms;
        let in_both = kms.boot_secret_key_arns.iter().filter(|arn| kms.opening_key_arns.contains(arn));
        in_both
            .map(|arn| {
                format!(
                    "until {arn} leaves kms.boot_secret_key_arns, a principal that may encrypt under it can make a \
                     ticket secret"
                )
            })
            .collect()
    }

    /// The file with these measurements noted at its end, in place of those before.
    #[must_use]
    pub fn with_measurements(&self, set: &MeasurementSet) -> String {
        let MeasurementSet { pcr0, pcr1, pcr2, .. } = set;
        format!("{}\n{HEADING}\nPCR0 = \"{pcr0}\"\nPCR1 = \"{pcr1}\"\nPCR2 = \"{pcr2}\"\n", self.measured)
    }
}

/// Where the last line starts that is the heading.
fn heading(text: &str) -> Option<usize> {
    let mut at = 0;
    let mut found = None;
    for line in text.split_inclusive('\n') {
        if line.trim() == HEADING {
            found = Some(at);
        }
        at += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use configuration::Configuration;
    use configuration::{SecretSource, TlsMode};
    use verification::Exposure;

    use super::{NitroToml, UnusableNitroToml};
    use crate::eif::{MeasurementSet, Pcr};

    fn committed() -> String {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../nitro.toml")).unwrap();
        text.replace("00000000-0000-0000-0000-000000000000", "1234abcd-12ab-34cd-56ef-1234567890ab")
    }

    fn set(seed: &[u8]) -> MeasurementSet {
        let pcr = Pcr::of(&[seed]);
        MeasurementSet { pcr0: pcr, pcr1: pcr, pcr2: pcr, pcr8: None }
    }

    #[test]
    fn an_old_key_that_opens_boot_secrets_too_is_noted() {
        let with =
            |keys: &str| NitroToml::read(&committed().replace("[secrets]", &format!("{keys}\n[secrets]")));
        let old = "arn:aws:kms:us-east-1:111122223333:key/5678abcd-12ab-34cd-56ef-1234567890ab";
        let opening = format!("opening_key_arns = [\"{old}\"]");
        let line = format!(
            "until {old} leaves kms.boot_secret_key_arns, a principal that may encrypt under it can make a ticket \
             secret"
        );
        let both = with(&format!("{opening}\nboot_secret_key_arns = [\"{old}\"]")).unwrap();
        assert_eq!(both.notes(), [line]);
        for one in [&opening, &format!("boot_secret_key_arns = [\"{old}\"]")] {
            assert_eq!(with(one).unwrap().notes(), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_noted_is_not_measured() {
        let text = committed();
        let fresh = NitroToml::read(&text).unwrap();
        assert_eq!(fresh.measured().trim_end(), text.trim_end());
        let noted = NitroToml::read(&fresh.with_measurements(&set(b"1"))).unwrap();
        assert_eq!(noted.measured(), fresh.measured());
        assert_eq!((fresh.noted_measurements(), noted.noted_measurements()), (None, Some(&set(b"1"))));
        let again = noted.with_measurements(&set(b"2"));
        assert_eq!(again, fresh.with_measurements(&set(b"2")));
        assert!(again.ends_with(&format!("PCR2 = \"{}\"\n", Pcr::of(&[b"2"]))));
        assert!(!fresh.measured().contains("PCR0 = "));
    }

    #[test]
    fn what_it_gives_away_is_what_the_signer_reads() {
        let exposures = |text: &str| {
            let file = NitroToml::read(text).unwrap();
            let Configuration { kms, secrets, tls, .. } = file.configuration();
            let is_so = |exposure: &Exposure| match exposure {
                Exposure::KmsTrustAnchors => kms.trust_anchors.is_some(),
                Exposure::AcmeTrustAnchors => matches!(tls, TlsMode::Acme(it) if it.trust_anchors.is_some()),
                Exposure::TicketSecretFromParent => secrets.ticket_signing_secret == SecretSource::Env,
                Exposure::TlsKeyMadeOutside => *tls == TlsMode::Provided,
            };
            let read: Vec<Exposure> = Exposure::ALL.into_iter().filter(is_so).collect();
            assert_eq!(file.exposures(), read, "{text}");
            read
        };
        let anchor = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
        let text = committed();
        assert_eq!(exposures(&text), []);
        let trusting = text.replace("[secrets]", &format!("trust_anchors = ['''{anchor}''']\n[secrets]"));
        assert_eq!(exposures(&trusting), [Exposure::KmsTrustAnchors]);
        let open = trusting
            .replace("ticket_signing_secret = \"kms\"", "ticket_signing_secret = \"env\"")
            .replace("mode = \"off\"", "mode = \"provided\"");
        assert_eq!(
            exposures(&open),
            [Exposure::KmsTrustAnchors, Exposure::TicketSecretFromParent, Exposure::TlsKeyMadeOutside]
        );
        let acme = format!(
            "mode = \"acme\"\nserver_names = [\"a.example\"]\n[acme]\ndirectory = \"https://ca.example/d\"\n\
             terms_of_service_agreed = true\ntrust_anchors = '''{anchor}'''"
        );
        assert_eq!(exposures(&text.replace("mode = \"off\"", &acme)), [Exposure::AcmeTrustAnchors]);
    }

    #[test]
    fn nothing_else_is_left_out_and_nothing_noted_gets_in() {
        let text = committed();
        let pcr = "a0".repeat(48);
        for wrong in [
            format!("{text}\n[pcr]\nPCR0 = \"{pcr}\"\n[tls]\n"),
            text.replace("[tls]", &format!("[pcr]\nPCR0 = \"{pcr}\"\n[tls]")),
            format!("{text}\n[\"pcr\"]\nPCR0 = \"{pcr}\"\n"),
            text.replace("[enclave]", &format!("pcr.PCR0 = \"{pcr}\"\n[enclave]")),
            text.replace("[tls]", "#\n[pcr]\n[tls]"),
        ] {
            let refused = NitroToml::read(&wrong).unwrap_err();
            let is_known = matches!(refused, UnusableNitroToml::Measurements | UnusableNitroToml::Invalid(_));
            assert!(is_known, "{refused}");
        }
        let said = NitroToml::read("version = 1").unwrap_err().to_string();
        assert_eq!(said, "enclave.cpu_count: missing");
    }
}
