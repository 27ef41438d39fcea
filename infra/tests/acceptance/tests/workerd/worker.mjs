// The API's client as a Cloudflare Worker: fetch and WebCrypto, no packages.
//
// A request {"identity_id", "digest"} generates a key and signs the digest. The answer is
// {"public_key", "signature"}, or 502 with the error.

const TICKET_LIFETIME_S = 90;
// Without it, Cloudflare waits 19 s for a connection that nobody answers.
const SIGNER_TIMEOUT_MS = 10_000;

const utf8 = new TextEncoder();

export default {
  async fetch(request, env) {
    const { identity_id, digest } = await request.json();
    try {
      const { public_key } = await call(env, "/internal/generate", {
        identity_id,
        alg: "secp256k1",
      });
      const ticket = await ticketFor(env.TICKET_SIGNING_SECRET, identity_id, digest);
      const { signature } = await call(env, "/internal/sign", { identity_id, digest, ticket });
      return Response.json({ public_key, signature });
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 502 });
    }
  },
};

async function call(env, path, body) {
  const response = await fetch(`${env.ENCLAVE_BASE_URL}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-internal-api-key": env.INTERNAL_API_KEY,
      "api-key": "an extra header, which is ignored",
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(SIGNER_TIMEOUT_MS),
  });
  // Text first: an error of Cloudflare's own is not JSON.
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

async function ticketFor(secret, identity_id, digest) {
  const digestBytes = Uint8Array.from(digest.match(/../g), (pair) => parseInt(pair, 16));
  const digestHash = new Uint8Array(await crypto.subtle.digest("SHA-256", digestBytes));
  const now_s = Math.floor(Date.now() / 1000);
  const claims = {
    sub: "user",
    scope: "sign",
    identity_id,
    digest_hash: Array.from(digestHash, (byte) => byte.toString(16).padStart(2, "0")).join(""),
    nonce: crypto.randomUUID(),
    iat: now_s,
    exp: now_s + TICKET_LIFETIME_S,
  };
  const parts = [{ alg: "HS256", typ: "JWT" }, claims];
  const input = parts.map((part) => base64url(utf8.encode(JSON.stringify(part)))).join(".");
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", utf8.encode(secret), hmac, false, ["sign"]);
  const mac = await crypto.subtle.sign("HMAC", key, utf8.encode(input));
  return `${input}.${base64url(new Uint8Array(mac))}`;
}

function base64url(bytes) {
  const base64 = btoa(String.fromCharCode(...bytes));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
