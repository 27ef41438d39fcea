#!/usr/bin/env python3
"""Verifies a BIP-340 Schnorr signature with nothing but Python's standard library.

    python3 bip340.py PUBLIC_KEY MESSAGE SIGNATURE

All in hex: the 33-byte compressed key that the signer returns (or its 32-byte x coordinate), the 32 bytes that were
signed, the 64-byte signature. Prints `valid` and exits 0, or `INVALID` and exits 1.

It is written to be compared with https://github.com/bitcoin/bips/blob/master/bip-0340.mediawiki and is neither fast
nor constant-time: it holds no secret.
"""

import hashlib
import sys

# secp256k1: y^2 = x^3 + 7 over the integers modulo P; the point G generates a group of order N.
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
G = (
    0x79BE667E_F9DCBBAC_55A06295_CE870B07_029BFCDB_2DCE28D9_59F2815B_16F81798,
    0x483ADA77_26A3C465_5DA4FBFC_0E1108A8_FD17B448_A6855419_9C47D08F_FB10D4B8,
)


def add(a, b):
    """The sum of two points; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and a[1] != b[1]:
        return None
    if a == b:
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(scalar, point):
    """`scalar` times `point`."""
    total = None
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def lift_x(x):
    """The point with this x and an even y, or None."""
    if x >= P:
        return None
    square = (pow(x, 3, P) + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    return x, y if y % 2 == 0 else P - y


def tagged_hash(tag, data):
    """SHA-256 in the domain `tag`."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def verify(public_key, message, signature):
    """Whether `signature` (64 bytes) is one of `message` under `public_key` (32 bytes, or 33 compressed)."""
    if len(public_key) == 33 and public_key[0] in (2, 3):
        public_key = public_key[1:]
    if len(public_key) != 32 or len(signature) != 64:
        return False
    point = lift_x(int.from_bytes(public_key, "big"))
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if point is None or r >= P or s >= N:
        return False
    digest = tagged_hash("BIP0340/challenge", signature[:32] + public_key + message)
    challenge = int.from_bytes(digest, "big") % N
    commitment = add(multiply(s, G), multiply(N - challenge, point))
    return commitment is not None and commitment[1] % 2 == 0 and commitment[0] == r


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    valid = verify(*(bytes.fromhex(argument) for argument in sys.argv[1:]))
    print("valid" if valid else "INVALID")
    sys.exit(0 if valid else 1)
