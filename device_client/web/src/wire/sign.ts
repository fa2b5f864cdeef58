/**
 * Signed bytes: `0x01 | key id (8) | signature (64) | body`, Ed25519 (RFC 8032) by WebCrypto.
 *
 * The signature covers a domain label, the topic, the key id and the body as received, and is checked before a byte of
 * the body is parsed.
 */

import { type Bytes, concat, sha256, u16, utf8 } from './bytes';
import { malformed, WireError } from './errors';

const VERSION = 1;
export const KEY_ID_BYTES = 8;
const OVERHEAD = 1 + KEY_ID_BYTES + 64;

export type Label =
  | 'announcement'
  | 'head'
  | 'keys'
  | 'key-set'
  | 'request'
  | 'answer'
  | 'enrolment'
  | 'enrol-proof'
  | 'root';

/** Maps a key id to a raw public key, or to null if the key is not trusted for what is being opened. */
export type FindKey = (keyId: Bytes) => Promise<Bytes | null>;

/** The device's own signing key; `publicKey` is raw. */
export interface Signer {
  privateKey: CryptoKey;
  publicKey: Bytes;
}

/** The first 8 bytes of SHA-256 of a raw public key. */
export async function keyId(publicKey: Bytes): Promise<Bytes> {
  return (await sha256(publicKey)).slice(0, KEY_ID_BYTES);
}

/** The bytes that a signature covers. Lengths stand before what varies, so no two splits give the same bytes. */
export function message(label: Label, topic: string, signer: Bytes, body: Bytes): Bytes {
  const name = utf8(topic);
  return concat(utf8(`mpacs/1 ${label}\0`), u16(name.length), name, signer, body);
}

export async function signRaw(signer: Signer, label: Label, topic: string, body: Bytes): Promise<Bytes> {
  const covered = message(label, topic, await keyId(signer.publicKey), body);
  return new Uint8Array(await crypto.subtle.sign('Ed25519', signer.privateKey, covered));
}

/** The signed message for `topic`. */
export async function sign(signer: Signer, label: Label, topic: string, body: Bytes): Promise<Bytes> {
  const signature = await signRaw(signer, label, topic, body);
  return concat(Uint8Array.of(VERSION), await keyId(signer.publicKey), signature, body);
}

/** SignatureInvalid unless `signature` (64 bytes) over `covered` is of `publicKey` (32 raw bytes). */
export async function verify(publicKey: Bytes, signature: Bytes, covered: Bytes): Promise<void> {
  let fits = false;
  try {
    const key = await crypto.subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify']);
    fits = await crypto.subtle.verify('Ed25519', key, signature, covered);
  } catch {
    fits = false;
  }
  if (!fits) throw new WireError('signature-invalid', 'the signature does not fit bytes, topic and key');
}

/** The body of `data`, once its signature has been checked. */
export async function openSigned(findKey: FindKey, label: Label, topic: string, data: Bytes): Promise<Bytes> {
  if (data.length < OVERHEAD || data[0] !== VERSION) throw malformed('not a signed message of version 1');
  const signer = data.slice(1, 1 + KEY_ID_BYTES);
  const publicKey = await findKey(signer);
  if (!publicKey) throw new WireError('signature-invalid', 'signed with a key that is not trusted here');
  const body = data.slice(OVERHEAD);
  await verify(publicKey, data.slice(1 + KEY_ID_BYTES, OVERHEAD), message(label, topic, signer, body));
  return body;
}

/** A FindKey that trusts these raw public keys. */
export function trusting(publicKeys: readonly Bytes[]): FindKey {
  const known = Promise.all(publicKeys.map(async (key) => [String(await keyId(key)), key] as const));
  return async (id) => new Map(await known).get(String(id)) ?? null;
}
