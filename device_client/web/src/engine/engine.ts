/** The device at work: one worker that owns keys, store and link, and joins the parts together. */

import { ApiError, type ApiEvent, type Settings, type StudyItem } from '../api';
import type { KeySet } from '../wire/keyset';
import type { Lease } from '../wire/messages';
import { Blobs } from './blobs';
import { type Handlers, studyCalls } from './calls';
import { Card } from './card';
import { Clock, sleep } from './clock';
import { Connection } from './connection';
import { Database, TABLES } from './database';
import { enrol } from './enrol';
import { Household } from './household';
import { Keyring } from './keyring';
import * as pin from './pin';
import { DEFAULT_SETTINGS } from './policy';
import type { Calls, State } from './protocol';
import { initialState } from './state';
import { Store } from './store';
import * as vault from './vault';

const LOOK_MS = 5000;

/** Where the engine speaks to the tabs. */
export interface Out {
  state(change: Partial<State>): void;
  studies(items: StudyItem[]): void;
  emit(event: ApiEvent): void;
}

export class Engine {
  readonly state: State = initialState();
  household: Household | null = null;
  readonly #card: Card;
  readonly #keyring: Keyring;
  #connection: Connection | null = null;
  #touchedAt = Date.now();
  // Changes of phase come one after the other.
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly database: Database,
    private readonly clock: Clock,
    private readonly out: Out,
  ) {
    this.#card = new Card(database);
    this.#keyring = new Keyring(database, clock, () => this.#card.identity?.device, () => this.#erase());
    setInterval(() => this.#look(), LOOK_MS);
  }

  static async start(out: Out): Promise<Engine> {
    const database = await Database.open();
    const engine = new Engine(database, await Clock.open(database), out);
    const settings = await database.get<Settings>('facts', 'settings');
    engine.#set({ settings: { ...DEFAULT_SETTINGS, ...settings } });
    await engine.#resume();
    return engine;
  }

  #set(change: Partial<State>): void {
    Object.assign(this.state, change);
    this.out.state(change);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  // ── phases ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is kept says what this is: not enrolled, locked, or to be opened. */
  async #resume(): Promise<void> {
    if (!(await this.#card.load())) return this.#set({ phase: { name: 'not-enrolled' }, identity: null });
    this.#set((await this.#card.described()) ?? {});
    if (await this.#lockedAttempts()) return;
    await this.#keyring.load();
    await this.#advance();
  }

  /** Show the lock if there is a PIN; whether there is one. */
  async #lockedAttempts(): Promise<boolean> {
    const attemptsLeft = await pin.attemptsLeft(this.database);
    if (attemptsLeft === null) return false;
    this.#set({ phase: { name: 'locked', attemptsLeft } });
    return true;
  }

  /** With the device secret at hand: as far as lease and PIN let it go. */
  async #advance(): Promise<void> {
    if (!this.#keyring.secret) throw new ApiError('damaged', 'the device secret is not here');
    const lease = await vault.loadLease(this.database, this.clock.now());
    this.#set({ leaseExpires: lease?.expires ?? null });
    if (!lease) this.#set({ phase: { name: 'lease-ended' } });
    else if (this.state.pin.required && !this.state.pin.set) return this.#set({ phase: { name: 'pin-needed' } });
    else await this.#open(lease);
    this.#connect();
  }

  async #open(lease: Lease): Promise<void> {
    const [{ identity, keySet }, secret] = [this.#card, this.#keyring.secret];
    if (!identity || !secret || !keySet || this.household) return;
    const store = await Store.open(identity, await Blobs.open(), this.clock, this.database, secret, lease, keySet);
    this.household = await Household.open(store, this.state.settings, {
      show: () => this.#show(),
      emit: (event) => this.out.emit(event),
      receiptsDue: () => this.#connection?.receiptsDue(),
      refuse: (error) => this.#connection?.refuse(error),
    });
    this.#touchedAt = Date.now();
    this.#set({ phase: { name: 'open' } });
    this.#connection?.storeChanged();
    this.#show();
  }

  #show(): void {
    const { household } = this;
    if (!household) return;
    this.out.studies(household.items());
    const recipients = household.recipients();
    this.#tellRevoked(recipients.every((one) => one.revoked));
    if (JSON.stringify(recipients) !== JSON.stringify(this.state.recipients)) this.#set({ recipients });
    void household.storage().then((storage) => {
      if (JSON.stringify(storage) !== JSON.stringify(this.state.storage)) this.#set({ storage });
    });
  }

  /** Shut out by all recipients, or by the broker before any of them could say so. */
  #tellRevoked(byAll: boolean): void {
    const { name } = this.state.phase;
    const isRevoked = byAll || this.state.connection.error === 'revoked';
    const otherwise = this.household ? 'open' : 'lease-ended';
    if (isRevoked && name === otherwise) this.#set({ phase: { name: 'revoked' } });
    else if (!isRevoked && name === 'revoked') this.#set({ phase: { name: otherwise } });
  }

  /** `isLast`: nothing opens it again, and the link has one more thing to say. */
  async #close(isLast = false): Promise<void> {
    const { household } = this;
    this.household = null;
    this.#connection?.storeChanged(isLast);
    await household?.close();
    this.out.studies([]);
    this.#set({ recipients: [] });
  }

  #connect(): void {
    const { identity, keys } = this.#card;
    if (!identity || !keys) return;
    this.#connection ??= new Connection({
      identity: () => this.#card.identity ?? identity,
      keys,
      clock: this.clock,
      keySet: () => this.#card.keySet as KeySet,
      household: () => this.household,
      keepKeySet: (keySet, root, data) => this.#card.keepKeySet(keySet, root, data),
      leaseArrived: (lease) => this.#leaseArrived(lease),
      leaseEnded: () => void this.#inTurn(() => this.#endLease()),
      leaseRenewed: () => this.#set({ leaseExpires: this.household?.store.lease.expires ?? null }),
      wipe: (confirm) => this.#wipe(confirm),
      show: (connection) => {
        this.#set({ connection });
        this.#tellRevoked(this.household?.recipients().every((one) => one.revoked) ?? false);
      },
    });
    this.#connection.start();
  }

  #disconnect(): void {
    this.#connection?.stop();
    this.#connection = null;
  }

  async #lock(): Promise<void> {
    if (!this.state.pin.set || this.state.phase.name === 'locked') return;
    this.#disconnect();
    await this.#close();
    this.#keyring.secret = null;
    await this.#lockedAttempts();
    this.out.emit({ name: 'locked' });
  }

  async #endLease(): Promise<void> {
    if (!this.household || this.household.store.lease.expires > this.clock.now()) return;
    await vault.eraseLease(this.database);
    await this.#close();
    this.#set({ phase: { name: 'lease-ended' }, leaseExpires: null });
  }

  async #leaseArrived(lease: Lease): Promise<void> {
    await this.database.put('facts', 'lease', lease);
    await this.#inTurn(() => this.#advance());
    this.out.emit({ name: 'lease-renewed' });
  }

  /** From time to time: a lease ends without a connection as well, and nobody may be there any more. */
  #look(): void {
    // Heads fall overdue without a connection too: what is shown must say so.
    this.household?.showSoon();
    const idleMs = Date.now() - this.#touchedAt;
    const { autoLockMinutes } = this.state.settings;
    const isIdle = autoLockMinutes > 0 && idleMs > autoLockMinutes * 60_000;
    if (this.household && isIdle) void this.#inTurn(() => this.#lock());
    else if (this.household) void this.#inTurn(() => this.#endLease());
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What was received goes first, the keys last: what an end in between leaves is never readable. */
  async #erase(between: () => Promise<unknown> = () => Promise.resolve()): Promise<void> {
    await vault.eraseLease(this.database);
    await this.database.put('facts', 'vault', undefined);
    await this.#close(true);
    await this.database.clear('announcements', 'heads', 'studies', 'receipts');
    const blobs = await Blobs.open();
    await blobs.remove(blobs.held());
    await Promise.race([between().catch(() => undefined), sleep(5)]);
    this.#disconnect();
    await this.database.clear(...TABLES);
    this.#card.forget();
    this.#keyring.secret = null;
    this.#set({
      phase: { name: 'not-enrolled' },
      identity: null,
      settings: DEFAULT_SETTINGS,
      leaseExpires: null,
      pin: { set: false, required: false, minLength: pin.MIN_LENGTH },
    });
    this.out.emit({ name: 'wiped' });
  }

  #wipe(confirm: () => Promise<void>): Promise<void> {
    return this.#inTurn(() => this.#erase(confirm));
  }

  // ── what tabs say ───────────────────────────────────────────────────────────────────────────────────────────────

  touch(): void {
    this.#touchedAt = Date.now();
  }

  nudge(): void {
    this.#look();
    this.#connection?.nudge();
  }

  networkChanged(): void {
    this.#connection?.nudge();
    this.household?.changed();
  }

  /** The open store; ApiError says why there is none. */
  opened(): Household {
    const { phase } = this.state;
    if (phase.name === 'revoked') throw new ApiError('revoked');
    if (this.household) return this.household;
    if (phase.name === 'locked') throw new ApiError('locked');
    if (phase.name === 'lease-ended') throw new ApiError('lease-ended');
    throw new ApiError('not-enrolled');
  }

  async #unlock(given: string): Promise<void> {
    if (this.state.phase.name !== 'locked') return;
    try {
      await this.#keyring.unlock(given);
    } catch (error) {
      // Erased everything after the last attempt: then there is no lock any more.
      if (this.#card.identity) await this.#lockedAttempts();
      throw error;
    }
    await this.#advance();
  }

  async #setPin(given: string, current: string | undefined): Promise<void> {
    await this.#keyring.setPin(given, this.state.pin.set ? (current ?? '') : null, this.household?.store ?? null);
    this.#set({ pin: { ...this.state.pin, set: true } });
    // The store derives its key from the secret that it was opened with.
    if (this.household) await this.#close();
    await this.#advance();
  }

  async #removePin(current: string): Promise<void> {
    if (this.state.pin.required) throw new ApiError('refused', 'a doctor needs a PIN');
    await this.#keyring.removePin(current);
    this.#set({ pin: { ...this.state.pin, set: false } });
  }

  async #enrol(link: string, name: string): Promise<void> {
    if (this.#card.identity) throw new ApiError('already-enrolled');
    try {
      // Before the code is used up: an object must have a place.
      await Blobs.probe();
      await enrol(this.database, link, name, (step, fingerprint) =>
        this.#set({ phase: { name: 'enrolling', step, ...(fingerprint && { fingerprint }) } }),
      );
    } catch (error) {
      this.#set({ phase: { name: 'not-enrolled' } });
      throw error;
    }
    await navigator.storage.persist?.().catch(() => false);
    await this.#resume();
  }

  async #saveSettings(change: Partial<Settings>): Promise<void> {
    const settings = { ...this.state.settings, ...change, ui: { ...this.state.settings.ui, ...change.ui } };
    await this.database.put('facts', 'settings', settings);
    this.#set({ settings });
    this.household?.takeSettings(settings);
  }

  readonly calls: Handlers<Exclude<keyof Calls, 'frame'>> = {
    enrol: (link, name) => this.#inTurn(() => this.#enrol(link, name)),
    forget: () => this.#inTurn(() => this.#erase(async () => this.#connection?.sayGoodbye())),
    unlock: (given) => this.#inTurn(() => this.#unlock(given)),
    lock: () => this.#inTurn(() => this.#lock()),
    setPin: (given, current) => this.#inTurn(() => this.#setPin(given, current)),
    removePin: (current) => this.#inTurn(() => this.#removePin(current)),
    ...studyCalls(() => this.opened()),
    saveSettings: (change) => this.#saveSettings(change),
    refresh: async () => this.nudge(),
  };
}
