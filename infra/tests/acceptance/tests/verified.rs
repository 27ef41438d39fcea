//! The signer, asked who it is by those who check the answer: `signerctl`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use acceptance::attested::software_pcrs;
use acceptance::binaries::signerctl;
use acceptance::failure::ensure;
use acceptance::signer::new_identity;
use acceptance::{Failure, Server};

/// A folder with the root of a signer's documents and the measurements of its image.
struct Notes(tempfile::TempDir);

impl Notes {
    fn new() -> Result<Self, Failure> {
        let notes = Self(tempfile::Builder::new().prefix("verified-").tempdir()?);
        let [pcr0, pcr1, pcr2] = software_pcrs();
        fs::write(
            notes.path("nitro.toml"),
            format!("version = 1\n[pcr]\nPCR0 = \"{pcr0}\"\nPCR1 = \"{pcr1}\"\nPCR2 = \"{pcr2}\"\n"),
        )?;
        fs::write(notes.path("other.toml"), format!("[pcr]\nPCR0 = \"{pcr1}\"\n"))?;
        Ok(notes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A signer whose root is in this folder.
    fn server(&self, options: &[&str]) -> Server {
        let folder = self.path("nsm").display().to_string();
        Server::own(&[&["--software-nsm", &folder], options].concat())
    }

    fn signerctl(&self, server: &Server, arguments: &[&str]) -> Result<Output, Failure> {
        let mut command = Command::new(signerctl());
        command.current_dir(self.0.path()).env("INTERNAL_API_KEY", server.api_key()).args(arguments);
        Ok(command.output()?)
    }
}

/// It ended so, and said this.
fn said(output: &Output, code: i32, words: &str) -> Result<(), Failure> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    ensure(output.status.code() == Some(code) && text.contains(words), || {
        format!("{:?} and not {code}, or without {words:?}:\n{text}", output.status)
    })
}

#[test]
fn over_http_a_signer_is_attested_if_that_is_accepted() -> Result<(), Failure> {
    let notes = Notes::new()?;
    let server = notes.server(&[]);
    let url = format!("http://{}", server.address());
    let verify = |more: &[&str]| {
        let usual = ["attest", "verify", &url, "--root", "nsm/root.pem"];
        notes.signerctl(&server, &[&usual, more].concat())
    };
    said(&verify(&["--nitro-toml", "nitro.toml"])?, 1, "not that you talk to it")?;
    let accepted = verify(&["--nitro-toml", "nitro.toml", "--accept-http", "--save", "document.cose"])?;
    said(&accepted, 0, "ok      image         is that of nitro.toml")?;
    said(&accepted, 0, "LIMITED: no tls")?;
    said(&verify(&["--nitro-toml", "other.toml", "--accept-http"])?, 1, "enclave runs another image: pcr0")?;
    let show = ["attest", "show", "document.cose", "--root", "nsm/root.pem", "--nitro-toml", "nitro.toml"];
    said(&notes.signerctl(&server, &show)?, 0, "AUTHENTIC at its own time")?;
    said(&notes.signerctl(&server, &show[..3])?, 1, "NOT AUTHENTIC")?;
    Ok(())
}

#[test]
fn a_document_of_debug_mode_is_named_so() -> Result<(), Failure> {
    let notes = Notes::new()?;
    let zeros = "0".repeat(96);
    let server = notes.server(&["--pcr0", &zeros]);
    let url = format!("http://{}", server.address());
    let arguments = ["attest", "verify", &url, "--root", "nsm/root.pem", "--any-image", "--accept-http"];
    said(&notes.signerctl(&server, &arguments)?, 1, "enclave is in debug mode: pcr0 is all zeros")?;
    Ok(())
}

/// The use of a self-signed signer: no authority vouches for its certificate, and its attestation does.
#[test]
fn over_tls_a_self_signed_signer_is_known_by_its_attestation() -> Result<(), Failure> {
    let notes = Notes::new()?;
    let server = notes.server(&["--tls", "self-signed"]);
    let url = format!("https://{}", server.address());
    let signerctl = |arguments: &[&str]| notes.signerctl(&server, arguments);
    let verify = ["attest", "verify", &url, "--root", "nsm/root.pem", "--nitro-toml", "nitro.toml"];
    let verified = signerctl(&verify)?;
    said(&verified, 0, "LIMITED: another root than aws's")?;
    said(&verified, 0, "tls key       SHA-256 ")?;
    said(&signerctl(&["health", &url])?, 69, "TLS handshake failed")?;
    let attested_by = ["--attested-by", "nitro.toml", "--attestation-root", "nsm/root.pem"];
    said(&signerctl(&[&["health", &url][..], &attested_by].concat())?, 0, "ready")?;
    let other = ["--attested-by", "other.toml", "--attestation-root", "nsm/root.pem"];
    said(&signerctl(&[&["health", &url][..], &other].concat())?, 1, "enclave runs another image")?;

    let (identity, imported) = (new_identity(), new_identity());
    let mut signer = server.signer();
    let public_key = signer.generated(&identity)?;
    signer.generated(&imported)?;
    let backup = signer.exported(&imported)?;
    signer.destroyed(&imported)?;
    signer.imported(&imported, &backup)?;
    let key = |identity: &str| {
        let arguments = ["attest", "key", &url, "--root", "nsm/root.pem", "--nitro-toml", "nitro.toml"];
        let wanted = ["--identity", identity, "--require-origin", "generated", "--save", "proof.cose"];
        signerctl(&[&arguments[..], &wanted].concat())
    };
    said(&key(&imported)?, 1, "imported")?;
    said(&key(&identity)?, 0, &public_key)?;
    let kept = ["attest", "show", "proof.cose", "--root", "nsm/root.pem", "--nitro-toml", "nitro.toml"];
    let of_key = ["--identity", &identity, "--public-key", &public_key];
    said(&signerctl(&[&kept[..], &of_key].concat())?, 0, "generated")?;
    let of_other = ["--identity", &imported, "--public-key", &public_key];
    said(&signerctl(&[&kept[..], &of_other].concat())?, 1, "is no proof of this key")?;
    Ok(())
}
