//! An envelope of KMS is read as by another reader of BER, and opens to what another AES and known keys give.

#![no_main]

use std::fmt::Debug;
use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use enclave_runtime::{Envelope, RecipientKey};
use fuzz::envelope::draft::Draft;
use fuzz::envelope::{self, PRIVATE_KEY, Parts};
use libfuzzer_sys::fuzz_target;

static RECIPIENT: LazyLock<RecipientKey> =
    LazyLock::new(|| RecipientKey::from_pkcs8(&PRIVATE_KEY).expect("an RSA-2048 key"));

fuzz_target!(|data: &[u8]| {
    check_shape(data);
    if let Ok(draft) = Draft::arbitrary_take_rest(Unstructured::new(data)) {
        let (good, bent) = draft.envelopes();
        check_shape(&good);
        check_shape(&bent);
        if let Some(plaintext) = draft.plaintext() {
            assert!(good.len() > 6144 || envelope::open(&good).as_deref() == Some(plaintext), "{draft:?}");
        }
        if draft.is_opened() {
            check_opening(&good);
            check_opening(&bent);
        }
    }
});

fn check_shape(bytes: &[u8]) {
    let ours = Envelope::parse(bytes).ok().map(|envelope| Parts {
        recipient: envelope.recipient.to_vec(),
        wrapped_key: envelope.wrapped_key.to_vec(),
        iv: envelope.iv.to_vec(),
        content: envelope.content,
    });
    assert_alike(bytes, ours, envelope::read(bytes));
}

fn check_opening(bytes: &[u8]) {
    let ours = RECIPIENT.open(bytes).ok().map(|plaintext| plaintext.to_vec());
    assert_alike(bytes, ours, envelope::open(bytes));
}

fn assert_alike<T: PartialEq + Debug>(bytes: &[u8], ours: Option<T>, judged: Option<T>) {
    if ours.is_none() && judged.is_some() && envelope::may_have_long_end(bytes) {
        return;
    }
    assert_eq!(ours, judged, "{}", bytes.escape_ascii());
}
