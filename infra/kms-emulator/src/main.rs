//! A KMS for tests and local work.
fn main() {}
