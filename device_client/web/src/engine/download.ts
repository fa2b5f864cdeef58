/** One object on its way: the wire's receiver, and the file that it fills. */

import { type Bytes, sha256 } from '../wire/bytes';
import { malformed } from '../wire/errors';
import { checkPage } from '../wire/manifest';
import type { ObjectEntry } from '../wire/messages';
import { encodeReference } from '../wire/names';
import type { Pace } from '../wire/pace';
import { type Ask, Receiver } from '../wire/receiver';
import { segmentSpan } from '../wire/seal';
import type { ObjectTopic } from '../wire/topics';
import type { Blob } from './blob';
import type { Blobs } from './blobs';
import { steady } from './clock';
import type { Held } from './ledger';

const GROUP_SEGMENTS = 32;
/** A group of segments shares one flush of the data and one of the bitmap. */
const GROUP_S = 0.25;

export class Download {
  subscription: Promise<void> | null = null;
  isReady = false;
  failed = false;
  readonly id: string;
  readonly #receiver: Receiver;
  #cursor = 0;
  #unsaved = 0;
  #dirtyAt: number | null = null;
  #isClosed = false;

  private constructor(
    public held: Held,
    readonly entry: ObjectEntry,
    private readonly blob: Blob,
    pace: Pace,
  ) {
    this.id = encodeReference(entry.object);
    this.#receiver = new Receiver(blob.segments, pace, blob.have);
    for (const [page, digests] of blob.pages) this.#receiver.page(0, page, digests);
  }

  static async open(blobs: Blobs, held: Held, entry: ObjectEntry, pace: Pace): Promise<Download> {
    return new Download(held, entry, await blobs.acquire(encodeReference(entry.object), entry), pace);
  }

  get complete(): boolean {
    return this.#receiver.complete;
  }

  get received(): number {
    return this.#receiver.have.count;
  }

  get bytes(): number {
    return this.blob.bytes;
  }

  get inFlight(): number {
    return this.#receiver.inFlight;
  }

  has(index: number): boolean {
    return this.#receiver.have.has(index);
  }

  /** The link was cut, or the gateway is new: nothing is in flight any more. */
  restart(): void {
    this.#receiver.restart();
  }

  /** What to ask for now; `first` are the segments that a screen waits for. */
  plan(now: number, budget: number, first: readonly number[]): Ask | null {
    return this.#receiver.plan(now, budget, this.#order(first));
  }

  *#order(first: readonly number[]): Generator<number> {
    yield* first;
    // What a screen waits for is not to stand behind anything: the rest is asked for once all of that is here.
    if (first.some((index) => !this.#receiver.have.has(index))) return;
    while (this.#receiver.have.has(this.#cursor)) this.#cursor++;
    for (let index = this.#cursor; index < this.blob.segments; index++) yield index;
  }

  /** A part came: verified and written. How many segments are new; WireError if it is not the announced. */
  async take(part: ObjectTopic, payload: Bytes): Promise<number> {
    const kept = part.part === 'page' ? await this.#page(part.index, payload) : await this.#segment(part.index, payload);
    if (this.#isClosed) return 0;
    for (const { index, ciphertext } of kept) this.blob.write(index, ciphertext);
    if (kept.length > 0) {
      this.#unsaved += kept.length;
      this.#dirtyAt ??= steady();
    }
    return kept.length;
  }

  async #page(index: number, payload: Bytes): Promise<ReturnType<Receiver['page']>> {
    if (this.#receiver.hasPage(index)) return [];
    const digests = await checkPage(this.entry.manifest, index, this.blob.segments, payload);
    if (this.#isClosed || this.#receiver.hasPage(index)) return [];
    this.blob.savePage(index, payload, digests);
    return this.#receiver.page(steady(), index, digests);
  }

  async #segment(index: number, payload: Bytes): Promise<ReturnType<Receiver['segment']>> {
    if (payload.length !== segmentSpan(index, this.entry.size)[1]) {
      throw malformed('a segment of another length than its place');
    }
    const digest = await sha256(payload);
    return this.#isClosed ? [] : this.#receiver.segment(steady(), index, payload, digest);
  }

  /** When to plan or save again at the latest. */
  nextDeadline(): number | null {
    const times = [this.#receiver.nextDeadline(), this.#dirtyAt === null ? null : this.#dirtyAt + GROUP_S];
    const known = times.filter((time) => time !== null);
    return known.length > 0 ? Math.min(...known) : null;
  }

  /** Make a group durable if one is due. */
  saveIfDue(now: number): void {
    if (this.#dirtyAt === null) return;
    if (now >= this.#dirtyAt + GROUP_S || this.#unsaved >= GROUP_SEGMENTS) this.save();
  }

  save(): void {
    // After a write that failed this bitmap must not reach the disk any more.
    if (this.#dirtyAt === null || this.failed) return;
    this.#unsaved = 0;
    this.#dirtyAt = null;
    this.blob.commit();
  }

  /** Make all durable and give the file back. */
  async close(blobs: Blobs): Promise<void> {
    if (this.#isClosed) return;
    try {
      this.save();
    } finally {
      this.#isClosed = true;
      await blobs.release(this.id);
    }
  }
}
