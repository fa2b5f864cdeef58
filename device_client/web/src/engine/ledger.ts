/**
 * What is current: heads and announcements of every recipient, judged without IO.
 *
 * The caller verifies bytes before, and keeps them before it applies them here; times are the device clock's.
 */

import type { DataSet, Kind } from '../api';
import { type Bytes, equal } from '../wire/bytes';
import { malformed, WireError } from '../wire/errors';
import { GRACE_S } from '../wire/limits';
import type { Announcement, Head, HeadEntry, ObjectEntry } from '../wire/messages';
import { encodeReference } from '../wire/names';
import { inflateJson } from '../wire/objects';

export const GRACE_MS = GRACE_S * 1000;

const stale = (text: string): WireError => new WireError('stale', text);

/** An announcement that is here, SHA-256 of its bytes as received, and its attributes. */
export interface Held {
  kind: Kind;
  recipient: string;
  study: string;
  announcement: Announcement;
  digest: Bytes;
  attributes: DataSet;
  series: DataSet[];
}

function isDataSet(value: unknown): value is DataSet {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Read the attributes; Malformed unless they and the objects fit together. */
export async function hold(kind: Kind, recipient: string, study: string, announcement: Announcement, digest: Bytes): Promise<Held> {
  const value = await inflateJson(announcement.attributes);
  if (!isDataSet(value) || !isDataSet(value['study'])) throw malformed('attributes that hold no study');
  const series: unknown = value['series'];
  if (!Array.isArray(series) || !series.every(isDataSet)) throw malformed('attributes that hold no list of series');
  if (announcement.objects.some((entry) => entry.series.some((index) => index >= series.length))) {
    throw malformed('an object of a series that is not announced');
  }
  return { kind, recipient, study, announcement, digest, attributes: value['study'] as DataSet, series: series as DataSet[] };
}

/** One recipient: its head, its studies, and what its heads no longer name. */
export class Shelf {
  sequence = 0;
  head: Head | null = null;
  readonly studies = new Map<string, Held>();
  readonly unlisted = new Map<string, number>();
  revoked = false;
  readonly #floors = new Map<string, number>();
  #listed = new Map<string, HeadEntry>();

  constructor(
    readonly kind: Kind,
    readonly recipient: string,
  ) {}

  // ── heads ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Stale for a head that is not newer than every head before. */
  checkHead(head: Head): void {
    if (head.sequence <= this.sequence) throw stale('a head that is not newer than what is known');
  }

  /** Apply a head whose sequence has been kept. */
  takeHead(head: Head, nowMs: number): void {
    this.head = head;
    this.sequence = head.sequence;
    this.#listed = new Map(head.studies.map((entry) => [encodeReference(entry.study), entry]));
    for (const study of this.unlisted.keys()) if (this.#listed.has(study)) this.unlisted.delete(study);
    for (const [study, held] of this.studies) {
      // An announcement travels before the head that names it, so a newer one may be missing in this head.
      if (!this.#listed.has(study) && held.announcement.issued <= head.issued && !this.unlisted.has(study)) {
        this.unlisted.set(study, nowMs);
      }
    }
  }

  /** Whether a newer head should have come. */
  isOverdue(nowMs: number): boolean {
    return this.head === null || nowMs > this.head.next_due + GRACE_MS;
  }

  // ── announcements ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Stale for an announcement that is not newer, or older than what the head names. */
  checkAnnouncement(study: string, announcement: Announcement, digest: Bytes): void {
    const known = this.studies.get(study);
    const entry = this.#listed.get(study);
    // The same sequence in other bytes is an announcement sealed anew, for a new epoch say: the head vouches for it.
    const isNamed = entry !== undefined && equal(entry.digest, digest) && entry.sequence === announcement.sequence;
    let floor = this.#floors.get(study) ?? 0;
    if (known && (equal(known.digest, digest) || !isNamed)) floor = Math.max(floor, known.announcement.sequence + 1);
    if (announcement.sequence < floor) throw stale('an announcement that is not newer than what is known');
    if (entry && announcement.sequence < entry.sequence) {
      throw stale('an announcement that is older than what the head names');
    }
    if (!entry && this.head && announcement.issued <= this.head.issued) {
      throw stale('an announcement that the head does not name');
    }
  }

  /** Apply an announcement that has been kept. */
  takeAnnouncement(held: Held): void {
    this.studies.set(held.study, held);
    this.#floors.set(held.study, held.announcement.sequence);
    this.unlisted.delete(held.study);
  }

  /** A study is gone. */
  drop(study: string): void {
    this.studies.delete(study);
    this.#floors.delete(study);
    this.unlisted.delete(study);
  }

  // ── judgements ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Studies that verified heads have not named for the grace time. */
  gone(nowMs: number): string[] {
    return [...this.unlisted].filter(([, since]) => nowMs - since >= GRACE_MS).map(([study]) => study);
  }

  /** Studies that the head names and that are not here as it names them. */
  behind(): string[] {
    return [...this.#listed]
      .filter(([study, entry]) => {
        const held = this.studies.get(study);
        return !held || (!equal(held.digest, entry.digest) && held.announcement.sequence <= entry.sequence);
      })
      .map(([study]) => study);
  }

  /** Whether the device may say that this is the latest state of the study. */
  isCurrent(study: string, nowMs: number): boolean {
    const held = this.studies.get(study);
    if (!held || !this.head || this.revoked || this.isOverdue(nowMs)) return false;
    const entry = this.#listed.get(study);
    if (entry && equal(entry.digest, held.digest)) return true;
    return nowMs - Math.max(this.head.issued, held.announcement.issued) <= GRACE_MS;
  }

  /** Whether the list of the recipient's studies is the latest. */
  isListCurrent(nowMs: number): boolean {
    if (!this.head || this.revoked || this.isOverdue(nowMs)) return false;
    return nowMs - this.head.issued <= GRACE_MS || this.behind().length === 0;
  }
}

/** All recipients of the device. */
export class Ledger {
  readonly shelves: Map<string, Shelf>;

  constructor(recipients: readonly { kind: Kind; recipient: string }[]) {
    this.shelves = new Map(recipients.map(({ kind, recipient }) => [recipient, new Shelf(kind, recipient)]));
  }

  /** All studies, those announced last first. */
  studies(): Held[] {
    const held = [...this.shelves.values()].flatMap((shelf) => Array.from(shelf.studies.values()));
    return held.toSorted((a, b) => b.announcement.issued - a.announcement.issued || (a.study < b.study ? -1 : 1));
  }

  /** Each announced object once, with an announcement that names it. */
  objects(): Map<string, { held: Held; entry: ObjectEntry }> {
    const found = new Map<string, { held: Held; entry: ObjectEntry }>();
    for (const held of this.studies()) {
      for (const entry of held.announcement.objects) {
        const id = encodeReference(entry.object);
        if (!found.has(id)) found.set(id, { held, entry });
      }
    }
    return found;
  }
}
