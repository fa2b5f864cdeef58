/** The messages: what they hold, typed and bounded. Times are milliseconds since 1970-01-01 UTC; references raw bytes. */

import { ASKED, TOLD } from './asks';
import { Digest, Epoch, Key, KindName, Label, LAYERS, type Layer, LayerName, Pages, Point, Ranges, Ref, Sequence, Time, Uid, Uint } from './fields';
import * as limits from './limits';
import { bool, bytes, type Infer, list, oneOf, pair, row, struct, uint, union, variant } from './schema';

export { Digest, Epoch, Key, KindName, Label, LAYERS, type Layer, LayerName, Point, Ref, Sequence, Time, Uid, Uint };

// ── what is current ───────────────────────────────────────────────────────────────────────────────────────────────

/** One current study: its reference, the sequence of its announcement, and SHA-256 of the announcement's bytes. */
export const HeadEntry = row({ study: Ref, sequence: Sequence, digest: Digest });
export type HeadEntry = Infer<typeof HeadEntry>;

/** All that is current for a recipient; what is not in it is gone. */
export const Head = struct({
  sequence: Sequence,
  issued: Time,
  next_due: Time,
  studies: list(HeadEntry, 0, limits.MAX_STUDIES),
});
export type Head = Infer<typeof Head>;

/** The epoch key of a recipient for each of its devices; signed, its contents sealed one by one. */
export const Keys = struct({
  suite: uint(1, 255),
  epoch: Epoch,
  issued: Time,
  devices: list(row({ device: Ref, sealed: bytes(113) }), 0, 1024),
});

/** What a device must know to fetch and open an object. `size` is the plaintext's; `batch` orders those of a layer. */
export const ObjectEntry = struct({
  object: Ref,
  layer: LayerName,
  series: list(uint(0, 65535), 1, limits.MAX_SERIES),
  batch: uint(0, 2 ** 31 - 1),
  frames: uint(0, limits.MAX_PARTS),
  key: Key,
  size: uint(1, limits.MAX_OBJECT_BYTES),
  manifest: Digest,
});
export type ObjectEntry = Infer<typeof ObjectEntry>;

/** A study as one recipient may see it; `attributes` is deflated DICOM JSON, and identity stands here alone. */
export const Announcement = struct({
  study: Ref,
  sequence: Sequence,
  issued: Time,
  settled: bool,
  attributes: bytes(0, limits.MAX_ANNOUNCEMENT_BYTES),
  objects: list(ObjectEntry, 0, 256),
});
export type Announcement = Infer<typeof Announcement>;

// ── requests and answers ──────────────────────────────────────────────────────────────────────────────────────────

export const Known = row({
  kind: KindName,
  recipient: Ref,
  head: Uint,
  studies: list(pair(Ref, Sequence), 0, limits.MAX_STUDIES),
});
export type Known = Infer<typeof Known>;

/** Ranges ascend, do not touch, and hold no more segments than the credit. */
function fitsCredit(want: { ranges: [number, number][]; credit: number }): boolean {
  let last = -2;
  let total = 0;
  for (const [first, end] of want.ranges) {
    if (first <= last + 1 || end < first) return false;
    last = end;
    total += end - first + 1;
  }
  return total <= want.credit;
}

export const RequestBody = union({
  /** What the device has; the gateway publishes what is newer and answers Synced, which renews the lease. */
  sync: variant('sync', { known: list(Known, 0, 64) }),
  /** Publish these manifest pages and segments; `again` says that some of them were asked for and did not come. */
  want: variant(
    'want',
    {
      kind: KindName,
      recipient: Ref,
      object: Ref,
      pages: Pages,
      ranges: Ranges,
      credit: uint(1, limits.MAX_CREDIT),
      again: bool,
    },
    fitsCredit,
  ),
  /** A study was received completely in a layer, or opened. */
  receipt: variant('receipt', {
    kind: KindName,
    recipient: Ref,
    study: Ref,
    sequence: Sequence,
    layer: LayerName,
    event: oneOf('received', 'opened'),
    at: Time,
  }),
  /** Make a layer of an announced study that is not offered, or no longer; no series means all of the study's. */
  order: variant('order', {
    kind: KindName,
    recipient: Ref,
    study: Ref,
    layer: LayerName,
    series: list(Uid, 0, limits.MAX_SERIES),
  }),
  /** The device has erased what it received, as Wipe told it to; the keys that sign this go next. */
  wiped: variant('wiped', {}),
  ...ASKED,
});
export type RequestBody = Infer<typeof RequestBody>;
export type Want = Extract<RequestBody, { op: 'want' }>;
export type Receipt = Extract<RequestBody, { op: 'receipt' }>;

/** `boot` is random for each connection, `counter` grows within it: together they are unique. */
export const Request = struct({ boot: Ref, counter: Uint, issued: Time, body: RequestBody });
export type Request = Infer<typeof Request>;

/** Without `secret` the device's store cannot be opened; it erases the secret when `expires` has come. */
export const Lease = struct({ secret: Key, expires: Time });
export type Lease = Infer<typeof Lease>;

export const AnswerBody = union({
  /** What is current has been published; `heads` are signed heads as published. */
  synced: variant('synced', { heads: list(bytes(0, limits.MAX_MESSAGE_BYTES), 0, 64), lease: Lease }),
  done: variant('done', {}),
  /** Whatever was asked: erase all that was received, say Wiped, then erase the device's keys. */
  wipe: variant('wipe', {}),
  /** The object is not here, or not for this recipient: the same answer to both. */
  gone: variant('gone', { object: Ref }),
  refused: variant('refused', { reason: oneOf('malformed', 'stale', 'forbidden', 'busy', 'unsupported', 'gone') }),
  ...TOLD,
});
export type AnswerBody = Infer<typeof AnswerBody>;

/** The answer to the request that `boot` and `counter` name; no answer stands for a Want that is served. */
export const Answer = struct({ boot: Ref, counter: Uint, issued: Time, body: AnswerBody });
export type Answer = Infer<typeof Answer>;

/** Payloads of `status` topics; the second is also the will. */
export const ONLINE = 'online';
export const OFFLINE = 'offline';
