/**
 * Who the device is, and what opens its store.
 *
 * Private keys are non-extractable CryptoKeys in IndexedDB. Whatever names somebody, and every epoch key, is in the
 * vault, sealed under the store key: HKDF of the device secret and the lease secret. Once the lease secret is erased,
 * nothing here opens the vault. With a PIN the device secret itself is wrapped, see ./pin.
 */

import { ApiError } from '../api';
import { type Bytes, equal, hex, random, sha256, utf8 } from '../wire/bytes';
import { rawPublic } from '../wire/hpke';
import { Epoch, Key, type Lease, Uint } from '../wire/messages';
import { decodeReference, type Kind } from '../wire/names';
import { bytes, decode, encode, type Infer, list, row, struct, text } from '../wire/schema';
import * as seal from '../wire/seal';
import type { Signer } from '../wire/sign';
import type { Database, Write } from './database';

const CURVE = { name: 'ECDH', namedCurve: 'P-256' };
export const SECRET_BYTES = 32;
/** Epoch keys kept for one recipient: what was announced in an earlier epoch must stay readable. */
export const MAX_EPOCHS = 32;

/** The device as its broker and gateway know it; no person's identity. */
export interface Identity {
  version: 1;
  site: string;
  device: string;
  deviceName: string;
  password: string;
  root: Bytes;
  keySet: Bytes;
  recipients: { kind: Kind; recipient: string }[];
  enrolledAt: number;
}

/** What the vault holds; the lists run parallel to the identity's recipients. An empty key: none in that epoch. */
export const Secrets = struct({
  labels: list(text(), 1, 64),
  epochs: list(list(row({ epoch: Epoch, key: bytes(0, 32) }), 0, MAX_EPOCHS), 1, 64),
  signers: list(Key, 0, 256),
  first_heads: list(Uint, 1, 64),
});
export type Secrets = Infer<typeof Secrets>;

export interface DeviceKeys {
  signer: Signer;
  exchange: CryptoKeyPair;
}

/** New keys; the private ones never leave the browser. */
export async function generateKeys(): Promise<DeviceKeys> {
  let pair: CryptoKeyPair;
  try {
    pair = (await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])) as CryptoKeyPair;
  } catch {
    throw new ApiError('browser-old', 'this browser has no Ed25519');
  }
  const exchange = await crypto.subtle.generateKey(CURVE, false, ['deriveBits']);
  const publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  return { signer: { privateKey: pair.privateKey, publicKey }, exchange };
}

/** What an operator compares: SHA-256 of the public signing key, its first eight bytes in groups of four digits. */
export async function fingerprint(keys: DeviceKeys): Promise<string> {
  const digest = hex((await sha256(keys.signer.publicKey)).slice(0, 8));
  return digest.replace(/(.{4})(?=.)/g, '$1 ');
}

/** The keys as writes; the exchange's public key as a point, because pairs do not come back from every browser. */
export async function keyWrites(keys: DeviceKeys): Promise<Write[]> {
  return [
    { table: 'keys', key: 'sign', value: keys.signer.privateKey },
    { table: 'keys', key: 'exchange', value: keys.exchange.privateKey },
    { table: 'facts', key: 'sign-public', value: keys.signer.publicKey },
    { table: 'facts', key: 'exchange-public', value: await rawPublic(keys.exchange.publicKey) },
  ];
}

/** The keys, or null if there are none or the browser gave back something else. */
export async function loadKeys(database: Database): Promise<DeviceKeys | null> {
  const [sign, exchange] = await Promise.all(['sign', 'exchange'].map((name) => database.get<CryptoKey>('keys', name)));
  const publicKey = await database.get<Bytes>('facts', 'sign-public');
  const point = await database.get<Bytes>('facts', 'exchange-public');
  if (!(sign instanceof CryptoKey) || !(exchange instanceof CryptoKey) || !publicKey || !point) return null;
  const exchangePublic = await crypto.subtle.importKey('raw', point, CURVE, true, []);
  return { signer: { privateKey: sign, publicKey }, exchange: { privateKey: exchange, publicKey: exchangePublic } };
}

/** Write keys, read them back and use them: private and lockdown modes take keys and give back none. */
export async function proveKeys(database: Database, keys: DeviceKeys): Promise<void> {
  try {
    await database.write(await keyWrites(keys));
    const back = await loadKeys(database);
    const probe = utf8('probe');
    if (!back) throw new Error('no keys');
    const signature = await crypto.subtle.sign('Ed25519', back.signer.privateKey, probe);
    const signPublic = await crypto.subtle.importKey('raw', keys.signer.publicKey, 'Ed25519', false, ['verify']);
    if (!(await crypto.subtle.verify('Ed25519', signPublic, signature, probe))) throw new Error('another key');
    await crypto.subtle.deriveBits({ name: 'ECDH', public: keys.exchange.publicKey }, back.exchange.privateKey, 256);
  } catch {
    throw new ApiError('browser-forbids', 'this browser does not keep keys in this mode');
  }
}

/** A device secret as a key that derives and cannot be read. */
export function importSecret(secret: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits']);
}

export function newSecret(): Bytes {
  return random(SECRET_BYTES);
}

/** HKDF-SHA256 (RFC 5869) of the device secret, the lease secret as salt. */
export async function storeKey(secret: CryptoKey, lease: Lease): Promise<Bytes> {
  const parameters = { name: 'HKDF', hash: 'SHA-256', salt: lease.secret, info: utf8('mpacs/1 device store') };
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, secret, 256));
}

function context(device: string): Bytes {
  return seal.context('device-store', decodeReference(device));
}

/** The vault, sealed. */
export function sealSecrets(key: Bytes, device: string, secrets: Secrets): Promise<Bytes> {
  return seal.seal(key, context(device), encode(Secrets, secrets));
}

/** ApiError `damaged` if the vault does not open with this key. */
export async function openSecrets(database: Database, key: Bytes, device: string): Promise<Secrets> {
  const sealed = await database.get<Bytes>('facts', 'vault');
  try {
    if (!sealed) throw new Error('no vault');
    return decode(Secrets, await seal.openWhole(key, context(device), sealed));
  } catch {
    throw new ApiError('damaged', 'the vault does not open with this lease');
  }
}

// ── lease ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The lease while it runs; once it has ended its secret is erased, and null comes back. */
export async function loadLease(database: Database, nowMs: number): Promise<Lease | null> {
  const lease = await database.get<Lease>('facts', 'lease');
  if (!lease) return null;
  if (lease.expires > nowMs) return lease;
  await eraseLease(database);
  return null;
}

/** Overwritten first: what is deleted may stay in a log of the browser's own until it is compacted. */
export async function eraseLease(database: Database): Promise<void> {
  await database.put('facts', 'lease', { secret: new Uint8Array(SECRET_BYTES), expires: 0 });
  await database.put('facts', 'lease', undefined);
}

export function sameLease(one: Lease, other: Lease): boolean {
  return one.expires === other.expires && equal(one.secret, other.secret);
}
