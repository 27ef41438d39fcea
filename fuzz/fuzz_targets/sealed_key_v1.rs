//! A sealed key of production is read as by another reader, has one spelling, and opens to what another AES gives.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use enclave_core::IdentityId;
use enclave_runtime::{DataKey, NotOpened, SealedKeyText};
use fuzz::identity::to_hex;
use fuzz::sealed_key_v1::{self, Content, DATA_KEY, Draft, IDENTITY};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<DataKey> =
    LazyLock::new(|| DataKey::alone(&DATA_KEY, b"not looked at".to_vec()).expect("a page of locked memory"));

fuzz_target!(|data: &[u8]| {
    let _ = check(data, &IDENTITY);
    if let Ok(draft) = Draft::arbitrary_take_rest(Unstructured::new(data)) {
        let identity = draft.identity();
        let outcome = draft.outcome();
        let (content, key) = check(outcome.good.as_bytes(), &identity)
            .map_or((None, None), |(content, key)| (Some(content), key));
        assert_eq!(content, outcome.content, "{}", outcome.good);
        if outcome.key.is_some() {
            assert_eq!(key, outcome.key, "{}", outcome.good);
            if identity != IDENTITY {
                let other = check(outcome.good.as_bytes(), &IDENTITY);
                assert!(matches!(other, Ok((_, None))), "{} also opens for another", outcome.good);
            }
        }
        if let Ok((bent, _)) = check(&outcome.bent, &identity) {
            let same = Some(&bent) == content.as_ref();
            assert_eq!(same, outcome.bent == outcome.good.as_bytes(), "{}", outcome.bent.escape_ascii());
        }
    }
});

/// The content of the text, and the key inside if it opens.
fn check(text: &[u8], identity: &[u8; 16]) -> Result<(Content, Option<[u8; 32]>), NotOpened> {
    let judged = sealed_key_v1::read(text);
    let ours = SealedKeyText::parse(text);
    let shown = text.escape_ascii();
    match (ours, &judged) {
        (Ok(SealedKeyText::V1(ours)), Ok(Content::V1(judged))) => {
            assert_eq!(ours.wrapped(), judged.wrapped, "{shown}");
            assert_eq!(ours.to_string().as_bytes(), text, "{shown}");
            let key = ours.open(&KEY, &id(identity)).map(|key| *key.secret_bytes());
            assert_eq!(key, judged.open(identity), "{shown}");
            Ok((Content::V1(judged.clone()), key))
        }
        (Ok(SealedKeyText::Legacy(ours)), Ok(Content::Legacy(judged))) => {
            assert_eq!(&ours, judged, "{shown}");
            Ok((Content::Legacy(ours), None))
        }
        (Err(ours), Err(judged)) => {
            assert_eq!(ours, *judged, "{shown}");
            Err(ours)
        }
        (ours, judged) => panic!("{shown}: {ours:?}, and not {judged:?}"),
    }
}

fn id(bytes: &[u8; 16]) -> IdentityId {
    let digits = to_hex(bytes);
    let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    IdentityId::from_text(groups.join("-").as_bytes()).expect("a UUID of version 4")
}
