//! Checks attestation documents of the Nitro Security Module.
