//! The files of one test.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::nsm::Module;

/// PCR0, PCR1 and PCR2 of the image that the key policy is for.
const IMAGE: [[u8; 48]; 3] = [[0xa0; 48], [0xa1; 48], [0xa2; 48]];

/// The policy of an attacker's key.
const PERMISSIVE: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}"#;

/// A folder with policies, the key of a recipient, and documents that attest it.
pub(crate) struct Fixture {
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../kms-key-policy.json");
        let mut policy = fs::read_to_string(committed).unwrap();
        for (index, pcr) in IMAGE.iter().enumerate() {
            policy = policy.replace(&format!("PCR{index}-of-the-image"), &hex::encode(pcr));
        }
        fixture.write("policy.json", policy.as_bytes());
        fixture.write("permissive.json", PERMISSIVE.as_bytes());

        let key = fixture.path("recipient.pem");
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &key]);
        let spki = openssl(&["pkey", "-in", &key, "-pubout", "-outform", "DER"]);
        let small = fixture.path("small.pem");
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", &small]);
        let small_spki = openssl(&["pkey", "-in", &small, "-pubout", "-outform", "DER"]);

        let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now_unix_ms = u64::try_from(now_unix_ms).unwrap();
        let (module, another) = (Module::new(), Module::new());
        fixture.write("root.pem", module.root_pem().as_bytes());
        let good = module.document(now_unix_ms, &IMAGE, &spki);
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        let mut other_image = IMAGE;
        other_image[1][47] ^= 1;
        for (name, document) in [
            ("good", &good),
            ("forged", &forged),
            ("other-image", &module.document(now_unix_ms, &other_image, &spki)),
            ("debug", &module.document(now_unix_ms, &[[0; 48]; 3], &spki)),
            ("stale", &module.document(now_unix_ms - 600_000, &IMAGE, &spki)),
            ("other-root", &another.document(now_unix_ms, &IMAGE, &spki)),
            ("small-key", &module.document(now_unix_ms, &IMAGE, &small_spki)),
            ("unsigned", &Module::unsigned_document(now_unix_ms, &IMAGE, &spki)),
            ("unsigned-other-image", &Module::unsigned_document(now_unix_ms, &other_image, &spki)),
        ] {
            fixture.write(&format!("{name}.cose"), document);
        }
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
