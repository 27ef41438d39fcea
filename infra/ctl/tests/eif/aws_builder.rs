//! AWS's `eif_build` makes the same image from the same parts, except where it lacks an option: it ignores `--version`,
//! and the image's version is its name. The images here have a name as long as the version, so that all else stands at
//! the same place.

use std::path::PathBuf;

use serde_json::{Value, json};
use signerctl::eif::Image;

use crate::image_parts::{ImageParts, kernel, nitro_toml};
use crate::keys::{self, ALGORITHMS, FORMS};
use crate::process::succeed;
use crate::python::ask;
use crate::signatures::SIGNED;

/// Of our version's length.
const NAME: &str = "nitro-signer-nitro-signer".split_at(env!("CARGO_PKG_VERSION").len()).0;

fn parts() -> ImageParts {
    let parts = ImageParts::new();
    let named = nitro_toml().replace("name = \"nitro-signer\"", &format!("name = \"{NAME}\""));
    assert!(named.contains(&format!("\"{NAME}\"")));
    parts.write("nitro.toml", named);
    parts
}

/// Has AWS's builder make `aws.eif` of the parts of `image.eif`, and gives what it prints.
fn build_as_aws(parts: &ImageParts, options: &[(&str, &str)]) -> Value {
    let bytes = parts.read("image.eif");
    let image = Image::read(&bytes).unwrap();
    parts.write("kernel", image.kernel);
    let metadata: Value = serde_json::from_slice(image.metadata.unwrap()).unwrap();
    let build = |field: &str| metadata["BuildMetadata"][field].as_str().unwrap().to_owned();
    let mut command = parts.command("eif_build");
    command.args(["--kernel", "kernel", "--output", "aws.eif"]);
    command.args(["--cmdline", std::str::from_utf8(image.cmdline).unwrap()]);
    command.args(["--name", metadata["ImageName"].as_str().unwrap()]);
    command.args(["--build-time", &build("BuildTime"), "--build-tool", &build("BuildTool")]);
    command.args(["--build-tool-version", &build("BuildToolVersion")]);
    command.args(["--img-os", &build("OperatingSystem"), "--img-kernel", &build("KernelVersion")]);
    for (index, ramdisk) in image.ramdisks.iter().enumerate() {
        let name = format!("ramdisk{index}");
        parts.write(&name, ramdisk);
        command.args(["--ramdisk", &name]);
    }
    command.args(options.iter().flat_map(|(name, value)| [name, value]));
    let printed = succeed(&mut command);
    serde_json::from_str(printed.strip_prefix("Output file: aws.eif\n").unwrap()).unwrap()
}

/// AWS's image, of our version.
fn of_our_version(mut bytes: Vec<u8>) -> Vec<u8> {
    let wrong = format!("\"ImageVersion\":\"{NAME}\"");
    let right = format!("\"ImageVersion\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let mut places = bytes.windows(wrong.len()).enumerate().filter(|(_, it)| *it == wrong.as_bytes());
    let (at, _) = places.next().unwrap();
    assert!(places.next().is_none());
    bytes[at..at + right.len()].copy_from_slice(right.as_bytes());
    let crc = crc32fast::hash(&[&bytes[..544], &bytes[548..]].concat());
    bytes[544..548].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
#[ignore = "needs eif_build"]
fn every_byte_is_as_aws_writes_it() {
    type Row = (&'static str, fn(&ImageParts), &'static [(&'static str, &'static str)]);
    let rows: [Row; 5] = [
        ("plain", |_| (), &[]),
        ("with a driver", |_| (), &[("--nsm-module", "nsm.ko")]),
        ("a large kernel", |it| it.write("bzImage", kernel((3 << 20) + 1)), &[]),
        ("the shortest command line", |it| it.write("cmdline", "\t\n x\r\n"), &[]),
        ("the longest command line", |it| it.write("cmdline", "x".repeat(2048)), &[]),
    ];
    for (row, change, options) in rows {
        let parts = parts();
        change(&parts);
        let ours = parts.built(options);
        let aws = build_as_aws(&parts, &[]);
        // In the same order too.
        assert_eq!(ours.to_string(), aws.to_string(), "{row}");
        let (ours, aws) = (parts.read("image.eif"), of_our_version(parts.read("aws.eif")));
        let different = ours.iter().zip(&aws).position(|(ours, aws)| ours != aws);
        assert_eq!((different, ours.len()), (None, aws.len()), "{row}: the first byte that differs");
    }
}

#[test]
#[ignore = "needs eif_build"]
fn what_aws_signs_is_like_ours_and_taken() {
    for algorithm in ALGORITHMS {
        for form in FORMS {
            let row = format!("{algorithm} {form:?}");
            let parts = parts();
            keys::make(&parts, algorithm, form);
            let ours = parts.built(&SIGNED);
            let aws = build_as_aws(&parts, &SIGNED);
            assert!(aws["PCR8"].is_string());
            assert_eq!(ours.to_string(), aws.to_string(), "{row}");

            let described = parts.signerctl(["eif", "describe", "aws.eif"]);
            assert_eq!((described.code, &described.stderr[..]), (Some(0), ""), "{row}");
            let described: Value = serde_json::from_str(&described.stdout).unwrap();
            assert_eq!(described["Measurements"], aws, "{row}");
            assert_eq!((&described["IsSigned"], &described["SignatureCheck"]), (&json!(true), &json!(true)));

            let [ours, aws]: [(PathBuf, Vec<u8>); 2] =
                ["image.eif", "aws.eif"].map(|name| (parts.path(name), parts.read(name)));
            let (ours_read, aws_read) = (ask("image.py", &ours.0), ask("image.py", &aws.0));
            assert_eq!((&ours_read["is_good"], &aws_read["is_good"]), (&json!(true), &json!(true)), "{row}");
            assert_eq!(ours_read["signature"].to_string(), aws_read["signature"].to_string(), "{row}");
            assert_eq!(ours_read["header"], aws_read["header"], "{row}");
            assert_eq!(ours_read["kinds"], aws_read["kinds"], "{row}");
            let (ours, aws) = (Image::read(&ours.1).unwrap(), Image::read(&aws.1).unwrap());
            let of_section = |image: &Image<'_>| image.signature.unwrap().len();
            // A number below 24 takes a byte less.
            let difference = of_section(&ours).abs_diff(of_section(&aws));
            assert!(difference <= algorithm.signature_bytes, "{row}: {difference}");
            let without = |image| Image { signature: None, metadata: None, ..image };
            assert_eq!(without(ours), without(aws), "{row}");
        }
    }
}

/// The writer takes over what AWS wrote, with the metadata that AWS wrote.
#[test]
#[ignore = "needs eif_build"]
fn what_aws_wrote_is_written_again() {
    let parts = parts();
    keys::make(&parts, ALGORITHMS[1], FORMS[0]);
    for options in [&[][..], &SIGNED] {
        for architecture in ["x86_64", "aarch64"] {
            parts.built(&[]);
            build_as_aws(&parts, &[options, &[("--arch", architecture)]].concat());
            let bytes = parts.read("aws.eif");
            assert_eq!(Image::read(&bytes).unwrap().write().unwrap(), bytes, "{architecture}");
        }
    }
}
