//! The root of the software NSM, and its two files.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::NoSoftwareNsm;

const CERTIFICATE_FILE: &str = "root.pem";
const KEY_FILE: &str = "root-key.pem";

const DAY: Duration = Duration::from_secs(86_400);

/// AWS's root has 30 years too.
const VALIDITY: Duration = DAY.saturating_mul(365 * 30);

/// For verifiers whose clock is behind, or set back while one develops.
const BACKDATED_BY: Duration = DAY;

/// A root certificate and its key.
pub(super) struct Root {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Root {
    /// A new one.
    pub(super) fn new(now: SystemTime) -> Result<Self, NoSoftwareNsm> {
        let key = new_key()?;
        let pem = self_signed(&key, now)?;
        Self::of(key, pem)
    }

    /// The root in `directory`, which is made if it is missing.
    pub(super) fn kept_in(directory: &Path, now: SystemTime) -> Result<Self, NoSoftwareNsm> {
        fs::create_dir_all(directory).map_err(|error| NoSoftwareNsm::NotKept(KEY_FILE, error))?;
        let key = keep(directory, KEY_FILE, 0o600, || Ok(Zeroizing::new(new_key()?.serialize_pem())))?;
        let key = KeyPair::from_pem_and_sign_algo(&key, &PKCS_ECDSA_P384_SHA384)
            .map_err(|_| NoSoftwareNsm::Damaged(KEY_FILE))?;
        let pem = keep(directory, CERTIFICATE_FILE, 0o644, || Ok(self_signed(&key, now)?.into()))?;
        Self::of(key, pem.to_string())
    }

    fn of(key: KeyPair, pem: String) -> Result<Self, NoSoftwareNsm> {
        let damaged = NoSoftwareNsm::Damaged(CERTIFICATE_FILE);
        let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return Err(damaged) };
        let Ok(parsed) = ParsedCertificate::try_from(&certificate) else { return Err(damaged) };
        if parsed.subject_public_key_info().as_ref() != key.subject_public_key_info() {
            return Err(NoSoftwareNsm::OtherKey);
        }
        Ok(Self { issuer: Issuer::new(params(), key), certificate, pem })
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }
}

fn new_key() -> Result<KeyPair, NoSoftwareNsm> {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(|_| NoSoftwareNsm::NotMade)
}

fn self_signed(key: &KeyPair, now: SystemTime) -> Result<String, NoSoftwareNsm> {
    let mut params = params();
    params.not_before = OffsetDateTime::from(now - BACKDATED_BY);
    params.not_after = OffsetDateTime::from(now + VALIDITY);
    params.self_signed(key).map(|certificate| certificate.pem()).map_err(|_| NoSoftwareNsm::NotMade)
}

/// The parts that do not depend on the time of making, because issued certificates refer to them.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "nitro-signer development");
    params.distinguished_name.push(DnType::CommonName, "software-nsm-root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The content of the file `name`. `make` gives it if the file does not exist. Of several processes that start at once,
/// one makes it and all read the same.
fn keep(
    directory: &Path,
    name: &'static str,
    mode: u32,
    make: impl FnOnce() -> Result<Zeroizing<String>, NoSoftwareNsm>,
) -> Result<Zeroizing<String>, NoSoftwareNsm> {
    let not_kept = |error| NoSoftwareNsm::NotKept(name, error);
    let path = directory.join(name);
    if !path.try_exists().map_err(not_kept)? {
        let text = make()?;
        let mut random = [0; 8];
        crate::entropy::fill(&mut random).map_err(|_| NoSoftwareNsm::NotMade)?;
        let unfinished = directory.join(format!(".{name}.{}", base16ct::lower::encode_string(&random)));
        // A link comes into being with all of its content, and replaces nothing.
        let linked = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::hard_link(&unfinished, &path));
        // It may not have come into being.
        let _ = fs::remove_file(&unfinished);
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(not_kept(error)),
            _ => {}
        }
    }
    fs::read_to_string(&path).map(Zeroizing::new).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => NoSoftwareNsm::Damaged(name),
        _ => not_kept(error),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;
    use std::time::SystemTime;

    use super::{CERTIFICATE_FILE, KEY_FILE, Root};
    use crate::nsm::NoSoftwareNsm;

    #[test]
    fn a_kept_root_is_the_same_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("made/on/first/use");
        let first = Root::kept_in(&directory, SystemTime::now()).unwrap();
        let second = Root::kept_in(&directory, SystemTime::now()).unwrap();
        assert_eq!(first.certificate(), second.certificate());
        assert_eq!(first.pem(), fs::read_to_string(directory.join(CERTIFICATE_FILE)).unwrap());
        let mode = |file| fs::metadata(directory.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(KEY_FILE), 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "nothing unfinished is left");
        let other = Root::new(SystemTime::now()).unwrap();
        assert_ne!(first.certificate(), other.certificate());
    }

    #[test]
    fn a_certificate_that_is_lost_is_made_anew_for_the_key() {
        let directory = tempfile::tempdir().unwrap();
        Root::kept_in(directory.path(), SystemTime::now()).unwrap();
        let key = fs::read(directory.path().join(KEY_FILE)).unwrap();
        fs::remove_file(directory.path().join(CERTIFICATE_FILE)).unwrap();
        Root::kept_in(directory.path(), SystemTime::now()).unwrap();
        assert_eq!(fs::read(directory.path().join(KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn those_that_start_at_once_have_one_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = || Root::kept_in(directory.path(), SystemTime::now()).unwrap().certificate().to_vec();
        let mut roots: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(root)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        roots.dedup();
        assert_eq!(roots.len(), 1);
    }

    #[test]
    fn files_that_are_no_root_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        Root::kept_in(path, SystemTime::now()).unwrap();
        let (key, certificate) = (path.join(KEY_FILE), path.join(CERTIFICATE_FILE));
        let other = Root::new(SystemTime::now()).unwrap();

        fs::write(&certificate, other.pem()).unwrap();
        assert!(matches!(Root::kept_in(path, SystemTime::now()), Err(NoSoftwareNsm::OtherKey)));
        for damaged in [&b""[..], b"\xff", &fs::read(&key).unwrap()] {
            fs::write(&certificate, damaged).unwrap();
            let root = Root::kept_in(path, SystemTime::now());
            assert!(matches!(root, Err(NoSoftwareNsm::Damaged(CERTIFICATE_FILE))), "{damaged:?}");
        }
        for damaged in [&b""[..], b"\xff", other.pem().as_bytes()] {
            fs::write(&key, damaged).unwrap();
            let root = Root::kept_in(path, SystemTime::now());
            assert!(matches!(root, Err(NoSoftwareNsm::Damaged(KEY_FILE))), "{damaged:?}");
        }
        let not_kept = Root::kept_in(&certificate, SystemTime::now());
        assert!(matches!(not_kept, Err(NoSoftwareNsm::NotKept(..))));
    }
}
