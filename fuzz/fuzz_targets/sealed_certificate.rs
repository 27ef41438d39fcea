//! The store of the ACME client is read like by another reader, has one spelling, and opens to the plaintext of another
//! AES.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use enclave_runtime::acme::AcmeState;
use enclave_runtime::{DataKey, SealedCertificate};
use fuzz::sealed_certificate::{self, Certificate, DATA_KEY, Draft, State};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<DataKey> =
    LazyLock::new(|| DataKey::alone(&DATA_KEY, b"not looked at".to_vec()).expect("a page of locked memory"));

fuzz_target!(|data: &[u8]| {
    check_state(data);
    check(data);
    if let Ok(draft) = Draft::arbitrary_take_rest(Unstructured::new(data)) {
        let outcome = draft.outcome();
        check_state(&outcome.plaintext);
        let opened = check(&outcome.good);
        let is_there = opened.is_some();
        if is_there {
            assert_eq!(opened, sealed_certificate::read(&outcome.plaintext));
        }
        if check(&outcome.bent).is_some() {
            // Another wrapped key is another data key, but here, where there is one for all of them.
            let sealed = sealed_certificate::after_the_wrapped_key;
            assert_eq!(sealed(&outcome.bent), sealed(&outcome.good), "what was bent opens");
        }
    }
});

/// A state, as it is inside.
fn check_state(bytes: &[u8]) {
    let ours = AcmeState::read(bytes);
    let judged = sealed_certificate::read(bytes);
    if let Some(ours) = &ours {
        assert_eq!(ours.write().expect("what is read can be written").as_slice(), bytes);
    }
    assert_eq!(ours.map(plain), judged, "{}", bytes.escape_ascii());
}

/// The state in sealed bytes, if they open.
fn check(bytes: &[u8]) -> Option<State> {
    let judged = sealed_certificate::open(bytes);
    let ours = SealedCertificate::parse(bytes);
    let shown = bytes.escape_ascii();
    match (ours, judged) {
        (Some(ours), Some((wrapped, plaintext))) => {
            assert_eq!(ours.wrapped(), wrapped, "{shown}");
            assert_eq!(ours.bytes(), bytes, "{shown}");
            let state = ours.open(&KEY).map(plain);
            assert_eq!(state, plaintext.and_then(|it| sealed_certificate::read(&it)), "{shown}");
            state
        }
        (None, None) => None,
        (ours, judged) => panic!("{shown}: {ours:?}, and not {judged:?}"),
    }
}

fn plain(state: AcmeState) -> State {
    let certificate = state.certificate.map(|it| Certificate {
        obtained_unix_s: it.obtained_unix_s,
        names: it.names,
        chain_pem: it.chain_pem,
        key: it.key.to_vec(),
    });
    State {
        directory: state.directory,
        account_url: state.account_url,
        account_key: state.account_key.to_vec(),
        certificate,
    }
}
