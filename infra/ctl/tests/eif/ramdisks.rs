//! The files that an image's kernel unpacks, by GNU cpio and Python. They depend on nothing but the parts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::{Value, json};
use signerctl::eif::Image;

use crate::image_parts::{ImageParts, build_arguments};
use crate::process::{run, succeed};
use crate::python::ask;

const WITH_DRIVER: [(&str, &str); 1] = [("--nsm-module", "nsm.ko")];

/// Builds, and puts the ramdisks into `bootstrap.cpio.gz` and `application.cpio.gz`.
fn unpacked(options: &[(&str, &str)]) -> ImageParts {
    let parts = ImageParts::new();
    parts.built(options);
    let bytes = parts.read("image.eif");
    let image = Image::read(&bytes).unwrap();
    assert_eq!(image.ramdisks.len(), 2);
    for (name, ramdisk) in ["bootstrap", "application"].into_iter().zip(image.ramdisks) {
        parts.write(format!("{name}.cpio.gz"), ramdisk);
    }
    parts
}

fn cpio(parts: &ImageParts, ramdisk: &str, arguments: &str) -> String {
    let script = format!("gzip -dc {ramdisk}.cpio.gz | LC_ALL=C TZ=UTC cpio --quiet {arguments}");
    succeed(parts.command("bash").args(["-euo", "pipefail", "-c", &script]))
}

#[test]
fn gnu_cpio_lists_them() {
    let parts = unpacked(&WITH_DRIVER);
    let list = "--list --verbose --numeric-uid-gid";
    assert_eq!(
        cpio(&parts, "bootstrap", list),
        "\
drwxr-xr-x   2 0        0               0 Jan  1  1970 dev
crw-------   1 0        0          5,   1 Jan  1  1970 dev/console
crw-rw-rw-   1 0        0          1,   3 Jan  1  1970 dev/null
drwxr-xr-x   2 0        0               0 Jan  1  1970 proc
drwxr-xr-x   2 0        0               0 Jan  1  1970 sys
drwxr-xr-x   2 0        0               0 Jan  1  1970 tmp
-r--------   1 0        0              18 Jan  1  1970 nsm.ko
"
    );
    let (enclave, nitro_toml) = (parts.read("enclave").len(), parts.read("nitro.toml").len());
    assert_eq!(
        cpio(&parts, "application", list),
        format!(
            "\
-r-x------   1 0        0        {enclave:>8} Jan  1  1970 init
-r--------   1 0        0        {nitro_toml:>8} Jan  1  1970 nitro.toml
"
        )
    );
    assert!(!cpio(&unpacked(&[]), "bootstrap", list).contains("nsm.ko"));
}

#[test]
fn gnu_cpio_unpacks_them() {
    let parts = unpacked(&WITH_DRIVER);
    fs::create_dir(parts.path("root")).unwrap();
    for ramdisk in ["bootstrap", "application"] {
        // Only root makes devices.
        cpio(&parts, ramdisk, "--directory root --extract --make-directories --nonmatching 'dev/*'");
    }
    for (name, of) in [("init", "enclave"), ("nitro.toml", "nitro.toml"), ("nsm.ko", "nsm.ko")] {
        let mode = fs::metadata(parts.path("root").join(name)).unwrap().permissions().mode();
        assert_eq!(mode, if name == "init" { 0o10_0500 } else { 0o10_0400 }, "{name}");
        assert_eq!(parts.read(format!("root/{name}")), parts.read(of), "{name}");
    }
    for name in ["dev", "proc", "sys", "tmp"] {
        let mode = fs::metadata(parts.path("root").join(name)).unwrap().permissions().mode();
        assert_eq!(mode, 0o4_0755, "{name}");
    }
}

#[test]
fn python_finds_every_field_as_it_should_be() {
    let parts = unpacked(&WITH_DRIVER);
    let entry = |ino: u32, name: &str, mode: u32, nlink: u32, device: [u32; 2], content: &[u8]| {
        json!({
            "ino": ino, "mode": mode, "uid": 0, "gid": 0, "nlink": nlink, "mtime": 0, "filesize": content.len(),
            "major": 0, "minor": 0, "rmajor": device[0], "rminor": device[1], "namesize": name.len() + 1, "check": 0,
            "name": name, "content": base16ct::lower::encode_string(content),
        })
    };
    let file = |ino, name, mode, of: &str| entry(ino, name, mode, 1, [0, 0], &parts.read(of));
    let folder = |ino, name| entry(ino, name, 0o4_0755, 2, [0, 0], b"");
    let device = |ino, name, mode, number| entry(ino, name, mode, 1, number, b"");
    let trailer = || entry(0, "TRAILER!!!", 0, 1, [0, 0], b"");
    let bootstrap = [
        folder(1, "dev"),
        device(2, "dev/console", 0o2_0600, [5, 1]),
        device(3, "dev/null", 0o2_0666, [1, 3]),
        folder(4, "proc"),
        folder(5, "sys"),
        folder(6, "tmp"),
        file(7, "nsm.ko", 0o10_0400, "nsm.ko"),
        trailer(),
    ];
    let application =
        [file(1, "init", 0o10_0500, "enclave"), file(2, "nitro.toml", 0o10_0400, "nitro.toml"), trailer()];
    for (name, expected) in [("bootstrap", &bootstrap[..]), ("application", &application)] {
        let found = ask("ramdisk.py", &parts.path(format!("{name}.cpio.gz")));
        assert_eq!(found["entries"], Value::from(expected), "{name}");
        // Deflate; no flags; no time; made small; no system.
        assert_eq!(found["gzip"], "1f8b08000000000002ff", "{name}");
    }
}

/// Notes under `[pcr]`, and the end of the file, do not get into the image.
#[test]
fn the_same_parts_make_the_same_image_anywhere() {
    let parts = ImageParts::new();
    let measurements = parts.built(&WITH_DRIVER);
    let image = parts.read("image.eif");
    let names = ["enclave", "nitro.toml", "bzImage", "cmdline", "nsm.ko"];
    let elsewhere = |make: &dyn Fn(&str)| {
        names.iter().for_each(|name| make(name));
        // No other process's environment and folder.
        let script = "umask 0277; exec \"$@\"";
        let outcome = run(Command::new("bash")
            .args(["-c", script, "bash", env!("CARGO_BIN_EXE_signerctl")])
            .args(build_arguments(&[]).iter().map(|argument| match names.contains(&&argument[..]) {
                true => parts.path("other").join(argument),
                false if argument == "image.eif" => parts.path("other/other.eif"),
                false => argument.into(),
            }))
            .arg("--nsm-module")
            .arg(parts.path("other/nsm.ko"))
            .current_dir("/")
            .env_clear()
            .envs([("TZ", "Pacific/Apia"), ("LC_ALL", "POSIX"), ("SOURCE_DATE_EPOCH", "1800000000")]));
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""));
        let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(printed["Measurements"], measurements);
        assert_eq!(parts.read("other/other.eif"), image);
    };
    fs::create_dir(parts.path("other")).unwrap();
    elsewhere(&|name| symlink(parts.path(name), parts.path("other").join(name)).unwrap());
    parts.built(&[("--note-pcrs-in", "nitro.toml")]);
    elsewhere(&|name| {
        let path = parts.path("other").join(name);
        let mut bytes = fs::read(&path).unwrap();
        if matches!(name, "cmdline" | "nitro.toml") {
            bytes.extend_from_slice(b"\n\n");
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    });
}
