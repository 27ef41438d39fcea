//! The program that `infra/emulator/up.sh` starts: the image in QEMU, the proxy and a KMS, until a signal comes.
//!
//! `emulated-enclave nitro-toml FOLDER` writes the configuration that the image has to be built with;
//! `emulated-enclave run FOLDER PORT` starts it and prints how to reach it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acceptance::Failure;
use acceptance::emulated::EmulatedImage;
use acceptance::failure::fail;
use nix::sys::signal::{SigSet, Signal};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["nitro-toml", folder] => EmulatedImage::at(folder.into()).write_nitro_toml(),
        ["run", folder, port] => match port.parse() {
            Ok(port) => run(&EmulatedImage::at(folder.into()), port),
            Err(_) => Err(Failure::new("PORT is not a port")),
        },
        _ => Err(Failure::new("usage: emulated-enclave nitro-toml FOLDER | run FOLDER PORT")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("emulated-enclave: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(emulated: &EmulatedImage, port: u16) -> Result<(), Failure> {
    // Before there are threads, all of which leave the signals to this one.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGINT);
    ends.add(Signal::SIGTERM);
    ends.thread_block()?;
    let parent = emulated.parent_with(&emulated.key_policy()?, port)?;
    let mut enclave = parent.ready()?;
    let server = parent.server();
    println!(
        "# The enclave was ready {:.1} s after QEMU was started. Its console goes to",
        enclave.age().as_secs_f32()
    );
    println!("# nowhere, as without debug mode; Ctrl-C ends everything.");
    println!("export ENCLAVE_BASE_URL={}", server.base_url());
    println!("export INTERNAL_API_KEY={}", parent.secrets.api_key);
    println!("export TICKET_SIGNING_SECRET={}", parent.secrets.ticket_secret);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::spawn(move || {
        // Fails for a set that is no set; then there is nothing to wait for either.
        let _ = ends.wait();
        stopped.store(true, Ordering::SeqCst);
    });
    while !stop.load(Ordering::SeqCst) {
        if !enclave.qemu.is_running() {
            return fail(format!("the enclave has ended; its console:\n{}", enclave.console()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
