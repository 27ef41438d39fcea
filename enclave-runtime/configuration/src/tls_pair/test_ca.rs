//! Keys and certificates made by OpenSSL, for tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustls::pki_types::UnixTime;

/// The default extensions of a server's certificate.
pub(crate) const SERVER: &str = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:signer.example.com\n\
                                 keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n";

pub(crate) const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n";

pub(crate) const P256: &[&str] = &["EC", "ec_paramgen_curve:P-256"];

/// A test CA: a folder for OpenSSL's files.
pub(crate) struct TestCa(tempfile::TempDir);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Runs `openssl` with `arguments`. Returns its stdout.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a private key: an algorithm, and options for it.
    pub(crate) fn key(&self, kind: &[&str]) -> String {
        let mut arguments = vec!["genpkey", "-algorithm", kind[0]];
        arguments.extend(kind[1..].iter().flat_map(|option| ["-pkeyopt", option]));
        String::from_utf8(self.openssl(&arguments)).unwrap()
    }

    /// Issues a certificate for a new key of `kind`, valid for 90 days. Without `issuer`, it is self-signed.
    pub(crate) fn issue(
        &self,
        kind: &[&str],
        name: &str,
        extensions: &str,
        issuer: Option<&Issued>,
    ) -> Issued {
        self.issue_with(kind, name, extensions, issuer, &[])
    }

    pub(crate) fn issue_with(
        &self,
        kind: &[&str],
        name: &str,
        extensions: &str,
        issuer: Option<&Issued>,
        options: &[&str],
    ) -> Issued {
        let key = self.key(kind);
        let (key_path, extensions) = (self.write("key.pem", &key), self.write("extensions", extensions));
        let subject = format!("/CN={name}");
        let request = self.openssl(&["req", "-new", "-key", &key_path, "-subj", &subject]);
        let request = self.write("request.pem", request);
        let mut arguments = vec!["x509", "-req", "-in", &request, "-days", "90", "-extfile", &extensions];
        let paths;
        match issuer {
            None => arguments.extend(["-signkey", &key_path]),
            Some(issuer) => {
                paths = [
                    self.write("issuer.pem", &issuer.certificate),
                    self.write("issuer-key.pem", &issuer.key),
                ];
                arguments.extend(["-CA", &paths[0], "-CAkey", &paths[1], "-CAcreateserial"]);
            }
        }
        arguments.extend(options);
        let certificate = String::from_utf8(self.openssl(&arguments)).unwrap();
        Issued { certificate, key }
    }
}

/// `days` from now, minus some minutes, so that the result is not on a day's boundary.
pub(crate) fn in_days(days: i64) -> UnixTime {
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap() + 600;
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now + days * 86_400).unwrap()))
}
