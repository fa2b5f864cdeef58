/**
 * Sealing: C2SP chunked-encryption (https://c2sp.org/chunked-encryption), HKDF-SHA512 with AES-256-GCM.
 *
 * salt (24) | commitment (32) | chunks of 16 KiB + tag, the last one always shorter. Segment 0 is the first 56 bytes and
 * four chunks, each further segment four chunks.
 */

import { type Bytes, concat, equal, labelled, random, utf8 } from './bytes';
import { malformed, sealBroken } from './errors';
import { CHUNK_BYTES, CHUNKS_PER_SEGMENT, SEAL_HEADER_BYTES, SEALED_CHUNK_BYTES, SEGMENT_BYTES, TAG_BYTES } from './limits';

export const KEY_BYTES = 32;
export const SALT_BYTES = 24;
const NONCE_BYTES = 12;
const INFO = utf8('c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0');

/** A context string. */
export function context(purpose: string, ...parts: Bytes[]): Bytes {
  return labelled(`mpacs/1 ${purpose}`, parts);
}

/** HKDF-Expand (RFC 5869 section 2.3) with SHA-512: WebCrypto's HKDF always extracts first, which C2SP does not. */
async function expand(key: Bytes, infoBytes: Bytes, size: number): Promise<Bytes> {
  const hmac = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-512' }, false, ['sign']);
  let last: Bytes = new Uint8Array(0);
  let output: Bytes = last;
  for (let counter = 1; output.length < size; counter++) {
    last = new Uint8Array(await crypto.subtle.sign('HMAC', hmac, concat(last, infoBytes, Uint8Array.of(counter))));
    output = concat(output, last);
  }
  return output.slice(0, size);
}

/** The derived key, base nonce and commitment of one message. */
export class ChunkCipher {
  private constructor(
    private readonly aead: CryptoKey,
    private readonly baseNonce: Bytes,
    readonly header: Bytes,
  ) {}

  /** Derive from the input `key` (32 bytes), the message's `salt` (24 bytes) and its context. */
  static async derive(key: Bytes, salt: Bytes, boundTo: Bytes): Promise<ChunkCipher> {
    if (key.length !== KEY_BYTES || salt.length !== SALT_BYTES) throw malformed('a key has 32 bytes and a salt 24');
    const derived = await expand(key, concat(INFO, salt, boundTo), KEY_BYTES + NONCE_BYTES + 32);
    const aead = await crypto.subtle.importKey('raw', derived.slice(0, KEY_BYTES), 'AES-GCM', false, ['encrypt', 'decrypt']);
    const nonce = derived.slice(KEY_BYTES, KEY_BYTES + NONCE_BYTES);
    return new ChunkCipher(aead, nonce, concat(salt, derived.slice(KEY_BYTES + NONCE_BYTES)));
  }

  /** The cipher of a received message; SealBroken unless the commitment fits key and context. */
  static async fromHeader(key: Bytes, header: Bytes, boundTo: Bytes): Promise<ChunkCipher> {
    if (header.length < SEAL_HEADER_BYTES) throw sealBroken('cut short in salt and commitment');
    const cipher = await ChunkCipher.derive(key, header.slice(0, SALT_BYTES), boundTo);
    if (!equal(cipher.header, header.subarray(0, SEAL_HEADER_BYTES))) {
      throw sealBroken('the commitment does not fit key and context');
    }
    return cipher;
  }

  private parameters(index: number): AesGcmParams {
    const iv = this.baseNonce.slice();
    const view = new DataView(iv.buffer);
    // Chunk numbers stay below 2^32 (limits.MAX_OBJECT_BYTES), so the last 4 bytes are all that changes.
    view.setUint32(NONCE_BYTES - 4, view.getUint32(NONCE_BYTES - 4) ^ index);
    return { name: 'AES-GCM', iv };
  }

  /** Chunk `index`; each index is used once with one key. */
  async encryptChunk(index: number, plaintext: Bytes): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.encrypt(this.parameters(index), this.aead, plaintext));
  }

  /** The plaintext of chunk `index`, at most 16 KiB. */
  async decryptChunk(index: number, ciphertext: Bytes): Promise<Bytes> {
    try {
      return new Uint8Array(await crypto.subtle.decrypt(this.parameters(index), this.aead, ciphertext));
    } catch {
      throw sealBroken(`chunk ${index} was changed, moved or belongs elsewhere`);
    }
  }

  /** The plaintext of consecutive chunks, the first of which has number `first`. */
  async decryptChunks(first: number, ciphertext: Bytes): Promise<Bytes> {
    const chunks: Promise<Bytes>[] = [];
    for (let at = 0; at < ciphertext.length; at += SEALED_CHUNK_BYTES) {
      chunks.push(this.decryptChunk(first + chunks.length, ciphertext.subarray(at, at + SEALED_CHUNK_BYTES)));
    }
    return concat(...(await Promise.all(chunks)));
  }
}

/** Chunks of a plaintext of `sizeBytes`: the last is always shorter than 16 KiB, and may be empty. */
export function chunkCount(sizeBytes: number): number {
  return Math.floor(sizeBytes / CHUNK_BYTES) + 1;
}

export function sealedSize(sizeBytes: number): number {
  return SEAL_HEADER_BYTES + sizeBytes + TAG_BYTES * chunkCount(sizeBytes);
}

export function segmentCount(sizeBytes: number): number {
  return Math.ceil(chunkCount(sizeBytes) / CHUNKS_PER_SEGMENT);
}

/** Offset and length of segment `index` in the ciphertext of a plaintext of `sizeBytes`. */
export function segmentSpan(index: number, sizeBytes: number): [offset: number, length: number] {
  if (index < 0 || index >= segmentCount(sizeBytes)) throw malformed('there is no such segment');
  const start = index === 0 ? 0 : SEAL_HEADER_BYTES + index * SEGMENT_BYTES;
  const end = Math.min(SEAL_HEADER_BYTES + (index + 1) * SEGMENT_BYTES, sealedSize(sizeBytes));
  return [start, end - start];
}

/** First and last of the segments that hold the plaintext bytes `start` to `end` (exclusive). */
export function segmentsOf(start: number, end: number): [first: number, last: number] {
  const perSegment = CHUNKS_PER_SEGMENT * CHUNK_BYTES;
  return [Math.floor(start / perSegment), Math.floor(Math.max(end - 1, start) / perSegment)];
}

/** The whole sealed message. `salt` is random unless given, which only test vectors do. */
export async function seal(key: Bytes, boundTo: Bytes, plaintext: Bytes, salt?: Bytes): Promise<Bytes> {
  const cipher = await ChunkCipher.derive(key, salt ?? random(SALT_BYTES), boundTo);
  const parts: Bytes[] = [cipher.header];
  for (let index = 0; index < chunkCount(plaintext.length); index++) {
    parts.push(await cipher.encryptChunk(index, plaintext.slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)));
  }
  return concat(...parts);
}

/** The plaintext of a whole message; SealBroken unless every byte is as it was sealed. */
export async function openWhole(key: Bytes, boundTo: Bytes, sealed: Bytes): Promise<Bytes> {
  const cipher = await ChunkCipher.fromHeader(key, sealed, boundTo);
  const body = sealed.subarray(SEAL_HEADER_BYTES);
  if (body.length % SEALED_CHUNK_BYTES < TAG_BYTES) {
    throw sealBroken('cut short: the last chunk is missing or has no tag');
  }
  return cipher.decryptChunks(0, body);
}
