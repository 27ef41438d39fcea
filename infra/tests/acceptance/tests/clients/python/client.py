"""The API's client as it would be written in Python: httpx, PyJWT, and libsecp256k1 by coincurve."""

import hashlib
import json
import os
import re
import secrets
import time
import uuid

import httpx
import jwt
from coincurve import PublicKeyXOnly

TICKET_SECRET = os.environ["TICKET_SIGNING_SECRET"]
CLIENT = httpx.Client(
    base_url=os.environ["ENCLAVE_BASE_URL"],
    headers={"x-internal-api-key": os.environ["INTERNAL_API_KEY"]},
    trust_env=False,
)


def call(path, body):
    answer = CLIENT.post(path, json=body)
    return answer.status_code, answer.json()


def must_call(path, body, status=200):
    answer = call(path, body)
    assert answer[0] == status, (path, answer)
    return answer[1]


def ticket_for(identity_id, digest):
    claims = {
        "scope": "sign",
        "identity_id": identity_id,
        "digest_hash": hashlib.sha256(digest).hexdigest(),
        "nonce": str(uuid.uuid4()),
        "iat": time.time(),
        "exp": time.time() + 90,
    }
    return jwt.encode(claims, TICKET_SECRET, algorithm="HS256")


def verify(signature, digest, public_key):
    key = PublicKeyXOnly(bytes.fromhex(public_key[2:]))
    return key.verify(bytes.fromhex(signature), digest)


def main():
    health = CLIENT.get("/health")
    assert health.status_code == 200
    assert health.headers["content-type"] == "application/json; charset=utf-8"
    assert health.headers["cache-control"] == "no-store"
    assert health.json() == {"ok": True, "service": "nitro-enclave"}
    print("health")

    identity = str(uuid.uuid4())
    new = {"identity_id": identity, "alg": "secp256k1"}
    public_key = must_call("/internal/generate", new, 201)["public_key"]
    assert re.fullmatch("0[23][0-9a-f]{64}", public_key)
    print("generate")

    digest = secrets.token_bytes(32)
    request = {
        "identity_id": identity,
        "digest": digest.hex(),
        "ticket": ticket_for(identity, digest),
    }
    signature = must_call("/internal/sign", request)["signature"]
    assert re.fullmatch("[0-9a-f]{128}", signature)
    assert verify(signature, digest, public_key), "the signature does not verify"
    assert not verify(signature, secrets.token_bytes(32), public_key), "coincurve verifies anything"
    print("sign, verify")

    replay = call("/internal/sign", request)
    assert replay == (409, {"error": "Replay detected for ticket nonce"}), replay
    print("replay")

    backup = must_call("/internal/backup/export", {"identity_id": identity})
    assert backup["alg"] == "secp256k1"
    assert must_call("/internal/destroy", {"identity_id": identity}) == {"ok": True}
    print("export, destroy")

    another = secrets.token_bytes(32)
    waiting = {
        "identity_id": identity,
        "digest": "0x" + another.hex(),
        "ticket": ticket_for(identity, another),
    }
    missing = call("/internal/sign", waiting)
    assert missing == (404, {"error": "Identity key not found"}), missing
    print("sign without a key")

    # The store keeps the backup as a JSON string at times; the API strips one pair of quotes.
    stored = json.dumps(backup["sealed_key"])
    if stored.startswith('"') and stored.endswith('"'):
        stored = stored[1:-1]
    restored = must_call("/internal/backup/import", {**new, "sealed_key": stored})
    assert restored == {"ok": True}
    retried = must_call("/internal/sign", waiting)["signature"]
    assert verify(retried, another, public_key), "the retry does not verify"
    print("import, the same ticket again")

    other = {"identity_id": str(uuid.uuid4()), "alg": "secp256k1", "sealed_key": "aaaa:bbbb:cccc"}
    tampered = call("/internal/backup/import", other)
    assert tampered == (500, {"error": "Unable to open sealed key"}), tampered
    invalid = call("/internal/generate", {"identity_id": "x"})
    assert invalid[0] == 400, invalid
    assert invalid[1]["details"]["fieldErrors"] == {
        "identity_id": ["Invalid UUID"],
        "alg": ['Invalid input: expected "secp256k1"'],
    }, invalid
    print("errors")
    print("all steps passed")


main()
