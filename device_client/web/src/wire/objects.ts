/**
 * What is inside an object: `header length (4, big-endian) | header | parts`, and DICOM JSON in its deflated form.
 *
 * The header says which part is which frame. Parts lie one behind the other, in the order of the header.
 */

import { type Bytes, concat, readU32 } from './bytes';
import { malformed, tooLarge, WireError } from './errors';
import { MAX_ATTRIBUTES_BYTES, MAX_OBJECT_BYTES, MAX_OBJECT_HEADER_BYTES, MAX_PARTS, MAX_SERIES } from './limits';
import { type Layer, LayerName, Uid } from './messages';
import { bool, bytes, decode, type Infer, list, oneOf, row, struct, uint } from './schema';

export const LENGTH_BYTES = 4;

const Index = uint(0, 2 ** 31 - 1);
const Media = oneOf(
  'image/jpeg',
  'image/png',
  'image/webp',
  'image/jphc',
  'image/jls',
  'image/jp2',
  'application/pdf',
  'text/plain',
  'text/html',
  'video/mp4',
  'video/mp2t',
  'video/mpeg',
  'video/h264',
  'video/h265',
  'application/dicom',
);

/** One picture, band, document or stream. `frame` counts from 0; `ratio_x100` is 100 for lossless. */
export const Part = row({
  instance: Index,
  frame: Index,
  band: Index,
  length: uint(0, MAX_OBJECT_BYTES),
  media: Media,
  lossy: bool,
  ratio_x100: Index,
});
export type Part = Infer<typeof Part>;

/** The table of contents. `attributes` is deflated `{"shared": {…}, "parts": [{…}, …]}` (DICOM JSON). */
export const Header = struct({
  version: uint(1, 1),
  layer: LayerName,
  series: list(Uid, 1, MAX_SERIES),
  instances: list(row({ SOPInstanceUID: Uid, series: Index }), 0, MAX_PARTS),
  parts: list(Part, 0, MAX_PARTS),
  attributes: bytes(0, MAX_OBJECT_HEADER_BYTES),
});
export type Header = Infer<typeof Header>;

/** Where the header ends in the object, from its first 4 bytes; TooLarge before anything is allocated. */
export function headerEnd(start: Uint8Array): number {
  if (start.length < LENGTH_BYTES) throw malformed("cut short in the header's length");
  const size = readU32(start);
  if (size > MAX_OBJECT_HEADER_BYTES) throw tooLarge('an object header larger than the contract allows');
  return LENGTH_BYTES + size;
}

/** The header from an object's first bytes; it must be of `layer` and its parts must fill `sizeBytes`. */
export function parseHeader(data: Uint8Array, layer: Layer, sizeBytes: number): Header {
  const end = headerEnd(data);
  if (data.length < end) throw malformed('cut short in the header');
  const header = decode(Header, data.subarray(LENGTH_BYTES, end), MAX_OBJECT_HEADER_BYTES);
  if (header.layer !== layer) throw malformed('an object of another layer than announced');
  if (end + header.parts.reduce((sum, part) => sum + part.length, 0) !== sizeBytes) {
    throw malformed('parts that do not fill their object');
  }
  if (header.parts.some((part) => part.instance >= header.instances.length)) throw malformed('a part of no instance');
  if (header.instances.some((one) => one.series >= header.series.length)) throw malformed('an instance of no series');
  return header;
}

/** Start and end of each part in the object's plaintext; `headerBytes` is what `headerEnd` gave. */
export function partSpans(header: Header, headerBytes: number): [start: number, end: number][] {
  let start = headerBytes;
  return header.parts.map((part) => {
    const span: [number, number] = [start, start + part.length];
    start += part.length;
    return span;
  });
}

async function inflate(data: Bytes): Promise<Bytes> {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader();
  const pieces: Bytes[] = [];
  let size = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    size += piece.value.length;
    if (size > MAX_ATTRIBUTES_BYTES) {
      void reader.cancel().catch(() => undefined);
      throw tooLarge('attributes that inflate beyond the contract');
    }
    pieces.push(piece.value as Bytes);
  }
  return concat(...pieces);
}

/** The value of deflated UTF-8 JSON (raw deflate, RFC 1951); bounded before it is believed. */
export async function inflateJson(data: Bytes): Promise<unknown> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await inflate(data));
    const value: unknown = JSON.parse(text);
    // An escaped half of a surrogate pair is no character: it would fail wherever it is written out.
    if (text.includes('\\u') && !isWellFormed(value)) throw malformed('attributes with half of a surrogate pair');
    return value;
  } catch (error) {
    if (error instanceof WireError) throw error;
    throw malformed('attributes that are not deflated JSON');
  }
}

function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return !/\p{Surrogate}/u.test(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([key, item]) => isWellFormed(key) && isWellFormed(item));
}
