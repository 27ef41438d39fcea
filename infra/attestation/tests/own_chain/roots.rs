//! Roots that a caller may pin.

use attestation::{InvalidRoot, Root};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

use crate::chain::Chain;

#[test]
fn a_root_is_one_certificate_of_a_ca() {
    let chain = Chain::good();
    let der = &chain.cabundle()[0];
    assert!(Root::from_der(der).is_ok());
    for length in 0..der.len() {
        assert_eq!(Root::from_der(&der[..length]), Err(InvalidRoot), "the first {length} bytes");
    }
    assert_eq!(Root::from_der(&[&**der, &[0]].concat()), Err(InvalidRoot));
    assert_eq!(Root::from_der(chain.leaf()), Err(InvalidRoot));
    assert_ne!(Root::from_der(der), Ok(Root::aws_g1()));
}

#[test]
fn a_root_may_come_in_pem() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).unwrap();
    let (pem, root) = (certificate.pem(), Root::from_der(certificate.der()));
    assert!(root.is_ok());
    assert_eq!(Root::from_pem(&pem), root);
    assert_eq!(Root::from_pem(&format!("the root:\n{pem}\nis above\n")), root);
    assert_eq!(Root::from_pem(&format!("{pem}{pem}")), Err(InvalidRoot));
    assert_eq!(Root::from_pem(""), Err(InvalidRoot));
    assert_eq!(Root::from_pem(&key.serialize_pem()), Err(InvalidRoot));
}
