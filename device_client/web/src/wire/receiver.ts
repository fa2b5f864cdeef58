/**
 * The receiving end of one object, without IO: what to ask for, what came, what to ask for again.
 *
 * The caller passes in the clock, sends what `plan` returns, hands over what arrives and keeps what comes back. Digests
 * are made by the caller, because WebCrypto makes them asynchronously; what is compared is compared here.
 */

import { Bitmap } from './bits';
import { type Bytes, equal } from './bytes';
import { malformed, WireError } from './errors';
import { DIGEST_BYTES, MAX_CREDIT, MAX_SEGMENT_BYTES, PAGE_DIGESTS } from './limits';
import type { Pace } from './pace';

const MAX_HELD = 2 * MAX_CREDIT;
const MAX_ASKED_PAGES = 16;
const PROBES = 4;

/** What to ask for now: pages, segments (ascending), and whether they were asked for before and lost. */
export interface Ask {
  pages: number[];
  segments: number[];
  again: boolean;
}

/** A verified segment, to be written. */
export interface Kept {
  index: number;
  ciphertext: Bytes;
}

interface Waiting {
  ciphertext: Bytes;
  digest: Bytes;
}

function ascending(numbers: number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}

function takeFirst<T>(items: Iterable<T>, most: number): T[] {
  const taken: T[] = [];
  for (const item of items) {
    if (taken.length >= most) break;
    taken.push(item);
  }
  return taken;
}

/** State of one object that is being received. Each call costs the same however large the object is. */
export class Receiver {
  readonly have: Bitmap;
  refetched = 0;
  readonly #digests = new Map<number, Bytes>();
  // What is in flight, and since when. Both stand in the order of asking, so the first is the first to be late.
  readonly #pagesAsked = new Map<number, number>();
  readonly #asked = new Map<number, number>();
  // What was asked for and did not come in time: no longer in flight, to be asked for again.
  readonly #pagesLost = new Set<number>();
  #lost = new Set<number>();
  readonly #askedAgain = new Set<number>();
  readonly #pagesAskedAgain = new Set<number>();
  // Segments that came before the page that vouches for them, by page.
  readonly #held = new Map<number, Map<number, Waiting>>();
  #heldCount = 0;
  // Latest arrival of anything that had been asked for: while earlier asks still come in, later ones are queued
  // behind them and not lost.
  #progress = { asked: Number.NEGATIVE_INFINITY, came: Number.NEGATIVE_INFINITY };
  #silentSince = Number.NEGATIVE_INFINITY;
  #probesDue = 0;

  /** `have` is what was kept earlier. */
  constructor(
    private readonly segments: number,
    private readonly pace: Pace,
    have?: Bitmap,
  ) {
    this.have = have ?? new Bitmap(segments);
    if (this.have.size !== segments) throw malformed('a bitmap of another object');
  }

  get complete(): boolean {
    return this.have.complete;
  }

  /** Segments asked for that have not come and are not late. */
  get inFlight(): number {
    return this.#asked.size;
  }

  /** Whether the page's digests are known. */
  hasPage(index: number): boolean {
    return this.#digests.has(index);
  }

  /** The link was cut: nothing is in flight any more. */
  restart(): void {
    for (const one of [this.#asked, this.#pagesAsked, this.#askedAgain, this.#pagesAskedAgain, this.#lost, this.#pagesLost]) {
      one.clear();
    }
    this.#probesDue = 0;
  }

  // ── what to ask ─────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * What to ask for now, at most `budget` segments in flight for this object; null if nothing is to be asked.
   *
   * Call it until it returns null. `order` lists segments by urgency (what is on the screen first).
   */
  plan(now: number, budget: number, order?: Iterable<number>): Ask | null {
    this.#expire(now);
    let room = budget - this.#asked.size;
    if (budget > 0) room = Math.max(room, this.#probesDue);
    const again = this.#planAgain(now, room);
    if (again) return again;
    // Asking at half of the credit keeps the flow going without a request for every segment.
    if (this.#asked.size > 0 && room < Math.floor((budget + 1) / 2)) return null;
    const chosen = this.#choose(room, order ?? this.have.missing());
    const pages = this.#choosePages(chosen);
    if (chosen.length === 0 && pages.length === 0) return null;
    return this.#noteAsked(now, pages, chosen, false);
  }

  #expire(now: number): void {
    const late = this.#late(now, this.#asked);
    const latePages = this.#late(now, this.#pagesAsked);
    if (late.length === 0 && latePages.length === 0) return;
    this.pace.lost(now);
    const overtaken = late.filter((index) => (this.#asked.get(index) as number) < this.#progress.asked);
    // Nothing came for the others: the gateway fell, or the link is so slow that all of it is still on its way. Only
    // the last few are asked for again. If they come first, what was asked for before them is lost; if it comes
    // before them, it was not, and the slow link carries a few segments twice instead of all.
    const probes = late.slice(overtaken.length).slice(-PROBES);
    if (probes.length > 0) this.#silentSince = now;
    // They are asked for even where the credit has shrunk below what waits on.
    this.#probesDue = probes.length;
    for (const index of [...overtaken, ...probes]) this.#asked.delete(index);
    this.#lost = new Set([...probes, ...overtaken, ...this.#lost]);
    for (const page of latePages) {
      this.#pagesAsked.delete(page);
      this.#pagesLost.add(page);
    }
  }

  /** The late ones, at the front: what was asked for later is late later, so the first that is not ends it. */
  #late(now: number, asked: Map<number, number>): number[] {
    const late: number[] = [];
    for (const [index, at] of asked) {
      if (now < this.#deadline(at)) break;
      late.push(index);
    }
    return late;
  }

  #planAgain(now: number, room: number): Ask | null {
    const segments = takeFirst(this.#lost, Math.max(room, 0));
    const pages = takeFirst(this.#pagesLost, MAX_ASKED_PAGES);
    if (segments.length === 0 && pages.length === 0) return null;
    for (const index of segments) {
      this.#lost.delete(index);
      this.#askedAgain.add(index);
    }
    for (const page of pages) {
      this.#pagesLost.delete(page);
      this.#pagesAskedAgain.add(page);
    }
    this.#probesDue = 0;
    return this.#noteAsked(now, pages, segments, true);
  }

  #noteAsked(now: number, pages: number[], segments: number[], again: boolean): Ask {
    for (const index of segments) this.#asked.set(index, now);
    for (const page of pages) this.#pagesAsked.set(page, now);
    return { pages: ascending(pages), segments: ascending(segments), again };
  }

  #choose(room: number, order: Iterable<number>): number[] {
    const chosen = new Set<number>();
    for (const index of order) {
      if (chosen.size >= room) break;
      if (index < 0 || index >= this.segments || this.have.has(index) || this.#asked.has(index) || this.#lost.has(index)) {
        continue;
      }
      if (!this.#held.get(Math.floor(index / PAGE_DIGESTS))?.has(index)) chosen.add(index);
    }
    return [...chosen];
  }

  #choosePages(chosen: number[]): number[] {
    const needed = new Set([...this.#held.keys(), ...chosen.map((index) => Math.floor(index / PAGE_DIGESTS))]);
    const unknown = [...needed].filter(
      (page) => !this.#digests.has(page) && !this.#pagesAsked.has(page) && !this.#pagesLost.has(page),
    );
    return unknown.slice(0, MAX_ASKED_PAGES);
  }

  #deadline(asked: number): number {
    // Overtaken by what was asked for later: on a link that keeps its order it was dropped.
    if (asked < this.#progress.asked) return asked + this.pace.overtaken;
    return Math.max(asked, this.#progress.came, this.#silentSince) + this.pace.repair;
  }

  /** When `plan` should be called again at the latest, if nothing arrives; null if nothing is in flight. */
  nextDeadline(): number | null {
    const first = [this.#asked, this.#pagesAsked].flatMap((asked) => takeFirst(asked.values(), 1));
    return first.length > 0 ? this.#deadline(Math.min(...first)) : null;
  }

  // ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The verified `digests` of a page (manifest.checkPage). Returns the segments that waited for it. */
  page(now: number, index: number, digests: Bytes): Kept[] {
    if (this.#digests.has(index)) return [];
    this.#digests.set(index, digests);
    const asked = this.#pagesAsked.get(index);
    this.#pagesAsked.delete(index);
    this.#pagesLost.delete(index);
    // A page stands before the segments that were asked for with it: after a second ask, nobody knows which came.
    this.#noteProgress(now, this.#pagesAskedAgain.has(index) ? this.#progress.asked : asked);
    const held = this.#held.get(index) ?? new Map<number, Waiting>();
    this.#held.delete(index);
    this.#heldCount -= held.size;
    const kept: Kept[] = [];
    for (const [segment, { ciphertext, digest }] of held) {
      if (this.#fits(segment, digest)) {
        this.have.add(segment);
        kept.push({ index: segment, ciphertext });
      } else this.#lost.add(segment);
    }
    return kept;
  }

  /** A segment came, asked for or not; `digest` is SHA-256 of `payload`. Returns it once verified. */
  segment(now: number, index: number, payload: Bytes, digest: Bytes): Kept[] {
    if (index < 0 || index >= this.segments) throw malformed('there is no such segment');
    if (this.have.has(index)) {
      this.refetched++;
      // The second copy of what was asked for twice: more may be queued behind it.
      if (this.#askedAgain.has(index)) this.#noteProgress(now, this.#progress.asked);
      return [];
    }
    const page = Math.floor(index / PAGE_DIGESTS);
    if (!this.#digests.has(page)) {
      this.#hold(now, page, index, { ciphertext: payload, digest });
      return [];
    }
    if (!this.#fits(index, digest)) throw new WireError('digest-mismatch', 'a segment that is not the announced one');
    this.#arrive(now, index);
    this.have.add(index);
    return [{ index, ciphertext: payload }];
  }

  #hold(now: number, page: number, index: number, waiting: Waiting): void {
    // The bound is on memory: what no page vouches for yet may be anybody's.
    if (this.#heldCount >= MAX_HELD || waiting.ciphertext.length > MAX_SEGMENT_BYTES) return;
    const held = this.#held.get(page) ?? new Map<number, Waiting>();
    if (held.has(index)) return;
    this.#held.set(page, held.set(index, waiting));
    this.#heldCount++;
    this.#arrive(now, index);
  }

  #fits(index: number, digest: Bytes): boolean {
    const start = (index % PAGE_DIGESTS) * DIGEST_BYTES;
    const digests = this.#digests.get(Math.floor(index / PAGE_DIGESTS));
    return digests !== undefined && equal(digest, digests.subarray(start, start + DIGEST_BYTES));
  }

  #arrive(now: number, index: number): void {
    const asked = this.#asked.get(index);
    this.#asked.delete(index);
    this.#lost.delete(index);
    // Karn's rule: what was asked for twice says nothing about the round trip.
    if (asked !== undefined && !this.#askedAgain.has(index)) this.pace.arrived(now - asked);
    this.#noteProgress(now, asked);
  }

  #noteProgress(now: number, asked: number | undefined): void {
    if (asked !== undefined && asked >= this.#progress.asked) this.#progress = { asked, came: now };
  }
}
