//! Keys and certificates that OpenSSL makes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::installation::run;

/// The extensions of a server's certificate.
pub const SERVER: &str = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n\
                          keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n";

const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n";

/// Options of `openssl genpkey` for a key of P-256.
pub const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A certificate authority that OpenSSL runs, in a folder.
pub struct TestCa {
    folder: tempfile::TempDir,
    authority: Issued,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate alone.
    pub certificate: String,
    /// PKCS#8.
    pub key: String,
}

impl TestCa {
    /// A folder with a new authority.
    pub fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("test-ca-").tempdir()?;
        let nobody = Issued { certificate: String::new(), key: String::new() };
        let mut ca = Self { folder, authority: nobody };
        ca.authority = ca.make(P256, AUTHORITY, None, ["20200101000000Z", "20991231235959Z"])?;
        Ok(ca)
    }

    /// The certificate of the authority, in PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority.certificate
    }

    /// A file with this content; gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String, Failure> {
        let path = self.path(name);
        std::fs::write(&path, content)?;
        Ok(path.display().to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `openssl` with `arguments`; gives what it wrote to stdout.
    pub fn openssl(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut command = Command::new("openssl");
        Ok(run(command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()))?.stdout)
    }

    /// A certificate for a new key of `kind`, that the authority has issued, valid for a year.
    pub fn issue(&self, kind: &[&str], extensions: &str) -> Result<Issued, Failure> {
        self.issue_between(kind, extensions, ["20200101000000Z", "20991231235959Z"])
    }

    /// The same, valid between two times.
    pub fn issue_between(
        &self,
        kind: &[&str],
        extensions: &str,
        dates: [&str; 2],
    ) -> Result<Issued, Failure> {
        self.make(kind, extensions, Some(&self.authority), dates)
    }

    fn make(
        &self,
        kind: &[&str],
        extensions: &str,
        issuer: Option<&Issued>,
        [start, end]: [&str; 2],
    ) -> Result<Issued, Failure> {
        let key = text(self.openssl(&[&["genpkey"], kind].concat())?)?;
        let key_path = self.write("key.pem", &key)?;
        let extensions = self.write("extensions", extensions)?;
        // `openssl ca` alone takes dates, and wants a folder and a database for it.
        let section = "[ca]\ndefault_ca=it\n[it]\ndatabase=database\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\n\
                       policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n";
        self.write("database", "")?;
        let serial = hex::encode(rand::random::<[u8; 15]>());
        self.write("serial", format!("7f{serial}\n"))?;
        let config = self.write("ca.cnf", section)?;
        let name = if issuer.is_some() { "/CN=server" } else { "/CN=authority" };
        self.openssl(&["req", "-new", "-key", &key_path, "-subj", name, "-out", "request.pem"])?;
        let mut arguments = vec![
            "ca",
            "-batch",
            "-notext",
            "-config",
            &config,
            "-extfile",
            &extensions,
            "-in",
            "request.pem",
        ];
        arguments.extend(["-out", "certificate.pem", "-startdate", start, "-enddate", end]);
        let paths;
        match issuer {
            None => arguments.extend(["-selfsign", "-keyfile", &key_path]),
            Some(issuer) => {
                paths = [
                    self.write("issuer.pem", &issuer.certificate)?,
                    self.write("issuer-key.pem", &issuer.key)?,
                ];
                arguments.extend(["-cert", &paths[0], "-keyfile", &paths[1]]);
            }
        }
        self.openssl(&arguments)?;
        let certificate = std::fs::read_to_string(self.path("certificate.pem"))?;
        Ok(Issued { certificate, key })
    }

    /// The `SubjectPublicKeyInfo` of a certificate, both in DER.
    pub fn spki(&self, certificate: &[u8]) -> Result<Vec<u8>, Failure> {
        let path = self.write("presented.der", certificate)?;
        let public_key = self.openssl(&["x509", "-inform", "DER", "-in", &path, "-noout", "-pubkey"])?;
        let path = self.write("presented.pem", public_key)?;
        self.openssl(&["pkey", "-pubin", "-in", &path, "-outform", "DER"])
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|e| Failure::new(e.to_string()))
}
