//! `POST /internal/attest`: whether a key was born inside, by documents that are verified as a customer would.
//!
//! The answers are those of `docs/api.md`, "10. Attestation".

use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use acceptance::bip340::{self, small_scalar};
use acceptance::contract::KEY_NOT_FOUND;
use acceptance::failure::{ensure, fail};
use acceptance::key_proof::{KeyProof, binding};
use acceptance::local_seal;
use acceptance::signer::new_identity;
use acceptance::stack::{Secrets, Stack};
use acceptance::{Failure, Rows, Server, Signer};
use attestation::{Document, Expectation, Root};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;

/// A signer whose NSM's root a customer knows.
struct AttestedSigner {
    server: Server,
    root: Root,
    directory: TempDir,
    _stack: Stack,
}

impl AttestedSigner {
    fn new() -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("key-proofs-").tempdir()?;
        Self::over(directory, &Secrets::random())
    }

    fn over(directory: TempDir, secrets: &Secrets) -> Result<Self, Failure> {
        let folder = directory.path().display().to_string();
        let stack = Stack::start(secrets, &["--software-nsm", &folder])?;
        let root = Root::from_pem(&std::fs::read_to_string(directory.path().join("root.pem"))?)?;
        let server = Server::at_address(stack.address(), secrets.clone());
        Ok(Self { server, root, directory, _stack: stack })
    }

    /// Another run of the same signer: it has no keys, and the secrets of before.
    fn restarted(self) -> Result<Self, Failure> {
        let Self { server, directory, _stack, .. } = self;
        drop(_stack);
        Self::over(directory, &server.secrets)
    }

    /// The proof for `nonce`, once the document has been verified to hold that nonce.
    fn proof(&self, signer: &mut Signer<'_>, identity: &str, nonce: Nonce<'_>) -> Result<KeyProof, Failure> {
        let proof = KeyProof::of(&signer.attest(identity, nonce.map(|(text, _)| text)))?;
        let document = self.verified(&proof, nonce)?;
        ensure(document.nonce.as_deref() == nonce.map(|(_, bytes)| bytes), || {
            format!("{:?}", document.nonce)
        })?;
        ensure(document.public_key.is_none(), || "there is no TLS to vouch for".to_owned())?;
        let expected = proof.binding(identity)?;
        ensure(document.user_data.as_deref() == Some(&expected), || {
            format!("user_data {:?} is not {}", document.user_data.map(hex::encode), hex::encode(expected))
        })?;
        Ok(proof)
    }

    fn verified(&self, proof: &KeyProof, nonce: Nonce<'_>) -> Result<Document, Failure> {
        let expectation =
            Expectation { nonce: nonce.map(|(_, bytes)| bytes), ..Expectation::at(now_unix_ms()) };
        Ok(attestation::verify(&proof.document, &self.root, &expectation)?)
    }

    /// That the proof says that `public_key` of `identity` is of this origin.
    fn says(
        &self,
        signer: &mut Signer<'_>,
        identity: &str,
        public_key: &str,
        origin: &str,
    ) -> Result<(), Failure> {
        let proof = self.proof(signer, identity, None)?;
        ensure(proof.public_key == public_key && proof.origin == origin, || {
            format!("{} {}, not {public_key} {origin}", proof.public_key, proof.origin)
        })
    }
}

fn now_unix_ms() -> u64 {
    u64::try_from(UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_millis()).unwrap_or(u64::MAX)
}

/// As it is sent, and as it comes back.
type Nonce<'n> = Option<(&'n str, &'n [u8])>;

#[test]
fn a_key_is_generated_only_if_it_was_born_here() -> Result<(), Failure> {
    let attested = AttestedSigner::new()?;
    let mut signer = attested.server.signer();
    let mut rows = Rows::new("Key proofs, origin");
    let identity = new_identity();
    rows.check("unknown", signer.attest(&identity, None).is_error(404, KEY_NOT_FOUND));

    let public_key = signer.generated(&identity)?;
    rows.check("generated", attested.says(&mut signer, &identity, &public_key, "generated"));
    let upper = identity.to_ascii_uppercase();
    rows.check("in upper case", attested.says(&mut signer, &upper, &public_key, "generated"));
    let backup = signer.exported(&identity)?;
    signer.signs_under(&identity, &public_key[2..])?;
    rows.check("exported and used", attested.says(&mut signer, &identity, &public_key, "generated"));
    signer.imported(&identity, &backup)?;
    rows.check("its own backup over it", attested.says(&mut signer, &identity, &public_key, "generated"));

    signer.destroyed(&identity)?;
    rows.check("destroyed", signer.attest(&identity, None).is_error(404, KEY_NOT_FOUND));
    signer.imported(&identity, &backup)?;
    rows.check("its backup after destroy", attested.says(&mut signer, &identity, &public_key, "imported"));
    signer.imported(&identity, &backup)?;
    rows.check("the same again", attested.says(&mut signer, &identity, &public_key, "imported"));

    signer.destroyed(&identity)?;
    let another = signer.generated(&identity)?;
    rows.check("a new key of the same name", attested.says(&mut signer, &identity, &another, "generated"));

    // The key of a backup that another signer made; 6 and 9 have an odd y.
    for scalar in [bip340::random_scalar(), small_scalar(6), small_scalar(9), small_scalar(1)] {
        let brought = new_identity();
        let blob = local_seal::seal(&attested.server.secrets.sealing_key, &scalar).blob();
        signer.imported(&brought, &blob)?;
        let public_key = bip340::public_key(&scalar)?;
        rows.check(
            format!("imported, {public_key}"),
            attested.says(&mut signer, &brought, &public_key, "imported"),
        );
    }
    rows.finish();
    Ok(())
}

#[test]
fn after_a_restart_a_key_is_what_its_backup_makes_it() -> Result<(), Failure> {
    let attested = AttestedSigner::new()?;
    let identity = new_identity();
    let (public_key, backup, kept) = {
        let mut signer = attested.server.signer();
        let public_key = signer.generated(&identity)?;
        let kept = attested.proof(&mut signer, &identity, None)?;
        (public_key, signer.exported(&identity)?, kept)
    };
    let attested = attested.restarted()?;
    let mut signer = attested.server.signer();
    signer.attest(&identity, None).is_error(404, KEY_NOT_FOUND)?;
    signer.imported(&identity, &backup)?;
    attested.says(&mut signer, &identity, &public_key, "imported")?;
    // A kept document still proves what was true then.
    let document = attested.verified(&kept, None)?;
    let born = binding(&identity, &public_key, "generated")?;
    ensure(document.user_data.as_deref() == Some(&born), || format!("{document:?}"))
}

#[test]
fn the_nonce_comes_back_in_either_spelling() -> Result<(), Failure> {
    let attested = AttestedSigner::new()?;
    let mut signer = attested.server.signer();
    let mut rows = Rows::new("Key proofs, nonce");
    let identity = new_identity();
    signer.generated(&identity)?;
    let bytes: Vec<u8> = (0..=255).chain(0..=255).collect();
    let (longest, in_base64) = (hex::encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes));
    for (row, nonce) in [
        ("none", None),
        ("one byte", Some(("00", &[0][..]))),
        ("hex in either case", Some(("00fF10", &[0, 0xff, 0x10]))),
        ("hex, though base64url too", Some(("abcd", &[0xab, 0xcd]))),
        ("base64url", Some(("_-8", &[0xff, 0xef]))),
        ("an odd number of hex digits", Some(("abc", &[0x69, 0xb7]))),
        ("in escapes", Some((r"\u0030\u0030", &[0]))),
        ("512 bytes", Some((longest.as_str(), &bytes))),
        ("512 bytes of base64url", Some((in_base64.as_str(), &bytes))),
    ] {
        rows.check(row, attested.proof(&mut signer, &identity, nonce).map(drop));
    }
    // Each request makes a document, with or without a nonce.
    let mut documents = Vec::new();
    for nonce in [None, None, Some("aa"), Some("aa")] {
        let KeyProof { document, .. } = KeyProof::of(&signer.attest(&identity, nonce))?;
        rows.check(
            format!("new, {nonce:?}"),
            ensure(!documents.contains(&document), || "it is not".to_owned()),
        );
        documents.push(document);
    }
    rows.finish();
    Ok(())
}

/// The document does not vouch for an answer in which any part was replaced.
#[test]
fn a_proof_is_of_one_key_of_one_identity() -> Result<(), Failure> {
    let attested = AttestedSigner::new()?;
    let mut signer = attested.server.signer();
    let (one, other) = (new_identity(), new_identity());
    let scalar = bip340::random_scalar();
    let blob = local_seal::seal(&attested.server.secrets.sealing_key, &scalar).blob();
    let generated = signer.generated(&one)?;
    signer.imported(&other, &blob)?;
    let [of_one, of_other] = [&one, &other].map(|identity| attested.proof(&mut signer, identity, None));
    let (of_one, of_other) = (of_one?, of_other?);
    let imported = of_other.public_key.clone();
    let negated = bip340::public_key(&bip340::negated(&scalar)?)?;
    let mut rows = Rows::new("Key proofs, what they do not say");
    for (row, proof, identity, key, origin) in [
        ("as the other's", &of_one, &other, &generated, "generated"),
        ("as if of the other's key", &of_one, &one, &imported, "generated"),
        ("all of the other's", &of_one, &other, &imported, "imported"),
        ("generated as if imported", &of_one, &one, &generated, "imported"),
        ("imported as if generated", &of_other, &other, &imported, "generated"),
        ("the key of the same x", &of_other, &other, &negated, "imported"),
        ("of no origin", &of_one, &one, &generated, ""),
    ] {
        let said = attested.verified(proof, None)?.user_data;
        let claimed = binding(identity, key, origin)?;
        rows.check(row, ensure(said.as_deref() != Some(&claimed), || "it verifies".to_owned()));
    }
    // The control.
    let said = attested.verified(&of_one, None)?.user_data;
    let claimed = binding(&one, &generated, "generated")?;
    rows.check("itself", ensure(said.as_deref() == Some(&claimed), || format!("{said:?}")));
    rows.finish();
    Ok(())
}

/// Python takes the document apart by hand; OpenSSL checks the certificates and the signature.
#[test]
fn openssl_accepts_a_proof() -> Result<(), Failure> {
    let attested = AttestedSigner::new()?;
    let mut signer = attested.server.signer();
    let identity = new_identity();
    let asked_ms = now_unix_ms();
    signer.generated(&identity)?;
    let proof = KeyProof::of(&signer.attest(&identity, Some("00ff")))?;
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../enclave-runtime/tests/software_nsm/verify.py");
    std::fs::write(attested.directory.path().join("document.cose"), &proof.document)?;
    let output = Command::new("python3")
        .arg(script)
        .arg(attested.directory.path())
        .arg(asked_ms.to_string())
        .args(["null", "32", "2"])
        .output()?;
    if output.status.success() { Ok(()) } else { fail(String::from_utf8_lossy(&output.stderr)) }
}

/// A client that asks for more documents at once than the NSM can make gets 503, and others still sign.
#[test]
fn a_crowd_is_served_or_told_to_come_back() -> Result<(), Failure> {
    let server = Server::own(&["--max-requests-in-flight", "4"]);
    let identity = new_identity();
    let public_key = server.signer().generated(&identity)?;
    let statuses = std::thread::scope(|scope| {
        let ask = || {
            let exchange = server.signer().attest(&identity, None);
            let status = exchange.response()?.status;
            if status == 503 {
                exchange.is_at_capacity()?;
            } else {
                KeyProof::of(&exchange)?;
            }
            Ok(status)
        };
        let asking: Vec<_> = (0..200).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().expect("no panic")).collect::<Result<Vec<u16>, Failure>>()
    })?;
    ensure(statuses.contains(&200), || "nobody was served".to_owned())?;
    server.signer().signs_under(&identity, &public_key[2..])
}
