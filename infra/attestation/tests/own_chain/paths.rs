//! Certificates.

use attestation::{Document, Expectation, NOT_BEFORE_TOLERANCE, Refused, verify};
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P521_SHA512,
};

use crate::cbor;
use crate::chain::{Chain, DAY_S, NOW_UNIX_S, Plan};
use crate::draft::Draft;
use crate::verdict;

/// Positions in a plan.
const REGION: usize = 1;
const ZONE: usize = 2;
const INSTANCE: usize = 3;
const LEAF: usize = 4;

fn of_bent(bend: impl FnOnce(&mut [Plan; 5])) -> Result<Document, Refused> {
    let chain = Chain::bent(bend);
    verdict(&chain, &Draft::good(&chain))
}

fn refused(bend: impl FnOnce(&mut [Plan; 5])) -> Refused {
    of_bent(bend).unwrap_err()
}

#[test]
fn each_certificate_is_valid_now() {
    let tolerance_s = NOT_BEFORE_TOLERANCE.as_secs();
    for at in REGION..=LEAF {
        let validity =
            |begin: u64, end: u64| move |plans: &mut [Plan; 5]| plans[at].validity_unix_s = (begin, end);
        let end = NOW_UNIX_S + DAY_S;
        assert!(of_bent(validity(NOW_UNIX_S, NOW_UNIX_S)).is_ok());
        assert_eq!(refused(validity(NOW_UNIX_S - DAY_S, NOW_UNIX_S - 1)), Refused::CertificateJustExpired);
        assert!(of_bent(validity(NOW_UNIX_S + 1, end)).is_ok());
        assert!(of_bent(validity(NOW_UNIX_S + tolerance_s, end)).is_ok());
        let too_early = refused(validity(NOW_UNIX_S + tolerance_s + 1, end));
        assert_eq!(too_early, Refused::CertificateNotYetValid);
        // The tolerance is for the beginning.
        let over_before_it_began = refused(validity(NOW_UNIX_S + 1, NOW_UNIX_S - 1));
        assert_eq!(over_before_it_began, Refused::MalformedCertificate);
    }
    let expired_and_early = refused(|plans| {
        plans[REGION].validity_unix_s.1 = NOW_UNIX_S - 1;
        plans[LEAF].validity_unix_s.0 = NOW_UNIX_S + 1;
    });
    assert_eq!(expired_and_early, Refused::CertificateJustExpired);
}

#[test]
fn the_root_is_valid_now() {
    let root = |begin: u64, end: u64| move |plans: &mut [Plan; 5]| plans[0].validity_unix_s = (begin, end);
    assert!(of_bent(root(NOW_UNIX_S, NOW_UNIX_S)).is_ok());
    assert_eq!(refused(root(NOW_UNIX_S - DAY_S, NOW_UNIX_S - 1)), Refused::RootNotValid);
    assert_eq!(refused(root(NOW_UNIX_S + 1, NOW_UNIX_S + DAY_S)), Refused::RootNotValid);
    // Past 2049, times have another form.
    assert!(of_bent(root(NOW_UNIX_S - DAY_S, NOW_UNIX_S + 50 * 365 * DAY_S)).is_ok());
}

#[test]
fn a_path_leads_to_the_pinned_root() {
    let (chain, other) = (Chain::good(), Chain::good());
    let document = chain.document(&Draft::good(&chain).payload());
    let expectation = Expectation::at(NOW_UNIX_S * 1000);
    // Of the same names, with another key.
    assert_eq!(verify(&document, &other.root(), &expectation), Err(Refused::OtherRoot));
    let of_other_name = Chain::bent(|plans| plans[0].name = "aws-cn.nitro-enclaves");
    assert_eq!(verify(&document, &of_other_name.root(), &expectation), Err(Refused::OtherRoot));
    assert!(verify(&document, &chain.root(), &expectation).is_ok());

    // A pinned root at the head of other people's certificates.
    let mut issuers = other.cabundle().to_vec();
    issuers[0] = chain.cabundle()[0].clone();
    let bundle =
        |issuers: &[Vec<u8>]| cbor::array(&issuers.iter().map(|der| cbor::bytes(der)).collect::<Vec<_>>());
    let dressed = Draft::good(&other).with("cabundle", bundle(&issuers));
    let dressed = verify(&other.document(&dressed.payload()), &chain.root(), &expectation);
    assert_eq!(dressed, Err(Refused::CertificateForged));

    // A root that only the document brings, in a place where issuers are.
    issuers = other.cabundle().to_vec();
    issuers.insert(0, chain.cabundle()[0].clone());
    let smuggled = Draft::good(&other).with("cabundle", bundle(&issuers));
    let smuggled = verify(&other.document(&smuggled.payload()), &chain.root(), &expectation);
    assert_eq!(smuggled, Err(Refused::CertificateForged));
}

#[test]
fn no_certificate_of_a_path_is_missing() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    let bundle = |issuers: &[&Vec<u8>]| {
        let issuers: Vec<_> = issuers.iter().map(|der| cbor::bytes(der)).collect();
        verdict(&chain, &good.clone().with("cabundle", cbor::array(&issuers)))
    };
    let [root, region, zone, instance] = chain.cabundle() else { unreachable!("four issuers") };
    assert!(bundle(&[root, region, zone, instance]).is_ok());
    assert_eq!(bundle(&[root, zone, instance]), Err(Refused::PathIncomplete));
    assert_eq!(bundle(&[root, region, instance]), Err(Refused::PathIncomplete));
    assert_eq!(bundle(&[root, region, zone]), Err(Refused::PathIncomplete));
    assert_eq!(bundle(&[root]), Err(Refused::PathIncomplete));
    // The first place is the root's, whatever is in it.
    assert_eq!(bundle(&[region, zone, instance]), Err(Refused::OtherRoot));
    assert!(bundle(&[&vec![0], region, zone, instance]).is_ok());
}

#[test]
fn a_changed_certificate_is_forged() {
    let chain = Chain::good();
    for at in [REGION, ZONE, INSTANCE] {
        let mut issuers = chain.cabundle().to_vec();
        // The last byte of a certificate is one of its signature.
        *issuers[at].last_mut().unwrap() ^= 1;
        let issuers: Vec<_> = issuers.iter().map(|der| cbor::bytes(der)).collect();
        let draft = Draft::good(&chain).with("cabundle", cbor::array(&issuers));
        assert_eq!(verdict(&chain, &draft), Err(Refused::CertificateForged));
    }
    let mut leaf = chain.leaf().to_vec();
    *leaf.last_mut().unwrap() ^= 1;
    let draft = Draft::good(&chain).with("certificate", cbor::bytes(&leaf));
    assert_eq!(verdict(&chain, &draft), Err(Refused::CertificateForged));
    leaf.push(0);
    let draft = Draft::good(&chain).with("certificate", cbor::bytes(&leaf));
    assert_eq!(verdict(&chain, &draft), Err(Refused::MalformedCertificate));
}

#[test]
fn a_ca_is_one_and_a_leaf_is_none() {
    let unlimited = || IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(refused(|plans| plans[LEAF].is_ca = unlimited()), Refused::CaAsLeaf);
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        assert!(of_bent(|plans| plans[LEAF].is_ca = is_ca).is_ok());
        assert_eq!(refused(|plans| plans[INSTANCE].is_ca = is_ca), Refused::IssuerNotCa);
    }
    let chain = Chain::good();
    let of_a_ca = Draft::good(&chain).with("certificate", cbor::bytes(&chain.cabundle()[INSTANCE]));
    assert_eq!(verdict(&chain, &of_a_ca), Err(Refused::CaAsLeaf));

    let path_length = |at: usize, most| {
        of_bent(move |plans: &mut [Plan; 5]| plans[at].is_ca = IsCa::Ca(BasicConstraints::Constrained(most)))
    };
    assert_eq!(path_length(REGION, 1), Err(Refused::PathTooLong));
    assert_eq!(path_length(ZONE, 0), Err(Refused::PathTooLong));
    assert!(path_length(REGION, 2).is_ok());
}

#[test]
fn a_key_is_used_for_what_it_is_for() {
    let only = |at: usize, usages: Vec<KeyUsagePurpose>| {
        of_bent(move |plans: &mut [Plan; 5]| plans[at].key_usages = usages)
    };
    assert!(only(LEAF, vec![KeyUsagePurpose::DigitalSignature]).is_ok());
    assert_eq!(only(LEAF, vec![]), Err(Refused::LeafKeyUsage));
    assert_eq!(only(LEAF, vec![KeyUsagePurpose::ContentCommitment]), Err(Refused::LeafKeyUsage));
    assert_eq!(only(LEAF, vec![KeyUsagePurpose::DecipherOnly]), Err(Refused::LeafKeyUsage));
    for at in [REGION, ZONE, INSTANCE] {
        assert!(only(at, vec![KeyUsagePurpose::KeyCertSign]).is_ok());
        assert_eq!(only(at, vec![]), Err(Refused::IssuerNotCa));
        assert_eq!(only(at, vec![KeyUsagePurpose::DigitalSignature]), Err(Refused::IssuerNotCa));
    }
    let extended =
        refused(|plans| plans[LEAF].extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    assert_eq!(extended, Refused::LeafKeyUsage);
}

#[test]
fn keys_are_on_p_384() {
    assert_eq!(refused(|plans| plans[LEAF].algorithm = &PKCS_ECDSA_P256_SHA256), Refused::LeafNotP384);
    assert_eq!(refused(|plans| plans[LEAF].algorithm = &PKCS_ECDSA_P521_SHA512), Refused::LeafNotP384);
    for at in 0..LEAF {
        let verdict = refused(|plans| plans[at].algorithm = &PKCS_ECDSA_P256_SHA256);
        assert_eq!(verdict, Refused::CertificateAlgorithm, "{at}");
    }
}
