"""Says in JSON what an enclave image is, by AWS's description of the format. Knows nothing of signerctl."""

import hashlib
import json
import struct
import sys
import zlib

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

HEADER = struct.Struct(">4sHHQQHH32Q32QII")
SECTION = struct.Struct(">HHQ")
KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = range(1, 6)
# RFC 9053, table 1.
HASHES = {-7: hashes.SHA256(), -35: hashes.SHA384(), -36: hashes.SHA512()}


def main():
    with open(sys.argv[1], "rb") as file:
        image = file.read()
    magic, version, flags, memory, cpus, reserved, count, *rest = HEADER.unpack_from(image)
    offsets, sizes, (unused, crc) = rest[:32], rest[32:64], rest[64:]
    sections = []
    at = HEADER.size
    for offset, size in zip(offsets[:count], sizes[:count], strict=True):
        kind, section_flags, section_size = SECTION.unpack_from(image, at)
        assert (offset, size, section_flags) == (at, section_size, 0)
        at += SECTION.size
        sections.append((kind, image[at : at + size]))
        at += size
    assert at == len(image)
    assert not any(offsets[count:] + sizes[count:])
    assert crc == zlib.crc32(image[HEADER.size :], zlib.crc32(image[: HEADER.size - 4]))

    kernel, cmdline, metadata, *others = (content for _, content in sections)
    ramdisks = [content for kind, content in sections if kind == RAMDISK]
    said = {
        "header": [magic.decode(), version, flags, memory, cpus, reserved, unused],
        "kinds": [kind for kind, _ in sections],
        "cmdline": cmdline.decode(),
        "metadata": json.loads(metadata),
        "PCR0": register(kernel, cmdline, *ramdisks),
        "PCR1": register(kernel, cmdline, ramdisks[0]),
        "PCR2": register(*ramdisks[1:]),
    }
    if sections[-1][0] == SIGNATURE:
        said |= signature(others[-1], said["PCR0"])
    json.dump(said, sys.stdout)


def register(*parts):
    """A register of zeros, extended by the digest of the parts."""
    return hashlib.sha384(bytes(48) + hashlib.sha384(b"".join(parts)).digest()).hexdigest()


def signature(section, pcr0):
    """What AWS's tools would read in the section, down to the types, and whether it is over PCR0."""
    [entry] = cbor2.loads(section)
    # Lists of numbers, not byte strings; and nothing but the shortest spelling.
    assert [type(value) for value in entry.values()] == [list, list]
    assert cbor2.dumps([entry]) == section
    pem, sign1 = bytes(entry["signing_certificate"]), bytes(entry["signature"])
    certificate = load_pem_x509_certificate(pem)
    protected, unprotected, payload, raw = cbor2.loads(sign1)
    assert cbor2.dumps([protected, unprotected, payload, raw]) == sign1
    headers, info = cbor2.loads(protected), cbor2.loads(payload)

    half = len(raw) // 2
    der = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    try:
        certificate.public_key().verify(der, signed, ECDSA(HASHES[headers[1]]))
        verifies = True
    except InvalidSignature:
        verifies = False
    return {
        "PCR8": register(certificate.public_bytes(Encoding.DER)),
        "is_good": verifies and info == {"register_index": 0, "register_value": list(bytes.fromhex(pcr0))},
        "signature": {
            "members": list(entry),
            "certificate": pem.decode(),
            "protected": protected.hex(),
            "unprotected": unprotected,
            "payload": payload.hex(),
            "bytes": len(raw),
        },
    }


main()
