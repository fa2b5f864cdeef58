/**
 * The key set: which keys speak for the site, from a root that a device pinned at its enrolment.
 *
 * `count (1) | roots: (public key (32) | signature by the root before (64)) each | signed message`. The first root signs
 * itself. The chain has fixed widths, so it is walked before anything is parsed.
 */

import { type Bytes, equal, sha256 } from './bytes';
import { malformed, tooLarge, WireError } from './errors';
import * as hpke from './hpke';
import { MAX_MESSAGE_BYTES } from './limits';
import { Epoch, Key, Point, Ref, Sequence, Time } from './messages';
import { decode, type Infer, list, row, struct } from './schema';
import * as sign from './sign';

const LINK_BYTES = 32 + 64;
export const MAX_ROOTS = 64;

/** What the current root vouches for: the gateways' online keys, and the HPKE key that they share. */
export const KeySet = struct({
  sequence: Sequence,
  issued: Time,
  suite: Epoch,
  exchange: Point,
  online: list(row({ gateway: Ref, public: Key, expires: Time }), 1, 64),
});
export type KeySet = Infer<typeof KeySet>;

/** A FindKey over the online keys that have not expired. */
export function findKey(keySet: KeySet, nowMs: number): sign.FindKey {
  return sign.trusting(keySet.online.filter((key) => key.expires > nowMs).map((key) => key.public));
}

/** Root digest to pin from now on, and the key set; Untrusted without a chain from the `pinned` root digest. */
export async function unpack(pinned: Bytes, site: string, topic: string, data: Bytes): Promise<{ root: Bytes; keySet: KeySet }> {
  if (data.length > MAX_MESSAGE_BYTES) throw tooLarge('a key set larger than the contract allows');
  const count = data[0] ?? 0;
  const end = 1 + count * LINK_BYTES;
  if (count < 1 || count > MAX_ROOTS || data.length <= end) throw malformed('not a chain of roots');
  const links = Array.from({ length: count }, (_, index) => data.slice(1 + index * LINK_BYTES, 1 + (index + 1) * LINK_BYTES));
  const digests = await Promise.all(links.map((link) => sha256(link.slice(0, 32))));
  if (!digests.some((digest) => equal(digest, pinned))) {
    throw new WireError('untrusted', 'the pinned root is not in the chain');
  }
  // Those before the pinned one are checked too, so that a chain is either whole or refused for every device.
  let current = (links[0] as Bytes).slice(0, 32);
  for (const link of links) {
    const next = link.slice(0, 32);
    await sign.verify(current, link.slice(32), sign.message('root', site, await sign.keyId(current), next));
    current = next;
  }
  const body = await sign.openSigned(sign.trusting([current]), 'key-set', topic, data.slice(end));
  const keySet = decode(KeySet, body);
  if (keySet.suite !== hpke.SUITE) throw malformed('a suite that this version does not know');
  await hpke.loadPublic(keySet.exchange);
  return { root: await sha256(current), keySet };
}
