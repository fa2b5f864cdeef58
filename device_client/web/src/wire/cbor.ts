/**
 * CBOR (RFC 8949), strict: no floats, tags, indefinite lengths, duplicate keys or trailing bytes.
 *
 * Heads have their shortest form, map keys are text in any order, integers lie between 0 and 2^53-1, depth and length
 * are bounded. The library decodes; what it would let pass is refused before, by one walk over the heads.
 * Maps come as Map, so that no key can reach a prototype.
 */

import { decode as cborgDecode, encode as cborgEncode, Tokenizer, Type } from 'cborg';
import type { Bytes } from './bytes';
import { malformed, tooLarge, WireError } from './errors';
import { MAX_DEPTH, MAX_MESSAGE_BYTES } from './limits';

export type Cbor = number | string | boolean | null | Bytes | Cbor[] | CborMap;
export type CborMap = Map<string, Cbor>;

const UNSIGNED = 0;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const SIMPLE = 7;

const strictText = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The library replaces what is no UTF-8 and drops byte order marks; the contract does neither. */
class StrictTokenizer extends Tokenizer {
  override next(): ReturnType<Tokenizer['next']> {
    const token = super.next();
    if (Type.equals(token.type, Type.string) && token.byteValue) token.value = strictText.decode(token.byteValue);
    return token;
  }
}

/** Bytes of `value`; Malformed where `decode` would refuse them. Keys keep their order. */
export function encode(value: Cbor): Bytes {
  let data: Bytes;
  try {
    data = new Uint8Array(cborgEncode(value, { mapSorter: () => 0 }));
  } catch {
    throw malformed('not a value of the contract');
  }
  checkHeads(data);
  return data;
}

/** The value of `data`; TooLarge or Malformed if it is not the one legal encoding of one. */
export function decode(data: Uint8Array, maxBytes = MAX_MESSAGE_BYTES): Cbor {
  if (data.length > maxBytes) throw tooLarge(`a message of ${data.length} bytes, where ${maxBytes} are allowed`);
  checkHeads(data);
  const options = { strict: true, allowIndefinite: false, useMaps: true, rejectDuplicateMapKeys: true, retainStringBytes: true };
  try {
    return cborgDecode(data, { ...options, tokenizer: new StrictTokenizer(data, options) }) as Cbor;
  } catch (error) {
    if (error instanceof WireError) throw error;
    throw malformed('not legal CBOR');
  }
}

/** Walk over every head of `data`; Malformed at the first that the contract does not allow. */
function checkHeads(data: Uint8Array): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  // One entry for each open container: items still to come, and whether keys and values alternate.
  const open = [{ items: 1, isMap: false }];
  let position = 0;
  for (let top = open.at(-1); top; top = open.at(-1)) {
    if (top.items === 0) {
      open.pop();
      continue;
    }
    const wantsKey = top.isMap && top.items % 2 === 0;
    top.items--;
    const [major, argument, next] = readHead(view, position);
    position = next;
    if (wantsKey && major !== TEXT) throw malformed('a map key is not text');
    if (major === BYTES || major === TEXT) {
      position += argument;
      if (position > data.length) throw malformed('cut short in a string');
    } else if (major === ARRAY || major === MAP) {
      const items = argument * (major === MAP ? 2 : 1);
      // Each item takes a byte at least: a declared length beyond the input is refused before it is believed.
      if (items > data.length - position) throw malformed('cut short in an array or map');
      if (open.length > MAX_DEPTH) throw malformed('nested too deeply');
      open.push({ items, isMap: major === MAP });
    }
  }
  if (position !== data.length) throw malformed('bytes after the end');
}

/** Major type, argument and next position of the head at `position`. */
function readHead(view: DataView, position: number): [major: number, argument: number, next: number] {
  if (position >= view.byteLength) throw malformed('cut short');
  const initial = view.getUint8(position);
  const major = initial >> 5;
  const low = initial & 0x1f;
  if (major === SIMPLE) {
    if (low < 20 || low > 22) throw malformed('a float or a simple value that is not used here');
    return [major, low, position + 1];
  }
  if (major !== UNSIGNED && (major < BYTES || major > MAP)) throw malformed('a tag or a negative integer');
  if (low < 24) return [major, low, position + 1];
  if (low > 27) throw malformed('an indefinite or reserved length');
  const width = 1 << (low - 24);
  if (position + 1 + width > view.byteLength) throw malformed('cut short in a head');
  const argument = readArgument(view, position + 1, width);
  if (argument < (width === 1 ? 24 : 2 ** (4 * width))) throw malformed('a head that is longer than it needs to be');
  if (argument > Number.MAX_SAFE_INTEGER) throw malformed('an integer of 2^53 or more');
  return [major, argument, position + 1 + width];
}

function readArgument(view: DataView, offset: number, width: number): number {
  if (width === 1) return view.getUint8(offset);
  if (width === 2) return view.getUint16(offset);
  if (width === 4) return view.getUint32(offset);
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4);
}
