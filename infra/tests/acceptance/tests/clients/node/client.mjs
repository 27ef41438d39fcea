// The API's client as it would be written in Node: fetch, jose for tickets, noble for signatures.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { schnorr } from "@noble/curves/secp256k1.js";
import { SignJWT } from "jose";

const base = process.env.ENCLAVE_BASE_URL;
const apiKey = process.env.INTERNAL_API_KEY;
const ticketSecret = new TextEncoder().encode(process.env.TICKET_SIGNING_SECRET);

async function call(path, body) {
  const response = await fetch(`${base}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-internal-api-key": apiKey,
      "api-key": "an extra header, which is ignored",
    },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

async function mustCall(path, body, status = 200) {
  const answer = await call(path, body);
  assert.equal(answer.status, status, `${path}: ${JSON.stringify(answer)}`);
  return answer.body;
}

function ticketFor(identityId, digest) {
  return new SignJWT({
    scope: "sign",
    identity_id: identityId,
    digest_hash: createHash("sha256").update(digest).digest("hex"),
    nonce: randomUUID(),
  })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject("user")
    .setIssuedAt()
    .setExpirationTime("90s")
    .sign(ticketSecret);
}

function verify(signature, digest, publicKey) {
  const hex = (text) => new Uint8Array(Buffer.from(text, "hex"));
  return schnorr.verify(hex(signature), new Uint8Array(digest), hex(publicKey.slice(2)));
}

const health = await fetch(`${base}/health`);
assert.equal(health.status, 200);
assert.equal(health.headers.get("content-type"), "application/json; charset=utf-8");
assert.equal(health.headers.get("cache-control"), "no-store");
assert.deepEqual(await health.json(), { ok: true, service: "nitro-enclave" });
console.log("health");

const identity = randomUUID();
const generated = await mustCall(
  "/internal/generate",
  { identity_id: identity, alg: "secp256k1" },
  201,
);
assert.match(generated.public_key, /^0[23][0-9a-f]{64}$/);
console.log("generate");

const digest = randomBytes(32);
const request = {
  identity_id: identity,
  digest: digest.toString("hex"),
  ticket: await ticketFor(identity, digest),
};
const { signature } = await mustCall("/internal/sign", request);
assert.match(signature, /^[0-9a-f]{128}$/);
assert.ok(verify(signature, digest, generated.public_key), "the signature does not verify");
assert.ok(!verify(signature, randomBytes(32), generated.public_key), "noble verifies anything");
console.log("sign, verify");

const replay = await call("/internal/sign", request);
assert.deepEqual(replay, {
  status: 409,
  body: { error: "Replay detected for ticket nonce" },
});
console.log("replay");

const { alg, sealed_key: sealedKey } = await mustCall("/internal/backup/export", {
  identity_id: identity,
});
assert.equal(alg, "secp256k1");
assert.deepEqual(await mustCall("/internal/destroy", { identity_id: identity }), { ok: true });
console.log("export, destroy");

const another = randomBytes(32);
const waiting = {
  identity_id: identity,
  digest: `0x${another.toString("hex")}`,
  ticket: await ticketFor(identity, another),
};
const missing = await call("/internal/sign", waiting);
assert.deepEqual(missing, { status: 404, body: { error: "Identity key not found" } });
console.log("sign without a key");

// The store keeps the backup as a JSON string at times; the API strips one pair of quotes.
const stored = JSON.stringify(sealedKey);
const stripped = stored.startsWith('"') && stored.endsWith('"') ? stored.slice(1, -1) : stored;
assert.deepEqual(
  await mustCall("/internal/backup/import", {
    identity_id: identity,
    alg: "secp256k1",
    sealed_key: stripped,
  }),
  { ok: true },
);
const retried = await mustCall("/internal/sign", waiting);
assert.ok(verify(retried.signature, another, generated.public_key), "the retry does not verify");
console.log("import, the same ticket again");

const tampered = await call("/internal/backup/import", {
  identity_id: randomUUID(),
  alg: "secp256k1",
  sealed_key: "aaaa:bbbb:cccc",
});
assert.deepEqual(tampered, { status: 500, body: { error: "Unable to open sealed key" } });
const invalid = await call("/internal/generate", { identity_id: "x" });
assert.equal(invalid.status, 400);
assert.deepEqual(invalid.body.details.fieldErrors, {
  identity_id: ["Invalid UUID"],
  alg: ['Invalid input: expected "secp256k1"'],
});
console.log("errors");
console.log("all steps passed");
