//! Each reply of a small signer is the one that the model expects, for any requests and any clock.

#![no_main]

use fuzz::core_signer::{CoreSigner, Storage};
use fuzz::script::operations;
use fuzz::signer::Client;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    let mut storage = Storage::default();
    let mut core = CoreSigner::new(&mut storage);
    let mut client = Client::default();
    for operation in operations(script) {
        client.step(&mut core, operation);
    }
});
