/** The link to the gateway: opened again and again, and what is said over it. */

import type { Connection as ConnectionState } from '../api';
import type { Bytes } from '../wire/bytes';
import type { WireError } from '../wire/errors';
import type { KeySet } from '../wire/keyset';
import type { Answer, Lease } from '../wire/messages';
import { OFFLINE, ONLINE } from '../wire/messages';
import { encodeReference } from '../wire/names';
import { deviceStatus } from '../wire/topics';
import { type Clock, sleep } from './clock';
import type { Household } from './household';
import { Inbox, Routes } from './inbox';
import { Keeper } from './keeper';
import type { Held } from './ledger';
import { Link, LinkError } from './link';
import { type Hooks, Mailroom } from './mailroom';
import { Session } from './session';
import type { DeviceKeys, Identity } from './vault';

const LEAST_BACKOFF_S = 0.5;
const MOST_BACKOFF_S = 30;
const REFUSED_BACKOFF_S = 5;
/** So often in a row the login is refused until this device counts as shut out: a broker may learn of a new one late. */
const SHUT_OUT = { known: 2, fresh: 4 } as const;
const RENEW_S = 10;

/** What a connection needs of the device, and whom it tells. */
export interface Office {
  identity(): Identity;
  keys: DeviceKeys;
  clock: Clock;
  keySet(): KeySet;
  household(): Household | null;
  keepKeySet(keySet: KeySet, root: Bytes, data: Bytes): Promise<void>;
  /** A lease came while there was none: the store is opened before this resolves. */
  leaseArrived(lease: Lease): Promise<void>;
  leaseEnded(): void;
  leaseRenewed(): void;
  /** The gateway wants everything erased; `confirm` tells it that it was. */
  wipe(confirm: () => Promise<void>): Promise<void>;
  show(state: ConnectionState): void;
}

export class Connection implements Hooks {
  #state: ConnectionState = { state: 'offline', gatewayOnline: null, synced: false, error: null };
  #isRunning = false;
  #wasTaken = false;
  #wake = new AbortController();
  #session: Session | null = null;
  #keeper: Keeper | null = null;
  #renewed: (() => void) | null = null;
  readonly #inbox: Inbox;
  readonly #routes: Routes;
  readonly #mail: Mailroom;

  constructor(private readonly office: Office) {
    const keySet = (): KeySet => office.keySet();
    this.#inbox = new Inbox(office.identity(), office.keys, office.clock, keySet);
    this.#routes = new Routes(office.identity());
    this.#mail = new Mailroom(() => office.identity(), keySet, this.#inbox, this);
  }

  // ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#stayConnected();
  }

  stop(): void {
    this.#isRunning = false;
    this.#wake.abort();
    this.#session?.link.close();
    this.#mail.clear();
  }

  /** A person is there, or the network is back: look at once. */
  nudge(): void {
    if (this.#session) {
      this.#session.link.probe();
      this.#keeper?.syncNow();
    } else this.#wake.abort();
  }

  /** The store was closed or opened: its announcements and objects are dealt with or not. `staysLinked`: to the end. */
  storeChanged(staysLinked = false): void {
    this.#mail.store = this.office.household()?.store ?? null;
    if (this.#mail.store) return;
    this.#keeper?.close();
    this.#keeper = null;
    // Over the next connection a lease is asked for before anything else.
    if (!staysLinked) this.#session?.link.close();
  }

  refuse(error: WireError): void {
    this.#inbox.refuse(error);
  }

  receiptsDue(): void {
    this.#keeper?.wake();
  }

  #set(change: Partial<ConnectionState>): void {
    this.#state = { ...this.#state, ...change };
    this.office.show(this.#state);
  }

  async #stayConnected(): Promise<void> {
    let backoff = LEAST_BACKOFF_S;
    let refusals = 0;
    while (this.#isRunning) {
      const began = performance.now();
      this.#set({ state: 'connecting' });
      const error = await this.#connect().catch((cause: unknown) => cause);
      this.#set({ state: 'offline', synced: false, gatewayOnline: null });
      if (!this.#isRunning) break;
      if (performance.now() - began > MOST_BACKOFF_S * 1000) backoff = LEAST_BACKOFF_S;
      const isRefused = error instanceof LinkError && error.refused;
      refusals = isRefused ? refusals + 1 : 0;
      if (isRefused) backoff = Math.max(backoff, REFUSED_BACKOFF_S);
      this.#set({ error: !isRefused ? 'unreachable' : refusals < (this.#wasTaken ? SHUT_OUT.known : SHUT_OUT.fresh) ? 'refused' : 'revoked' });
      // Jitter, or a ward full of devices comes back in one moment when its gateway does.
      this.#wake = new AbortController();
      await sleep(backoff * (0.5 + Math.random() / 2), this.#wake.signal);
      backoff = this.#wake.signal.aborted ? LEAST_BACKOFF_S : Math.min(backoff * 2, MOST_BACKOFF_S);
    }
  }

  // ── one connection ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Resolves with the reason once the connection has ended. */
  async #connect(): Promise<LinkError> {
    const { site, device, password } = this.office.identity();
    const credentials = { name: device, password, willTopic: deviceStatus(site, device) };
    const link = await Link.open(credentials, (topic, payload, retained) => this.#arrived(topic, payload, retained));
    if (!this.#isRunning) {
      link.close();
      return link.closed;
    }
    const session = new Session(link, this.office.identity(), this.office.keys, this.office.clock, () => this.office.keySet());
    this.#session = session;
    this.#mail.store = this.office.household()?.store ?? null;
    try {
      this.#wasTaken = true;
      this.#set({ state: 'online', error: null });
      await Promise.race([this.#talk(session), link.closed]);
      return await link.closed;
    } finally {
      this.#session = null;
      this.#keeper?.close();
      this.#keeper = null;
      this.#renewed = null;
      this.office.household()?.fetcher.disconnect();
      this.#mail.clear();
      link.close();
    }
  }

  async #talk(session: Session): Promise<void> {
    // All in one round trip: whoever opens the application waits for it.
    const isOpen = this.office.household() !== null;
    const filters = [...this.#routes.own(), ...(isOpen ? this.#routes.shared() : [])];
    await Promise.all([session.presence(ONLINE), session.link.subscribe(filters)]);
    if (!isOpen) await this.#renew(session);
    const household = this.office.household();
    if (!household || this.#session !== session) return;
    this.#mail.store = household.store;
    if (!isOpen) await session.link.subscribe(this.#routes.shared());
    this.#keeper = new Keeper(household.store, session, {
      sweep: () => household.sweep(),
      leaseEnded: () => this.office.leaseEnded(),
      leaseRenewed: () => this.office.leaseRenewed(),
      synced: () => this.#set({ synced: true, gatewayOnline: true }),
      look: () => household.showSoon(),
    });
    household.fetcher.connect(session);
  }

  /** Without a lease nothing is known but how to ask for one. */
  async #renew(session: Session): Promise<void> {
    const renewed = new AbortController();
    this.#renewed = () => renewed.abort();
    while (!renewed.signal.aborted && session.link.isOpen) {
      await session.request({ op: 'sync', known: [] });
      await sleep(RENEW_S, renewed.signal);
    }
  }

  async sayGoodbye(): Promise<void> {
    await Promise.race([this.#session?.presence(OFFLINE), sleep(1)]).catch(() => undefined);
  }

  // ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────────

  #arrived(topic: string, payload: Bytes, retained: boolean): void {
    const route = this.#routes.find(topic);
    if (!route) return;
    if (route.purpose === 'object') this.office.household()?.fetcher.take(route.part, payload);
    else this.#mail.put(route, payload, retained);
  }

  ledgerChanged(news: { held: Held; isNew: boolean }[]): void {
    if (news.length > 0) this.#keeper?.progressed();
    void this.office.household()?.ledgerChanged(news);
  }

  needsSync(): void {
    this.#keeper?.needsSync();
  }

  gatewayIsNew(): void {
    this.#keeper?.startOver();
    this.office.household()?.fetcher.restart();
  }

  gatewayIs(online: boolean): void {
    this.#set({ gatewayOnline: online });
  }

  async keySetChanged(keySet: KeySet, root: Bytes, data: Bytes): Promise<void> {
    await this.office.keepKeySet(keySet, root, data);
    this.office.clock.saw(keySet.issued);
    await this.office.household()?.store.rememberSigners(keySet);
  }

  async answered(answer: Answer): Promise<void> {
    const session = this.#session;
    const asked = session?.match(answer);
    if (!session || !asked) return;
    const { body } = answer;
    if (body.op === 'wipe') return this.office.wipe(() => session.request({ op: 'wiped' }));
    if (body.op === 'synced' && asked.op === 'sync') {
      if (!this.office.household()) {
        await this.office.leaseArrived(body.lease);
        this.#mail.store = this.office.household()?.store ?? null;
        return this.#renewed?.();
      }
      for (const head of body.heads) await this.#mail.anyHead(head);
      await this.#keeper?.takeSynced(body);
    } else if (asked.op === 'want' && (body.op === 'gone' || (body.op === 'refused' && body.reason === 'forbidden'))) {
      this.office.household()?.lost(encodeReference(asked.object));
      this.needsSync();
    } else if (body.op === 'done' && asked.op === 'receipt') {
      await this.#keeper?.takeDone(asked);
    }
  }
}
