//! An image is read as by a second reader, measured as by hand, and written as it was read; and nobody's signature is
//! good but the one that was made.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use fuzz::cbor::Item;
use fuzz::eif::{self, Draft, Genuine, Said, Signature};
use libfuzzer_sys::fuzz_target;
use signerctl::eif::{Image, MeasurementSet, Pcr, examine, verify};

/// Signed by `signerctl eif build`, with a key that OpenSSL made and nobody kept.
const SIGNED: &[u8] = include_bytes!("../seeds/eif/signed");

static SIGNED_IMAGE: LazyLock<Said<'static>> = LazyLock::new(|| eif::read(SIGNED).expect("an image"));
static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let section = SIGNED_IMAGE.signature.expect("it is signed");
    let certificate = examine(section).expect("a certificate").der;
    let [_, payload, signature] = strings(section).expect("a signature");
    assert_eq!(verify(section, &pcr0(&SIGNED_IMAGE)), Ok(true));
    Genuine { certificate, payload, signature }
});

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut repaired = data.to_vec();
    eif::repair(&mut repaired);
    check(&repaired);
    check_signature(data);
    // As a certificate, so that neither base64 nor CBOR stand in the fuzzer's way; and as a signature.
    check_signature(&eif::section(&eif::pem(data), b""));
    check_signature(&eif::section(&eif::pem(&GENUINE.certificate), data));
    if let Ok(draft) = Draft::arbitrary(&mut Unstructured::new(data)) {
        check(&draft.file(&GENUINE));
    }
    if let Ok(signature) = Signature::arbitrary(&mut Unstructured::new(data)) {
        check_signature(&signature.section(&GENUINE));
    }
});

fn check(file: &[u8]) {
    let ours = Image::read(file);
    let judged = eif::read(file);
    let said = ours.as_ref().ok().cloned().map(|image| {
        let Image { is_arm64, kernel, cmdline, metadata, ramdisks, signature } = image;
        Said { is_arm64, kernel, cmdline, metadata, ramdisks, signature }
    });
    assert_eq!(said, judged, "{}", file.escape_ascii());
    let image = match ours {
        Ok(image) => image,
        Err(error) => return assert!(error.to_string().len() < 100, "{error}"),
    };
    let written = image.write().expect("what was read can be written");
    assert_eq!(Image::read(&written).as_ref(), Ok(&image));
    assert_eq!(Image::read(&written).and_then(|again| again.write()), Ok(written));

    let facts = image.signature.and_then(|section| examine(section).ok());
    let certificate = facts.map(|facts| facts.der);
    let measured = MeasurementSet::of(&image, certificate.as_deref());
    let registers = eif::registers(&judged.expect("it is the same"));
    assert_eq!([measured.pcr0, measured.pcr1, measured.pcr2].map(|pcr| *pcr.as_bytes()), registers);
    let pcr8 = certificate.map(|der| eif::register(&der));
    assert_eq!(measured.pcr8.map(|pcr| *pcr.as_bytes()), pcr8);
    assert_eq!(measured.to_json().to_string().parse(), Ok(measured.clone()));
    if let Some(section) = image.signature {
        check_signature(section);
        let is_good = verify(section, &measured.pcr0) == Ok(true);
        assert!(!is_good || measured.pcr0 == pcr0(&SIGNED_IMAGE), "what nobody signed");
    }
}

fn check_signature(section: &[u8]) {
    let facts = examine(section);
    let signed = pcr0(&SIGNED_IMAGE);
    let verdict = verify(section, &signed);
    assert!(facts.is_ok() || verdict.is_err(), "{verdict:?}");
    assert!(verdict.is_err() || verify(section, &Pcr::of(&[b"another image"])) == Ok(false));
    // Numbers for names, and a list for the names' values, are spellings that `serde_cbor` takes and the judge does
    // not.
    if let (Ok(true), Some([_, payload, signature])) = (verdict, strings(section)) {
        assert_eq!((&payload, &signature), (&GENUINE.payload, &GENUINE.signature));
    }
}

/// PCR0, by the product: it is only compared with what the product says.
fn pcr0(said: &Said<'_>) -> Pcr {
    Pcr::of(&[&[said.kernel, said.cmdline], &said.ramdisks[..]].concat())
}

/// The three byte strings of the `COSE_Sign1` in a section.
fn strings(section: &[u8]) -> Option<[Vec<u8>; 3]> {
    let section = Item::read(section).ok()?;
    let Item::Array(entries) = section.untagged() else { return None };
    let Some(Item::Map(members)) = entries.first().map(Item::untagged) else { return None };
    let (_, sign1) =
        members.iter().find(|(name, _)| *name.untagged() == Item::Text("signature".to_owned()))?;
    let sign1 = match sign1.untagged() {
        Item::Bytes(bytes) => bytes.clone(),
        Item::Array(numbers) => {
            let byte = |number: &Item| match number.untagged() {
                Item::Unsigned(number) => u8::try_from(*number).ok(),
                _ => None,
            };
            numbers.iter().map(byte).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let sign1 = Item::read(&sign1).ok()?;
    let Item::Array(parts) = sign1.untagged() else { return None };
    let strings: Vec<Vec<u8>> = parts
        .iter()
        .filter_map(|part| match part.untagged() {
            Item::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        })
        .collect();
    strings.try_into().ok()
}
