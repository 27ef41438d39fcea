//! A file is written whole or not at all, and only in the place of a file.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt, symlink};

use crate::image_parts::{ImageParts, build_arguments};
use crate::process::{Outcome, run, succeed};

const EX_CANTCREAT: i32 = 73;

/// In a shell, after `before`.
fn build_after(parts: &ImageParts, before: &str, options: &[(&str, &str)]) -> Outcome {
    let script = format!("{before}; exec \"$0\" \"$@\"");
    let mut shell = parts.command("bash");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_signerctl")]).args(build_arguments(options));
    run(&mut shell)
}

#[test]
fn a_place_that_takes_no_file_is_named_and_left_alone() {
    let parts = ImageParts::new();
    fs::create_dir(parts.path("folder")).unwrap();
    succeed(parts.command("mkfifo").arg("pipe"));
    symlink("/dev/null", parts.path("null")).unwrap();
    let before = parts.names();
    for (place, reason) in [
        ("missing/image.eif", "No such file or directory (os error 2)"),
        ("enclave/image.eif", "Not a directory (os error 20)"),
        ("folder", "not a regular file"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("null", "not a regular file"),
    ] {
        parts.build(&[("--output", place)]).refuses(EX_CANTCREAT, &format!("{place}: {reason}"));
        assert_eq!(parts.names(), before, "{place}");
    }
    assert!(fs::metadata(parts.path("pipe")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(parts.path("null")).unwrap().is_symlink());
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    // By then the image exists, as a whole.
    let outcome = parts.build(&[("--note-pcrs-in", "folder")]);
    outcome.refuses(EX_CANTCREAT, "folder: not a regular file");
    assert_eq!(parts.signerctl(["eif", "describe", "image.eif"]).code, Some(0));
}

/// A process may write no file of more than a kilobyte, which fails at the same place as a disk that is full.
#[test]
fn a_full_disk_leaves_what_was_there() {
    const FULL: &str = "trap '' XFSZ; ulimit -f 1";
    let parts = ImageParts::new();
    let before = parts.names();
    build_after(&parts, FULL, &[]).refuses(EX_CANTCREAT, "image.eif: File too large (os error 27)");
    assert_eq!(parts.names(), before);
    parts.write("image.eif", "precious");
    build_after(&parts, FULL, &[]).refuses(EX_CANTCREAT, "image.eif: File too large (os error 27)");
    assert_eq!(parts.read("image.eif"), b"precious");
    assert_eq!(parts.names().len(), before.len() + 1);

    let outcome = build_after(&parts, "exec >/dev/full", &[]);
    outcome.refuses(EX_CANTCREAT, "No space left on device (os error 28)");
    let outcome = build_after(&parts, "exec >&-", &[]);
    assert_eq!((outcome.code, outcome.stdout, outcome.stderr), (Some(0), String::new(), String::new()));
}

#[test]
fn measurements_are_noted_and_the_file_stays_whose_it_was() {
    let parts = ImageParts::new();
    let fresh = parts.read("nitro.toml");
    fs::set_permissions(parts.path("nitro.toml"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("nitro.toml", parts.path("link")).unwrap();
    let measurements = parts.built(&[("--note-pcrs-in", "nitro.toml")]);
    let image = parts.read("image.eif");
    let noted = parts.read("nitro.toml");
    let mode = || fs::metadata(parts.path("nitro.toml")).unwrap().permissions().mode() & 0o7777;
    let pcr = |register: &str| measurements[register].as_str().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&noted),
        format!(
            "{}\n[pcr]\nPCR0 = \"{}\"\nPCR1 = \"{}\"\nPCR2 = \"{}\"\n",
            String::from_utf8_lossy(&fresh),
            pcr("PCR0"),
            pcr("PCR1"),
            pcr("PCR2")
        )
    );
    assert_eq!(mode(), 0o640);
    // Again, of what is noted; through a link; and into another file, which there was not.
    for options in [
        [("--note-pcrs-in", "nitro.toml"), ("--nitro-toml", "nitro.toml")],
        [("--note-pcrs-in", "link"), ("--nitro-toml", "link")],
        [("--note-pcrs-in", "other.toml"), ("--nitro-toml", "nitro.toml")],
    ] {
        assert_eq!(parts.built(&options), measurements);
        assert_eq!(parts.read("image.eif"), image);
        assert_eq!(parts.read(options[0].1), noted);
    }
    assert_eq!(mode(), 0o640);
    assert!(fs::symlink_metadata(parts.path("link")).unwrap().is_symlink());
    // An image of another signer replaces the measurements.
    parts.write("enclave", crate::image_parts::elf(&[1]));
    let others = parts.built(&[("--note-pcrs-in", "nitro.toml")]);
    let text = String::from_utf8(parts.read("nitro.toml")).unwrap();
    assert_eq!((text.matches("[pcr]\n").count(), text.matches(pcr("PCR0")).count()), (1, 0));
    assert!(text.contains(others["PCR0"].as_str().unwrap()));
}
