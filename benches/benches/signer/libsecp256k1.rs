//! The C library without its Rust crate's wrapping, which re-randomises its context after each use of a secret key and
//! so takes twice as long. The one module here with unsafe code, because C functions are.

#![allow(unsafe_code)]

use secp256k1::ffi::{self, CPtr as _};
use secp256k1::{All, Keypair, Secp256k1, SecretKey};

/// `secp256k1_schnorrsig_sign32`
pub(crate) fn sign(
    context: &Secp256k1<All>,
    keypair: &Keypair,
    message: &[u8; 32],
    aux: &[u8; 32],
) -> [u8; 64] {
    let mut signature = [0; 64];
    // SAFETY: the context outlives the call, and the pointers are to 64 bytes to write and 32, 32 to read.
    let done = unsafe {
        ffi::secp256k1_schnorrsig_sign32(
            context.ctx().as_ptr(),
            signature.as_mut_ptr(),
            message.as_ptr(),
            keypair.as_c_ptr(),
            aux.as_ptr(),
        )
    };
    assert_eq!(done, 1);
    signature
}

/// `secp256k1_ec_pubkey_create` and `_serialize`, compressed.
pub(crate) fn public_key(context: &Secp256k1<All>, secret: &SecretKey) -> [u8; 33] {
    let mut sec1 = [0; 33];
    let mut length = sec1.len();
    // SAFETY: `create` writes the key before `serialize` reads it; the context outlives both calls, `secret` points to
    // 32 bytes, and `length` says how much room `sec1` has.
    let done = unsafe {
        let mut public = ffi::PublicKey::new();
        ffi::secp256k1_ec_pubkey_create(context.ctx().as_ptr(), &raw mut public, secret.as_c_ptr())
            & ffi::secp256k1_ec_pubkey_serialize(
                context.ctx().as_ptr(),
                sec1.as_mut_ptr(),
                &raw mut length,
                &raw const public,
                ffi::SECP256K1_SER_COMPRESSED,
            )
    };
    assert_eq!((done, length), (1, 33));
    sec1
}
