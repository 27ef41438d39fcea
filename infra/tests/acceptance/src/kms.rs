//! A KMS of our own in front of the signer: the `kms-emulator`, and what a test tells it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Failure;
use crate::binaries::binaries;
use crate::failure::fail;
use crate::process::Process;
use crate::raw_http::Connection;

/// The account of the committed key policy.
const ACCOUNT: &str = "111122223333";

/// The role of the instance in the committed key policy.
pub const INSTANCE_ROLE: &str = "arn:aws:iam::111122223333:role/nitro-signer-instance";

/// Where everything is.
pub const REGION: &str = "eu-central-1";

/// A key and its policy.
pub struct Key {
    /// Its ARN.
    pub arn: String,
    /// A file; a KMS that reads none has none.
    policy: Option<PathBuf>,
}

impl Key {
    /// The `number`th key of our account, with the committed policy for an image with these PCRs.
    pub fn ours(directory: &Path, number: u32, pcrs: &[String; 3]) -> Result<Self, Failure> {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kms-key-policy.json");
        let mut policy = std::fs::read_to_string(committed)?;
        for (index, pcr) in pcrs.iter().enumerate() {
            policy = policy.replace(&format!("PCR{index}-of-the-image"), pcr);
        }
        Self::with_policy(directory, ACCOUNT, number, &policy)
    }

    /// A key of somebody else, who lets everybody do everything.
    pub fn of_the_attacker(directory: &Path) -> Result<Self, Failure> {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Sid": "Anything", "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"
        }]});
        Self::with_policy(directory, "666666666666", 1, &policy.to_string())
    }

    /// The `number`th key of `account`, with this policy.
    pub fn with_policy(directory: &Path, account: &str, number: u32, policy: &str) -> Result<Self, Failure> {
        let path = directory.join(format!("policy-{account}-{number}.json"));
        std::fs::write(&path, policy)?;
        let arn = format!("arn:aws:kms:{REGION}:{account}:key/1234abcd-12ab-34cd-56ef-{number:012}");
        Ok(Self { arn, policy: Some(path) })
    }

    /// A key that another KMS than the emulator made.
    #[must_use]
    pub fn at(arn: &str) -> Self {
        Self { arn: arn.to_owned(), policy: None }
    }
}

/// A running `kms-emulator`, or another KMS that is told things in the same way.
pub struct Kms {
    /// The process.
    pub process: Process,
    /// `ADDRESS` of its KMS API, for a relay to dial.
    pub address: String,
    /// `ADDRESS` of its metadata service.
    pub imds: String,
    /// The PEM of the authority that vouches for its certificate.
    pub authority_pem: String,
    /// Where it is told things.
    pub control: SocketAddr,
}

impl Kms {
    /// Starts one with `keys`, whose metadata service hands out credentials of `role`. Attestation documents have to
    /// lead to the root that will be at `attestation_root`.
    pub fn start(
        directory: &Path,
        keys: &[&Key],
        role: &str,
        attestation_root: &Path,
        options: &[&str],
    ) -> Result<Self, Failure> {
        let path = |name: &str| directory.join(name).display().to_string();
        let (address, imds) = (format!("unix:{}", path("kms.sock")), format!("unix:{}", path("imds.sock")));
        let (authority, state) = (path("kms-ca.pem"), path("kms-state.json"));
        let mut arguments: Vec<String> = [
            ["--listen", &address],
            ["--ca-out", &authority],
            ["--region", REGION],
            ["--state", &state],
            ["--attestation-root", &attestation_root.display().to_string()],
            ["--imds-listen", &imds],
            ["--imds-role", role],
            ["--control-listen", "tcp:127.0.0.1:0"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        for key in keys {
            if let Some(policy) = &key.policy {
                arguments.push("--key".to_owned());
                arguments.push(format!("{}={}", key.arn, policy.display()));
            }
        }
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let mut process = Process::start("kms-emulator", &binaries().kms_emulator, &arguments, &[])?;
        process.ready(&format!("kms-emulator: listening on {address}"))?;
        let control = process.ready("kms-emulator: control on tcp:")?;
        let control = control.parse().map_err(|_| Failure::new(control))?;
        let authority_pem = std::fs::read_to_string(authority)?;
        Ok(Self { process, address, imds, authority_pem, control })
    }

    /// Encrypts without regard to the key policy. `context` is JSON.
    pub fn encrypt(&self, key: &Key, context: &Value, plaintext: &[u8]) -> Result<String, Failure> {
        let answer = self.tell(
            "POST",
            "/encrypt",
            &json!({"key": key.arn, "context": context, "plaintext": STANDARD.encode(plaintext)}),
        )?;
        let blob = answer["ciphertext_blob"].as_str().unwrap_or_default().to_owned();
        if blob.is_empty() { fail(format!("no ciphertext: {answer}")) } else { Ok(blob) }
    }

    /// Encrypts a boot secret as an administrator does.
    pub fn encrypt_boot_secret(&self, key: &Key, name: &str, secret: &str) -> Result<String, Failure> {
        self.encrypt(key, &json!({"nitro-signer": "boot-secret", "name": name}), secret.as_bytes())
    }

    /// Encrypts an API key that has a name, `INTERNAL_API_KEY_<name>`, as an administrator does.
    pub fn encrypt_api_key(&self, key: &Key, name: &str, api_key: &str) -> Result<String, Failure> {
        let context = json!({"nitro-signer": "boot-secret", "name": "INTERNAL_API_KEY", "key": name});
        self.encrypt(key, &context, api_key.as_bytes())
    }

    /// Encrypts a boot secret as an administrator does for an image of this generation.
    pub fn encrypt_boot_secret_of(
        &self,
        generation: u32,
        key: &Key,
        name: &str,
        secret: &str,
    ) -> Result<String, Failure> {
        let context =
            json!({"nitro-signer": "boot-secret", "name": name, "generation": generation.to_string()});
        let blob = self.encrypt(key, &context, secret.as_bytes())?;
        Ok(format!("generation-{generation}:{blob}"))
    }

    /// The operations that were called since they were last forgotten.
    pub fn calls(&self) -> Result<Vec<String>, Failure> {
        let answer = self.tell("GET", "/calls", &Value::Null)?;
        let calls = answer["calls"].as_array().ok_or_else(|| Failure::new(answer.to_string()))?;
        Ok(calls.iter().map(|call| call["operation"].as_str().unwrap_or("?").to_owned()).collect())
    }

    /// Forgets the calls.
    pub fn forget_calls(&self) -> Result<(), Failure> {
        self.tell("DELETE", "/calls", &Value::Null).map(|_| ())
    }

    /// Makes the next `count` calls of `operation` fail in the way of `kind`.
    pub fn fail_next(&self, operation: &str, kind: &str, count: u32, delay_ms: u32) -> Result<(), Failure> {
        let fault = json!({"operation": operation, "kind": kind, "count": count, "delay_ms": delay_ms});
        self.tell("POST", "/faults", &fault).map(|_| ())
    }

    /// Answers the next `count` calls of `operation` with these bytes.
    pub fn answer_next(&self, operation: &str, count: u32, status: u16, body: &str) -> Result<(), Failure> {
        let answer = json!({"status": status, "body": body});
        let fault = json!({"operation": operation, "kind": "answer", "count": count, "answer": answer});
        self.tell("POST", "/faults", &fault).map(|_| ())
    }

    /// Ends all faults.
    pub fn recover(&self) -> Result<(), Failure> {
        self.tell("DELETE", "/faults", &Value::Null).map(|_| ())
    }

    /// Sends `body` to the control port.
    pub fn tell(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut connection = Connection::open(self.control)?;
        connection.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: control\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        ))?;
        let response = connection.receive()?;
        if response.status >= 300 {
            return fail(format!("{method} {path}: {} {}", response.status, response.text()));
        }
        if response.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&response.body)?) }
    }
}
