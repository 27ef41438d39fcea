//! Enclave images: another reader of theirs, and images put together from pieces, with a checksum that fits.

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha384};

use crate::bend::Bend;

const HEADER_BYTES: usize = 548;
const TABLE: usize = 28;
const PLACES: usize = 32;
const CHECKSUM: usize = 544;

const KERNEL: u16 = 1;
const CMDLINE: u16 = 2;
const RAMDISK: u16 = 3;
const SIGNATURE: u16 = 4;
const METADATA: u16 = 5;

/// The content of an image.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the product's")]
pub struct Said<'b> {
    pub is_arm64: bool,
    pub kernel: &'b [u8],
    pub cmdline: &'b [u8],
    pub metadata: Option<&'b [u8]>,
    pub ramdisks: Vec<&'b [u8]>,
    pub signature: Option<&'b [u8]>,
}

/// The content of the sections that the table at the file's start points to. `None` if the file has to be refused.
#[must_use]
pub fn read(file: &[u8]) -> Option<Said<'_>> {
    let number = |at: usize, size: usize| -> Option<u64> {
        Some(file.get(at..at.checked_add(size)?)?.iter().fold(0, |all, byte| all * 256 + u64::from(*byte)))
    };
    let flags = number(6, 2)?;
    let count = usize::try_from(number(26, 2)?).ok().filter(|count| *count <= PLACES)?;
    if !file.starts_with(b".eif\0\x04") || flags > 1 || u64::from(checksum(file)?) != number(CHECKSUM, 4)? {
        return None;
    }
    let mut end = HEADER_BYTES;
    let mut sections: Vec<(u16, &[u8])> = Vec::new();
    for index in 0..PLACES {
        let offset = usize::try_from(number(TABLE + 8 * index, 8)?).ok()?;
        let size = number(TABLE + 8 * (PLACES + index), 8)?;
        if index >= count {
            (offset == 0 && size == 0).then_some(())?;
            continue;
        }
        let kind = u16::try_from(number(offset, 2)?).ok()?;
        if offset != end || number(offset + 2, 2)? != 0 || number(offset + 4, 8)? != size {
            return None;
        }
        end = (offset + 12).checked_add(usize::try_from(size).ok()?)?;
        sections.push((kind, file.get(offset + 12..end)?));
    }
    let of_kind = |kind: u16| -> Vec<&[u8]> {
        sections.iter().filter(|(other, _)| *other == kind).map(|(_, content)| *content).collect()
    };
    let at_most_one = |kind: u16, longest: usize| -> Option<Option<&[u8]>> {
        match of_kind(kind)[..] {
            [] => Some(None),
            [one] if one.len() <= longest => Some(Some(one)),
            _ => None,
        }
    };
    let measured: Vec<u16> =
        sections.iter().map(|(kind, _)| *kind).filter(|kind| ![SIGNATURE, METADATA].contains(kind)).collect();
    let [KERNEL, CMDLINE, RAMDISK, more @ ..] = &measured[..] else { return None };
    if end != file.len() || more.iter().any(|kind| *kind != RAMDISK) || of_kind(CMDLINE)[0].len() > 2048 {
        return None;
    }
    Some(Said {
        is_arm64: flags == 1,
        kernel: of_kind(KERNEL)[0],
        cmdline: of_kind(CMDLINE)[0],
        metadata: at_most_one(METADATA, 1 << 16)?,
        ramdisks: of_kind(RAMDISK),
        signature: at_most_one(SIGNATURE, 1 << 15)?,
    })
}

/// PCR0, PCR1 and PCR2 of an image.
#[must_use]
pub fn registers(image: &Said<'_>) -> [[u8; 48]; 3] {
    let start = [image.kernel, image.cmdline].concat();
    let (first, others) = (image.ramdisks[0], image.ramdisks[1..].concat());
    [&[&start[..], first, &others].concat(), &[&start[..], first].concat(), &others]
        .map(|measured| register(measured))
}

/// A register of zeros, extended by what is measured.
#[must_use]
pub fn register(measured: &[u8]) -> [u8; 48] {
    Sha384::digest([&[0; 48][..], &Sha384::digest(measured)].concat()).into()
}

/// Makes the checksum fit, if there is room for one.
pub fn repair(file: &mut [u8]) {
    if let Some(checksum) = checksum(file) {
        file[CHECKSUM..HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// CRC-32 as in gzip (RFC 1952, section 8) of all but itself.
fn checksum(file: &[u8]) -> Option<u32> {
    let rest = file.get(HEADER_BYTES..)?;
    let update = |crc: u32, byte: &u8| crc >> 8 ^ CRC_OF_BYTE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    Some(!file[..CHECKSUM].iter().chain(rest).fold(u32::MAX, update))
}

static CRC_OF_BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// An image in pieces.
#[derive(Arbitrary, Debug)]
pub struct Draft<'a> {
    is_arm64: bool,
    kernel: &'a [u8],
    cmdline: &'a [u8],
    others: Vec<Section<'a>>,
    /// Of the file, whose checksum still fits afterwards.
    bends: Vec<Bend<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Section<'a> {
    Ramdisk(&'a [u8]),
    Metadata(&'a [u8]),
    Signature(&'a [u8]),
    Signed(Signature<'a>),
    Another { kind: u16, flags: u16, content: &'a [u8] },
}

/// The section of a signature, in pieces.
#[derive(Arbitrary, Debug)]
pub struct Signature<'a> {
    /// DER, or what is written as that.
    certificate: Option<&'a [u8]>,
    algorithm: Algorithm,
    /// Whose image is signed: if not given, the one that somebody signed.
    payload: Option<&'a [u8]>,
    signature: Option<&'a [u8]>,
    bends: Vec<Bend<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Algorithm {
    Es256,
    Es384,
    Es512,
    Another(u8),
}

/// A signature that somebody made: certificate, payload, and the bytes of the signature.
#[derive(Debug)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Genuine {
    pub certificate: Vec<u8>,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Draft<'_> {
    /// The file.
    #[must_use]
    pub fn file(&self, genuine: &Genuine) -> Vec<u8> {
        let mut sections = vec![(KERNEL, 0, self.kernel.to_vec()), (CMDLINE, 0, self.cmdline.to_vec())];
        sections.extend(self.others.iter().map(|section| match section {
            Section::Ramdisk(content) => (RAMDISK, 0, content.to_vec()),
            Section::Metadata(content) => (METADATA, 0, content.to_vec()),
            Section::Signature(content) => (SIGNATURE, 0, content.to_vec()),
            Section::Signed(signature) => (SIGNATURE, 0, signature.section(genuine)),
            Section::Another { kind, flags, content } => (*kind, *flags, content.to_vec()),
        }));
        let mut file = vec![0; HEADER_BYTES];
        file[..6].copy_from_slice(b".eif\0\x04");
        file[7] = self.is_arm64.into();
        file[27] = u8::try_from(sections.len()).unwrap_or(u8::MAX);
        for (index, (kind, flags, content)) in sections.iter().enumerate() {
            let size = (content.len() as u64).to_be_bytes();
            if index < PLACES {
                let offset = (file.len() as u64).to_be_bytes();
                file[TABLE + 8 * index..][..8].copy_from_slice(&offset);
                file[TABLE + 8 * (PLACES + index)..][..8].copy_from_slice(&size);
            }
            file.extend([&kind.to_be_bytes()[..], &flags.to_be_bytes(), &size, content].concat());
        }
        self.bends.iter().for_each(|bend| bend.apply(&mut file));
        repair(&mut file);
        file
    }
}

impl Signature<'_> {
    /// The section.
    #[must_use]
    pub fn section(&self, genuine: &Genuine) -> Vec<u8> {
        let algorithm: &[u8] = match self.algorithm {
            Algorithm::Es256 => b"\xa1\x01\x26",
            Algorithm::Es384 => b"\xa1\x01\x38\x22",
            Algorithm::Es512 => b"\xa1\x01\x38\x23",
            Algorithm::Another(byte) => &[0xa1, 0x01, byte],
        };
        let sign1 = sign1(
            algorithm,
            self.payload.unwrap_or(&genuine.payload),
            self.signature.unwrap_or(&genuine.signature),
        );
        let mut section = section(&pem(self.certificate.unwrap_or(&genuine.certificate)), &sign1);
        self.bends.iter().for_each(|bend| bend.apply(&mut section));
        section
    }
}

/// A signature section of this certificate and this `COSE_Sign1`.
#[must_use]
pub fn section(certificate: &[u8], sign1: &[u8]) -> Vec<u8> {
    let names = [&b"\x73signing_certificate"[..], b"\x69signature"];
    [b"\x81\xa2", names[0], &numbers(certificate), names[1], &numbers(sign1)].concat()
}

/// A certificate in PEM, on one line.
#[must_use]
pub fn pem(der: &[u8]) -> Vec<u8> {
    let base64 = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n").into_bytes()
}

fn sign1(protected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let [protected, payload, signature] = [protected, payload, signature].map(crate::cbor::byte_string);
    [b"\x84", &protected[..], b"\xa0", &payload, &signature].concat()
}

/// A list of numbers, in CBOR.
fn numbers(bytes: &[u8]) -> Vec<u8> {
    // The head of a list differs from that of a byte string in its kind only.
    let mut list = crate::cbor::byte_string(bytes);
    list.truncate(list.len() - bytes.len());
    list[0] ^= 0xc0;
    for byte in bytes {
        list.extend_from_slice(if *byte < 24 { &[] } else { &[0x18] });
        list.push(*byte);
    }
    list
}
