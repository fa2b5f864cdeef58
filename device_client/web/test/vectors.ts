/** Runs one vector of tests/vectors: an operation and its inputs, as they stand in the files. See the README there. */

import { createECDH } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as access from '../src/wire/access';
import { Bitmap, toRanges } from '../src/wire/bits';
import { type Bytes, fromHex, hex, sha256, toBase64Url } from '../src/wire/bytes';
import * as cbor from '../src/wire/cbor';
import * as enrolment from '../src/wire/enrolment';
import * as envelope from '../src/wire/envelope';
import * as hpke from '../src/wire/hpke';
import * as keyset from '../src/wire/keyset';
import { CHUNKS_PER_SEGMENT, SEAL_HEADER_BYTES } from '../src/wire/limits';
import * as manifest from '../src/wire/manifest';
import * as messages from '../src/wire/messages';
import * as names from '../src/wire/names';
import * as objects from '../src/wire/objects';
import { decode, type Schema } from '../src/wire/schema';
import * as seal from '../src/wire/seal';
import * as sign from '../src/wire/sign';
import * as topics from '../src/wire/topics';

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
// oxlint-disable-next-line typescript/no-explicit-any -- inputs are as free as JSON
export type Given = Record<string, any>;

export interface Vector {
  reason: string;
  op: string;
  in?: Given;
  like?: string;
  edits?: Record<string, (string | number)[][]>;
  result: string;
  out?: Json;
}

const FOLDER = join(import.meta.dirname, '../../../tests/vectors');

export const files: [name: string, tests: Vector[]][] = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.json'))
  .map((name) => [name, (JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as { tests: Vector[] }).tests]);

/** As JSON: bytes are {hex}, or {sha256, size} where there are more than 1,024 of them; maps are objects. */
export async function tagged(value: unknown): Promise<Json> {
  if (value instanceof Uint8Array) {
    if (value.length > 1024) return { sha256: hex(await sha256(value as Bytes)), size: value.length };
    return { hex: hex(value) };
  }
  if (Array.isArray(value)) return Promise.all(value.map(tagged));
  if (value instanceof Map) return tagged(Object.fromEntries(value));
  if (typeof value !== 'object' || value === null) return value as Json;
  const entries = await Promise.all(Object.entries(value).map(async ([key, item]) => [key, await tagged(item)] as const));
  return Object.fromEntries(entries);
}

function untagged(value: Json): cbor.Cbor {
  if (Array.isArray(value)) return value.map(untagged);
  if (typeof value !== 'object' || value === null) return value;
  if (typeof value['hex'] === 'string' && Object.keys(value).length === 1) return fromHex(value['hex']);
  return new Map(Object.entries(value).map(([key, item]) => [key, untagged(item)]));
}

const bytesOf = (given: Given, name: string): Bytes => fromHex(given[`${name}_hex`]);

async function privateKey(given: Given): Promise<CryptoKeyPair> {
  const ecdh = createECDH('prime256v1');
  ecdh.setPrivateKey(bytesOf(given, 'private'));
  const point = new Uint8Array(ecdh.getPublicKey());
  const parts = { x: toBase64Url(point.slice(1, 33)), y: toBase64Url(point.slice(33)) };
  const jwk = { kty: 'EC', crv: 'P-256', ...parts, d: toBase64Url(bytesOf(given, 'private')) };
  const curve = { name: 'ECDH', namedCurve: 'P-256' };
  return {
    privateKey: await crypto.subtle.importKey('jwk', jwk, curve, false, ['deriveBits']),
    publicKey: await crypto.subtle.importKey('raw', point, curve, true, []),
  };
}

const trusted = (given: Given): sign.FindKey => sign.trusting((given['trusted_hex'] as string[]).map(fromHex));
const place = (given: Given): envelope.Place => ({
  site: given['site'],
  kind: names.checkKind(given['kind']),
  recipient: given['recipient'],
});
const epochKeys = (given: Given): envelope.EpochKeys =>
  new Map(Object.entries(given['epoch_keys_hex'] as Record<string, string>).map(([epoch, key]) => [Number(epoch), fromHex(key)]));
const principal = (given: Given): access.Principal => given as unknown as access.Principal;

const MESSAGES: Record<string, Schema<never>> = {
  Head: messages.Head,
  Keys: messages.Keys,
  Announcement: messages.Announcement,
  Request: messages.Request,
  Answer: messages.Answer,
  KeySet: keyset.KeySet,
  Link: enrolment.Link,
  EnrolRequest: enrolment.EnrolRequest,
  Enrolled: enrolment.Enrolled,
  Header: objects.Header,
} as unknown as Record<string, Schema<never>>;

/** A message as the wire has it: maps, and arrays where the wire has arrays. */
const onWire = <T>(schema: Schema<T>, value: T): unknown => schema.write(value);

const builders: Record<string, (...given: never[]) => string> = {
  site_root: topics.siteRoot,
  recipient_root: topics.recipientRoot,
  head: topics.head,
  keys: topics.keys,
  study: topics.study,
  object_root: topics.objectRoot,
  segment: topics.segment,
  page: topics.page,
  device_root: topics.deviceRoot,
  device_request: topics.deviceRequest,
  device_response: topics.deviceResponse,
  device_status: topics.deviceStatus,
  gateway_status: topics.gatewayStatus,
  gateway_keys: topics.gatewayKeys,
  enrol_request: topics.enrolRequest,
  enrol_response: topics.enrolResponse,
};

async function openSegment(g: Given): Promise<unknown> {
  const cipher = await seal.ChunkCipher.fromHeader(bytesOf(g, 'key'), bytesOf(g, 'header'), bytesOf(g, 'context'));
  const body = bytesOf(g, 'segment').slice(g['index'] === 0 ? SEAL_HEADER_BYTES : 0);
  return cipher.decryptChunks(g['index'] * CHUNKS_PER_SEGMENT, body);
}

async function unpackKeySet(g: Given): Promise<unknown> {
  const topic = topics.gatewayKeys(g['site']);
  const { root, keySet } = await keyset.unpack(bytesOf(g, 'pinned'), g['site'], topic, bytesOf(g, 'data'));
  const find = keyset.findKey(keySet, g['now']);
  const found = await Promise.all(keySet.online.map(async (key) => find(await sign.keyId(key.public))));
  return { root, key_set: onWire(keyset.KeySet, keySet), trusted_now: found.filter((key) => key !== null) };
}

async function openEnrolled(g: Given): Promise<unknown> {
  const link = enrolment.parseLink(g['link']);
  const request = bytesOf(g, 'request');
  const exchange = await privateKey(g);
  const welcome = await enrolment.openAnswer(link, g['enrolment'], exchange, request, g['now'], bytesOf(g, 'data'));
  return {
    root: welcome.root,
    key_set: onWire(keyset.KeySet, welcome.keySet),
    enrolled: onWire(enrolment.Enrolled, welcome.enrolled),
  };
}

function parseHeader(g: Given): unknown {
  const data = bytesOf(g, 'data');
  const header = objects.parseHeader(data, g['layer'], g['size']);
  return { header: onWire(objects.Header, header), spans: objects.partSpans(header, objects.headerEnd(data)) };
}

function bitmap(g: Given): unknown {
  const bits = new Bitmap(g['size'], bytesOf(g, 'bits'));
  return { count: bits.count, missing: toRanges(bits.missing()), complete: bits.complete };
}

async function hpkePublic(g: Given): Promise<unknown> {
  if (g['private_hex'] !== undefined) return hpke.rawPublic((await privateKey(g)).publicKey);
  await hpke.loadPublic(bytesOf(g, 'public'));
  return bytesOf(g, 'public');
}

function sizes(g: Given): unknown {
  const size = g['size'];
  const segments = seal.segmentCount(size);
  return { chunks: seal.chunkCount(size), sealed: seal.sealedSize(size), segments, last_segment: seal.segmentSpan(segments - 1, size) };
}

function range([first, last]: [number, number]): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

export const OPERATIONS: Record<string, (given: Given) => unknown> = {
  check_site: (g) => names.checkSite(g['text']),
  check_kind: (g) => names.checkKind(g['text']),
  encode_reference: (g) => names.encodeReference(bytesOf(g, 'raw')),
  decode_reference: (g) => names.decodeReference(g['text']),
  parse_decimal: (g) => names.parseDecimal(g['text']),
  recipient_reference: (g) => names.recipientReference(bytesOf(g, 'key'), g['kind'], g['identifier'], g['issuer']),
  build_topic: (g) => (builders[g['name']] as (...given: unknown[]) => string)(...g['arguments']),
  parse_object_topic: (g) => {
    const { objectId, part, index } = topics.parseObjectTopic(g['root'], g['topic']);
    return { object_id: objectId, part, index };
  },
  parse_device_topic: (g) => topics.parseDeviceTopic(g['site'], g['topic']),
  is_topic: (g) => topics.isTopic(g['text']),
  is_filter: (g) => topics.isFilter(g['text']),
  includes: (g) => topics.includes(g['allowed'], g['requested']),
  matches: (g) => topics.includes(g['filter'], g['topic']),
  may_subscribe: (g) => access.maySubscribe(principal(g), g['filter']),
  may_publish: (g) => access.mayPublish(principal(g), g['topic']),
  may_receive: (g) => access.maySubscribe(principal(g), g['topic']),
  cbor_decode: (g) => cbor.decode(bytesOf(g, 'data'), g['max_bytes']),
  cbor_encode: (g) => cbor.encode(untagged(g['value'])),
  decode_message: (g) => {
    const schema = MESSAGES[g['message']] as Schema<never>;
    return onWire(schema, decode(schema, bytesOf(g, 'data')));
  },
  open_signed: (g) => sign.openSigned(trusted(g), g['label'], g['topic'], bytesOf(g, 'data')),
  seal: (g) => seal.seal(bytesOf(g, 'key'), bytesOf(g, 'context'), bytesOf(g, 'plaintext'), bytesOf(g, 'salt')),
  open_whole: (g) => seal.openWhole(bytesOf(g, 'key'), bytesOf(g, 'context'), bytesOf(g, 'sealed')),
  open_segment: openSegment,
  sizes,
  segment_span: (g) => seal.segmentSpan(g['index'], g['size']),
  segments_of: (g) => range(seal.segmentsOf(g['start'], g['end'])),
  hpke_open: async (g) => hpke.openSealed(await privateKey(g), bytesOf(g, 'info'), bytesOf(g, 'sealed')),
  hpke_public: hpkePublic,
  manifest_digest: (g) => manifest.manifestDigest(bytesOf(g, 'digests')),
  manifest_page: (g) => manifest.pageMessage(bytesOf(g, 'digests'), g['page']),
  check_page: (g) => manifest.checkPage(bytesOf(g, 'announced'), g['page'], g['segments'], bytesOf(g, 'payload')),
  open_head: async (g) =>
    onWire(messages.Head, await envelope.openHead(trusted(g), place(g), epochKeys(g), bytesOf(g, 'data'))),
  open_announcement: async (g) =>
    onWire(
      messages.Announcement,
      await envelope.openAnnouncement(trusted(g), place(g), g['study'], epochKeys(g), bytesOf(g, 'data')),
    ),
  open_keys: async (g) => envelope.openKeys(trusted(g), place(g), g['device'], await privateKey(g), bytesOf(g, 'data')),
  open_request: async (g) => {
    const key = bytesOf(g, 'device_key');
    const request = await envelope.openRequest(key, await privateKey(g), g['site'], g['device'], bytesOf(g, 'data'));
    return onWire(messages.Request, request);
  },
  open_answer: async (g) => {
    const answer = await envelope.openAnswer(trusted(g), await privateKey(g), g['site'], g['device'], bytesOf(g, 'data'));
    return onWire(messages.Answer, answer);
  },
  unpack_key_set: unpackKeySet,
  parse_link: (g) => onWire(enrolment.Link, enrolment.parseLink(g['uri'])),
  derive_code_keys: async (g) => {
    const { password, requestKey } = await enrolment.deriveCodeKeys(bytesOf(g, 'code'), g['enrolment']);
    return { password, request_key: requestKey };
  },
  open_enrolment_request: async (g) =>
    onWire(
      enrolment.EnrolRequest,
      await enrolment.openRequest(bytesOf(g, 'request_key'), g['site'], g['enrolment'], bytesOf(g, 'data')),
    ),
  open_enrolment_answer: openEnrolled,
  parse_header: parseHeader,
  header_end: (g) => objects.headerEnd(bytesOf(g, 'data')),
  inflate_json: (g) => objects.inflateJson(bytesOf(g, 'data')),
  bitmap,
  to_ranges: (g) => toRanges(g['indices'] as number[]),
};

function edited(data: Bytes, edits: (string | number)[][]): Bytes {
  let bytes = [...data];
  for (const [name, first, second, third] of edits) {
    const at = Number(first);
    if (name === 'flip') bytes[at] = (bytes[at] as number) ^ 1;
    else if (name === 'cut') bytes = bytes.slice(0, at);
    else if (name === 'pad') bytes = bytes.concat(Array.from({ length: at - bytes.length }, () => 0));
    else if (name === 'append') bytes = bytes.concat([...fromHex(String(first))]);
    else if (name === 'put') bytes.splice(at, fromHex(String(second)).length, ...fromHex(String(second)));
    else if (name === 'move') bytes.splice(Number(second), Number(third), ...bytes.slice(at, at + Number(third)));
    else throw new Error('no such edit');
  }
  return Uint8Array.from(bytes);
}

/** The inputs of `test`: its own, over those of the test it names in `like`, with `edits` made. */
export function inputs(tests: Vector[], test: Vector): Given {
  if (test.like === undefined) return { ...test.in };
  const base = tests.find((other) => other.reason === test.like) as Vector;
  const given = { ...inputs(tests, base), ...test.in };
  for (const [name, edits] of Object.entries(test.edits ?? {})) given[name] = hex(edited(fromHex(given[name]), edits));
  return given;
}
