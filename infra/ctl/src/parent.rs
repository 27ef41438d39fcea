//! The parent instance: what prepares it, starts its enclave, watches it and checks it.
//!
//! All of this may be wrong about AWS in one way only: in what it takes the system's commands to print. So each
//! command's output is read by one module, which tests hold against `infra/transcripts`.

pub mod boot_file;
pub mod failed;
pub mod machine;
pub mod nitro_cli;
pub mod ownership;
