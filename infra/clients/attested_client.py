#!/usr/bin/env python3
"""Talks to a signer only if it is the expected enclave. Python 3.11 or later, and the package `cryptography`, 42
or later.

    from attested_client import attest, pcrs_from_nitro_toml

    pcrs = pcrs_from_nitro_toml(Path("nitro.toml").read_text())
    signer = attest(os.environ["ENCLAVE_BASE_URL"], [pcrs])
    connection = signer.connection()            # an http.client.HTTPSConnection
    connection.request("POST", "/internal/sign", body, headers)

`attest` connects, takes any certificate, asks on that connection for a document with a fresh nonce, and checks the
document: certificates up to AWS's root, signature, no debug mode, age, nonce, PCRs, and that it is for the key of this
connection's certificate. The connections that it then gives have that key, or fail before a byte of a request is
written. When the enclave starts again with a self-signed certificate, it has another key: attest again.

From the command line:

    python3 attested_client.py https://signer.example.com:7001 --nitro-toml infra/nitro.toml [--time-limit-s 10]

It prints `attested: …`, or `limited: …` for another root, and for each setting by which the image gives trust away. As
a module it refuses such a file, unless the setting is accepted by name.

Exit status: 0 it is the expected enclave, 1 there is a doubt, 64 wrong command line, 69 it does not answer.
"""

import base64
import binascii
import hashlib
import http.client
import json
import re
import secrets
import socket
import ssl
import sys
import time
import tomllib
import urllib.parse
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

# AWS's root of 2019 to 2049 for its commercial regions, from
# https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip
AWS_ROOT_PEM = """-----BEGIN CERTIFICATE-----
MIICETCCAZagAwIBAgIRAPkxdWgbkK/hHUbMtOTn+FYwCgYIKoZIzj0EAwMwSTEL
MAkGA1UEBhMCVVMxDzANBgNVBAoMBkFtYXpvbjEMMAoGA1UECwwDQVdTMRswGQYD
VQQDDBJhd3Mubml0cm8tZW5jbGF2ZXMwHhcNMTkxMDI4MTMyODA1WhcNNDkxMDI4
MTQyODA1WjBJMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGQW1hem9uMQwwCgYDVQQL
DANBV1MxGzAZBgNVBAMMEmF3cy5uaXRyby1lbmNsYXZlczB2MBAGByqGSM49AgEG
BSuBBAAiA2IABPwCVOumCMHzaHDimtqQvkY4MpJzbolL//Zy2YlES1BR5TSksfbb
48C8WBoyt7F2Bw7eEtaaP+ohG2bnUs990d0JX28TcPQXCEPZ3BABIeTPYwEoCWZE
h8l5YoQwTcU/9KNCMEAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUkCW1DdkF
R+eWw5b6cp3PmanfS5YwDgYDVR0PAQH/BAQDAgGGMAoGCCqGSM49BAMDA2kAMGYC
MQCjfy+Rocm9Xue4YnwWmNJVA44fA0P5W2OpYow9OYCVRaEevL8uO1XYru5xtMPW
rfMCMQCi85sWBbJwKKXdS6BptQFuZbT73o/gBh1qUxl/nNr12UO8Yfwr6wPLb+6N
IwLz3/Y=
-----END CERTIFICATE-----
"""
AWS_ROOT_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

# For all of it: connecting, the handshake, the request and the whole answer. With one for each read, an
# attacker in between could drip bytes without end.
TIME_LIMIT_S = 10
# A document of 16 KiB is 21,848 characters of base64.
MAX_REPLY_BYTES = 24 * 1024
MAX_DOCUMENT_BYTES = 16 * 1024
# Longest text with measurements, as signerctl takes it.
MAX_MEASUREMENTS_BYTES = 64 * 1024
MAX_AGE_MS = 300_000
MAX_AHEAD_MS = 60_000
WEEK_MS = 7 * 24 * 3_600_000
CHECK_CLOCK = "check the clock of this machine"
PCR_BYTES = 48
# The root's place and six CAs; AWS's documents have four.
MAX_ISSUERS = 7
# Deepest nesting of a document: a map in a map.
MAX_DEPTH = 4


class Doubt(Exception):
    """A reason not to trust who answered."""


class Unreachable(Exception):
    """There is no answer."""


def ensure(is_so, words):
    if not is_so:
        raise Doubt(words)


# --- What is expected ---------------------------------------------------------------------------------------------


# Settings by which an image gives away what its attestation stands for, with what that is. As signerctl knows them.
EXPOSURES = {
    "kms.trust_anchors": "anybody with a key of these authorities can pass for KMS, choose the ticket secret, and open "
    "new backups",
    "acme.trust_anchors": "anybody with a key of these authorities can pass for the ACME server",
    "secrets.ticket_signing_secret": 'is not "kms": root on the parent instance knows the ticket secret, and signs '
    "with every key",
    "tls.mode": "the tls key is made outside: anybody with a copy passes for the enclave",
}


def exposures_in(text):
    """The keys of the settings in a nitro.toml that give trust away."""
    file = tomllib.loads(text)

    def value(table, key):
        table = file.get(table)
        return table.get(key) if isinstance(table, dict) else None

    harmless = {
        "kms.trust_anchors": [],
        "acme.trust_anchors": [],
        "secrets.ticket_signing_secret": ["kms"],
        "tls.mode": ["off", "self-signed", "acme"],
    }
    return [setting for setting, values in harmless.items() if value(*setting.split(".")) not in [None, *values]]


def pcrs_from_nitro_toml(text, accept=()):
    """The registers under [pcr] of an operator's nitro.toml, as the build notes them. Raises Doubt if the file has a
    setting that is for tests and is not in `accept`, such as ["kms.trust_anchors"].
    """
    if len(text) > MAX_MEASUREMENTS_BYTES:
        raise ValueError("nitro.toml is too long")
    _refuse_given_away(exposures_in(text), accept)
    table = tomllib.loads(text).get("pcr")
    if not isinstance(table, dict):
        raise ValueError("no measurements under [pcr]; building the image notes them")
    return _registers(table)


def _refuse_given_away(settings, accept):
    for setting in settings:
        if setting not in EXPOSURES:
            raise ValueError("image has a setting for tests that is unknown here")
        is_accepted = setting == "tls.mode" or setting in accept
        ensure(is_accepted, f"image gives trust away: {setting}: {EXPOSURES[setting]}")


def exposures_in_measurements(text):
    """The keys of the settings that give trust away, by what `signerctl eif build` printed. nitro-cli does not tell."""
    printed = json.loads(text)
    settings = printed.get("GivesAway", []) if isinstance(printed, dict) else None
    if not isinstance(settings, list) or not all(isinstance(setting, str) for setting in settings):
        raise ValueError("not the json of an image's measurements")
    return settings


def pcrs_from_measurements(text, accept=()):
    """The registers that `signerctl eif build` and `nitro-cli build-enclave` print. As pcrs_from_nitro_toml, with
    `accept`.
    """
    if len(text) > MAX_MEASUREMENTS_BYTES:
        raise ValueError("measurements are too long")
    _refuse_given_away(exposures_in_measurements(text), accept)
    printed = json.loads(text)
    table = printed.get("Measurements") if isinstance(printed, dict) else None
    if not isinstance(table, dict):
        raise ValueError("not the json of an image's measurements")
    return _registers({name: value for name, value in table.items() if name != "HashAlgorithm"})


def _registers(table):
    pcrs = {}
    for name, value in table.items():
        match = re.fullmatch(r"PCR(0|[1-9]|[12]\d|3[01])", name, re.ASCII)
        if not match or not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{96}", value):
            raise ValueError("a register is not 96 hex digits under a name of PCR0 to PCR31")
        pcrs[int(match[1])] = bytes.fromhex(value)
    return checked_pcrs(pcrs)


def checked_pcrs(pcrs):
    """An image's registers, {0: bytes, ...}, if they say what runs."""
    for index, value in pcrs.items():
        if not 0 <= index < 32 or len(value) != PCR_BYTES:
            raise ValueError("a register is not 48 bytes under an index of 0 to 31")
        if not any(value):
            raise ValueError(f"pcr{index} is all zeros, as in debug mode")
    # The rest of them are the same whatever runs, or leave a part of it out.
    if not (0 in pcrs or (1 in pcrs and 2 in pcrs) or 8 in pcrs):
        raise ValueError("these registers do not identify a program: give pcr0, pcr1 with pcr2, or pcr8")
    return dict(pcrs)


# --- CBOR (RFC 8949): definite lengths in their shortest spelling, and no more than documents need ----------------


class Cbor:
    def __init__(self, data):
        self._data = data
        self._at = 0

    @classmethod
    def read(cls, data):
        cbor = cls(data)
        value = cbor._value(0)
        if cbor._at != len(data):
            raise ValueError("something follows")
        return value

    def _value(self, depth):
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        first = self._take(1)[0]
        if first == 0xF6:
            return None
        major, length = first >> 5, self._length(first & 0x1F)
        if major == 0:
            return length
        if major == 2:
            return self._take(length)
        if major == 3:
            return self._take(length).decode()
        # Each item takes a byte at least.
        if major not in (4, 5) or length > len(self._data) - self._at:
            raise ValueError("a kind that documents do not have, or too short")
        if major == 4:
            return [self._value(depth + 1) for _ in range(length)]
        pairs = [(self._value(depth + 1), self._value(depth + 1)) for _ in range(length)]
        if any(not isinstance(key, (int, str)) for key, _ in pairs) or len(dict(pairs)) != length:
            raise ValueError("a key occurs twice, or is no key")
        return dict(pairs)

    def _length(self, short):
        if short < 24:
            return short
        count = {24: 1, 25: 2, 26: 4, 27: 8}.get(short)
        if count is None:
            raise ValueError("an indefinite length")
        value = int.from_bytes(self._take(count))
        if value < {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}[count]:
            raise ValueError("a number in another spelling")
        return value

    def _take(self, count):
        if count > len(self._data) - self._at:
            raise ValueError("too short")
        self._at += count
        return self._data[self._at - count : self._at]


# --- A document ---------------------------------------------------------------------------------------------------

EMULATOR_START = bytes.fromhex("8443a10120a0")
ES384 = bytes.fromhex("a1013822")
OPTIONAL = ("public_key", "user_data", "nonce")
FIELDS = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", *OPTIONAL)


def _parse(document):
    """What a document says, and the signature over it; who wrote it is another question."""
    ensure(len(document) <= MAX_DOCUMENT_BYTES, "reply is longer than any attestation document")
    is_emulators = document.startswith(EMULATOR_START)
    ensure(not is_emulators, "attestation document is an emulator's, without a signature")
    try:
        parts = Cbor.read(document.removeprefix(b"\xd2"))
    except ValueError:
        parts = None
    is_sign1 = (
        isinstance(parts, list)
        and len(parts) == 4
        and all(isinstance(parts[at], bytes) for at in (0, 2, 3))
        and parts[1] == {}
        and len(parts[3]) == 96
    )
    ensure(is_sign1, "attestation document is not a well-formed cose_sign1")
    header, _, payload, signature = parts
    ensure(header == ES384, "attestation document is not signed with es384")
    try:
        said = Cbor.read(payload)
    except ValueError:
        said = None
    ensure(isinstance(said, dict), "payload of the attestation document is malformed")
    ensure(said.keys() <= set(FIELDS), "attestation document has an unknown field")
    said = {name: said.get(name) for name in FIELDS}

    def is_bytes(value, least, most):
        return isinstance(value, bytes) and least <= len(value) <= most

    pcrs, cabundle = said["pcrs"], said["cabundle"]
    well_formed = {
        "module_id": isinstance(said["module_id"], str) and said["module_id"] != "",
        "digest": said["digest"] == "SHA384",
        "timestamp": isinstance(said["timestamp"], int) and said["timestamp"] > 0,
        "pcrs": isinstance(pcrs, dict)
        and len(pcrs) > 0
        and all(isinstance(index, int) and index < 32 for index in pcrs)
        and all(is_bytes(value, PCR_BYTES, PCR_BYTES) for value in pcrs.values()),
        "certificate": is_bytes(said["certificate"], 1, 1024),
        "cabundle": isinstance(cabundle, list)
        and 0 < len(cabundle) <= MAX_ISSUERS
        and all(is_bytes(issuer, 1, 1024) for issuer in cabundle),
        **{name: said[name] is None or is_bytes(said[name], 0, 1024) for name in OPTIONAL},
    }
    for name, is_so in well_formed.items():
        ensure(is_so, f"attestation document has an invalid field {name}")
    return said, payload, signature


def _leaf_key(said, root, now_ms):
    """The leaf's key, once its certificates lead to the root."""
    # What a document brings along for the root tells two doubts apart, and nothing else.
    brings_root = said["cabundle"][0] == root.public_bytes(serialization.Encoding.DER)
    try:
        path = [x509.load_der_x509_certificate(der) for der in [*said["cabundle"][1:], said["certificate"]]]
        path = [(certificate, *_usage(certificate)) for certificate in [root, *path]]
    except Doubt:
        raise
    except Exception:  # The library has more of them than it documents.
        raise Doubt("certificate in the attestation document is malformed") from None
    for place, (certificate, constraints, usage) in enumerate(path):
        if place > 0:
            other_root = place == 1 and not brings_root
            try:
                # The names, and the signature.
                certificate.verify_directly_issued_by(path[place - 1][0])
            except (ValueError, TypeError, InvalidSignature):
                forged = "certificate is not signed by its issuer"
                raise Doubt(
                    "certificate path leads to another root than the pinned one" if other_root else forged
                ) from None
            key = certificate.public_key()
            is_p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
            is_sha384 = certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.ECDSA_WITH_SHA384
            ensure(is_p384 and is_sha384, "certificate is not signed with ecdsa p-384 and sha-384")
        end_ms = certificate.not_valid_after_utc.timestamp() * 1000 + 999
        ensure(now_ms - end_ms < WEEK_MS, "certificate has expired")
        ensure(end_ms >= now_ms, f"certificate has expired less than a week ago; {CHECK_CLOCK}")
        start_ms = certificate.not_valid_before_utc.timestamp() * 1000
        ensure(start_ms <= now_ms + MAX_AHEAD_MS, f"certificate is not yet in force; {CHECK_CLOCK}")
        is_ca = constraints is not None and constraints.ca
        if place == len(path) - 1:
            ensure(not is_ca, "leaf certificate is that of a ca")
            is_for_signatures = usage is not None and usage.digital_signature
            ensure(is_for_signatures, "leaf certificate is not for signatures")
        else:
            may_sign = is_ca and usage is not None and usage.key_cert_sign
            ensure(may_sign, "certificate path has an issuer that may not sign certificates")
            below, allowed = len(path) - 2 - place, constraints.path_length
            ensure(allowed is None or below <= allowed, "certificate path is longer than a ca in it allows")
    return path[-1][0].public_key()


def _usage(certificate):
    """Basic constraints and key usage, where they are there."""
    found = []
    for kind in (x509.BasicConstraints, x509.KeyUsage):
        try:
            found.append(certificate.extensions.get_extension_for_class(kind).value)
        except x509.ExtensionNotFound:
            found.append(None)
    return found


def _is_signed(payload, signature, key):
    # Payloads of 24 bytes to 64 KiB, which documents are.
    size = len(payload)
    length = bytes([0x58, size]) if size < 256 else bytes([0x59, *size.to_bytes(2)])
    signed = b"\x84\x6aSignature1\x44" + ES384 + b"\x40" + length + payload
    r, s = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
    try:
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True


def verify_reply(reply, nonce, spki, images, root_pem=AWS_ROOT_PEM, now_ms=None):
    """Verifies the body of an answer to GET /.well-known/attestation?nonce=..., for the request's nonce, the DER
    SubjectPublicKeyInfo in the certificate of the connection, and one or more images' registers. Gives what it says and
    which image it is; raises a Doubt.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    images = [checked_pcrs(image) for image in images]
    ensure(images, "no expectation given: an enclave is only as good as the image it runs")
    root = x509.load_pem_x509_certificate(root_pem.encode())
    if root_pem == AWS_ROOT_PEM and root.fingerprint(hashes.SHA256()).hex() != AWS_ROOT_SHA256:
        raise ValueError("this file was changed: its root is not that of aws")

    ensure(len(reply) <= MAX_REPLY_BYTES, "reply is longer than any attestation document")
    try:
        text = json.loads(reply)["attestation_doc"]
        ensure(isinstance(text, str), "reply is not the json of an attestation document")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Doubt("reply is not the json of an attestation document") from None
    try:
        document = base64.b64decode(text, validate=True)
        ensure(base64.b64encode(document).decode() == text, "attestation document is not in base64")
    except (binascii.Error, ValueError):
        raise Doubt("attestation document is not in base64") from None

    said, payload, signature = _parse(document)
    key = _leaf_key(said, root, now_ms)
    ensure(_is_signed(payload, signature, key), "signature of the attestation document is wrong")

    # Authentic from here on: the rest is whether it says what it has to.
    pcrs = said["pcrs"]
    ensure(0 in pcrs, "pcr0 is missing")
    ensure(any(pcrs[0]), "enclave is in debug mode: pcr0 is all zeros")
    ensure(said["timestamp"] >= now_ms - MAX_AGE_MS, "attestation document is stale")
    ensure(said["timestamp"] <= now_ms + MAX_AHEAD_MS, "attestation document is from the future")
    has_nonce = said["nonce"] is not None
    ensure(has_nonce, "attestation document has no nonce, so it may be of any request")
    is_ours = said["nonce"] == nonce
    ensure(is_ours, "attestation document is replayed: it has the nonce of another request")
    differences = [_difference(image, pcrs) for image in images]
    if None not in differences:
        several = f"enclave runs another image: its pcrs are those of none of {len(images)}"
        raise Doubt(differences[0] if len(images) == 1 else several)
    ensure(
        said["public_key"] is not None,
        "attestation document is bound to no tls key: tls of this connection does not end in the enclave",
    )
    ensure(
        said["public_key"] == spki,
        "attestation document is for another tls key: another server relays it, and reads along",
    )
    ensure(
        said["user_data"] == hashlib.sha256(spki).digest(),
        "attestation document is not the endpoint's: its user data is not the digest of the tls key",
    )
    return said, differences.index(None)


def _difference(image, pcrs):
    for index, expected in sorted(image.items()):
        if index not in pcrs:
            return f"pcr{index} is missing"
        if pcrs[index] != expected:
            return f"enclave runs another image: pcr{index} is not the expected one"
    return None


# --- Connections --------------------------------------------------------------------------------------------------


def _context():
    # Which authority made the certificate says nothing here: the caller judges the key.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = TimedSocket
    return context


def _left_s(ends_at_s):
    left_s = ends_at_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _tcp(host, port, ends_at_s):
    """Connects to the first address that answers; how long a name takes is the resolver's to limit."""
    refused = OSError("the name has no address")
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection(address[:2], _left_s(ends_at_s))
        except OSError as error:
            refused = error
    raise refused


class TimedSocket(ssl.SSLSocket):
    """TLS on which no call goes on after `ends_at_s` of time.monotonic(), which is to be set."""

    def recv_into(self, *arguments):
        self.settimeout(_left_s(self.ends_at_s))
        return super().recv_into(*arguments)

    def send(self, *arguments):
        self.settimeout(_left_s(self.ends_at_s))
        return super().send(*arguments)


class PinnedConnection(http.client.HTTPSConnection):
    """A connection whose other end holds the key `spki`; any key with None. From a request's beginning to its answer's
    end it takes `time_limit_s` at most, or raises TimeoutError.
    """

    def __init__(self, host, port, spki, time_limit_s):
        self._tls = _context()
        super().__init__(host, port, context=self._tls)
        self.spki = spki
        self.time_limit_s = time_limit_s

    def putrequest(self, *arguments, **options):
        # With this every request begins.
        if self.sock is not None:
            self.sock.ends_at_s = time.monotonic() + self.time_limit_s
        super().putrequest(*arguments, **options)

    def connect(self):
        # http.client writes a request after this, and not before.
        ends_at_s = time.monotonic() + self.time_limit_s
        tcp = _tcp(self.host, self.port, ends_at_s)
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A handshake as a whole takes no longer than this.
            tcp.settimeout(_left_s(ends_at_s))
            self.sock = self._tls.wrap_socket(tcp, server_hostname=self.host)
        except BaseException:
            tcp.close()
            raise
        self.sock.ends_at_s = ends_at_s
        try:
            presented = _spki(self.sock.getpeercert(binary_form=True))
            is_attested = self.spki is None or presented == self.spki
            ensure(is_attested, "tls key is not the attested one: attest again")
        except BaseException:
            self.close()
            raise
        self.spki = presented


def _spki(certificate):
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:
        raise Doubt("tls certificate cannot be read") from error


class AttestedSigner:
    """A signer that was attested, by the key of its TLS."""

    def __init__(self, connection, said, image):
        self._address = connection.host, connection.port
        self._time_limit_s = connection.time_limit_s
        self.spki = connection.spki
        self.module_id = said["module_id"]
        self.pcrs = said["pcrs"]
        #: Which of the expected images it runs.
        self.image = image

    def connection(self):
        """A new connection to it, and to nobody else."""
        return PinnedConnection(*self._address, self.spki, self._time_limit_s)


def attest(url, images, root_pem=AWS_ROOT_PEM, time_limit_s=TIME_LIMIT_S):
    """The signer at `url`, if it is an enclave that runs one of the images. Raises Doubt or Unreachable, after
    `time_limit_s` at the latest; ValueError for what is no URL.
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("not the URL of a signer")
    ensure(
        parts.scheme == "https",
        "no tls: without it the document proves that such an enclave exists, not that you talk to it",
    )
    nonce = secrets.token_bytes(32)
    connection = PinnedConnection(parts.hostname, parts.port or 443, None, time_limit_s)
    try:
        connection.request("GET", f"/.well-known/attestation?nonce={nonce.hex()}")
        answer = connection.getresponse()
        reply = answer.read(MAX_REPLY_BYTES + 1)
    except TimeoutError as error:
        raise Unreachable("the answer did not come in time") from error
    except OSError as error:
        raise Unreachable(error) from error
    except http.client.HTTPException as error:
        # What it repeats of the answer could steer a terminal.
        raise Unreachable("the answer is not http") from error
    finally:
        connection.close()
    if answer.status in (429, 502, 503):
        raise Unreachable(f"no attestation document now: status {answer.status}")
    ensure(answer.status == 200, f"no attestation document: status {answer.status}")
    said, image = verify_reply(reply, nonce, connection.spki, images, root_pem)
    return AttestedSigner(connection, said, image)


# --- The command line ---------------------------------------------------------------------------------------------


def main(words):
    url, images, root_pem, time_limit_s = None, [], AWS_ROOT_PEM, TIME_LIMIT_S
    exposures = []
    sources = {
        "--nitro-toml": (exposures_in, pcrs_from_nitro_toml),
        "--measurements": (exposures_in_measurements, pcrs_from_measurements),
    }
    try:
        words = iter(words)
        for word in words:
            if word in sources:
                exposures_of, pcrs_of = sources[word]
                text = Path(next(words, "")).read_text()
                exposures.append(exposures_of(text))
                # They are reported below, if it is this image that runs.
                images.append(pcrs_of(text, EXPOSURES))
            elif word == "--root":
                root_pem = Path(next(words, "")).read_text()
            elif word == "--time-limit-s":
                seconds = next(words, "")
                if not re.fullmatch(r"[1-9]\d{0,3}", seconds, re.ASCII):
                    raise ValueError("--time-limit-s takes whole seconds")
                time_limit_s = int(seconds)
            elif word.startswith("-") or url:
                raise ValueError(f"{word} is not understood")
            else:
                url = word
        if not url or not images:
            raise ValueError("a URL is needed, and an image to expect: --nitro-toml FILE or --measurements FILE")
    except (ValueError, OSError) as error:
        print(f"attested_client: {error}", file=sys.stderr)
        return 64
    try:
        signer = attest(url, images, root_pem, time_limit_s)
    except ValueError as error:
        print(f"attested_client: {error}", file=sys.stderr)
        return 64
    except Doubt as doubt:
        print(f"attested_client: {doubt}", file=sys.stderr)
        return 1
    except Unreachable as error:
        print(f"attested_client: {error}", file=sys.stderr)
        return 69
    limits = [f"{setting}: {EXPOSURES[setting]}" for setting in exposures[signer.image]]
    if root_pem != AWS_ROOT_PEM:
        limits.insert(0, "another root than AWS's: anybody with its key can make such a document")
    for limit in limits:
        print(f"limited: {limit}")
    if limits:
        return 0
    print(f"attested: {signer.module_id} runs image {signer.image + 1} of {len(images)}, and ends this TLS")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
