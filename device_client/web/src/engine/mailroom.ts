/** Messages in their order: verified, kept, then applied. One consumer, so that nothing overtakes anything. */

import type { Bytes } from '../wire/bytes';
import { WireError } from '../wire/errors';
import { type KeySet, unpack } from '../wire/keyset';
import { MAX_MESSAGE_BYTES } from '../wire/limits';
import { type Answer, OFFLINE, ONLINE } from '../wire/messages';
import { gatewayKeys } from '../wire/topics';
import type { Inbox, Route } from './inbox';
import type { Held } from './ledger';
import type { Store } from './store';
import type { Identity } from './vault';

/** What waits beyond this is dropped: a sync brings it again. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** Whom the mailroom tells. */
export interface Hooks {
  /** Heads or announcements were applied; `news` says which studies were new or changed. */
  ledgerChanged(news: { held: Held; isNew: boolean }[]): void;
  /** Something is missing that the gateway can tell. */
  needsSync(): void;
  /** A gateway came online: it knows nothing of what was asked. */
  gatewayIsNew(): void;
  gatewayIs(online: boolean): void;
  answered(answer: Answer): Promise<void>;
  /** A newer key set, verified: keep it, and use it from now on. */
  keySetChanged(keySet: KeySet, root: Bytes, data: Bytes): Promise<void>;
}

interface Letter {
  route: Route;
  payload: Bytes;
  retained: boolean;
}

export class Mailroom {
  /** Set while the lease runs; without it only answers and key sets are read. */
  store: Store | null = null;
  #waiting: Letter[] = [];
  #waitingBytes = 0;
  #isBusy = false;

  constructor(
    private readonly identity: () => Identity,
    private readonly keySet: () => KeySet,
    private readonly inbox: Inbox,
    private readonly hooks: Hooks,
  ) {}

  /** A message came. An empty one says that a retained one was withdrawn; what is gone the head says. */
  put(route: Route, payload: Bytes, retained: boolean): void {
    if (payload.length === 0) return;
    if (payload.length > MAX_MESSAGE_BYTES || this.#waitingBytes > MAX_WAITING_BYTES) {
      this.inbox.refuse(new WireError('too-large', 'more than is read'));
      return;
    }
    this.#waiting.push({ route, payload, retained });
    this.#waitingBytes += payload.length;
    if (!this.#isBusy) void this.#run();
  }

  /** The link is gone, and with it what was not dealt with. */
  clear(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    for (let letter = this.#waiting.shift(); letter; letter = this.#waiting.shift()) {
      this.#waitingBytes = Math.max(0, this.#waitingBytes - letter.payload.length);
      try {
        await this.#deal(letter);
      } catch (error) {
        if (!(error instanceof WireError)) continue;
        this.inbox.refuse(error);
        // Perhaps signed with a key of a newer key set, which is retained and comes with the next sync.
        if (error.code === 'signature-invalid') this.hooks.needsSync();
      }
    }
    this.#isBusy = false;
  }

  async #deal({ route, payload, retained }: Letter): Promise<void> {
    switch (route.purpose) {
      case 'study':
        return this.#announcement(route.recipient, route.study, payload);
      case 'head':
        return this.head(route.recipient, payload);
      case 'keys':
        return this.#keys(route.recipient, payload);
      case 'key-set':
        return this.#keySet(payload);
      case 'response':
        return this.hooks.answered(await this.inbox.answer(payload));
      case 'status':
        return this.#status(new TextDecoder().decode(payload), retained);
      case 'object':
        return undefined;
    }
  }

  // ── each kind ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A head: its sequence is on the disk before anything of it is believed. */
  async head(recipient: string, data: Bytes): Promise<void> {
    const { store } = this;
    const shelf = store?.ledger.shelves.get(recipient);
    if (!store || !shelf) return;
    const head = await this.inbox.head(store, recipient, data);
    await store.saveHead(recipient, head, data);
    shelf.takeHead(head, store.clock.now());
    this.hooks.ledgerChanged([]);
    if (shelf.behind().length > 0) this.hooks.needsSync();
  }

  /** A head of which only the signature says whose it is. */
  async anyHead(data: Bytes): Promise<void> {
    for (const recipient of this.store?.ledger.shelves.keys() ?? []) {
      try {
        await this.head(recipient, data);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        if (error.code === 'signature-invalid') continue;
        this.inbox.refuse(error);
      }
      return;
    }
  }

  async #announcement(recipient: string, study: string, data: Bytes): Promise<void> {
    const { store } = this;
    const shelf = store?.ledger.shelves.get(recipient);
    if (!store || !shelf) return;
    const held = await this.inbox.announcement(store, recipient, study, data);
    await store.saveAnnouncement(held, data);
    const isNew = !shelf.studies.has(study);
    shelf.takeAnnouncement(held);
    this.hooks.ledgerChanged([{ held, isNew }]);
  }

  async #keys(recipient: string, data: Bytes): Promise<void> {
    const { store } = this;
    const shelf = store?.ledger.shelves.get(recipient);
    if (!store || !shelf) return;
    const news = await this.inbox.epoch(store, recipient, data);
    if (!news) return;
    await store.addEpoch(recipient, news.epoch, news.key);
    shelf.revoked = news.key === null;
    // What came before its key could not be opened, and comes again.
    if (news.key) this.hooks.needsSync();
    this.hooks.ledgerChanged([]);
  }

  async #keySet(data: Bytes): Promise<void> {
    const { root: pinned, site } = this.identity();
    const { root, keySet } = await unpack(pinned, site, gatewayKeys(site), data);
    const known = this.keySet();
    if (keySet.sequence < known.sequence) throw new WireError('stale', 'a key set that is older than what is known');
    if (keySet.sequence === known.sequence) return;
    await this.hooks.keySetChanged(keySet, root, data);
    // What was asked may have been sealed to a key that no gateway holds any more.
    this.hooks.gatewayIsNew();
  }

  #status(text: string, retained: boolean): void {
    if (text !== ONLINE && text !== OFFLINE) return;
    this.hooks.gatewayIs(text === ONLINE);
    // A retained status tells how it was before this connection, which has asked everything anyway.
    if (text === ONLINE && !retained) this.hooks.gatewayIsNew();
  }
}
