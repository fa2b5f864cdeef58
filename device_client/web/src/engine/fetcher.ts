/** Which objects are fetched, and how the link's credit is shared among them: what is on screen comes first. */

import { toRanges } from '../wire/bits';
import type { Bytes } from '../wire/bytes';
import { WireError } from '../wire/errors';
import { MAX_CREDIT, MAX_RANGES } from '../wire/limits';
import type { Want } from '../wire/messages';
import { decodeReference } from '../wire/names';
import { Pace } from '../wire/pace';
import type { Ask } from '../wire/receiver';
import { objectRoot, type ObjectTopic } from '../wire/topics';
import { fileBytes } from './blob';
import { steady } from './clock';
import { Download } from './download';
import type { Session } from './session';
import type { Store } from './store';
import { REST_S, type Target, Wishes } from './wishes';

/** Objects that are subscribed: what another device of the recipient asks for comes without asking. */
const MAX_OPEN = 16;
/** Parts that wait for their digest; more than was asked for is somebody else's. */
const MAX_PENDING = 2 * MAX_CREDIT;

export interface FetchHooks {
  /** So many segments of an object are here. */
  progressed(id: string, received: number): void;
  completed(id: string): void;
  /** Make room for so many bytes; false if that cannot be. */
  makeRoom(bytes: number, target: Target): Promise<boolean>;
  storageFull(): void;
  refuse(error: WireError): void;
}

export class Fetcher {
  readonly #wishes = new Wishes();
  readonly #pace = new Pace();
  #session: Session | null = null;
  readonly #active = new Map<string, Download>();
  readonly #starting = new Set<string>();
  // Of those: begun on a file that has been removed since.
  readonly #outdated = new Set<string>();
  // Stopped while segments were on their way: the gateway has published them to nobody.
  readonly #interrupted = new Set<string>();
  #pending = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isLooking = false;
  #isClosed = false;

  constructor(
    private readonly store: Store,
    private readonly hooks: FetchHooks,
  ) {}

  /** Objects that are all here. */
  get complete(): Set<string> {
    return this.#wishes.complete;
  }

  // ── what is wanted ──────────────────────────────────────────────────────────────────────────────────────────────

  /** From now on these objects, in this order; what is no longer among them is stopped. */
  want(targets: Iterable<Target>): void {
    this.#wishes.want(targets);
    for (const download of this.#active.values()) {
      const target = this.#wishes.targets.get(download.id);
      if (target) download.held = target.held;
      else this.#stop(download);
    }
    this.#look();
  }

  /** Segments that a screen waits for, by object. They go before everything else. */
  focus(wanted: Map<string, number[]>): void {
    this.#wishes.focus = wanted;
    this.#look();
  }

  /** Leave an object alone for a while; a new announcement may name another in its place. */
  rest(id: string): void {
    this.#wishes.rest(id);
    const download = this.#active.get(id);
    if (download) this.#stop(download);
  }

  /** What was complete is damaged on the disk: fetch what does not fit its digest. */
  again(id: string): void {
    this.#wishes.again(id);
    this.#look();
  }

  /** Their files go: nothing more is written to them, and they are not complete any more. */
  forget(ids: Iterable<string>): void {
    for (const id of ids) {
      this.#wishes.complete.delete(id);
      if (this.#starting.has(id)) this.#outdated.add(id);
      const download = this.#active.get(id);
      if (download) this.#stop(download);
    }
  }

  /** Over this session from now on; nothing was in flight before. */
  connect(session: Session): void {
    this.#session = session;
    this.restart();
  }

  disconnect(): void {
    this.#session = null;
    for (const download of this.#active.values()) this.#forgetSubscription(download);
  }

  #forgetSubscription(download: Download): void {
    download.subscription = null;
    download.isReady = false;
  }

  /** The gateway or the link is new: ask anew for whatever is missing. */
  restart(): void {
    this.#interrupted.clear();
    for (const download of this.#active.values()) download.restart();
    this.#look();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.disconnect();
    await Promise.all([...this.#active.values()].map((download) => download.close(this.store.blobs)));
    this.#active.clear();
  }

  #stop(download: Download): void {
    this.#active.delete(download.id);
    if (download.inFlight > 0) this.#interrupted.add(download.id);
    if (download.subscription && this.#session) {
      void this.#session.link.unsubscribe([this.#filter(download)]).catch(() => undefined);
    }
    void download.close(this.store.blobs).catch(() => this.hooks.storageFull());
  }

  #filter({ held, id }: Download): string {
    return `${objectRoot(this.store.site, held.kind, held.recipient, id)}/+`;
  }

  // ── the pump ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Soon, and once however often it is said: what arrives in a burst is planned for together. */
  #look(): void {
    if (this.#isClosed || this.#isLooking) return;
    this.#isLooking = true;
    setTimeout(() => this.#turn(), 0);
  }

  #turn(): void {
    this.#isLooking = false;
    if (this.#isClosed) return;
    this.#begin();
    const now = steady();
    let deadline = now + REST_S;
    const open = [...this.#active.values()].filter((one) => !one.complete);
    for (const download of open) this.#subscribe(download);
    if (this.#session) this.#plan(now, open.filter((one) => one.isReady));
    for (const download of this.#active.values()) {
      this.#guarded(download, () => download.saveIfDue(now));
      deadline = Math.min(deadline, download.nextDeadline() ?? deadline);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#turn(), Math.max(deadline - now, 0.005) * 1000);
  }

  /** What screens wait for begins at once; then as many of the rest, as they are wanted, as can be listened to. */
  #begin(): void {
    const isDue = (id: string): boolean => this.#wishes.isDue(id) && !this.#active.has(id) && !this.#starting.has(id);
    for (const id of this.#wishes.focus.keys()) if (isDue(id) && this.#hasRoom(true)) this.#startSoon(id);
    const first = this.#wishes.first();
    for (const id of this.#wishes.targets.keys()) {
      if (!isDue(id)) continue;
      if (!this.#hasRoom(first.has(id))) return;
      this.#startSoon(id);
    }
  }

  /** For `urgent` ones, listening for another object is given up. */
  #hasRoom(urgent: boolean): boolean {
    if (this.#going < MAX_OPEN) return true;
    const first = this.#wishes.first();
    const idle = urgent && [...this.#active.values()].findLast((one) => one.inFlight === 0 && !first.has(one.id) && !this.#wishes.focus.has(one.id));
    if (!idle) return false;
    this.#stop(idle);
    return true;
  }

  get #going(): number {
    return this.#active.size + this.#starting.size;
  }

  #startSoon(id: string): void {
    this.#starting.add(id);
    void this.#start(id, this.#wishes.targets.get(id) as Target).finally(() => {
      this.#starting.delete(id);
      this.#look();
    });
  }

  async #start(id: string, target: Target): Promise<void> {
    try {
      const missing = Math.max(0, fileBytes(target.entry.size) - this.store.blobs.bytes(id));
      if (!(await this.hooks.makeRoom(missing, target))) return this.rest(id);
      const download = await Download.open(this.store.blobs, target.held, target.entry, this.#pace);
      if (this.#outdated.delete(id) || this.#isClosed || !this.#wishes.targets.has(id)) return await download.close(this.store.blobs);
      this.#active.set(id, download);
      if (download.complete) this.#finish(download);
    } catch {
      this.rest(id);
      this.hooks.storageFull();
    }
  }

  #subscribe(download: Download): void {
    const session = this.#session;
    if (!session || download.subscription) return;
    download.subscription = session.link.subscribe([this.#filter(download)], 0);
    download.subscription.then(
      () => {
        if (this.#session !== session) return;
        download.isReady = true;
        this.#look();
      },
      () => undefined,
    );
  }

  #plan(now: number, ready: Download[]): void {
    const urgent = ready.filter((one) => this.#isUrgent(one));
    const first = this.#wishes.first();
    // While a screen waits for something, nothing else is asked for.
    const asking = urgent.length > 0 ? urgent : ready.filter((one) => first.has(one.id) || one.inFlight > 0);
    for (const download of asking) {
      const others = ready.reduce((sum, one) => sum + (one === download ? 0 : one.inFlight), 0);
      // A share for each, or a credit that shrank could leave all of them waiting for one another.
      const share = Math.floor(this.#pace.credit / asking.length);
      const budget = Math.min(Math.max(this.#pace.credit - others, share, 1), MAX_CREDIT);
      this.#ask(download, now, budget);
    }
    if (urgent.length > 0) return;
    // Without segments: the pages that vouch for those that another device asked for.
    for (const download of ready) if (!asking.includes(download)) this.#ask(download, now, 0);
  }

  #isUrgent(download: Download): boolean {
    return (this.#wishes.focus.get(download.id) ?? []).some((index) => !download.has(index));
  }

  #ask(download: Download, now: number, budget: number): void {
    const first = this.#wishes.focus.get(download.id) ?? [];
    // What is asked for again and what is asked for first are two asks.
    for (let ask = download.plan(now, budget, first); ask; ask = download.plan(now, budget, first)) {
      const again = ask.again || this.#interrupted.delete(download.id);
      void this.#session?.request(want(download, { ...ask, again }, budget)).catch(() => undefined);
    }
  }

  #guarded(download: Download, work: () => void): void {
    try {
      work();
    } catch {
      download.failed = true;
      this.rest(download.id);
      this.hooks.storageFull();
    }
  }

  // ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────────

  /** A part of an object came. */
  take(part: ObjectTopic, payload: Bytes): void {
    const download = this.#active.get(part.objectId);
    if (!download || download.complete || this.#pending >= MAX_PENDING) return;
    this.#pending++;
    void this.#taken(download, part, payload).finally(() => this.#pending--);
  }

  async #taken(download: Download, part: ObjectTopic, payload: Bytes): Promise<void> {
    try {
      const fresh = await download.take(part, payload);
      if (fresh > 0) {
        this.store.blobs.note(download.id, download.bytes);
        this.hooks.progressed(download.id, download.received);
      }
    } catch (error) {
      if (error instanceof WireError) return this.hooks.refuse(error);
      // The receiver counts it as kept: this bitmap must not reach the disk any more.
      download.failed = true;
      this.rest(download.id);
      this.hooks.storageFull();
    }
    if (download.complete) this.#finish(download);
    this.#look();
  }

  #finish(download: Download): void {
    if (this.#active.get(download.id) !== download) return;
    this.#guarded(download, () => download.save());
    if (download.failed) return;
    this.store.blobs.note(download.id, download.bytes);
    this.#wishes.complete.add(download.id);
    this.#stop(download);
    this.hooks.completed(download.id);
  }
}

function want(download: Download, ask: Ask, budget: number): Want {
  return {
    op: 'want',
    kind: download.held.kind,
    recipient: decodeReference(download.held.recipient),
    object: download.entry.object,
    pages: ask.pages,
    ranges: toRanges(ask.segments).slice(0, MAX_RANGES),
    credit: Math.max(ask.segments.length, Math.min(budget, MAX_CREDIT), 1),
    again: ask.again,
  };
}
