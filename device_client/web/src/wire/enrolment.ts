/**
 * Enrolment: the one-time link, what is derived from its code, and the two messages of the bootstrap.
 *
 * The device proves that it knows the code by sealing its public keys under a key derived from it; the gateway proves
 * itself by a key set that leads from the root whose digest stands in the link, and seals its answer to the device.
 */

import { type Bytes, equal, fromBase64Url, hex, readU32, sha256, toBase64Url, utf8 } from './bytes';
import { malformed, tooLarge } from './errors';
import * as hpke from './hpke';
import * as keyset from './keyset';
import { MAX_MESSAGE_BYTES } from './limits';
import { Digest, Key, KindName, Label, Lease, Point, Ref, Time, Uint } from './messages';
import { checkSite, decodeReference } from './names';
import { bytes, decode, encode, type Infer, list, struct, text, uint } from './schema';
import * as seal from './seal';
import * as sign from './sign';
import * as topics from './topics';

const FRAGMENT = 'enrol=';
const MAX_LINK_CHARACTERS = 2048;
const BROKER = /^(mqtts?):\/\/([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,4})$/;
const LOOPBACK = /^(?:localhost|127(?:\.(?:0|[1-9][0-9]{0,2})){3}|\[::1\])$/;

/** What the link's fragment holds. A browser does not use `broker`: it speaks to the origin that served it. */
export const Link = struct({
  version: uint(1, 1),
  site: text(1, 32),
  broker: text(1, 256),
  certificate: bytes(0, 32),
  root: Digest,
  enrolment: Ref,
  code: bytes(16),
  expires: Time,
});
export type Link = Infer<typeof Link>;

/** The link's contents; Malformed if it is none. */
export function parseLink(uri: string): Link {
  const fragment = uri.length <= MAX_LINK_CHARACTERS ? uri.trim().slice(uri.trim().indexOf('#') + 1) : '';
  if (!uri.includes('#') || !fragment.startsWith(FRAGMENT)) throw malformed('not an enrolment link');
  const spelled = fragment.slice(FRAGMENT.length);
  const data = fromBase64Url(spelled);
  if (!data || toBase64Url(data) !== spelled) throw malformed('an enrolment link that was cut or changed');
  const link = decode(Link, data);
  checkSite(link.site);
  checkBroker(link);
  return link;
}

function checkBroker(link: Link): void {
  const [, scheme, host = '', port] = BROKER.exec(link.broker) ?? [];
  if (!scheme || Number(port) > 65535) throw malformed('a broker is mqtt://host:port or mqtts://host:port');
  // The enrolment's broker password would cross the network in the clear.
  if (scheme === 'mqtt' && !LOOPBACK.test(host)) throw malformed('a broker without TLS that is not on this machine');
  if (link.certificate.length !== 0 && link.certificate.length !== 32) {
    throw malformed('a certificate digest has 32 bytes, or none');
  }
}

async function derive(code: Bytes, enrolment: string, purpose: string): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', code, 'HKDF', false, ['deriveBits']);
  const salt = decodeReference(enrolment);
  const parameters = { name: 'HKDF', hash: 'SHA-256', salt, info: utf8(`mpacs/1 enrolment ${purpose}`) };
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, 256));
}

/** What both ends derive from the code: a broker password good for one topic, and a key for the request. */
export interface CodeKeys {
  password: string;
  requestKey: Bytes;
}

/** HKDF-SHA256, the enrolment id as salt. */
export async function deriveCodeKeys(code: Bytes, enrolment: string): Promise<CodeKeys> {
  return {
    password: hex(await derive(code, enrolment, 'password')),
    requestKey: await derive(code, enrolment, 'request'),
  };
}

/** The device's public keys and the name it goes by; `proof` shows that it holds the signing key. */
export const EnrolRequest = struct({ sign: Key, exchange: Point, name: Label, proof: bytes(64) });
export type EnrolRequest = Infer<typeof EnrolRequest>;

/** A recipient whose tree the device may read; `label` is for people. `head` is its sequence now. */
export const Recipient = struct({ kind: KindName, recipient: Ref, label: text(), head: Uint });

/** All that the device needs from now on. */
export const Enrolled = struct({
  device: Ref,
  password: Key,
  recipients: list(Recipient, 1, 64),
  lease: Lease,
  authority: bytes(0, 16384),
  issued: Time,
  request: Digest,
});
export type Enrolled = Infer<typeof Enrolled>;

/** The payload of `enrol/{enrolment}/request`. */
export async function packRequest(
  keys: CodeKeys,
  site: string,
  enrolment: string,
  signer: sign.Signer,
  exchange: Bytes,
  name: string,
): Promise<Bytes> {
  const topic = topics.enrolRequest(site, enrolment);
  const proof = await sign.signRaw(signer, 'enrol-proof', topic, exchange);
  const request = encode(EnrolRequest, { sign: signer.publicKey, exchange, name, proof });
  return seal.seal(keys.requestKey, seal.context('enrolment', utf8(topic)), request);
}

/** The request, once its sender is shown to know the code and to hold the key: what a gateway does, for the vectors. */
export async function openRequest(requestKey: Bytes, site: string, enrolment: string, data: Bytes): Promise<EnrolRequest> {
  if (data.length > MAX_MESSAGE_BYTES) throw tooLarge('an enrolment request larger than the contract allows');
  const topic = topics.enrolRequest(site, enrolment);
  const request = decode(EnrolRequest, await seal.openWhole(requestKey, seal.context('enrolment', utf8(topic)), data));
  const covered = sign.message('enrol-proof', topic, await sign.keyId(request.sign), request.exchange);
  await sign.verify(request.sign, request.proof, covered);
  await hpke.loadPublic(request.exchange);
  return request;
}

/** What an enrolment gives: the root to pin, the key set as received and as read, and the device's own facts. */
export interface Welcome {
  root: Bytes;
  keySetBytes: Bytes;
  keySet: keyset.KeySet;
  enrolled: Enrolled;
}

/** The answer to `request` (its bytes as sent), trusted from the link's root digest on. */
export async function openAnswer(
  link: Link,
  enrolment: string,
  exchange: CryptoKeyPair,
  request: Bytes,
  nowMs: number,
  data: Bytes,
): Promise<Welcome> {
  if (data.length > MAX_MESSAGE_BYTES) throw tooLarge('an answer to an enrolment larger than the contract allows');
  const size = data.length < 4 ? Number.POSITIVE_INFINITY : readU32(data);
  if (data.length < 4 + size) throw malformed('not an answer to an enrolment');
  const keySetBytes = data.slice(4, 4 + size);
  const { root, keySet } = await keyset.unpack(link.root, link.site, topics.gatewayKeys(link.site), keySetBytes);
  const topic = topics.enrolResponse(link.site, enrolment);
  const sealed = await sign.openSigned(keyset.findKey(keySet, nowMs), 'enrolment', topic, data.slice(4 + size));
  const info = hpke.info('enrolment', utf8(link.site), decodeReference(enrolment));
  const enrolled = decode(Enrolled, await hpke.openSealed(exchange, info, sealed));
  if (!equal(enrolled.request, await sha256(request))) throw malformed('an answer to another request');
  return { root, keySetBytes, keySet, enrolled };
}
