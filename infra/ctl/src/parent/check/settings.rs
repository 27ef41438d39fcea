//! Checks whether settings give trust away: those in the `nitro.toml` of a release, and those in its image.

use std::io::Read as _;
use std::path::Path;

use verification::Exposure;

use super::super::point::Point;
use super::super::release::open_regular;
use crate::eif::{Image, MAX_IMAGE_BYTES};
use crate::enclave_image::nitro_toml_in;
use crate::nitro_toml::NitroToml;

const NAME: &str = "settings";

/// Judges the file and the image at `image`, which need not be there.
///
/// `[pcr]` does not cover the rest of the file. So a file that was edited after the build is compared with the image's.
pub(super) fn judge(nitro_toml: &NitroToml, image: &Path) -> Point {
    let mut exposures = nitro_toml.exposures().to_vec();
    let mut errors = Vec::new();
    let mut looked = "nitro.toml";
    let mut unread = None;
    if image.exists() {
        match carried_by(image) {
            Ok(carried) => {
                exposures.extend(Exposure::all_in(&carried));
                if nitro_toml.measured().parse() != Ok(carried) {
                    errors.push("the image carries another nitro.toml than the one beside it".to_owned());
                }
                looked = "nitro.toml, and by that in the image";
            }
            Err(error) => unread = Some(error),
        }
    }
    let given_away = Exposure::ALL.into_iter().filter(|it| it.is_for_tests() && exposures.contains(it));
    errors.extend(given_away.map(|exposure| exposure.to_string()));
    let point = match unread {
        Some(error) if errors.is_empty() => Point::unknown(
            NAME,
            format_args!("the nitro.toml in {} cannot be read: {error}", image.display()),
        ),
        _ => Point::unless(&errors, NAME, format_args!("no trust is given away by {looked}")),
    };
    match nitro_toml.notes() {
        notes if notes.is_empty() => point,
        notes => point.with_remedy(notes.join("; ")),
    }
}

/// The `nitro.toml` in the image, or why it cannot be read.
fn carried_by(image: &Path) -> Result<toml::Table, String> {
    let file = open_regular(image).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // One byte more shows that it is too long.
    let limit = MAX_IMAGE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let image = Image::read(&bytes).map_err(|error| error.to_string())?;
    nitro_toml_in(&image).ok_or_else(|| "no image that `signerctl eif build` makes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::point::Outcome;
    use super::judge;
    use crate::eif::Image;
    use crate::nitro_toml::NitroToml;
    use crate::ramdisk::{Entry, ramdisk};

    fn nitro_toml(ticket_secret: &str) -> NitroToml {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../nitro.toml")).unwrap();
        let text =
            text.replace("00000000-0000-0000-0000-000000000000", "1234abcd-12ab-34cd-56ef-1234567890ab");
        let secret = "ticket_signing_secret = \"kms\"";
        assert!(text.contains(secret));
        NitroToml::read(&text.replace(secret, &format!("ticket_signing_secret = \"{ticket_secret}\"")))
            .unwrap()
    }

    /// The outcome and the finding, for an image of these bytes.
    fn found(beside: &NitroToml, image: Option<&[u8]>) -> (Outcome, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nitro-signer.eif");
        if let Some(bytes) = image {
            std::fs::write(&path, bytes).unwrap();
        }
        let point = judge(beside, &path);
        (point.outcome, point.finding)
    }

    fn image_with(name: &'static str, content: &str) -> Vec<u8> {
        let file = Entry::File { path: name, permissions: 0o400, content: content.as_bytes() };
        let application = ramdisk(&[file]).unwrap();
        let image = Image {
            is_arm64: false,
            kernel: b"kernel",
            cmdline: b"cmdline",
            metadata: None,
            ramdisks: vec![&application],
            signature: None,
        };
        image.write().unwrap()
    }

    #[test]
    fn a_file_that_was_cleaned_up_beside_its_image_is_noticed() {
        let (good, open) = (nitro_toml("kms"), nitro_toml("env"));
        let carrying = |it: &NitroToml| image_with("nitro.toml", it.measured());
        let by_both = "no trust is given away by nitro.toml, and by that in the image";
        assert_eq!(found(&good, Some(&carrying(&good))), (Outcome::Pass, by_both.to_owned()));
        assert_eq!(found(&good, None), (Outcome::Pass, "no trust is given away by nitro.toml".to_owned()));

        let other = "the image carries another nitro.toml than the one beside it";
        let secret = "secrets.ticket_signing_secret in nitro.toml is not \"kms\"";
        let (outcome, finding) = found(&good, Some(&carrying(&open)));
        assert_eq!(outcome, Outcome::Fail);
        assert!(finding.starts_with(&format!("{other}; {secret}")), "{finding}");
        let (outcome, finding) = found(&open, Some(&carrying(&open)));
        assert!(outcome == Outcome::Fail && finding.starts_with(secret), "{finding}");
        assert_eq!(finding.matches(secret).count(), 1, "{finding}");
        let renamed = good.measured().replace("name = \"", "name = \"other-");
        assert_eq!(
            found(&good, Some(&image_with("nitro.toml", &renamed))),
            (Outcome::Fail, other.to_owned())
        );
    }

    #[test]
    fn an_old_key_for_boot_secrets_is_noted() {
        let text = nitro_toml("kms").measured().to_owned();
        let old = "arn:aws:kms:us-east-1:111122223333:key/5678abcd-12ab-34cd-56ef-1234567890ab";
        let keys = format!("opening_key_arns = [\"{old}\"]\nboot_secret_key_arns = [\"{old}\"]\n[secrets]");
        let rotation = NitroToml::read(&text.replace("[secrets]", &keys)).unwrap();
        let line = judge(&rotation, "missing".as_ref()).to_string();
        let start = format!("PASS settings: no trust is given away by nitro.toml; until {old} leaves ");
        assert!(line.starts_with(&start), "{line}");
    }

    #[test]
    fn an_image_that_cannot_be_read_is_no_pass() {
        let (good, open) = (nitro_toml("kms"), nitro_toml("env"));
        for image in [&b"no image"[..], &image_with("other.toml", good.measured())] {
            assert_eq!(found(&good, Some(image)).0, Outcome::Unknown);
            assert_eq!(found(&open, Some(image)).0, Outcome::Fail);
        }
    }
}
