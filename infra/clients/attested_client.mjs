#!/usr/bin/env node
// Talks to a signer only if it is the expected enclave. Node.js 20 or later, without packages.
//
//   import { attestedAgent, pcrsFromNitroToml } from './attested_client.mjs'
//
//   const pcrs = pcrsFromNitroToml(await readFile('nitro.toml', 'utf8'))
//   const { agent } = await attestedAgent({ url: process.env.ENCLAVE_BASE_URL, pcrs })
//   https.request(`${url}/internal/sign`, { agent, method: 'POST', ... })
//
// attestedAgent connects, takes any certificate, asks on that connection for a document with a fresh nonce, and checks
// the document: certificates up to AWS's root, signature, no debug mode, age, nonce, PCRs, and that it is for the key
// of this connection's certificate. What it gives is an https.Agent each of whose connections has that key, or fails
// before a byte of a request is written. For fetch, give `connect` to an Agent of undici:
//
//   const dispatcher = new undici.Agent({ connect: (await attestedAgent({ url, pcrs })).connect })
//   await fetch(`${url}/internal/sign`, { dispatcher, method: 'POST', ... })
//
// When the enclave starts again with a self-signed certificate, it has another key: connections then fail with the doubt
// 'tls key is not the attested one', and the caller makes another agent.
//
// This file does not work in Cloudflare Workers: no API shows a Worker the certificate of the other end, so it cannot
// check the last point and does not see a relay. docs/calling-from-cloudflare-workers.md says what helps instead; the
// strongest is a service of your own between Worker and signer that uses this file.
//
// From the command line:
//
//   node attested_client.mjs https://signer.example.com:7001 --nitro-toml infra/nitro.toml [--time-limit-s 10]
//
// It prints `attested: …`, or `limited: …` for another root, and for each setting by which the image gives trust away.
// As a module it refuses such a file, unless the setting is accepted by name.
//
// Exit status: 0 it is the expected enclave, 1 there is a doubt, 64 wrong command line, 69 it does not answer.

import { createHash, randomBytes, verify as verifySignature, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import tls from 'node:tls'
import { pathToFileURL } from 'node:url'

// AWS's root of 2019 to 2049 for its commercial regions, from https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip
export const AWS_ROOT_PEM = `-----BEGIN CERTIFICATE-----
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
`
const AWS_ROOT_SHA256 = '641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b'

// For all of it: connecting, the handshake, the request and the whole answer. With one for each read, an
// attacker in between could drip bytes without end.
const TIME_LIMIT_MS = 10_000
// A document of 16 KiB is 21,848 characters of base64.
const MAX_REPLY_BYTES = 24 * 1024
const MAX_DOCUMENT_BYTES = 16 * 1024
// Longest text with measurements, as signerctl takes it.
const MAX_MEASUREMENTS_BYTES = 64 * 1024
const MAX_AGE_MS = 300_000
const MAX_AHEAD_MS = 60_000
const WEEK_MS = 7 * 24 * 3_600_000
const CHECK_CLOCK = 'check the clock of this machine'
const PCR_BYTES = 48
// The root's place and six CAs; AWS's documents have four.
const MAX_ISSUERS = 7
// Deepest nesting of a document: a map in a map.
const MAX_DEPTH = 4

/** A reason not to trust who answered. */
export class Doubt extends Error {
  name = 'Doubt'
}

/** There is no answer. */
export class Unreachable extends Error {
  name = 'Unreachable'
}

function ensure(isSo, words) {
  if (!isSo) throw new Doubt(words)
}

// --- What is expected -------------------------------------------------------------------------------------------

// Settings by which an image gives away what its attestation stands for, with what that is. As signerctl knows them.
const EXPOSURES = {
  'kms.trust_anchors': 'anybody with a key of these authorities can pass for KMS, choose the ticket secret, ' +
    'and open new backups',
  'acme.trust_anchors': 'anybody with a key of these authorities can pass for the ACME server',
  'secrets.ticket_signing_secret': 'is not "kms": root on the parent instance knows the ticket secret, and ' +
    'signs with every key',
  'tls.mode': 'the tls key is made outside: anybody with a copy passes for the enclave',
}

/**
 * The keys of the settings in a nitro.toml that give trust away. It reads no TOML: it takes for such a setting whatever
 * looks like one outside of comments.
 */
export function exposuresIn(text) {
  const lines = text.split(/\r?\n/).filter((line) => !/^[ \t]*#/.test(line))
  const hasEscape = lines.some((line) => /\\u/i.test(line))
  if (hasEscape) throw new TypeError('nitro.toml has an escape, which could hide a setting')
  const found = new Set()
  let table = ''
  for (const line of lines) {
    table = /^[ \t]*\[[ \t"']*(\w+)/.exec(line)?.[1] ?? table
    const setTo = (key) => new RegExp(`(?:^|[^\\w-])${key}["']?[ \\t]*=[ \\t]*(.*)`).exec(line)?.[1]
    if (line.includes('trust_anchors')) {
      found.add(table === 'acme' || line.includes('acme') ? 'acme.trust_anchors' : 'kms.trust_anchors')
    }
    if (!/^(["'])kms\1/.test(setTo('ticket_signing_secret') ?? '"kms"')) found.add('secrets.ticket_signing_secret')
    if (!/^(["'])(off|self-signed|acme)\1/.test(setTo('mode') ?? '"off"')) found.add('tls.mode')
  }
  return [...found]
}

/**
 * The registers under [pcr] of an operator's nitro.toml, as the build notes them. Throws a Doubt if the file has a
 * setting that is for tests and is not in `accept`, such as ['kms.trust_anchors'].
 */
export function pcrsFromNitroToml(text, { accept = [] } = {}) {
  if (text.length > MAX_MEASUREMENTS_BYTES) throw new TypeError('nitro.toml is too long')
  refuseGivenAway(exposuresIn(text), accept)
  // The build writes this table last, a register a line: no reader of TOML is needed for that.
  const table = text.split(/^\[pcr\][ \t]*\r?$/m)
  if (table.length !== 2) throw new TypeError('no measurements under one [pcr] of nitro.toml; building the image notes them')
  const pcrs = {}
  for (const line of table[1].split(/\r?\n/)) {
    if (/^[ \t]*(#.*)?$/.test(line)) continue
    const [, index, hex] = /^PCR(\d{1,2})[ \t]*=[ \t]*"([0-9a-fA-F]{96})"[ \t]*(?:#.*)?$/.exec(line) ?? []
    if (index === undefined || index in pcrs) throw new TypeError('[pcr] of nitro.toml has a line that is no register')
    pcrs[index] = hex
  }
  return checkedPcrs(pcrs)
}

function refuseGivenAway(settings, accept) {
  for (const setting of settings) {
    if (!Object.hasOwn(EXPOSURES, setting)) throw new TypeError('image has a setting for tests that is unknown here')
    const isAccepted = setting === 'tls.mode' || accept.includes(setting)
    ensure(isAccepted, `image gives trust away: ${setting}: ${EXPOSURES[setting]}`)
  }
}

/** The keys of the settings that give trust away, by what `signerctl eif build` printed. nitro-cli does not tell. */
export function exposuresInMeasurements(json) {
  const settings = JSON.parse(json)?.GivesAway ?? []
  if (!Array.isArray(settings)) throw new TypeError('not the json of an image\'s measurements')
  return settings
}

/**
 * The registers that `signerctl eif build` and `nitro-cli build-enclave` print. As pcrsFromNitroToml, with `accept`.
 */
export function pcrsFromMeasurements(json, { accept = [] } = {}) {
  if (json.length > MAX_MEASUREMENTS_BYTES) throw new TypeError('measurements are too long')
  refuseGivenAway(exposuresInMeasurements(json), accept)
  const measurements = JSON.parse(json)?.Measurements ?? {}
  const pcrs = {}
  for (const [name, value] of Object.entries(measurements)) {
    if (name === 'HashAlgorithm') continue
    const [, index] = /^PCR(\d{1,2})$/.exec(name) ?? []
    if (index === undefined) throw new TypeError('measurements have a member that is no register')
    pcrs[index] = value
  }
  return checkedPcrs(pcrs)
}

/** An image's registers, { 0: hex, 1: hex, 2: hex }, if they say what runs. */
function checkedPcrs(pcrs) {
  const checked = new Map()
  for (const [index, hex] of Object.entries(pcrs)) {
    const isIndex = /^(0|[1-9]|[12]\d|3[01])$/.test(index)
    if (!isIndex || typeof hex !== 'string' || !/^[0-9a-fA-F]{96}$/.test(hex)) {
      throw new TypeError('a register is not 96 hex digits')
    }
    if (/^0+$/.test(hex)) throw new TypeError(`pcr${index} is all zeros, as in debug mode`)
    checked.set(Number(index), Buffer.from(hex, 'hex'))
  }
  // The rest of them are the same whatever runs, or leave a part of it out.
  if (!(checked.has(0) || (checked.has(1) && checked.has(2)) || checked.has(8))) {
    throw new TypeError('these registers do not identify a program: give pcr0, pcr1 with pcr2, or pcr8')
  }
  return Object.fromEntries([...checked].map(([index, value]) => [index, value.toString('hex')]))
}

// --- CBOR (RFC 8949): definite lengths in their shortest spelling, and no more than documents need ---------------

class Cbor {
  #bytes
  #at = 0

  constructor(bytes) {
    this.#bytes = bytes
  }

  static read(bytes) {
    const cbor = new Cbor(bytes)
    const value = cbor.value(0)
    if (cbor.#at !== bytes.length) throw new RangeError('something follows')
    return value
  }

  value(depth) {
    if (depth > MAX_DEPTH) throw new RangeError('too deep')
    const first = this.#take(1)[0]
    if (first === 0xf6) return null
    const [major, length] = [first >> 5, this.#length(first & 0x1f)]
    switch (major) {
      case 0:
        return length
      case 2:
        return this.#take(length)
      case 3:
        return new TextDecoder('utf-8', { fatal: true }).decode(this.#take(length))
      case 4:
        return this.#repeat(length, () => this.value(depth + 1))
      case 5: {
        const pairs = this.#repeat(length, () => [this.value(depth + 1), this.value(depth + 1)])
        const map = new Map(pairs)
        if (map.size !== pairs.length) throw new RangeError('a key occurs twice')
        return map
      }
      default:
        throw new RangeError('a kind that documents do not have')
    }
  }

  #length(short) {
    if (short < 24) return short
    const bytes = { 24: 1, 25: 2, 26: 4, 27: 8 }[short]
    if (bytes === undefined) throw new RangeError('an indefinite length')
    const value = this.#take(bytes).reduce((sum, byte) => sum * 256 + byte, 0)
    const smallest = { 1: 24, 2: 2 ** 8, 4: 2 ** 16, 8: 2 ** 32 }[bytes]
    if (value < smallest || !Number.isSafeInteger(value)) throw new RangeError('a number in another spelling')
    return value
  }

  #repeat(count, item) {
    // Each takes a byte at least.
    if (count > this.#bytes.length - this.#at) throw new RangeError('too short')
    return Array.from({ length: count }, item)
  }

  #take(count) {
    if (count > this.#bytes.length - this.#at) throw new RangeError('too short')
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }
}

// --- DER: what node:crypto does not tell of a certificate --------------------------------------------------------

/** The elements that `bytes` consist of: [{ tag, content, whole }]. */
function der(bytes) {
  const elements = []
  for (let at = 0; at < bytes.length; ) {
    const [tag, first] = [bytes[at], bytes[at + 1]]
    const long = first > 0x80 ? first - 0x80 : 0
    const head = 2 + long
    if (first === undefined || first === 0x80 || long > 2 || at + head > bytes.length) throw new RangeError('not der')
    const length = long === 0 ? first : bytes.subarray(at + 2, at + head).reduce((sum, byte) => sum * 256 + byte, 0)
    if (length < { 0: 0, 1: 0x80, 2: 0x100 }[long] || at + head + length > bytes.length) throw new RangeError('not der')
    const end = at + head + length
    elements.push({ tag, content: bytes.subarray(at + head, end), whole: bytes.subarray(at, end) })
    at = end
  }
  return elements
}

const OID_ECDSA_SHA384 = '2a8648ce3d040303'
const OID_KEY_USAGE = '551d0f'
const OID_BASIC_CONSTRAINTS = '551d13'

/** Its SubjectPublicKeyInfo as it stands there, the algorithm of its signature, key usage and basic constraints. */
function certificateFields(bytes) {
  const [{ content }] = der(bytes)
  const [body, algorithm] = der(content)
  const fields = der(body.content)
  // Version 3, or the fields are others.
  if (fields[0].whole.toString('hex') !== 'a003020102') throw new Error('not a certificate of version 3')
  const [{ content: signedWith }] = der(algorithm.content)
  const found = { spki: fields[6].whole, signedWith: signedWith.toString('hex'), keyUsage: 0, pathLength: undefined }
  const extensions = fields.find(({ tag }) => tag === 0xa3)
  for (const { content } of extensions ? der(der(extensions.content)[0].content) : []) {
    const parts = der(content)
    const [identifier, value] = [parts[0].content.toString('hex'), parts.at(-1).content]
    if (identifier === OID_KEY_USAGE) found.keyUsage = der(value)[0].content[1]
    if (identifier === OID_BASIC_CONSTRAINTS) {
      const length = der(der(value)[0].content).find(({ tag }) => tag === 0x02)
      if (length) found.pathLength = length.content[0]
    }
  }
  return found
}

// --- A document -------------------------------------------------------------------------------------------------

const EMULATOR_START = Buffer.from('8443a10120a0', 'hex')
const ES384 = Buffer.from('a1013822', 'hex')
const OPTIONAL = ['public_key', 'user_data', 'nonce']
const FIELDS = ['module_id', 'digest', 'timestamp', 'pcrs', 'certificate', 'cabundle', ...OPTIONAL]

/** What a document says, and the signature over it; who wrote it is another question. */
function parse(document) {
  ensure(document.length <= MAX_DOCUMENT_BYTES, 'reply is longer than any attestation document')
  const isEmulators = document.subarray(0, EMULATOR_START.length).equals(EMULATOR_START)
  ensure(!isEmulators, "attestation document is an emulator's, without a signature")
  let parts
  try {
    parts = Cbor.read(document[0] === 0xd2 ? document.subarray(1) : document)
  } catch {
    parts = []
  }
  const [header, unprotected, payload, signature] = Array.isArray(parts) ? parts : []
  const isSign1 =
    parts.length === 4 && [header, payload, signature].every(Buffer.isBuffer) && unprotected instanceof Map &&
    unprotected.size === 0 && signature.length === 96
  ensure(isSign1, 'attestation document is not a well-formed cose_sign1')
  ensure(header.equals(ES384), 'attestation document is not signed with es384')
  let map
  try {
    map = Cbor.read(payload)
  } catch {
    map = null
  }
  ensure(map instanceof Map, 'payload of the attestation document is malformed')
  ensure([...map.keys()].every((key) => FIELDS.includes(key)), 'attestation document has an unknown field')
  const said = Object.fromEntries(FIELDS.map((name) => [name, map.get(name) ?? null]))
  const isBytes = (value, least, most) => Buffer.isBuffer(value) && value.length >= least && value.length <= most
  const wellFormed = {
    module_id: typeof said.module_id === 'string' && said.module_id !== '',
    digest: said.digest === 'SHA384',
    timestamp: Number.isInteger(said.timestamp) && said.timestamp > 0,
    pcrs:
      said.pcrs instanceof Map && said.pcrs.size > 0 &&
      [...said.pcrs].every(([index, value]) => Number.isInteger(index) && index < 32 && isBytes(value, PCR_BYTES, PCR_BYTES)),
    certificate: isBytes(said.certificate, 1, 1024),
    cabundle:
      Array.isArray(said.cabundle) && said.cabundle.length > 0 && said.cabundle.length <= MAX_ISSUERS &&
      said.cabundle.every((issuer) => isBytes(issuer, 1, 1024)),
  }
  for (const name of OPTIONAL) wellFormed[name] = said[name] === null || isBytes(said[name], 0, 1024)
  for (const [name, isSo] of Object.entries(wellFormed)) ensure(isSo, `attestation document has an invalid field ${name}`)
  return { said, signed: { header, payload, signature } }
}

/** The leaf's key, once its certificates lead to the root. */
function leafKey(said, root, nowMs) {
  const p384 = (certificate) => certificate.publicKey.asymmetricKeyDetails?.namedCurve === 'secp384r1'
  const read = (bytes) => {
    try {
      const certificate = new X509Certificate(bytes)
      return { certificate, bytes, ...certificateFields(bytes), isP384: p384(certificate) }
    } catch {
      throw new Doubt('certificate in the attestation document is malformed')
    }
  }
  // What a document brings along for the root tells two doubts apart, and nothing else.
  const bringsRoot = said.cabundle[0].equals(root.raw)
  const path = [read(root.raw), ...said.cabundle.slice(1).map(read), read(said.certificate)]
  path.forEach(({ certificate, signedWith, isP384, keyUsage, pathLength }, place) => {
    const isLeaf = place === path.length - 1
    if (place > 0) {
      const issuer = path[place - 1].certificate
      const isIssued = certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
      if (place === 1 && !bringsRoot) ensure(isIssued, 'certificate path leads to another root than the pinned one')
      ensure(isIssued, 'certificate is not signed by its issuer')
      ensure(signedWith === OID_ECDSA_SHA384 && isP384, 'certificate is not signed with ecdsa p-384 and sha-384')
    }
    const endMs = Date.parse(certificate.validTo) + 999
    ensure(nowMs - endMs < WEEK_MS, 'certificate has expired')
    ensure(endMs >= nowMs, `certificate has expired less than a week ago; ${CHECK_CLOCK}`)
    const startMs = Date.parse(certificate.validFrom)
    ensure(startMs <= nowMs + MAX_AHEAD_MS, `certificate is not yet in force; ${CHECK_CLOCK}`)
    if (isLeaf) {
      ensure(!certificate.ca, 'leaf certificate is that of a ca')
      ensure(keyUsage & 0x80, 'leaf certificate is not for signatures')
    } else {
      ensure(certificate.ca && keyUsage & 0x04, 'certificate path has an issuer that may not sign certificates')
      const below = path.length - 2 - place
      ensure(pathLength === undefined || below <= pathLength, 'certificate path is longer than a ca in it allows')
    }
  })
  return path.at(-1).certificate.publicKey
}

function verifyCose({ header, payload, signature }, publicKey) {
  // Payloads of 24 bytes to 64 KiB, which documents are.
  const length = payload.length < 256 ? Buffer.from([0x58, payload.length]) : Buffer.from([0x59, payload.length >> 8, payload.length & 0xff])
  const signed = Buffer.concat([Buffer.from('846a5369676e617475726531', 'hex'), Buffer.from([0x40 | header.length]), header, Buffer.from([0x40]), length, payload])
  return verifySignature('sha384', signed, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
}

/**
 * Verifies the body of an answer to GET /.well-known/attestation?nonce=..., for the request's nonce, the DER
 * SubjectPublicKeyInfo in the certificate of the connection, and one or more images' registers. Throws a Doubt.
 */
export function verifyReply(reply, { nonce, spki, pcrs, rootPem = AWS_ROOT_PEM, nowMs = Date.now() }) {
  const images = [pcrs].flat().map((image) => checkedPcrs(image ?? {}))
  ensure(images.length > 0, 'no expectation given: an enclave is only as good as the image it runs')
  const root = new X509Certificate(rootPem)
  const isAwss = root.fingerprint256.replaceAll(':', '').toLowerCase() === AWS_ROOT_SHA256
  if (rootPem === AWS_ROOT_PEM && !isAwss) throw new TypeError('this file was changed: its root is not that of aws')

  ensure(reply.length <= MAX_REPLY_BYTES, 'reply is longer than any attestation document')
  let base64
  try {
    base64 = JSON.parse(reply.toString()).attestation_doc
  } catch {
    base64 = undefined
  }
  ensure(typeof base64 === 'string', 'reply is not the json of an attestation document')
  const document = Buffer.from(base64, 'base64')
  // Node reads past what is no base64.
  ensure(document.toString('base64') === base64, 'attestation document is not in base64')

  const { said, signed } = parse(document)
  ensure(verifyCose(signed, leafKey(said, root, nowMs)), 'signature of the attestation document is wrong')

  // Authentic from here on: the rest is whether it says what it has to.
  const pcr0 = said.pcrs.get(0)
  ensure(pcr0, 'pcr0 is missing')
  ensure(!pcr0.every((byte) => byte === 0), 'enclave is in debug mode: pcr0 is all zeros')
  ensure(said.timestamp >= nowMs - MAX_AGE_MS, 'attestation document is stale')
  ensure(said.timestamp <= nowMs + MAX_AHEAD_MS, 'attestation document is from the future')
  ensure(said.nonce, 'attestation document has no nonce, so it may be of any request')
  ensure(said.nonce.equals(nonce), 'attestation document is replayed: it has the nonce of another request')
  const differences = images.map((image) => {
    const differs = ([index, hex]) => said.pcrs.get(Number(index))?.toString('hex') !== hex
    const index = Object.entries(image).find(differs)?.[0]
    if (index === undefined) return null
    if (!said.pcrs.has(Number(index))) return `pcr${index} is missing`
    return `enclave runs another image: pcr${index} is not the expected one`
  })
  const words = `enclave runs another image: its pcrs are those of none of ${images.length}`
  ensure(differences.includes(null), differences.length === 1 ? differences[0] : words)
  ensure(said.public_key, 'attestation document is bound to no tls key: tls of this connection does not end in the enclave')
  ensure(said.public_key.equals(spki), 'attestation document is for another tls key: another server relays it, and reads along')
  ensure(
    said.user_data?.equals(createHash('sha256').update(spki).digest()),
    "attestation document is not the endpoint's: its user data is not the digest of the tls key",
  )
  return { moduleId: said.module_id, timestampMs: said.timestamp, pcrs: said.pcrs, image: differences.indexOf(null) }
}

// --- Connections ------------------------------------------------------------------------------------------------

/**
 * A TLS connection whose other end holds the key of the certificate that it shows, whatever that is: [socket, spki]. It
 * is there at `endsAtMs` of performance.now(), or fails.
 */
function connectToAnyone(host, port, endsAtMs) {
  return new Promise((resolve, reject) => {
    const isAddress = /^[\d.]+$|:/.test(host)
    const socket = tls.connect({
      host,
      port,
      servername: isAddress ? undefined : host,
      ALPNProtocols: ['http/1.1'],
      minVersion: 'TLSv1.2',
      // Which authority made the certificate says nothing here: the caller judges the key.
      rejectUnauthorized: false,
    })
    const fail = (error) => {
      clearTimeout(timer)
      socket.destroy()
      reject(new Unreachable(error.message))
    }
    const timer = setTimeout(() => fail(new Error('the connection did not come in time')), endsAtMs - performance.now())
    // For good: what comes after the handshake, and while nobody else listens, must not end the process.
    socket.on('error', fail)
    socket.once('secureConnect', () => {
      clearTimeout(timer)
      try {
        resolve([socket, certificateFields(socket.getPeerX509Certificate().raw).spki])
      } catch {
        fail(new Error('the certificate cannot be read'))
      }
    })
  })
}

/** GETs `path` on this connection, and ends it: [status, body], whole at `endsAtMs`. */
function get(socket, host, path, endsAtMs) {
  return new Promise((resolve, reject) => {
    const fail = (error) => {
      clearTimeout(timer)
      socket.destroy()
      reject(error instanceof Doubt ? error : new Unreachable(error.message))
    }
    const timer = setTimeout(() => fail(new Error('the answer did not come in time')), endsAtMs - performance.now())
    // Without an agent, which would connect by itself.
    const options = { createConnection: () => socket, host, path, headers: { connection: 'close' } }
    const request = https.request(options, (answer) => {
      const chunks = []
      let length = 0
      answer.on('error', fail)
      answer.on('data', (chunk) => {
        length += chunk.length
        if (length > MAX_REPLY_BYTES) fail(new Doubt('reply is longer than any attestation document'))
        else chunks.push(chunk)
      })
      answer.on('end', () => {
        clearTimeout(timer)
        resolve([answer.statusCode, Buffer.concat(chunks)])
      })
    })
    request.on('error', fail)
    request.end()
  })
}

/**
 * Attests the signer at `url` and gives ways to talk to it and nobody else: `agent` for node:https, `connect` for an
 * Agent of undici. `pcrs` is one image's registers, or a list of such: during a roll-over there are two. Attesting
 * takes `timeLimitMs` at most, and so does each connection until it is there; requests on it are the caller's to limit.
 */
export async function attestedAgent({ url, pcrs, rootPem = AWS_ROOT_PEM, timeLimitMs = TIME_LIMIT_MS }) {
  const { protocol, hostname, port } = new URL(url)
  if (protocol !== 'https:') {
    throw new Doubt('no tls: without it the document proves that such an enclave exists, not that you talk to it')
  }
  const [host, tcpPort] = [hostname.replace(/^\[|\]$/g, ''), Number(port || 443)]
  const nonce = randomBytes(32)
  const endsAtMs = performance.now() + timeLimitMs
  const [socket, spki] = await connectToAnyone(host, tcpPort, endsAtMs)
  const path = `/.well-known/attestation?nonce=${nonce.toString('hex')}`
  const [status, reply] = await get(socket, hostname, path, endsAtMs)
  if ([429, 502, 503].includes(status)) throw new Unreachable(`no attestation document now: status ${status}`)
  ensure(status === 200, `no attestation document: status ${status}`)
  const attestation = verifyReply(reply, { nonce, spki, pcrs, rootPem })

  // Gives a connection away only once its key is known to be the attested one: nothing of a request is written before.
  const connect = (_options, callback) => {
    connectToAnyone(host, tcpPort, performance.now() + timeLimitMs).then(
      ([socket, presented]) => {
        if (presented.equals(spki)) return callback(null, socket)
        socket.destroy()
        callback(new Doubt('tls key is not the attested one: attest again'))
      },
      (error) => callback(error),
    )
  }
  const agent = new https.Agent({ keepAlive: true })
  // To this signer, whatever host a request names.
  agent.createConnection = (options, callback) => void connect(options, callback)
  return { agent, connect, spki, attestation }
}

// --- The command line -------------------------------------------------------------------------------------------

function milliseconds(seconds) {
  if (!/^[1-9]\d{0,3}$/.test(seconds)) throw new TypeError('--time-limit-s takes whole seconds')
  return Number(seconds) * 1000
}

const EXPECTED = {
  '--nitro-toml': { exposures: exposuresIn, pcrs: pcrsFromNitroToml },
  '--measurements': { exposures: exposuresInMeasurements, pcrs: pcrsFromMeasurements },
}

async function main(words) {
  const [pcrs, exposures, options] = [[], [], { rootPem: AWS_ROOT_PEM }]
  try {
    for (let at = 0; at < words.length; at += 1) {
      const expected = EXPECTED[words[at]]
      if (expected) {
        const text = readFileSync(words[(at += 1)], 'utf8')
        exposures.push(expected.exposures(text))
        // They are reported below, if it is this image that runs.
        pcrs.push(expected.pcrs(text, { accept: Object.keys(EXPOSURES) }))
      } else if (words[at] === '--root') options.rootPem = readFileSync(words[(at += 1)], 'utf8')
      else if (words[at] === '--time-limit-s') options.timeLimitMs = milliseconds(words[(at += 1)])
      else if (words[at].startsWith('-') || options.url) throw new TypeError(`${words[at]} is not understood`)
      else options.url = new URL(words[at]).href
    }
    if (!options.url || pcrs.length === 0) {
      throw new TypeError('a URL is needed, and an image to expect: --nitro-toml FILE or --measurements FILE')
    }
    new X509Certificate(options.rootPem)
  } catch (error) {
    console.error(`attested_client: ${error.message}`)
    return 64
  }
  try {
    const { agent, attestation } = await attestedAgent({ ...options, pcrs })
    agent.destroy()
    const limits = exposures[attestation.image].map((setting) => `${setting}: ${EXPOSURES[setting]}`)
    if (options.rootPem !== AWS_ROOT_PEM) {
      limits.unshift("another root than AWS's: anybody with its key can make such a document")
    }
    for (const limit of limits) console.log(`limited: ${limit}`)
    if (limits.length > 0) return 0
    const image = `image ${attestation.image + 1} of ${pcrs.length}`
    console.log(`attested: ${attestation.moduleId} runs ${image}, and ends this TLS`)
    return 0
  } catch (error) {
    console.error(`attested_client: ${error.message}`)
    if (error instanceof Doubt) return 1
    if (error instanceof Unreachable) return 69
    throw error
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await main(process.argv.slice(2))
}
