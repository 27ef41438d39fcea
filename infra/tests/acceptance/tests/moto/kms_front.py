"""AWS KMS as others wrote it: botocore checks how requests are signed, moto does what they ask, and for an enclave
cbor2 and cryptography read its attestation document and openssl encrypts the answer to the key in it.

    enclave ─▶ TLS as kms.REGION.amazonaws.com ─▶ botocore's SigV4 ─▶ moto ─▶ openssl cms ─▶ enclave

A metadata service hands out the credentials, and a control port does what the test says. usage: kms_front.py FOLDER
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The test does not use the user's own configuration.
for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
    del os.environ[name]
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull

import boto3
import cbor2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
HOST = f"kms.{REGION}.amazonaws.com"
ROLE = "nitro-signer-instance"
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
FOLDER = sys.argv[1]

# What AWS allows between the time of a signature, or of an attestation document, and its own.
MAX_SKEW_S = 300

# RFC 9053: ECDSA with SHA-384, in the header member `alg`.
ES384 = {1: -35}


class Refused(Exception):
    """An answer of our own, before moto is asked."""

    def __init__(self, kind, reason):
        super().__init__(reason)
        self.kind = kind


class State:
    """What all connections share."""

    def __init__(self):
        self.calls = []
        # As long as AWS's, and with the characters that a careless client would escape.
        self.credentials = Credentials(
            access_key="ASIA" + secrets.token_hex(8).upper(),
            secret_key=secrets.token_hex(19) + "+/",
            token=base64.b64encode(secrets.token_bytes(700)).decode() + "+/=",
        )
        self.secret_handed_out = self.credentials.secret_key
        self.metadata_token = secrets.token_urlsafe(42)


state = State()
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def check_signature(path, headers, body):
    """Signs the request again, with botocore, and compares."""
    if headers.get("host") != HOST:
        raise Refused("UnknownOperationException", f"host {headers.get('host')}")
    parts = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/,]+)/([^,]+), SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        headers.get("authorization", ""),
    )
    if not parts:
        raise Refused("IncompleteSignatureException", headers.get("authorization", "no authorization"))
    access_key, scope, names, signature = parts.groups()
    token = headers.get("x-amz-security-token", "")
    if access_key != state.credentials.access_key or token != state.credentials.token:
        raise Refused("UnrecognizedClientException", "the access key or its token is unknown")
    names = names.split(";")
    has_to_be_signed = {"host", "x-amz-date", "content-type", *filter(lambda n: n.startswith("x-amz-"), headers)}
    if unsigned := has_to_be_signed - set(names):
        raise Refused("IncompleteSignatureException", f"not signed: {unsigned}")
    signed_at = headers["x-amz-date"]
    time = datetime.datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs((now() - time).total_seconds()) > MAX_SKEW_S:
        raise Refused("InvalidSignatureException", f"signed at {signed_at}")
    # Where it is there, botocore believes it.
    if headers.get("x-amz-content-sha256", digest := hashlib.sha256(body).hexdigest()) != digest:
        raise Refused("InvalidSignatureException", "x-amz-content-sha256 is of another body")

    request = AWSRequest("POST", f"https://{HOST}{path}", {name: headers.get(name, "") for name in names}, body)
    request.context["timestamp"] = signed_at
    signer = SigV4Auth(state.credentials, "kms", REGION)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if scope != signer.credential_scope(request) or not hmac.compare_digest(signature, expected):
        raise Refused("InvalidSignatureException", f"not what botocore signs in {signer.credential_scope(request)}")


def attested_public_key(document):
    """The public key in an attestation document, whose signature and chain are good."""
    document = cbor2.loads(document)
    protected, _, payload, signature = document.value if isinstance(document, cbor2.CBORTag) else document
    if cbor2.loads(protected) != ES384 or len(signature) != 96:
        raise ValueError("the document is not signed with ES384")
    attested = cbor2.loads(payload)
    leaf = x509.load_der_x509_certificate(attested["certificate"])
    chain = [*map(x509.load_der_x509_certificate, attested["cabundle"]), leaf]
    with open(f"{FOLDER}/nsm/root.pem", "rb") as root:
        if chain[0] != x509.load_pem_x509_certificate(root.read()):
            raise ValueError("the chain starts at another root")
    for issuer, certificate in zip(chain, chain[1:]):
        certificate.verify_directly_issued_by(issuer)
    for certificate in chain:
        if not certificate.not_valid_before_utc <= now() <= certificate.not_valid_after_utc:
            raise ValueError("a certificate is not valid now")
    if not isinstance(leaf.public_key().curve, ec.SECP384R1):
        raise ValueError("the key of the document's signature is not on P-384")
    r, s = (int.from_bytes(half) for half in (signature[:48], signature[48:]))
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    leaf.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    age_s = now().timestamp() - attested["timestamp"] / 1000
    if attested["digest"] != "SHA384" or not -1 < age_s < MAX_SKEW_S:
        raise ValueError(f"digest {attested['digest']}, {age_s} s old")
    return attested["public_key"]


def recipient_public_key(recipient):
    if recipient["KeyEncryptionAlgorithm"] != "RSAES_OAEP_SHA_256":
        raise Refused("ValidationException", f"KeyEncryptionAlgorithm {recipient['KeyEncryptionAlgorithm']}")
    try:
        return attested_public_key(base64.b64decode(recipient["AttestationDocument"], validate=True))
    except (InvalidSignature, ValueError, TypeError, KeyError) as error:
        raise Refused("ValidationException", f"AttestationDocument: {error!r}") from error


def certificate_for(name, public_key, issuer_name, issuer_key, *extensions):
    builder = x509.CertificateBuilder()
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
    builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now() - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now() + datetime.timedelta(days=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def ciphertext_for(public_key_der, plaintext):
    """What openssl makes of `plaintext`. It wants a certificate, so the key gets one, which names it as KMS does."""
    throw_away = ec.generate_private_key(ec.SECP256R1())
    name = x509.SubjectKeyIdentifier(hashlib.sha256(public_key_der).digest())
    public_key = serialization.load_der_public_key(public_key_der)
    with tempfile.NamedTemporaryFile(dir=FOLDER, suffix=".pem") as certificate:
        certificate.write(certificate_for("recipient", public_key, "nobody", throw_away, (name, False)))
        certificate.flush()
        command = ["openssl", "cms", "-encrypt", "-binary", "-stream", "-outform", "DER", "-aes-256-cbc", "-keyid"]
        command += ["-recip", certificate.name, "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"]
        return subprocess.run(command, input=plaintext, stdout=subprocess.PIPE, check=True).stdout


def ask_moto(path, headers, body):
    """Sends moto the request as it came."""
    connection = http.client.HTTPConnection(*moto.get_host_and_port(), timeout=5)
    try:
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def call(path, headers, body):
    """Answers a call to KMS, and remembers it."""
    operation = headers.get("x-amz-target", "?").removeprefix("TrentService.")
    record = {"operation": operation, "answer": "none"}
    try:
        check_signature(path, headers, body)
        parameters = json.loads(body)
        record["context"] = parameters.get("EncryptionContext", {})
        recipient = parameters.get("Recipient")
        public_key = recipient and recipient_public_key(recipient)
        status, answer = ask_moto(path, headers, body)
        if status != 200:
            record["answer"] = json.loads(answer)["__type"]
            return status, answer
        record["answer"] = "good"
        if public_key:
            answer = json.loads(answer)
            plaintext = base64.b64decode(answer.pop("Plaintext"))
            answer["CiphertextForRecipient"] = base64.b64encode(ciphertext_for(public_key, plaintext)).decode()
            record["encrypted_to"] = hashlib.sha256(public_key).hexdigest()
            answer = json.dumps(answer).encode()
        return status, answer
    except Refused as refused:
        record["answer"] = refused.kind
        return 400, json.dumps({"__type": refused.kind, "message": f"kms_front: {refused}"}).encode()
    finally:
        state.calls.append(record)


def administrator():
    """A client of moto's, made by boto3."""
    host, port = moto.get_host_and_port()
    return boto3.session.Session().client(
        "kms",
        region_name=REGION,
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="administrator",
        aws_secret_access_key="unused",
        config=Config(proxies={}),
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Says nothing: the test asks for the calls."""

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def reply(self, status, body, content_type="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class KmsHandler(Handler):
    def do_POST(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = call(self.path, headers, self.body())
        self.reply(status, answer, "application/x-amz-json-1.1")


class MetadataHandler(Handler):
    def do_PUT(self):
        is_token = self.path == "/latest/api/token" and "x-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self.reply(200 if is_token else 400, state.metadata_token.encode() if is_token else b"", "text/plain")

    def do_GET(self):
        if self.headers.get("x-aws-ec2-metadata-token") != state.metadata_token:
            self.reply(401, b"", "text/plain")
        elif self.path == ROLES_PATH:
            self.reply(200, ROLE.encode(), "text/plain")
        elif self.path == ROLES_PATH + ROLE:
            document = {
                "Code": "Success",
                "LastUpdated": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Type": "AWS-HMAC",
                "AccessKeyId": state.credentials.access_key,
                "SecretAccessKey": state.secret_handed_out,
                "Token": state.credentials.token,
                "Expiration": (now() + datetime.timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.reply(200, json.dumps(document).encode(), "text/plain")
        else:
            self.reply(404, b"", "text/plain")


class ControlHandler(Handler):
    def do_GET(self):
        self.reply(200, json.dumps({"calls": state.calls}).encode())

    def do_DELETE(self):
        state.calls.clear()
        self.reply(200, b"{}")

    def do_POST(self):
        told = json.loads(self.body())
        if self.path == "/encrypt":
            plaintext = base64.b64decode(told["plaintext"])
            sealed = administrator().encrypt(
                KeyId=told["key"], EncryptionContext=told["context"], Plaintext=plaintext
            )
            blob = base64.b64encode(sealed["CiphertextBlob"]).decode()
            self.reply(200, json.dumps({"ciphertext_blob": blob}).encode())
        elif self.path == "/hand-out-another-secret":
            state.secret_handed_out = secrets.token_hex(20)
            self.reply(200, b"{}")
        else:
            self.reply(404, b"{}")


class TlsServer(ThreadingHTTPServer):
    def __init__(self, address, handler, context):
        super().__init__(address, handler)
        self.context = context

    def finish_request(self, request, client_address):
        """Here, and not where connections are accepted: nobody waits for the handshake of another."""
        with self.context.wrap_socket(request, server_side=True) as stream:
            super().finish_request(stream, client_address)


def tls_context():
    """Of a server that has the name of KMS, by an authority whose certificate the test finds in the folder."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = "kms_front authority"
    is_authority = (x509.BasicConstraints(ca=True, path_length=0), True)
    names = (x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    with open(f"{FOLDER}/kms-ca.pem", "wb") as file:
        file.write(certificate_for(authority, authority_key.public_key(), authority, authority_key, is_authority))
    chain = f"{FOLDER}/kms-server.pem"
    with open(chain, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        file.write(certificate_for(HOST, key.public_key(), authority, authority_key, names, usage))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def main():
    moto.start()
    loopback = ("127.0.0.1", 0)
    servers = {
        "kms": TlsServer(loopback, KmsHandler, tls_context()),
        "imds": ThreadingHTTPServer(loopback, MetadataHandler),
        "control": ThreadingHTTPServer(loopback, ControlHandler),
    }
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = {name: "{}:{}".format(*server.server_address) for name, server in servers.items()}
    ready["keys"] = [administrator().create_key()["KeyMetadata"]["Arn"] for _ in range(3)]
    print("kms_front: ready", json.dumps(ready), flush=True)
    threading.Event().wait()


main()
