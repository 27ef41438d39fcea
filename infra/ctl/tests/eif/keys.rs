//! Keys and certificates by OpenSSL, as AWS's guide has them made.

use std::fmt;

use crate::image_parts::ImageParts;
use crate::process::succeed;

/// A curve, the digest that goes with it, and the protected header of COSE that names the two (RFC 9053, table 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithm {
    curve: &'static str,
    digest: &'static str,
    pub(crate) protected: &'static str,
    pub(crate) signature_bytes: usize,
}

pub(crate) const ALGORITHMS: [Algorithm; 3] = [
    Algorithm { curve: "prime256v1", digest: "-sha256", protected: "a10126", signature_bytes: 64 },
    Algorithm { curve: "secp384r1", digest: "-sha384", protected: "a1013822", signature_bytes: 96 },
    Algorithm { curve: "secp521r1", digest: "-sha512", protected: "a1013823", signature_bytes: 132 },
];

/// How a private key is written in PEM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// "EC PARAMETERS" and then "EC PRIVATE KEY": what `openssl ecparam -genkey` writes.
    Sec1WithParameters,
    /// "EC PRIVATE KEY".
    Sec1,
    /// "PRIVATE KEY".
    Pkcs8,
}

pub(crate) const FORMS: [Form; 3] = [Form::Sec1WithParameters, Form::Sec1, Form::Pkcs8];

/// Puts `key.pem` and `certificate.pem` in the folder.
pub(crate) fn make(parts: &ImageParts, algorithm: Algorithm, form: Form) {
    let Algorithm { curve, digest, .. } = algorithm;
    let openssl = |arguments: &[&str]| drop(succeed(parts.command("openssl").args(arguments)));
    match form {
        Form::Sec1WithParameters => openssl(&["ecparam", "-name", curve, "-genkey", "-out", "key.pem"]),
        Form::Sec1 => openssl(&["ecparam", "-name", curve, "-genkey", "-noout", "-out", "key.pem"]),
        Form::Pkcs8 => {
            let curve = format!("ec_paramgen_curve:{curve}");
            openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &curve, "-out", "key.pem"]);
        }
    }
    // In two steps, as in the guide, which makes it a certificate of version 1 before OpenSSL 3.2.
    let subject = "/CN=AWS/C=US/ST=WA/L=Seattle/O=Amazon/OU=AWS";
    openssl(&["req", "-new", "-key", "key.pem", digest, "-subj", subject, "-out", "request.pem"]);
    openssl(&[
        "x509",
        "-req",
        "-days",
        "20",
        "-in",
        "request.pem",
        "-signkey",
        "key.pem",
        digest,
        "-out",
        "certificate.pem",
    ]);
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.curve)
    }
}
