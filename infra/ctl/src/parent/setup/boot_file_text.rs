//! The first boot file that an operator finds.

use configuration::{Configuration, SecretSource, TlsMode};

use crate::parent::boot_file::DEFAULT_LISTEN_PORT;

/// A boot file that lacks the secrets of `configuration`.
pub(super) fn first_boot_file(configuration: &Configuration) -> String {
    let secret = |name: &str, source| match source {
        SecretSource::Env => name.to_owned(),
        SecretSource::Kms => format!("{name}_CIPHERTEXT"),
    };
    let secrets = configuration.secrets;
    let api_keys: String = configuration
        .api_keys
        .iter()
        .map(|key| format!("{}=\n", secret(&key.variable, secrets.internal_api_key)))
        .collect();
    let ticket = secret("TICKET_SIGNING_SECRET", secrets.ticket_signing_secret);
    let tls = match configuration.tls {
        TlsMode::Provided => {
            "\n# The certificate for clients and those of its issuers, in PEM, within quotes; and what kms:Encrypt made of \
             its key.\nTLS_CERT_CHAIN=\nTLS_KEY_CIPHERTEXT=\n"
        }
        TlsMode::Off | TlsMode::SelfSigned { .. } | TlsMode::Acme(_) => "",
    };
    format!(
        "# What the enclave is sent when it boots, and what the proxy and the scripts of the parent go by. In the syntax of\n\
         # systemd's EnvironmentFile=; the last line has to end in a line break. docs/configuration.md has all variables.\n\
         \n\
         # The region of nitro.toml; the enclave refuses another.\n\
         AWS_REGION={region}\n\
         \n\
         # May be left out: kms.sealing_key_arn of nitro.toml decides, and the enclave refuses another key.\n\
         #KMS_KEY_ARN=\n\
         \n\
         # What the API sends as x-internal-api-key: 16 bytes or more, and no placeholder. A _CIPHERTEXT is what kms:Encrypt\n\
         # made of it, in base64.\n\
         {api_keys}\
         \n\
         # What the API signs tickets with, likewise.\n\
         {ticket}=\n\
         {tls}\
         \n\
         # The port of the API. After a change: systemctl restart nitro-parent.service; to or from 443, which only works with\n\
         # tls.mode = \"acme\", setup-parent.sh again before that.\n\
         BRIDGE_LISTEN_PORT={DEFAULT_LISTEN_PORT}\n",
        region = configuration.kms.region
    )
}
