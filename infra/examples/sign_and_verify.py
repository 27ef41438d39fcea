#!/usr/bin/env python3
"""Makes a key, signs with it, verifies the signature, and sees a replay refused.

Needs Python's standard library and three environment variables: ENCLAVE_BASE_URL, INTERNAL_API_KEY and
TICKET_SIGNING_SECRET. `infra/dev-up.sh` prints them for the signer that it starts. The key is destroyed at the end.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
import uuid

sys.dont_write_bytecode = True  # Leaves the checkout as it is.
from bip340 import verify  # noqa: E402


def setting(name):
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set; ./infra/dev-up.sh prints the lines that set it")
    return value


BASE_URL = setting("ENCLAVE_BASE_URL").rstrip("/")
API_KEY = setting("INTERNAL_API_KEY")
TICKET_SECRET = setting("TICKET_SIGNING_SECRET")


def post(path, body):
    """The status and the JSON of the answer."""
    headers = {"content-type": "application/json", "x-internal-api-key": API_KEY}
    request = urllib.request.Request(BASE_URL + path, json.dumps(body).encode(), headers)
    # Without the proxies of the environment: the signer is not reached through one.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as answer:
        return answer.code, json.load(answer)
    except urllib.error.URLError as error:
        sys.exit(f"{BASE_URL} cannot be reached: {error.reason}")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ticket(identity, digest):
    """Permission to sign `digest` once, within 90 seconds: a compact JWS, HS256."""
    header = {"alg": "HS256"}
    claims = {
        "scope": "sign",
        "identity_id": identity,
        "digest_hash": hashlib.sha256(digest).hexdigest(),
        "nonce": str(uuid.uuid4()),
        "exp": int(time.time()) + 90,
    }
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    mac = hmac.new(TICKET_SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(mac)}"


def expect(step, is_so, found):
    print(f"{'ok' if is_so else 'FAILED'}: {step}: {found}")
    if not is_so:
        sys.exit(1)


identity = str(uuid.uuid4())
status, answer = post("/internal/generate", {"identity_id": identity, "alg": "secp256k1"})
expect("generate", status == 201, answer)
public_key = bytes.fromhex(answer["public_key"])

digest = secrets.token_bytes(32)
order = {"identity_id": identity, "digest": digest.hex(), "ticket": ticket(identity, digest)}
status, answer = post("/internal/sign", order)
expect("sign", status == 200, answer)
signature = bytes.fromhex(answer["signature"])

expect("the signature verifies (BIP-340)", verify(public_key, digest, signature), "yes")
other = bytes([digest[0] ^ 1]) + digest[1:]
expect("it does not verify for another digest", not verify(public_key, other, signature), "no")

status, answer = post("/internal/sign", order)
expect("the same ticket again is refused", status == 409, f"{status} {answer}")

status, answer = post("/internal/destroy", {"identity_id": identity})
expect("destroy", status == 200, answer)
