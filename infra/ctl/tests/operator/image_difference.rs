//! `eif diff`

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde_json::Value;
use signerctl::eif::Image;

use crate::image_parts::{ImageParts, kernel, nitro_toml};
use crate::process::{Outcome, succeed};

const EX_USAGE: i32 = 64;
const EX_DATAERR: i32 = 65;
const EX_NOINPUT: i32 = 66;

/// With `old.eif` and, after this change, `image.eif`.
fn changed(change: impl FnOnce(&ImageParts), options: &[(&str, &str)]) -> ImageParts {
    let parts = ImageParts::new();
    parts.built(&[("--output", "old.eif")]);
    change(&parts);
    parts.built(options);
    parts
}

fn diff(parts: &ImageParts) -> Outcome {
    parts.signerctl(["eif", "diff", "old.eif", "image.eif"])
}

/// The parts that are said to differ.
fn differing(parts: &ImageParts) -> Vec<String> {
    let outcome = parts.signerctl(["eif", "diff", "--json", "old.eif", "image.eif"]);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["equal"], outcome.code == Some(0));
    let differences = report["differences"].as_array().unwrap();
    differences.iter().map(|it| it["part"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_same_image_has_no_difference() {
    let parts = changed(|_| {}, &[]);
    let outcome = diff(&parts);
    assert_eq!((outcome.code, &outcome.stdout[..], &outcome.stderr[..]), (Some(0), "", ""));
    assert!(differing(&parts).is_empty());
}

#[test]
fn the_lines_of_the_configuration_are_shown() {
    let edit = |parts: &ImageParts| {
        parts.write("nitro.toml", nitro_toml().replace("memory_mib = 512", "memory_mib = 1024"));
    };
    let parts = changed(edit, &[]);
    let outcome = diff(&parts);
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(1), "signerctl: the images differ\n"));
    let pcrs: Vec<&str> = outcome.stdout.lines().filter(|line| line.starts_with("PCR")).collect();
    assert_eq!(pcrs, ["PCR0", "PCR2"]);
    for line in ["nitro.toml in ramdisk 2", "--- old", "+++ new", "-memory_mib = 512", "+memory_mib = 1024"] {
        assert!(outcome.stdout.lines().any(|it| it == line), "{line}\n{}", outcome.stdout);
    }
    assert_eq!(differing(&parts), ["PCR0", "PCR2", "ramdisk 2", "nitro.toml in ramdisk 2"]);
}

/// The changed part, the change, its options, and the parts that differ then.
type Row = (&'static str, fn(&ImageParts), &'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn each_part_is_named() {
    let rows: [Row; 6] = [
        (
            "another signer",
            |it| it.write("enclave", crate::image_parts::elf(&[1])),
            &[],
            &["PCR0", "PCR2", "ramdisk 2", "init in ramdisk 2"],
        ),
        (
            "another command line",
            |it| it.write("cmdline", "reboot=k panic=0 console=ttyS0"),
            &[],
            &["PCR0", "PCR1", "cmdline"],
        ),
        (
            "another kernel",
            |it| {
                let mut bytes = kernel(4096);
                bytes[0x300..0x306].copy_from_slice(b"6.12.2");
                it.write("bzImage", bytes);
            },
            &[],
            &["PCR0", "PCR1", "kernel version", "kernel", "metadata BuildMetadata.KernelVersion"],
        ),
        (
            "a driver",
            |_| {},
            &[("--nsm-module", "nsm.ko")],
            &["PCR0", "PCR1", "ramdisk 1", "nsm.ko in ramdisk 1"],
        ),
        (
            "a signature",
            |it| {
                let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -days 30 \
                                 -subj /CN=operator -keyout key.pem -out certificate.pem";
                succeed(it.command("openssl").args(arguments.split_whitespace()));
            },
            &[("--signing-certificate", "certificate.pem"), ("--private-key", "key.pem")],
            &["PCR8", "signing certificate", "signature"],
        ),
        (
            "another name",
            |it| it.write("nitro.toml", nitro_toml().replace("name = \"nitro-signer\"", "name = \"other\"")),
            &[],
            &["PCR0", "PCR2", "ramdisk 2", "nitro.toml in ramdisk 2", "metadata ImageName"],
        ),
    ];
    for (row, change, options, expected) in rows {
        assert_eq!(differing(&changed(change, options)), expected, "{row}");
    }
    let shown = diff(&changed(|it| it.write("cmdline", "reboot=k console=ttyS0"), &[])).stdout;
    assert!(shown.contains("\n-panic=-1\n") && !shown.contains("\n-reboot=k\n"), "{shown}");
}

/// The image, with its second ramdisk replaced.
fn with_ramdisk(parts: &ImageParts, ramdisk: &[u8]) {
    let bytes = parts.read("old.eif");
    let mut image = Image::read(&bytes).unwrap();
    image.ramdisks[1] = ramdisk;
    parts.write("image.eif", image.write().unwrap());
}

#[test]
fn what_others_made_is_compared_as_far_as_it_goes() {
    let parts = changed(|_| {}, &[]);
    with_ramdisk(&parts, b"070701, and not compressed");
    let outcome = diff(&parts);
    assert_eq!(outcome.code, Some(1));
    let note = "ramdisk 2 is not made by signerctl: what is in it is not compared\n";
    assert!(outcome.stdout.ends_with(note), "{}", outcome.stdout);
    assert_eq!(differing(&parts), ["PCR0", "PCR2", "ramdisk 2"]);
    // Two bytes of the header that nothing reads; its checksum fits.
    let mut bytes = parts.read("old.eif");
    bytes[15] ^= 1;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..544]);
    crc.update(&bytes[548..]);
    bytes[544..548].copy_from_slice(&crc.finalize().to_be_bytes());
    parts.write("image.eif", bytes);
    assert_eq!(differing(&parts), ["header"]);
}

#[test]
fn damage_is_no_difference() {
    let parts = changed(|_| {}, &[]);
    let good = parts.read("old.eif");
    parts.write("image.eif", &good[..good.len() - 1]);
    diff(&parts).refuses(EX_DATAERR, "image.eif: cut, or longer than its sections");
    let swapped = parts.signerctl(["eif", "diff", "image.eif", "old.eif"]);
    swapped.refuses(EX_DATAERR, "image.eif: cut, or longer than its sections");

    let image = Image::read(&good).unwrap();
    let cut = image.ramdisks[1][..image.ramdisks[1].len() - 1].to_vec();
    with_ramdisk(&parts, &cut);
    diff(&parts).refuses(EX_DATAERR, "image.eif: ramdisk 2 is damaged: it cannot be unpacked");

    let mut bomb = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..257).for_each(|_| bomb.write_all(&zeros).unwrap());
    with_ramdisk(&parts, &bomb.finish().unwrap());
    let line = "image.eif: ramdisk 2 unpacks to more than 256 MiB, or to more than 64 files";
    diff(&parts).refuses(EX_DATAERR, line);

    let outcome = parts.signerctl(["eif", "diff", "old.eif", "missing.eif"]);
    outcome.refuses(EX_NOINPUT, "missing.eif: No such file or directory (os error 2)");
    for wrong in [&["eif", "diff", "old.eif"][..], &["eif", "diff", "a", "b", "c"]] {
        assert_eq!(parts.signerctl(wrong).code, Some(EX_USAGE));
    }
}
