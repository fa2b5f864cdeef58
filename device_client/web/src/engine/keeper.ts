/** What has to be done from time to time while there is a connection: sync, receipts, deletions, the lease. */

import { MAX_STUDIES } from '../wire/limits';
import type { AnswerBody, Known, Receipt } from '../wire/messages';
import { decodeReference, encodeReference } from '../wire/names';
import { steady } from './clock';
import { joined } from './database';
import type { Session } from './session';
import type { ReceiptRecord, Store } from './store';
import { sameLease } from './vault';

const TICK_MS = 1000;
const ANSWER_S = 10;
const LEAST_PAUSE_S = 2;
const MOST_PAUSE_S = 60;
const SYNC_EVERY_S = 3600;
const RECEIPTS_AT_ONCE = 16;

export interface KeeperHooks {
  /** Delete what is gone. */
  sweep(): Promise<void>;
  leaseEnded(): void;
  leaseRenewed(): void;
  synced(): void;
  /** Something may have become not current. */
  look(): void;
}

/** One for each connection with an open store. */
export class Keeper {
  synced = false;
  // When to ask what is current: at once when wanted, but ever more rarely while it does not help.
  #isWanted = true;
  #askedAt: number | null = null;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #notBefore = Number.NEGATIVE_INFINITY;
  #pause = LEAST_PAUSE_S;
  #sent = new Map<string, number>();
  #isBusy = false;
  readonly #timer = setInterval(() => void this.#round(), TICK_MS);

  constructor(
    private readonly store: Store,
    private readonly session: Session,
    private readonly hooks: KeeperHooks,
  ) {
    void this.#round();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  // ── what others say ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Ask what is current, soon. */
  needsSync(): void {
    this.#isWanted = true;
    void this.#round();
  }

  /** A person wants to know now, or the page came back after a sleep. */
  syncNow(): void {
    this.#notBefore = Number.NEGATIVE_INFINITY;
    this.#pause = LEAST_PAUSE_S;
    this.needsSync();
  }

  /** The gateway is new: what it was asked is forgotten. */
  startOver(): void {
    this.#askedAt = null;
    this.#sent.clear();
    this.syncNow();
  }

  /** Something new came: asking helps, so it need not become rarer. */
  progressed(): void {
    this.#pause = LEAST_PAUSE_S;
  }

  /** There is a receipt to send. */
  wake(): void {
    void this.#round();
  }

  /** The gateway has published what is current; the lease is renewed. */
  async takeSynced(body: Extract<AnswerBody, { op: 'synced' }>): Promise<void> {
    this.#askedAt = null;
    this.#answeredAt = steady();
    this.synced = true;
    if (!sameLease(body.lease, this.store.lease)) {
      await this.store.takeLease(body.lease);
      this.hooks.leaseRenewed();
    }
    this.hooks.synced();
  }

  /** A receipt was taken. */
  async takeDone(receipt: Receipt): Promise<void> {
    const key = joined(encodeReference(receipt.recipient), encodeReference(receipt.study), receipt.layer, receipt.event);
    this.#sent.delete(key);
    const record = this.store.receipts.get(key);
    // A study may have been opened again since: that is a receipt of its own.
    if (record && record.at === receipt.at) await this.store.keepReceipts([{ ...record, state: 'done' }]);
    void this.#round();
  }

  // ── the round ───────────────────────────────────────────────────────────────────────────────────────────────────

  async #round(): Promise<void> {
    if (this.#isBusy || !this.session.link.isOpen) return;
    this.#isBusy = true;
    try {
      await this.#work();
    } catch {
      // The link's end is noticed where the link is run; a disk that takes nothing is tried again in the next round.
    } finally {
      this.#isBusy = false;
    }
  }

  async #work(): Promise<void> {
    const now = steady();
    const nowMs = this.store.clock.now();
    if (this.store.lease.expires <= nowMs) return this.hooks.leaseEnded();
    const shelves = [...this.store.ledger.shelves.values()];
    if (shelves.some((shelf) => !shelf.revoked && (shelf.isOverdue(nowMs) || shelf.behind().length > 0))) {
      this.#isWanted = true;
    }
    if (shelves.some((shelf) => shelf.gone(nowMs).length > 0)) await this.hooks.sweep();
    this.hooks.look();
    const left = (this.store.lease.expires - nowMs) / 1000;
    if (this.#isDue(now, Math.min(SYNC_EVERY_S, left / 3))) {
      this.#isWanted = false;
      this.#askedAt = now;
      this.#notBefore = now + this.#pause;
      this.#pause = Math.min(this.#pause * 2, MOST_PAUSE_S);
      void this.session.request({ op: 'sync', known: this.#known() }).catch(() => undefined);
    }
    this.#sendReceipts(now);
  }

  #isDue(now: number, every: number): boolean {
    if (this.#askedAt !== null) return now - this.#askedAt > Math.max(ANSWER_S, this.#pause);
    return now >= this.#notBefore && (this.#isWanted || now - this.#answeredAt > every);
  }

  #known(): Known[] {
    return [...this.store.ledger.shelves.values()].map((shelf): Known => {
      // What is not as the head names it is left out, so that it comes again.
      const behind = new Set(shelf.behind());
      const studies = [...shelf.studies.values()]
        .filter((held) => !behind.has(held.study))
        .slice(0, MAX_STUDIES)
        .map((held): [Uint8Array<ArrayBuffer>, number] => [held.announcement.study, held.announcement.sequence]);
      return { kind: shelf.kind, recipient: decodeReference(shelf.recipient), head: shelf.head ? shelf.sequence : 0, studies };
    });
  }

  #sendReceipts(now: number): void {
    for (const [key, at] of this.#sent) if (now - at >= ANSWER_S) this.#sent.delete(key);
    for (const [key, record] of this.store.receipts) {
      if (this.#sent.size >= RECEIPTS_AT_ONCE) return;
      if (record.state !== 'queued' || this.#sent.has(key)) continue;
      const kind = this.store.ledger.shelves.get(record.recipient)?.kind;
      if (!kind) continue;
      this.#sent.set(key, now);
      void this.session.request(receiptOf(record, kind)).catch(() => undefined);
    }
  }
}

function receiptOf(record: ReceiptRecord, kind: Receipt['kind']): Receipt {
  return {
    op: 'receipt',
    kind,
    recipient: decodeReference(record.recipient),
    study: decodeReference(record.study),
    sequence: record.sequence,
    layer: record.layer,
    event: record.event,
    at: record.at,
  };
}
