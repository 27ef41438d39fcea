//! An archive that is read is, written again, the same to the last byte; what is written is read; and what a ramdisk
//! unpacks to is what was packed, or nothing.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use signerctl::ramdisk::{Entry, MAX_ENTRIES, MAX_UNPACKED_BYTES, archive, entries, ramdisk, unpack};

/// An entry in pieces.
#[derive(Arbitrary, Debug)]
enum Draft<'a> {
    Folder(&'a str),
    Device(&'a str, u16, u32, u32),
    File(&'a str, u16, &'a [u8]),
}

impl<'a> Draft<'a> {
    fn entry(&self) -> Entry<'a> {
        let permissions = |bits: u16| u32::from(bits & 0o7777);
        match *self {
            Self::Folder(path) => Entry::Folder { path },
            Self::Device(path, bits, major, minor) => {
                Entry::Device { path, permissions: permissions(bits), number: (major, minor) }
            }
            Self::File(path, bits, content) => Entry::File { path, permissions: permissions(bits), content },
        }
    }

    fn path(&self) -> &'a str {
        match *self {
            Self::Folder(path) | Self::Device(path, ..) | Self::File(path, ..) => path,
        }
    }

    /// Whether the path is one below the root, and not the name that ends an archive.
    fn is_plain(&self) -> bool {
        let path = self.path();
        path.len() <= 255
            && path != "TRAILER!!!"
            && !path.chars().any(char::is_control)
            && path.split('/').all(|name| !["", ".", ".."].contains(&name))
    }
}

fuzz_target!(|data: &[u8]| {
    check_archive(data);
    check_ramdisk(data);
    // A header that fits, so that the fuzzer gets to what is compressed.
    check_ramdisk(&[&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255], data].concat());
    let Ok(drafts) = Vec::<Draft<'_>>::arbitrary(&mut Unstructured::new(data)) else { return };
    let written: Vec<Entry<'_>> = drafts.iter().map(Draft::entry).collect();
    let packed = ramdisk(&written).expect("nothing has 4 GiB");
    let unpacked = unpack(&packed).expect("it is whole");
    assert_eq!(Ok(&unpacked), archive(&written).as_ref());
    let is_good = drafts.len() <= MAX_ENTRIES && drafts.iter().all(Draft::is_plain);
    let read = entries(&unpacked);
    assert_eq!(read.is_ok(), is_good, "{written:?}");
    assert!(read.is_err() || read == Ok(written));
});

fn check_archive(bytes: &[u8]) {
    match entries(bytes) {
        Ok(read) => assert_eq!(archive(&read).as_deref(), Ok(bytes)),
        Err(error) => assert!(error.to_string().len() < 100, "{error}"),
    }
}

fn check_ramdisk(bytes: &[u8]) {
    if let Ok(unpacked) = unpack(bytes) {
        assert!(unpacked.len() <= MAX_UNPACKED_BYTES);
        check_archive(&unpacked);
    }
}
