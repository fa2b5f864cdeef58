/**
 * The PIN: it wraps the device secret, so that without it the store key cannot be derived.
 *
 * The wrapping key is HMAC, under a key that the browser does not give out, of PBKDF2 of the PIN: who copies the
 * database cannot guess PINs elsewhere unless the browser's keys were taken too. Attempts are counted before each try;
 * after the last one everything is erased.
 */

import { ApiError } from '../api';
import { type Bytes, random, utf8 } from '../wire/bytes';
import type { Database, Write } from './database';

export const MIN_LENGTH = 6;
export const MAX_ATTEMPTS = 10;
/** OWASP's figure for PBKDF2-HMAC-SHA256. */
const ITERATIONS = 600_000;

interface PinRecord {
  salt: Bytes;
  iv: Bytes;
  wrapped: Bytes;
  iterations: number;
  attempts: number;
}

/** ApiError pin-weak for what is short, one character over and over, or a run like 123456. */
export function checkStrength(pin: string): void {
  const codes = [...pin].map((one) => one.codePointAt(0) as number);
  const steps = new Set(codes.slice(1).map((code, index) => code - (codes[index] as number)));
  const isRun = steps.size === 1 && [-1, 0, 1].includes([...steps][0] as number);
  if (codes.length < MIN_LENGTH || isRun) throw new ApiError('pin-weak');
}

async function wrappingKey(bind: CryptoKey, pin: string, salt: Bytes, iterations: number): Promise<CryptoKey> {
  const typed = await crypto.subtle.importKey('raw', utf8(pin.normalize('NFKC')), 'PBKDF2', false, ['deriveBits']);
  const stretched = await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt, iterations }, typed, 256);
  const bound = await crypto.subtle.sign('HMAC', bind, stretched);
  return crypto.subtle.importKey('raw', bound, 'AES-GCM', false, ['encrypt', 'decrypt']);
}

/** Writes that put `secret` behind `pin`, to be made in one transaction with the vault that it opens. */
export async function wrap(pin: string, secret: Bytes): Promise<Write[]> {
  const bind = await crypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const salt = random(16);
  const iv = random(12);
  const key = await wrappingKey(bind, pin, salt, ITERATIONS);
  const wrapped = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, secret));
  const record: PinRecord = { salt, iv, wrapped, iterations: ITERATIONS, attempts: 0 };
  return [
    { table: 'keys', key: 'pin-bind', value: bind },
    { table: 'facts', key: 'pin', value: record },
    { table: 'keys', key: 'secret', value: undefined },
  ];
}

/** Writes that take the PIN away. */
export function unwrapWrites(secret: CryptoKey): Write[] {
  return [
    { table: 'keys', key: 'secret', value: secret },
    { table: 'keys', key: 'pin-bind', value: undefined },
    { table: 'facts', key: 'pin', value: undefined },
  ];
}

export async function attemptsLeft(database: Database): Promise<number | null> {
  const record = await database.get<PinRecord>('facts', 'pin');
  return record ? MAX_ATTEMPTS - record.attempts : null;
}

/** The secret; ApiError pin-wrong, or pin-locked when that was the last attempt: the caller erases everything. */
export async function unwrap(database: Database, pin: string): Promise<Bytes> {
  const record = await database.get<PinRecord>('facts', 'pin');
  const bind = await database.get<CryptoKey>('keys', 'pin-bind');
  if (!record || !bind) throw new ApiError('internal', 'no PIN is set');
  if (record.attempts >= MAX_ATTEMPTS) throw new ApiError('pin-locked');
  const attempts = record.attempts + 1;
  await database.put('facts', 'pin', { ...record, attempts });
  const key = await wrappingKey(bind, pin, record.salt, record.iterations);
  let secret: Bytes;
  try {
    secret = new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: record.iv }, key, record.wrapped));
  } catch {
    throw new ApiError(attempts >= MAX_ATTEMPTS ? 'pin-locked' : 'pin-wrong');
  }
  await database.put('facts', 'pin', { ...record, attempts: 0 });
  return secret;
}
