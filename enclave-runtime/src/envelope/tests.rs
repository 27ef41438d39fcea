use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use base64ct::{Base64, Encoding as _};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::draft::{
    CONTENT, IV, Length, Node, OAEP_PARAMETERS, RECIPIENTS, WRAPPED_KEY, chunked, encrypt, oid, sequence,
    tree, wrap,
};
use super::{
    BLOCK_BYTES, CONTEXT_0, CONTEXT_0_PRIMITIVE, CONTEXT_2, Envelope, EnvelopeNotOpened, INTEGER,
    MAX_ENVELOPE_BYTES, NULL, OCTET_STRING, OCTET_STRING_OF_CHUNKS, P_SPECIFIED,
};
use crate::recipient::RecipientKey;

/// A key and what KMS made for it, as captured in the tests of Enclaver (`enclaver/src/proxy/pkcs7.rs`).
const KEY: &str = include_str!("../../tests/data/kms-recipient-key.pkcs8.b64");
const FROM_KMS: &str = include_str!("../../tests/data/kms-ciphertext-for-recipient.b64");
const PLAINTEXT_OF_KMS: &[u8] = b"Hello, World";

static RECIPIENT: LazyLock<RecipientKey> =
    LazyLock::new(|| RecipientKey::from_pkcs8(&decode(KEY)).expect("an RSA-2048 key"));

fn decode(base64: &str) -> Vec<u8> {
    Base64::decode_vec(&base64.split_whitespace().collect::<String>()).unwrap()
}

fn open(envelope: &[u8]) -> Result<Vec<u8>, EnvelopeNotOpened> {
    RECIPIENT.open(envelope).map(|plaintext| plaintext.to_vec())
}

/// The only place of `part` in `whole`.
fn position(whole: &[u8], part: &[u8]) -> usize {
    let mut positions = (0..whole.len()).filter(|at| whole[*at..].starts_with(part));
    let position = positions.next().unwrap();
    assert_eq!(positions.next(), None);
    position
}

/// The padding rule of PKCS #7 for a whole block.
fn unpadded(block: [u8; BLOCK_BYTES]) -> Option<Vec<u8>> {
    let count = usize::from(block[BLOCK_BYTES - 1]);
    let kept = BLOCK_BYTES.checked_sub(count).filter(|_| count > 0)?;
    block[kept..].iter().all(|byte| usize::from(*byte) == count).then(|| block[..kept].to_vec())
}

// ---- what KMS made ----

#[test]
fn opens_what_kms_made() {
    assert_eq!(open(&decode(FROM_KMS)), Ok(PLAINTEXT_OF_KMS.to_vec()));
}

/// The IV and the ciphertext can be bent, as CBC is; nothing else can.
#[test]
fn every_byte_of_what_kms_made_counts() {
    let from_kms = decode(FROM_KMS);
    let envelope = Envelope::parse(&from_kms).unwrap();
    let iv = position(&from_kms, envelope.iv);
    let wrapped_key = position(&from_kms, envelope.wrapped_key);
    let content = position(&from_kms, &envelope.content);
    assert_eq!((wrapped_key, iv, content), (131, 415, 435));

    let mut padded = [4; BLOCK_BYTES];
    padded[..PLAINTEXT_OF_KMS.len()].copy_from_slice(PLAINTEXT_OF_KMS);
    let mut bent_openly = 0;
    for at in 0..from_kms.len() {
        // Each change that leaves the shape costs an RSA operation.
        let few =
            (wrapped_key..wrapped_key + 256).contains(&at) || (content..content + BLOCK_BYTES).contains(&at);
        for change in 1..=u8::MAX {
            if few && !change.is_power_of_two() && change != u8::MAX {
                continue;
            }
            let mut bent = from_kms.clone();
            bent[at] ^= change;
            let opened = open(&bent);
            if (iv..iv + BLOCK_BYTES).contains(&at) {
                let mut block = padded;
                block[at - iv] ^= change;
                assert_eq!(opened.ok(), unpadded(block), "byte {at}, bits {change:#x}");
                bent_openly += usize::from(unpadded(block).is_some());
            } else if (content..content + BLOCK_BYTES).contains(&at) {
                assert_ne!(opened, Ok(PLAINTEXT_OF_KMS.to_vec()), "byte {at}, bits {change:#x}");
            } else {
                assert_eq!(opened, Err(EnvelopeNotOpened), "byte {at}, bits {change:#x}");
            }
        }
    }
    // Every change to twelve bytes of text, and the one of the last that makes a padding of one byte.
    assert_eq!(bent_openly, PLAINTEXT_OF_KMS.len() * 255 + 1);
}

#[test]
fn what_kms_made_has_one_end() {
    let from_kms = decode(FROM_KMS);
    for length in 0..from_kms.len() {
        assert_eq!(open(&from_kms[..length]), Err(EnvelopeNotOpened), "{length}");
    }
    for byte in 0..=u8::MAX {
        assert_eq!(open(&[&from_kms[..], &[byte]].concat()), Err(EnvelopeNotOpened), "{byte}");
    }
    assert_eq!(open(&from_kms.repeat(2)), Err(EnvelopeNotOpened));
}

#[test]
fn only_its_recipient_opens_it() {
    let other = RecipientKey::generate().unwrap();
    let from_kms = decode(FROM_KMS);
    assert_eq!(other.open(&from_kms).err(), Some(EnvelopeNotOpened));

    // For the other by its name, under our key; and the other way round.
    let for_us: [u8; 32] = Sha256::digest(RECIPIENT.public_key_der()).into();
    let for_other: [u8; 32] = Sha256::digest(other.public_key_der()).into();
    let mut renamed = from_kms.clone();
    let name = position(&from_kms, &for_us);
    renamed[name..name + 32].copy_from_slice(&for_other);
    assert_eq!(Envelope::parse(&renamed).unwrap().recipient, &for_other);
    assert_eq!(open(&renamed), Err(EnvelopeNotOpened));
    assert_eq!(other.open(&renamed).err(), Some(EnvelopeNotOpened));

    assert_eq!(other.open(&tree(&other, b"hers").encode(&[])).unwrap().as_slice(), b"hers");
}

// ---- what OpenSSL makes ----

const OAEP_SHA_256: [&str; 6] =
    ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256"];

struct Openssl(TempDir);

impl Openssl {
    /// With certificates of our key: named by SHA-256, as KMS does, and by SHA-1.
    fn new() -> Self {
        let openssl = Self(tempfile::tempdir().unwrap());
        fs::write(openssl.path("key.der"), decode(KEY)).unwrap();
        let sha_256 = hex::encode(Sha256::digest(RECIPIENT.public_key_der()));
        for (certificate, name) in [("sha256.pem", sha_256.as_str()), ("sha1.pem", "hash")] {
            let extension = format!("subjectKeyIdentifier={name}");
            let request = ["req", "-x509", "-key", "key.der", "-keyform", "DER", "-subj", "/CN=test"];
            openssl.run(&[&request[..], &["-addext", &extension, "-out", certificate]].concat());
        }
        openssl
    }

    fn path(&self, name: &str) -> impl AsRef<Path> {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `-binary` leaves line ends as they are.
    fn encrypt(&self, plaintext: &[u8], cipher: &str, certificate: &str, arguments: &[&str]) -> Vec<u8> {
        fs::write(self.path("plaintext"), plaintext).unwrap();
        let command =
            ["cms", "-encrypt", "-binary", "-in", "plaintext", "-outform", "DER", "-out", "envelope"];
        self.run(&[&command[..], &[cipher, "-recip", certificate], arguments].concat());
        fs::read(self.path("envelope")).unwrap()
    }
}

#[test]
fn opens_what_openssl_makes() {
    let openssl = Openssl::new();
    let keyid = [&OAEP_SHA_256[..], &["-keyid"]].concat();
    let streamed = [&keyid[..], &["-stream"]].concat();
    for size in [0, 1, 31, 32, 33, 4095, 4096, 4097] {
        let plaintext: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        let whole = openssl.encrypt(&plaintext, "-aes-256-cbc", "sha256.pem", &keyid);
        assert_eq!(open(&whole), Ok(plaintext.clone()), "{size}");
        assert_ne!(whole[1], 0x80, "definite");

        let streamed = openssl.encrypt(&plaintext, "-aes-256-cbc", "sha256.pem", &streamed);
        assert_eq!(open(&streamed), Ok(plaintext), "{size}");
        assert_eq!(streamed[..2], [0x30, 0x80], "indefinite");
        if size == 4096 {
            // In two chunks: the padding comes when the first is out.
            assert_eq!(streamed[streamed.len() - 28..][..2], [OCTET_STRING, 16]);
        }
    }
}

#[test]
fn what_openssl_makes_otherwise_is_refused() {
    let openssl = Openssl::new();
    let keyid = [&OAEP_SHA_256[..], &["-keyid"]].concat();
    let good = openssl.encrypt(b"text", "-aes-256-cbc", "sha256.pem", &keyid);
    assert_eq!(open(&good), Ok(b"text".to_vec()));

    let refused: &[(&str, &str, &str, &[&str])] = &[
        ("named by SHA-1", "-aes-256-cbc", "sha1.pem", &keyid),
        ("named by issuer and serial number: version 0", "-aes-256-cbc", "sha256.pem", &OAEP_SHA_256),
        ("AES-128", "-aes-128-cbc", "sha256.pem", &keyid),
        ("AES-192", "-aes-192-cbc", "sha256.pem", &keyid),
        ("GCM: AuthEnvelopedData", "-aes-256-gcm", "sha256.pem", &keyid),
        ("not OAEP", "-aes-256-cbc", "sha256.pem", &["-keyid"]),
        ("OAEP of SHA-1", "-aes-256-cbc", "sha256.pem", &["-keyopt", "rsa_padding_mode:oaep", "-keyid"]),
        (
            "MGF1 of SHA-1",
            "-aes-256-cbc",
            "sha256.pem",
            &[&OAEP_SHA_256[..4], &["-keyopt", "rsa_mgf1_md:sha1", "-keyid"]].concat(),
        ),
        (
            "MGF1 of SHA-512",
            "-aes-256-cbc",
            "sha256.pem",
            &[&OAEP_SHA_256[..4], &["-keyopt", "rsa_mgf1_md:sha512", "-keyid"]].concat(),
        ),
        ("a label", "-aes-256-cbc", "sha256.pem", &[&keyid[..], &["-keyopt", "rsa_oaep_label:00"]].concat()),
        (
            "two recipients",
            "-aes-256-cbc",
            "sha256.pem",
            &[&keyid[..], &["-recip", "sha256.pem"], &OAEP_SHA_256[..]].concat(),
        ),
        (
            "a password too",
            "-aes-256-cbc",
            "sha256.pem",
            &[&keyid[..], &["-pwri_password", "password"]].concat(),
        ),
    ];
    for (what, cipher, certificate, arguments) in refused {
        for stream in [&[][..], &["-stream"]] {
            let arguments = [*arguments, stream].concat();
            let envelope = openssl.encrypt(b"text", cipher, certificate, &arguments);
            assert_eq!(open(&envelope), Err(EnvelopeNotOpened), "{what}");
        }
    }
}

// ---- the shape ----

#[test]
fn an_element_less_more_or_other_is_refused() {
    let mut tree = tree(&RECIPIENT, b"text");
    let (_, ciphertext) = encrypt(b"text");
    *tree.at(CONTENT) = chunked(&ciphertext, &[], 0);
    assert_eq!(open(&tree.encode(&[])), Ok(b"text".to_vec()));

    let chunk = [CONTENT, &[0]].concat();
    for path in tree.paths() {
        let (last, parent) = path.split_last().unwrap();
        let node = tree.at(&path).clone();

        let mut less = tree.clone();
        less.at(parent).children().remove(*last);
        let optional = matches!(node, Node::Primitive(NULL, _));
        assert_eq!(Envelope::parse(&less.encode(&[])).is_ok(), optional, "{path:?} removed");

        let mut more = tree.clone();
        more.at(parent).children().insert(*last, node.clone());
        let repeated = path == chunk;
        assert_eq!(Envelope::parse(&more.encode(&[])).is_ok(), repeated, "{path:?} twice");

        for other in 0..=u8::MAX {
            let mut retagged = tree.clone();
            let same = match retagged.at(&path) {
                Node::Primitive(tag, _) | Node::Constructed(tag, _) => std::mem::replace(tag, other) == other,
            };
            // The chunks' bytes are content too, but not a whole number of blocks.
            assert_eq!(Envelope::parse(&retagged.encode(&[])).is_ok(), same, "{path:?} as {other:#04x}");
        }

        if let Node::Primitive(tag, contents) = node {
            for bent in [contents.iter().copied().skip(1).collect(), [&contents[..], &[0]].concat()] {
                let mut resized = tree.clone();
                *resized.at(&path) = Node::Primitive(tag, bent.clone());
                let unchanged = bent == contents;
                assert_eq!(Envelope::parse(&resized.encode(&[])).is_ok(), unchanged, "{path:?} resized");
            }
            if path != chunk {
                let mut constructed = tree.clone();
                *constructed.at(&path) = Node::Constructed(tag | 0x20, vec![Node::Primitive(tag, contents)]);
                assert!(Envelope::parse(&constructed.encode(&[])).is_err(), "{path:?} in pieces");
            }
        }
        // After it, what BER has but the shape does not: an attribute, an end, nothing.
        for stray in [Node::Constructed(0xa1, Vec::new()), Node::Primitive(0, Vec::new())] {
            let mut strayed = tree.clone();
            strayed.at(parent).children().insert(last + 1, stray);
            for lengths in [&[][..], &[Length::Indefinite; 64]] {
                assert!(Envelope::parse(&strayed.encode(lengths)).is_err(), "after {path:?}");
            }
        }
    }
}

#[test]
fn versions_are_2() {
    for path in [&[1, 0, 0][..], &[1, 0, 1, 0, 0]] {
        for version in [&[][..], &[0], &[1], &[3], &[4], &[0x82], &[0, 2], &[2, 0]] {
            let mut tree = tree(&RECIPIENT, b"text");
            *tree.at(path) = Node::Primitive(INTEGER, version.to_vec());
            assert_eq!(open(&tree.encode(&[])), Err(EnvelopeNotOpened), "{path:?} {version:?}");
        }
    }
}

#[test]
fn an_oaep_label_is_empty() {
    let label = |contents: &[u8]| {
        let label = sequence(vec![oid(P_SPECIFIED), Node::Primitive(OCTET_STRING, contents.to_vec())]);
        let mut tree = tree(&RECIPIENT, b"text");
        tree.at(OAEP_PARAMETERS).children().push(Node::Constructed(CONTEXT_2, vec![label]));
        open(&tree.encode(&[]))
    };
    assert_eq!(label(b""), Ok(b"text".to_vec()));
    assert_eq!(label(b"\0"), Err(EnvelopeNotOpened));

    let mut empty = tree(&RECIPIENT, b"text");
    empty.at(OAEP_PARAMETERS).children().push(Node::Constructed(CONTEXT_2, Vec::new()));
    assert_eq!(open(&empty.encode(&[])), Err(EnvelopeNotOpened));
}

#[test]
fn an_envelope_has_one_recipient() {
    for count in [0, 2, 3] {
        let mut tree = tree(&RECIPIENT, b"text");
        let recipients = tree.at(RECIPIENTS).children();
        *recipients = vec![recipients[0].clone(); count];
        assert_eq!(open(&tree.encode(&[])), Err(EnvelopeNotOpened), "{count}");
    }
}

#[test]
fn a_content_key_is_32_bytes() {
    for size in [0, 16, 24, 31, 33, 64] {
        let mut tree = tree(&RECIPIENT, b"text");
        *tree.at(WRAPPED_KEY) = Node::Primitive(OCTET_STRING, wrap(&RECIPIENT, &vec![0x6b; size]));
        assert_eq!(open(&tree.encode(&[])), Err(EnvelopeNotOpened), "{size}");
    }
}

// ---- lengths, chunks, limits ----

#[test]
fn lengths_are_those_of_ber() {
    let good = tree(&RECIPIENT, b"text");
    // The first element's length, in every first octet that a definite one may have and some more.
    let bytes = good.encode(&[Length::Long(4)]);
    let body = &bytes[6..];
    let spelled = |length: &[u8], end: &[u8]| open(&[&[0x30], length, body, end].concat());
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
    for length in [&[0x82, high, low][..], &[0x83, 0, high, low], &[0x84, 0, 0, high, low]] {
        assert_eq!(spelled(length, b""), Ok(b"text".to_vec()), "{length:?}");
    }
    assert_eq!(spelled(&[0x80], b"\0\0"), Ok(b"text".to_vec()));

    let mut eight = [0; 9];
    eight[0] = 0x88;
    eight[7..].copy_from_slice(&[high, low]);
    for length in [
        &[][..],
        &[low],
        &[0x81, low],
        &[0x82, high, low - 1],
        &[0x82, high, low + 1],
        &[0x84, 1, 0, high, low],
        &[0x84, 0xff, 0xff, 0xff, 0xff],
        // Leading zeros in more octets than any length needs.
        &[0x85, 0, 0, 0, high, low],
        &eight,
        // Reserved.
        &[0xff],
        &[0x80],
    ] {
        assert_eq!(spelled(length, b""), Err(EnvelopeNotOpened), "{length:?}");
    }
    for end in [&b""[..], b"\0", b"\0\x01\0", b"\0\x80", b"\0\x81\0", b"\x20\0", b"\0\0\0", b"\0\0\0\0"] {
        assert_eq!(spelled(&[0x80], end), Err(EnvelopeNotOpened), "{end:?}");
    }
    // A primitive element's end cannot be marked.
    let mut unmarked = good.clone();
    *unmarked.at(&[0]) = Node::Primitive(0x06, Vec::new());
    let mut unmarked = unmarked.encode(&[Length::Indefinite]);
    assert_eq!(unmarked[2..4], [0x06, 0]);
    unmarked.splice(3..4, [&[0x80], super::ENVELOPED_DATA, &[0, 0]].concat());
    assert_eq!(open(&unmarked), Err(EnvelopeNotOpened));
}

#[test]
fn chunks_are_in_five_others_at_most() {
    let (_, ciphertext) = encrypt(b"some text of more than one block");
    for lengths in [&[][..], &[Length::Indefinite; 64]] {
        for depth in 0..=20 {
            let mut tree = tree(&RECIPIENT, b"");
            *tree.at(CONTENT) = chunked(&ciphertext, &[5, 0, 16], depth);
            let expected = if depth <= 5 {
                Ok(b"some text of more than one block".to_vec())
            } else {
                Err(EnvelopeNotOpened)
            };
            assert_eq!(open(&tree.encode(lengths)), expected, "{depth}");
        }
    }
}

#[test]
fn what_only_opens_elements_is_refused() {
    for tag in [0x30, 0x24, 0xa0, 0x31] {
        assert_eq!(open(&[tag, 0x80].repeat(MAX_ENVELOPE_BYTES / 2)), Err(EnvelopeNotOpened));
    }
    let mut tree = tree(&RECIPIENT, b"");
    *tree.at(CONTENT) = Node::Constructed(CONTEXT_0, Vec::new());
    let mut bytes = tree.encode(&[Length::Indefinite; 64]);
    // As far as to where the chunks are.
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    bytes.extend([OCTET_STRING_OF_CHUNKS, 0x80].repeat((MAX_ENVELOPE_BYTES - bytes.len()) / 2));
    assert_eq!(open(&bytes), Err(EnvelopeNotOpened));
}

#[test]
fn an_envelope_is_of_6144_bytes_at_most() {
    let (_, ciphertext) = encrypt(b"text");
    let of_size = |size: usize| {
        let mut tree = tree(&RECIPIENT, b"");
        *tree.at(CONTENT) = chunked(&ciphertext, &[], 0);
        let empty_chunks = (size - tree.encode(&[Length::Indefinite; 64]).len()) / 2;
        tree.at(CONTENT).children().extend(vec![Node::Primitive(OCTET_STRING, Vec::new()); empty_chunks]);
        let encoded = tree.encode(&[Length::Indefinite; 64]);
        assert!(size - encoded.len() < 2);
        // One byte more where a length can have one.
        if encoded.len() == size {
            return encoded;
        }
        tree.encode(&[&[Length::Indefinite, Length::Long(1)], &[Length::Indefinite; 64][..]].concat())
    };
    for (size, expected) in
        [(6143, Ok(b"text".to_vec())), (6144, Ok(b"text".to_vec())), (6145, Err(EnvelopeNotOpened))]
    {
        let envelope = of_size(size);
        assert_eq!(envelope.len(), size);
        assert_eq!(open(&envelope), expected, "{size}");
    }
}

#[test]
fn content_is_whole_blocks() {
    for size in (0..=64).filter(|size| *size == 0 || size % BLOCK_BYTES != 0) {
        let mut tree = tree(&RECIPIENT, b"text");
        *tree.at(CONTENT) = Node::Primitive(CONTEXT_0_PRIMITIVE, vec![0; size]);
        assert!(Envelope::parse(&tree.encode(&[])).is_err(), "{size}");
        *tree.at(CONTENT) = chunked(&vec![0; size], &[1, 2], 1);
        assert!(Envelope::parse(&tree.encode(&[])).is_err(), "{size}");
    }
    let mut absent = tree(&RECIPIENT, b"text");
    let (last, parent) = CONTENT.split_last().unwrap();
    absent.at(parent).children().remove(*last);
    assert_eq!(open(&absent.encode(&[])), Err(EnvelopeNotOpened));
}

/// CBC gives any block, when its IV is chosen for it.
#[test]
fn padding_is_checked_to_the_last_byte() {
    let (iv, _) = encrypt(b"");
    let mut envelope = tree(&RECIPIENT, b"");
    let mut open_block = |block: [u8; BLOCK_BYTES]| {
        let iv = iv.iter().zip(block).map(|(iv, byte)| iv ^ 16 ^ byte).collect();
        *envelope.at(IV) = Node::Primitive(OCTET_STRING, iv);
        open(&envelope.encode(&[])).ok()
    };
    for count in 0..=u8::MAX {
        let mut block = [b'x'; BLOCK_BYTES];
        block[BLOCK_BYTES - 1] = count;
        assert_eq!(open_block(block), unpadded(block), "{block:?}");
        let block = [count; BLOCK_BYTES];
        assert_eq!(open_block(block), unpadded(block), "{block:?}");
    }
    for count in 1..=16 {
        let kept = BLOCK_BYTES - usize::from(count);
        let mut good = [b'x'; BLOCK_BYTES];
        good[kept..].fill(count);
        assert_eq!(open_block(good), Some(vec![b'x'; kept]));
        for at in kept..BLOCK_BYTES - 1 {
            for change in [1, 0x80, 0xff] {
                let mut bent = good;
                bent[at] ^= change;
                assert_eq!(open_block(bent), None, "{bent:?}");
            }
        }
    }
}

fn lengths() -> impl Strategy<Value = Vec<Length>> {
    let length =
        prop_oneof![Just(Length::Shortest), Just(Length::Indefinite), (1..=4_usize).prop_map(Length::Long),];
    prop::collection::vec(length, 0..64)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn every_spelling_opens(
        plaintext in prop::collection::vec(any::<u8>(), 0..2000),
        sizes in prop::option::of(prop::collection::vec(0..300_usize, 0..20)),
        depth in 0..=5_usize,
        lengths in lengths(),
    ) {
        let mut tree = tree(&RECIPIENT, &plaintext);
        if let Some(sizes) = sizes {
            let (_, ciphertext) = encrypt(&plaintext);
            *tree.at(CONTENT) = chunked(&ciphertext, &sizes, depth);
        }
        prop_assert_eq!(open(&tree.encode(&lengths)), Ok(plaintext));
    }

    #[test]
    fn no_spelling_can_be_cut(lengths in lengths(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = tree(&RECIPIENT, b"text").encode(&lengths);
        bytes.push(byte);
        prop_assert_eq!(open(&bytes), Err(EnvelopeNotOpened));
        bytes.pop();
        bytes.truncate(cut.index(bytes.len()));
        prop_assert_eq!(open(&bytes), Err(EnvelopeNotOpened));
    }
}
