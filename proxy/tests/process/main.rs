//! The real process over real sockets: loopback, ports the kernel chooses, temporary directories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod announcing;
mod backend;
mod command_line;
mod dialing;
mod far_ends;
mod flow;
mod kernel_memory;
mod permits;
mod restarts;
mod running_proxy;
