/** How each message is signed and sealed: the one place where labels, topics and contexts are put together. */

import { type Bytes, equal, readU32, u32, utf8 } from './bytes';
import { malformed, sealBroken, tooLarge } from './errors';
import * as hpke from './hpke';
import { MAX_ANNOUNCEMENT_BYTES, MAX_MESSAGE_BYTES } from './limits';
import { Announcement, Answer, Head, Keys, type Layer, Request } from './messages';
import { decodeReference, type Kind } from './names';
import { decode, encode } from './schema';
import * as seal from './seal';
import * as sign from './sign';
import * as topics from './topics';

/** Epoch keys by epoch. */
export type EpochKeys = ReadonlyMap<number, Bytes>;

/** A recipient's tree. */
export interface Place {
  site: string;
  kind: Kind;
  recipient: string;
}

/** What an object's ciphertext is bound to. */
export function objectContext(site: string, objectId: Bytes, layer: Layer): Bytes {
  return seal.context('object', utf8(site), objectId, utf8(layer));
}

/** A bound is checked before anything else costs time, and before a message is sent. */
function checkSize(data: Bytes, most = MAX_MESSAGE_BYTES): Bytes {
  if (data.length > most) throw tooLarge(`a message of ${data.length} bytes, where ${most} are allowed`);
  return data;
}

async function openForEpoch(findKey: sign.FindKey, label: sign.Label, topic: string, keys: EpochKeys, data: Bytes): Promise<Bytes> {
  const body = await sign.openSigned(findKey, label, topic, data);
  if (body.length < 4) throw malformed('cut short in the epoch');
  const epoch = readU32(body);
  const key = keys.get(epoch);
  if (!key) throw sealBroken('sealed for an epoch whose key is not here');
  return seal.openWhole(key, seal.context(label, utf8(topic), u32(epoch)), body.slice(4));
}

/** The head, once signature and seal have been checked. */
export async function openHead(findKey: sign.FindKey, at: Place, keys: EpochKeys, data: Bytes): Promise<Head> {
  checkSize(data);
  const topic = topics.head(at.site, at.kind, at.recipient);
  return decode(Head, await openForEpoch(findKey, 'head', topic, keys, data));
}

/** The announcement, once signature and seal have been checked and it names the study of its topic. */
export async function openAnnouncement(findKey: sign.FindKey, at: Place, study: string, keys: EpochKeys, data: Bytes): Promise<Announcement> {
  checkSize(data, MAX_ANNOUNCEMENT_BYTES);
  const topic = topics.study(at.site, at.kind, at.recipient, study);
  const announcement = decode(Announcement, await openForEpoch(findKey, 'announcement', topic, keys, data));
  if (!equal(announcement.study, decodeReference(study))) {
    throw malformed("an announcement of another study than its topic's");
  }
  return announcement;
}

/** The epoch and its key; null if there is none for this device, which is then no longer served. */
export async function openKeys(
  findKey: sign.FindKey,
  at: Place,
  device: string,
  exchange: CryptoKeyPair,
  data: Bytes,
): Promise<{ epoch: number; key: Bytes | null }> {
  checkSize(data);
  const body = await sign.openSigned(findKey, 'keys', topics.keys(at.site, at.kind, at.recipient), data);
  const keys = decode(Keys, body);
  if (keys.suite !== hpke.SUITE) throw malformed('a suite that this version does not know');
  const own = decodeReference(device);
  const entry = keys.devices.find((one) => equal(one.device, own));
  if (!entry) return { epoch: keys.epoch, key: null };
  const info = hpke.info('epoch', utf8(at.site), utf8(at.kind), decodeReference(at.recipient), own, u32(keys.epoch));
  return { epoch: keys.epoch, key: await hpke.openSealed(exchange, info, entry.sealed) };
}

function deviceInfo(purpose: hpke.Purpose, site: string, device: string): Bytes {
  return hpke.info(purpose, utf8(site), decodeReference(device));
}

/** The payload of a device's `request`, sealed to the gateways' shared key. */
export async function packRequest(signer: sign.Signer, exchange: Bytes, site: string, device: string, request: Request): Promise<Bytes> {
  const sealed = await hpke.seal(exchange, deviceInfo('request', site, device), encode(Request, request));
  return checkSize(await sign.sign(signer, 'request', topics.deviceRequest(site, device), sealed));
}

/** The request, once the device's signature has been checked: what a gateway does, for the vectors. */
export async function openRequest(deviceKey: Bytes, exchange: CryptoKeyPair, site: string, device: string, data: Bytes): Promise<Request> {
  checkSize(data);
  const topic = topics.deviceRequest(site, device);
  const sealed = await sign.openSigned(sign.trusting([deviceKey]), 'request', topic, data);
  return decode(Request, await hpke.openSealed(exchange, deviceInfo('request', site, device), sealed));
}

/** The answer, once the gateway's signature has been checked. */
export async function openAnswer(findKey: sign.FindKey, exchange: CryptoKeyPair, site: string, device: string, data: Bytes): Promise<Answer> {
  checkSize(data);
  const sealed = await sign.openSigned(findKey, 'answer', topics.deviceResponse(site, device), data);
  return decode(Answer, await hpke.openSealed(exchange, deviceInfo('answer', site, device), sealed));
}
