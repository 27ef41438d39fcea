//! `signerctl` as a process: what an operator does with it, beside processes and programs that know nothing of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod image_difference;
#[path = "../eif/workshop.rs"]
mod workshop;
