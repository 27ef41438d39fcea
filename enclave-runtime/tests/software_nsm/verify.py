"""Checks DIRECTORY/document.cose against DIRECTORY/root.pem, with OpenSSL and nothing of ours.

verify.py DIRECTORY NOT_BEFORE_MS LENGTH_OF_PUBLIC_KEY LENGTH_OF_USER_DATA LENGTH_OF_NONCE, a length may be null.
"""

import pathlib
import re
import ssl
import subprocess
import sys
import time


def item(data, at):
    """The CBOR item at `at`, and where it ends. Only the shortest form of lengths is taken, as COSE's signers write."""
    major, value, at = data[at] >> 5, data[at] & 31, at + 1
    if 24 <= value <= 27:
        width = 1 << (value - 24)
        value, at = int.from_bytes(data[at:at + width], "big"), at + width
        assert value >= (24 if width == 1 else 1 << (4 * width)), "longer than need be"
    if major == 0:
        return value, at
    if major in (2, 3):
        assert at + value <= len(data)
        text = data[at:at + value]
        return (text if major == 2 else text.decode()), at + value
    if major == 4:
        items = []
        for _ in range(value):
            element, at = item(data, at)
            items.append(element)
        return items, at
    if major == 5:
        entries = {}
        for _ in range(value):
            key, at = item(data, at)
            entries[key], at = item(data, at)
        return entries, at
    assert (major, value) == (7, 22), "neither null nor anything that belongs here"
    return None, at


def whole(data):
    value, end = item(data, 0)
    assert end == len(data), "bytes are left over"
    return value


def head(major, length):
    if length < 24:
        return bytes([major << 5 | length])
    if length < 256:
        return bytes([major << 5 | 24, length])
    return bytes([major << 5 | 25]) + length.to_bytes(2, "big")


def der_integer(number):
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes([2, len(content)]) + content


def openssl(*arguments):
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"openssl {arguments[0]}: {result.stdout}{result.stderr}"
    return result.stdout


directory, not_before_ms = pathlib.Path(sys.argv[1]), int(sys.argv[2])
lengths = [None if length == "null" else int(length) for length in sys.argv[3:6]]
document = (directory / "document.cose").read_bytes()
assert document[0] == 0x84, "not an untagged array of four"
protected, unprotected, payload, signature = whole(document)
assert protected == bytes.fromhex("a1013822") and unprotected == {} and len(signature) == 96
fields = whole(payload)
assert list(fields) == ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle",
                        "public_key", "user_data", "nonce"], list(fields)
assert re.fullmatch(r"i-[0-9a-f]{17}-enc[0-9a-f]{16}", fields["module_id"]), fields["module_id"]
assert fields["digest"] == "SHA384"
assert not_before_ms <= fields["timestamp"] <= time.time() * 1000
assert list(fields["pcrs"]) == list(range(16)) and {len(pcr) for pcr in fields["pcrs"].values()} == {48}
assert lengths == [fields[name] and len(fields[name]) for name in ("public_key", "user_data", "nonce")]
assert all(len(certificate) <= 1024 for certificate in (fields["certificate"], *fields["cabundle"]))

pem = [ssl.DER_cert_to_PEM_cert(certificate) for certificate in fields["cabundle"]]
root = directory / "root.pem"
assert ssl.PEM_cert_to_DER_cert(root.read_text().replace("\r\n", "\n")) == fields["cabundle"][0], "another root"
leaf, between = directory / "leaf.pem", directory / "between.pem"
leaf.write_text(ssl.DER_cert_to_PEM_cert(fields["certificate"]))
between.write_text("".join(pem[1:]))
assert len(pem) == 4
openssl("verify", "-x509_strict", "-CAfile", str(root), "-untrusted", str(between), str(leaf))
text = openssl("x509", "-in", str(leaf), "-noout", "-text", "-startdate", "-enddate")
assert re.search(r"Basic Constraints: critical\n\s+CA:FALSE\n", text), text
assert re.search(r"Key Usage: \n\s+Digital Signature, Non Repudiation\n", text), text
starts, ends = (ssl.cert_time_to_seconds(re.search(f"{name}=(.*)", text)[1]) for name in ("notBefore", "notAfter"))
assert starts <= fields["timestamp"] / 1000 - 2 and 3 * 3600 <= ends - starts <= 3 * 3600 + 10

key = directory / "leaf-key.pem"
key.write_text(openssl("x509", "-in", str(leaf), "-noout", "-pubkey"))
(directory / "signed").write_bytes(
    head(4, 4) + head(3, 10) + b"Signature1" + head(2, len(protected)) + protected + head(2, 0)
    + head(2, len(payload)) + payload)
r, s = (der_integer(int.from_bytes(half, "big")) for half in (signature[:48], signature[48:]))
(directory / "signature").write_bytes(bytes([0x30, len(r + s)]) + r + s)
openssl("dgst", "-sha384", "-verify", str(key), "-signature", str(directory / "signature"), str(directory / "signed"))
