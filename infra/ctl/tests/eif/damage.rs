//! Images that are no longer what they were.

use serde_json::Value;
use signerctl::eif::Image;

use crate::image_parts::ImageParts;
use crate::keys::{self, ALGORITHMS, Form};
use crate::signatures::SIGNED;

const EX_DATAERR: i32 = 65;
const NOT_GOOD: i32 = 1;

fn signed() -> ImageParts {
    let parts = ImageParts::new();
    keys::make(&parts, ALGORITHMS[1], Form::Sec1);
    parts.built(&SIGNED);
    parts
}

#[test]
fn an_image_that_is_cut_or_bent_is_not_described() {
    let parts = signed();
    let bytes = parts.read("image.eif");
    let refuses = |bytes: &[u8], what: &str, line: Option<&str>| {
        parts.write("damaged.eif", bytes);
        let outcome = parts.signerctl(["eif", "describe", "damaged.eif"]);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_DATAERR), ""), "{what}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{what}: {outcome:?}");
        assert!(outcome.stderr.starts_with("signerctl: damaged.eif: "), "{what}: {outcome:?}");
        if let Some(line) = line {
            outcome.refuses(EX_DATAERR, &format!("damaged.eif: {line}"));
        }
    };
    const CUT: &str = "cut, or longer than its sections";
    for length in [0, 3] {
        refuses(&bytes[..length], "cut", Some("no enclave image: it does not start with .eif"));
    }
    for length in (4..bytes.len()).step_by(97).chain([547, 548, 559, 560, bytes.len() - 1]) {
        refuses(&bytes[..length], &format!("cut to {length}"), Some(CUT));
    }
    refuses(&[&bytes[..], b"\n"].concat(), "longer", Some(CUT));
    refuses(b"not an image", "text", Some("no enclave image: it does not start with .eif"));
    // The whole header, and then here and there.
    for at in (0..548).step_by(3).chain((548..bytes.len()).step_by(97)) {
        let mut bent = bytes.clone();
        bent[at] ^= 0x10;
        refuses(&bent, &format!("bent at {at}"), None);
    }
    let mut bent = bytes.clone();
    bent[5] = 3;
    refuses(&bent, "version", Some("of version 3, not 4"));
    let mut bent = bytes;
    bent[600] ^= 1;
    refuses(&bent, "kernel", Some("damaged: its checksum is that of other bytes"));
}

/// An attacker who can write an image can write a checksum too, but no signature.
#[test]
fn a_signature_is_over_its_own_image_only() {
    let parts = signed();
    let bytes = parts.read("image.eif");
    let image = Image::read(&bytes).unwrap();
    let mut kernel = image.kernel.to_vec();
    kernel[0] ^= 1;
    let mut signature = image.signature.unwrap().to_vec();
    // The last number of the list, which is the last byte of the signature, stays one.
    let last = signature.len() - 1;
    signature[last] ^= if signature[last - 1] == 0x18 { 0x80 } else { 1 };
    for changed in [
        Image { kernel: &kernel, ..image.clone() },
        Image { cmdline: b"init=/bin/sh", ..image.clone() },
        Image { ramdisks: vec![image.ramdisks[1], image.ramdisks[0]], ..image.clone() },
        Image { signature: Some(&signature), ..image.clone() },
    ] {
        parts.write("changed.eif", changed.write().unwrap());
        let outcome = parts.signerctl(["eif", "describe", "changed.eif"]);
        assert_eq!(outcome.code, Some(NOT_GOOD), "{outcome:?}");
        assert_eq!(outcome.stderr, "signerctl: changed.eif: its signature is not over its PCR0\n");
        let described: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(described["SignatureCheck"], false);
    }
    let unmeasured = Image { metadata: Some(b"not JSON"), ..image.clone() };
    parts.write("changed.eif", unmeasured.write().unwrap());
    let outcome = parts.signerctl(["eif", "describe", "changed.eif"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for section in [&b""[..], b"\x80", b"\x81\xa0", b"\xff"] {
        parts.write("changed.eif", Image { signature: Some(section), ..image.clone() }.write().unwrap());
        parts
            .signerctl(["eif", "describe", "changed.eif"])
            .refuses(EX_DATAERR, "changed.eif: its signature is not a list of certificate and COSE_Sign1");
    }
}
