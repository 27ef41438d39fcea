//! Replies of the endpoint.

use verification::{Check, Doubt, Expectation, Finding, Image, Nonce, Refused, Root, examine};

use crate::chain::{Chain, DAY_S, NOW_UNIX_S};
use crate::draft::{Draft, pcrs};
use crate::{
    CHAIN, NONCE, NOW_UNIX_MS, TLS_KEY, cbor, document, expectation, good, good_without_tls, registers,
    reply, sha256, verdict,
};

fn doubt(draft: &Draft) -> Option<Doubt> {
    verdict(&reply(&document(draft)), Some(TLS_KEY), &expectation()).err()
}

#[test]
fn the_expected_enclave_is_attested() {
    let attested = verdict(&reply(&document(&good())), Some(TLS_KEY), &expectation()).unwrap();
    assert_eq!((attested.image(), &*attested.document().module_id), (Image::Expected(0), "i-0-enc0"));
    let examination = examine(
        &reply(&document(&good())),
        &Nonce::from_bytes(NONCE),
        Some(TLS_KEY),
        &expectation(),
        NOW_UNIX_MS,
    );
    assert!(examination.findings().all(|(_, finding)| finding == Finding::Good));
}

#[test]
fn each_error_is_a_doubt_of_its_own() {
    let zeros = cbor::map(&[
        (cbor::uint(0), cbor::bytes(&[0; 48])),
        (cbor::uint(1), cbor::bytes(&[0; 48])),
        (cbor::uint(2), cbor::bytes(&[0; 48])),
    ]);
    let other_key = b"the relay's other side";
    let of_other_key =
        good().with("public_key", cbor::bytes(other_key)).with("user_data", cbor::bytes(&sha256(other_key)));
    for (draft, expected) in [
        (good().with("pcrs", zeros), Doubt::Refused(Refused::DebugMode)),
        (good().with("pcrs", pcrs(&[(1, 48), (2, 48)])), Doubt::PcrMissing(0)),
        (good().with("timestamp", cbor::uint(NOW_UNIX_MS - 300_001)), Doubt::Refused(Refused::Stale)),
        (good().with("timestamp", cbor::uint(NOW_UNIX_MS + 60_001)), Doubt::Refused(Refused::FromTheFuture)),
        (good().with("nonce", cbor::bytes(&[0xa6; 32])), Doubt::Replayed),
        (good().with("nonce", cbor::bytes(&NONCE[..31])), Doubt::Replayed),
        (good().with("nonce", cbor::NULL), Doubt::NoNonce),
        (good().with("pcrs", pcrs(&[(0, 48), (2, 48)])), Doubt::PcrMissing(1)),
        (of_other_key, Doubt::OtherTlsKey),
        (good_without_tls(), Doubt::NotBoundToTls),
        (good().with("user_data", cbor::NULL), Doubt::NotOfTheEndpoint),
        (good().with("user_data", cbor::bytes(&[7; 32])), Doubt::NotOfTheEndpoint),
        (
            good().with("digest", cbor::text("SHA512")),
            Doubt::Refused(Refused::InvalidField(attestation::Field::Digest)),
        ),
    ] {
        assert_eq!(doubt(&draft), Some(expected), "{expected}");
    }
    assert_eq!(doubt(&good().with("timestamp", cbor::uint(NOW_UNIX_MS - 300_000))), None);
    assert_eq!(doubt(&good().with("timestamp", cbor::uint(NOW_UNIX_MS + 60_000))), None);
}

#[test]
fn who_made_it_comes_first() {
    let stranger = Chain::good();
    let of = |chain: &Chain| {
        Draft::good(chain)
            .with("nonce", cbor::bytes(&NONCE))
            .with("public_key", cbor::bytes(TLS_KEY))
            .with("user_data", cbor::bytes(&sha256(TLS_KEY)))
    };
    let doubt = |document: &[u8], root: &Root| {
        verdict(&reply(document), Some(TLS_KEY), &expectation().with_root(root.clone())).unwrap_err()
    };
    let of_stranger = stranger.document(&of(&stranger).payload());
    assert_eq!(doubt(&of_stranger, &CHAIN.root()), Doubt::Refused(Refused::OtherRoot));
    assert_eq!(doubt(&document(&good()), &Root::aws_g1()), Doubt::Refused(Refused::OtherRoot));
    // The genuine certificates over what somebody else signed.
    let forged = stranger.document(&good().payload());
    assert_eq!(doubt(&forged, &CHAIN.root()), Doubt::Refused(Refused::BadSignature));
    let expired = Chain::bent(|plans| {
        plans[4].validity_unix_s = (NOW_UNIX_S - DAY_S / 4, NOW_UNIX_S - 1);
    });
    let of_expired = expired.document(&of(&expired).payload());
    assert_eq!(doubt(&of_expired, &expired.root()), Doubt::Refused(Refused::CertificateJustExpired));

    // The content of such a document is not examined.
    let nonce = Nonce::from_bytes(NONCE);
    let examination = examine(&reply(&forged), &nonce, Some(TLS_KEY), &expectation(), NOW_UNIX_MS);
    assert_eq!(examination.document(), None);
    let findings: Vec<_> = examination.findings().collect();
    assert_eq!(findings[2], (Check::Certificates, Finding::Good));
    assert_eq!(findings[3], (Check::Signature, Finding::Doubtful(Doubt::Refused(Refused::BadSignature))));
    assert!(findings[4..].iter().all(|(_, finding)| *finding == Finding::NotReached));
}

/// A reader of all lines learns of all errors.
#[test]
fn several_doubts_are_each_found() {
    let draft = good()
        .with("nonce", cbor::NULL)
        .with("public_key", cbor::bytes(b"another"))
        .with("timestamp", cbor::uint(1));
    let nonce = Nonce::from_bytes(NONCE);
    let examination = examine(&reply(&document(&draft)), &nonce, Some(TLS_KEY), &expectation(), NOW_UNIX_MS);
    let doubtful = examination.findings().filter(|(_, finding)| matches!(finding, Finding::Doubtful(_)));
    let doubtful: Vec<_> = doubtful.map(|(check, _)| check).collect();
    assert_eq!(doubtful, [Check::Freshness, Check::Nonce, Check::TlsKey, Check::Statement]);
    assert_eq!(examination.verdict(), Err(Doubt::Refused(Refused::Stale)));
}

#[test]
fn one_of_the_expected_images_will_do() {
    let verdict = |images| {
        let expectation = Expectation::one_of(images).unwrap().with_root(CHAIN.root());
        verdict(&reply(&document(&good())), Some(TLS_KEY), &expectation).map(|attested| attested.image())
    };
    let (right, old) = (registers(&[]), registers(&[(0, 9)]));
    assert_eq!(verdict(vec![old.clone(), right.clone()]), Ok(Image::Expected(1)));
    assert_eq!(verdict(vec![right.clone(), right]), Ok(Image::Expected(0)));
    assert_eq!(verdict(vec![old.clone()]), Err(Doubt::OtherImage(0)));
    assert_eq!(verdict(vec![registers(&[(2, 9)])]), Err(Doubt::OtherImage(2)));
    assert_eq!(verdict(vec![registers(&[(8, 9)])]), Err(Doubt::PcrMissing(8)));
    assert_eq!(verdict(vec![old.clone(), old]), Err(Doubt::NoneOfImages(2)));
    assert_eq!(Expectation::one_of(vec![]), Err(Doubt::NothingExpected));
}

#[test]
fn what_is_waived_is_waived_by_name_and_alone() {
    let any = Expectation::any_image().with_root(CHAIN.root());
    let attested = verdict(&reply(&document(&good())), Some(TLS_KEY), &any).unwrap();
    assert_eq!(attested.image(), Image::Any);
    let debug = good().with("pcrs", cbor::map(&[(cbor::uint(0), cbor::bytes(&[0; 48]))]));
    let doubt = verdict(&reply(&document(&debug)), Some(TLS_KEY), &any).unwrap_err();
    assert_eq!(doubt, Doubt::Refused(Refused::DebugMode));

    let clear = reply(&document(&good_without_tls()));
    assert_eq!(verdict(&clear, None, &expectation()), Err(Doubt::NoTls));
    let accepting = expectation().accepting_http();
    assert_eq!(verdict(&clear, None, &accepting).map(|attested| attested.image()), Ok(Image::Expected(0)));
    // Not with documents of connections with TLS, nor for such connections.
    assert_eq!(verdict(&reply(&document(&good())), None, &accepting), Err(Doubt::TlsEndsElsewhere));
    assert_eq!(verdict(&clear, Some(TLS_KEY), &accepting), Err(Doubt::NotBoundToTls));
    let about_a_key = good_without_tls().with("user_data", cbor::bytes(&[7; 32]));
    assert_eq!(verdict(&reply(&document(&about_a_key)), None, &accepting), Err(Doubt::NotOfTheEndpoint));
}

#[test]
fn each_doubt_has_its_own_words() {
    let doubts = [
        Doubt::NothingExpected,
        Doubt::TooLong,
        Doubt::NotJson,
        Doubt::NotBase64,
        Doubt::Unsigned,
        Doubt::Refused(Refused::DebugMode),
        Doubt::Refused(Refused::OtherRoot),
        Doubt::Refused(Refused::Stale),
        Doubt::Refused(Refused::FromTheFuture),
        Doubt::Replayed,
        Doubt::NoNonce,
        Doubt::PcrMissing(1),
        Doubt::OtherImage(1),
        Doubt::NoneOfImages(2),
        Doubt::NoTls,
        Doubt::TlsEndsElsewhere,
        Doubt::NotBoundToTls,
        Doubt::OtherTlsKey,
        Doubt::NotOfTheEndpoint,
        Doubt::NotOfThisKey,
        Doubt::OriginMisstated(verification::Origin::Imported),
    ];
    let words: std::collections::BTreeSet<_> = doubts.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), doubts.len());
    for words in words {
        assert!(
            words == words.to_lowercase() && !words.contains("valid") && !words.contains('\n'),
            "{words}"
        );
    }
}
