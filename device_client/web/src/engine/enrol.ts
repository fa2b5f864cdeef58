/** Enrolment: from a one-time link to a device with keys, recipients and a lease. */

import { ApiError, type Phase } from '../api';
import type { Bytes } from '../wire/bytes';
import { hex } from '../wire/bytes';
import * as enrolment from '../wire/enrolment';
import { WireError } from '../wire/errors';
import { rawPublic } from '../wire/hpke';
import { encodeReference } from '../wire/names';
import { enrolRequest, enrolResponse } from '../wire/topics';
import { sleep } from './clock';
import type { Database, Write } from './database';
import { Link, LinkError } from './link';
import * as vault from './vault';

/** The broker may learn of a fresh link a moment after the link was shown. */
const REFUSED_FOR_MS = 5000;
/** Somebody at the gateway may have to confirm the device first. */
const ANSWER_MS = 10 * 60_000;

type Step = Extract<Phase, { name: 'enrolling' }>['step'];

function parse(text: string): enrolment.Link {
  try {
    const link = enrolment.parseLink(text.includes('#') ? text : `#${text}`);
    if (link.expires <= Date.now()) throw new ApiError('link-expired');
    return link;
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError('link-invalid');
  }
}

async function connect(name: string, password: string, onMessage: (topic: string, payload: Bytes) => void): Promise<Link> {
  const deadline = Date.now() + REFUSED_FOR_MS;
  for (;;) {
    try {
      return await Link.open({ name, password }, onMessage);
    } catch (error) {
      if (!(error instanceof LinkError && error.refused)) throw new ApiError('unreachable');
      if (Date.now() > deadline) throw new ApiError('link-refused');
      await sleep(0.3);
    }
  }
}

/** Ask and be answered; what was answered is verified by the caller. */
async function introduce(link: enrolment.Link, password: string, payload: Bytes): Promise<Bytes> {
  const reference = encodeReference(link.enrolment);
  const topic = enrolResponse(link.site, reference);
  let take: (payload: Bytes) => void = () => undefined;
  const answer = new Promise<Bytes>((resolve) => {
    take = resolve;
  });
  const connection = await connect(reference, password, (at, data) => at === topic && take(data));
  try {
    await connection.subscribe([topic]);
    await connection.publish(enrolRequest(link.site, reference), payload);
    // The broker ends a one-time login when its code is used up or too old, perhaps right behind the answer.
    const ended = connection.closed.then(() => sleep(0)).then(() => new ApiError('link-refused'));
    const late = sleep(ANSWER_MS / 1000).then(() => new ApiError('silent'));
    const data = await Promise.race([answer, ended, late]);
    if (data instanceof ApiError) throw data;
    return data;
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError('unreachable');
  } finally {
    connection.close();
  }
}

/** Enrol, and write everything that the device is from now on, in one transaction. */
export async function enrol(database: Database, text: string, name: string, tell: (step: Step, fingerprint?: string) => void): Promise<void> {
  const link = parse(text);
  tell('keys');
  const keys = await vault.generateKeys();
  await vault.proveKeys(database, keys);
  tell('connecting');
  const reference = encodeReference(link.enrolment);
  const codeKeys = await enrolment.deriveCodeKeys(link.code, reference);
  const exchange = await rawPublic(keys.exchange.publicKey);
  const payload = await enrolment.packRequest(codeKeys, link.site, reference, keys.signer, exchange, name);
  tell('waiting', await vault.fingerprint(keys));
  const data = await introduce(link, codeKeys.password, payload);
  tell('storing');
  let welcome: enrolment.Welcome;
  try {
    welcome = await enrolment.openAnswer(link, reference, keys.exchange, payload, Date.now(), data);
  } catch (error) {
    // Not the gateway of the link, or this device's clock is wrong.
    throw error instanceof WireError ? new ApiError('refused', error.code) : error;
  }
  await database.write([...(await vault.keyWrites(keys)), ...(await writes(link, name, welcome))]);
}

async function writes(link: enrolment.Link, deviceName: string, { enrolled, root, keySet, keySetBytes }: enrolment.Welcome): Promise<Write[]> {
  const device = encodeReference(enrolled.device);
  const recipients = enrolled.recipients.map((one) => ({ kind: one.kind, recipient: encodeReference(one.recipient) }));
  const identity: vault.Identity = {
    version: 1,
    site: link.site,
    device,
    deviceName,
    password: hex(enrolled.password),
    root,
    keySet: keySetBytes,
    recipients,
    enrolledAt: enrolled.issued,
  };
  const secrets: vault.Secrets = {
    labels: enrolled.recipients.map((one) => one.label),
    epochs: enrolled.recipients.map(() => []),
    signers: keySet.online.map((one) => one.public),
    first_heads: enrolled.recipients.map((one) => one.head),
  };
  const secret = await vault.importSecret(vault.newSecret());
  const key = await vault.storeKey(secret, enrolled.lease);
  return [
    { table: 'keys', key: 'secret', value: secret },
    { table: 'facts', key: 'identity', value: identity },
    { table: 'facts', key: 'lease', value: enrolled.lease },
    { table: 'facts', key: 'vault', value: await vault.sealSecrets(key, device, secrets) },
    { table: 'facts', key: 'clock', value: enrolled.issued },
  ];
}
