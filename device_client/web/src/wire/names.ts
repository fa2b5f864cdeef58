/** Names that may stand in a topic: sites, opaque references, kinds. None of them carries an identity. */

import { type Bytes, concat, u32, utf8 } from './bytes';
import { nameInvalid } from './errors';

export const KINDS = ['patient', 'doctor', 'ward'] as const;
export type Kind = (typeof KINDS)[number];

export const REFERENCE_BYTES = 16;

const SITE = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const REFERENCE = /^[a-z2-7]{26}$/;
const DECIMAL = /^(?:0|[1-9][0-9]{0,8})$/;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** `site` if it is a slug of 1 to 32 characters. */
export function checkSite(site: string): string {
  if (!SITE.test(site)) throw nameInvalid('a site is 1 to 32 characters of a-z, 0-9 and inner hyphens');
  return site;
}

export function checkKind(kind: string): Kind {
  const known = KINDS.find((one) => one === kind);
  if (known === undefined) throw nameInvalid(`a recipient is one of ${KINDS.join(', ')}`);
  return known;
}

/** 16 bytes as 26 characters of base32 (RFC 4648 section 6), lower case, without padding. */
export function encodeReference(raw: Uint8Array): string {
  if (raw.length !== REFERENCE_BYTES) throw nameInvalid(`a reference has ${REFERENCE_BYTES} bytes, not ${raw.length}`);
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of raw) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET.charAt((held >>> (bits - 5)) & 31);
    held &= (1 << bits) - 1;
  }
  return text + ALPHABET.charAt((held << (5 - bits)) & 31);
}

/** The 16 bytes of a reference, in its one legal spelling. */
export function decodeReference(text: string): Bytes {
  if (!REFERENCE.test(text)) throw nameInvalid('a reference is 26 characters of a-z and 2-7');
  const raw = new Uint8Array(REFERENCE_BYTES);
  let bits = 0;
  let held = 0;
  let position = 0;
  for (const character of text) {
    held = (held << 5) | ALPHABET.indexOf(character);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      raw[position++] = held >>> bits;
      held &= (1 << bits) - 1;
    }
  }
  // 26 characters carry 130 bits: without this check four spellings would name the same thing.
  if (held !== 0) throw nameInvalid('a reference ends in unused bits that are not zero');
  return raw;
}

export function checkReference(text: string): string {
  decodeReference(text);
  return text;
}

/** An integer below 10^9 as topics spell it: decimal, without sign or padding. */
export function parseDecimal(text: string): number {
  if (!DECIMAL.test(text)) throw nameInvalid('an integer in a topic is decimal, unpadded and below 10^9');
  return Number(text);
}

/** A keyed hash (HMAC-SHA256, first 16 bytes) of kind, issuer and identifier, each after its length. */
export async function recipientReference(key: Bytes, kind: Kind, identifier: string, issuer = ''): Promise<string> {
  if (key.length !== 32) throw nameInvalid('a reference key has 32 bytes');
  const hmac = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const parts = [kind, issuer, identifier].map(utf8).flatMap((part) => [u32(part.length), part]);
  const mac = await crypto.subtle.sign('HMAC', hmac, concat(utf8('mpacs/1 recipient'), ...parts));
  return encodeReference(new Uint8Array(mac, 0, REFERENCE_BYTES));
}
