/**
 * HPKE (RFC 9180), base mode, single shot: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 *
 * P-256, because browsers keep such keys non-extractable and give them back.
 */

import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core';
import { type Bytes, concat, labelled } from './bytes';
import { malformed, sealBroken } from './errors';

/** The number that signed messages carry; another suite gets another number. */
export const SUITE = 1;
export const PUBLIC_KEY_BYTES = 65;
export const OVERHEAD_BYTES = PUBLIC_KEY_BYTES + 16;

export type Purpose = 'epoch' | 'request' | 'answer' | 'enrolment';

const CURVE = { name: 'ECDH', namedCurve: 'P-256' };
const suite = new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

/** The context string. */
export function info(purpose: Purpose, ...parts: Bytes[]): Bytes {
  return labelled(`mpacs/1 hpke ${purpose}`, parts);
}

/** The public key as an uncompressed point, 65 bytes (SEC 1 section 2.3.3). */
export async function rawPublic(publicKey: CryptoKey): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.exportKey('raw', publicKey));
}

/** The public key of an uncompressed point; Malformed if it is not on the curve. */
export async function loadPublic(raw: Bytes): Promise<CryptoKey> {
  if (raw.length !== PUBLIC_KEY_BYTES || raw[0] !== 4) throw malformed('not an uncompressed point of P-256');
  try {
    return await crypto.subtle.importKey('raw', raw, CURVE, true, []);
  } catch {
    throw malformed('not a point of P-256');
  }
}

/** Encapsulated key (65 bytes) and ciphertext for the holder of `publicKey`. */
export async function seal(publicKey: Bytes, context: Bytes, plaintext: Bytes): Promise<Bytes> {
  const recipientPublicKey = await loadPublic(publicKey);
  const { enc, ct } = await suite.seal({ recipientPublicKey, info: context }, plaintext);
  return concat(new Uint8Array(enc), new Uint8Array(ct));
}

/** The plaintext; SealBroken for a wrong key, context or changed bytes. */
export async function openSealed(recipientKey: CryptoKeyPair, context: Bytes, sealed: Bytes): Promise<Bytes> {
  if (sealed.length < OVERHEAD_BYTES) throw malformed('shorter than an encapsulated key and a tag');
  try {
    const enc = sealed.slice(0, PUBLIC_KEY_BYTES);
    return new Uint8Array(await suite.open({ recipientKey, enc, info: context }, sealed.slice(PUBLIC_KEY_BYTES)));
  } catch {
    throw sealBroken('wrong key or context, or changed bytes');
  }
}
