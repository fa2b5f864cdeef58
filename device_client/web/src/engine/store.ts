/** What the lease opens: labels, epoch keys, heads, announcements, objects, and the small records about studies. */

import { ApiError, type Layer } from '../api';
import { type Bytes, equal, sha256 } from '../wire/bytes';
import { openAnnouncement, openHead } from '../wire/envelope';
import { WireError } from '../wire/errors';
import type { KeySet } from '../wire/keyset';
import type { Head, Lease } from '../wire/messages';
import type { FindKey } from '../wire/sign';
import { trusting } from '../wire/sign';
import type { Blobs } from './blobs';
import type { Clock } from './clock';
import { type Database, joined, type Write } from './database';
import { type Held, hold, Ledger, type Shelf } from './ledger';
import * as vault from './vault';

const MAX_SIGNERS = 256;

/** What this device remembers of a study; by recipient and opaque reference. */
export interface StudyRecord {
  /** Sequence at which it was opened last; 0: never. */
  opened: number;
  pinned: boolean;
  usedAt: number;
  /** Its bytes were dropped for space or by hand: not fetched again until it is opened. */
  evicted: boolean;
}

/** A receipt that is owed, or was taken. */
export interface ReceiptRecord {
  recipient: string;
  study: string;
  sequence: number;
  layer: Layer;
  event: 'received' | 'opened';
  at: number;
  state: 'queued' | 'done';
}

export class Store {
  readonly ledger: Ledger;
  studies = new Map<string, StudyRecord>();
  receipts = new Map<string, ReceiptRecord>();
  unreadable = 0;
  #key: Bytes = new Uint8Array(0);

  private constructor(
    readonly identity: vault.Identity,
    readonly blobs: Blobs,
    readonly clock: Clock,
    private readonly database: Database,
    private readonly secret: CryptoKey,
    public lease: Lease,
    private secrets: vault.Secrets,
  ) {
    this.ledger = new Ledger(identity.recipients);
  }

  /** Read everything and judge it anew; what does not open is left out and comes again by a sync. */
  static async open(
    identity: vault.Identity,
    blobs: Blobs,
    clock: Clock,
    database: Database,
    secret: CryptoKey,
    lease: Lease,
    keySet: KeySet,
  ): Promise<Store> {
    const key = await vault.storeKey(secret, lease);
    const secrets = await vault.openSecrets(database, key, identity.device);
    const store = new Store(identity, blobs, clock, database, secret, lease, secrets);
    store.#key = key;
    await store.rememberSigners(keySet);
    await store.#load();
    return store;
  }

  get site(): string {
    return this.identity.site;
  }

  // ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #position(recipient: string): number {
    return this.identity.recipients.findIndex((one) => one.recipient === recipient);
  }

  label(recipient: string): string {
    return this.secrets.labels[this.#position(recipient)] ?? '';
  }

  /** The latest epoch; its key is empty if the device has none in it. */
  epoch(recipient: string): { epoch: number; key: Bytes } | null {
    return this.secrets.epochs[this.#position(recipient)]?.at(-1) ?? null;
  }

  epochKeys(recipient: string): ReadonlyMap<number, Bytes> {
    const epochs = this.secrets.epochs[this.#position(recipient)] ?? [];
    return new Map(epochs.filter((one) => one.key.length > 0).map((one) => [one.epoch, one.key]));
  }

  /** Keep a newer epoch, with its key or with the fact that there is none. */
  async addEpoch(recipient: string, epoch: number, key: Bytes | null): Promise<void> {
    const position = this.#position(recipient);
    const kept = (this.secrets.epochs[position] ?? []).filter((one) => one.epoch !== epoch);
    const epochs = this.secrets.epochs.with(position, [...kept, { epoch, key: key ?? new Uint8Array(0) }].slice(-vault.MAX_EPOCHS));
    this.secrets = { ...this.secrets, epochs };
    await this.#save();
  }

  /** What these keys signed stays readable after they have expired. */
  async rememberSigners(keySet: KeySet): Promise<void> {
    const fresh = keySet.online.map((one) => one.public).filter((key) => !this.secrets.signers.some((known) => equal(known, key)));
    if (fresh.length === 0) return;
    this.secrets = { ...this.secrets, signers: [...this.secrets.signers, ...fresh].slice(-MAX_SIGNERS) };
    await this.#save();
  }

  async #save(): Promise<void> {
    await this.database.put('facts', 'vault', await vault.sealSecrets(this.#key, this.identity.device, this.secrets));
  }

  /** The vault under another device secret, as a write that goes with the secret's own. */
  async resealed(secret: CryptoKey): Promise<Write> {
    const key = await vault.storeKey(secret, this.lease);
    return { table: 'facts', key: 'vault', value: await vault.sealSecrets(key, this.identity.device, this.secrets) };
  }

  /** Keep a renewed lease; should its secret be another one, the vault is sealed anew with it. */
  async takeLease(lease: Lease): Promise<void> {
    const writes: Write[] = [{ table: 'facts', key: 'lease', value: lease }];
    if (!equal(lease.secret, this.lease.secret)) {
      this.#key = await vault.storeKey(this.secret, lease);
      const value = await vault.sealSecrets(this.#key, this.identity.device, this.secrets);
      writes.push({ table: 'facts', key: 'vault', value });
    }
    await this.database.write(writes);
    this.lease = lease;
  }

  // ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #load(): Promise<void> {
    this.studies = await this.database.all<StudyRecord>('studies');
    this.receipts = await this.database.all<ReceiptRecord>('receipts');
    const find = trusting(this.secrets.signers);
    const kept = await this.database.all<Bytes>('announcements');
    await Promise.all([...kept].map(([key, data]) => this.#loadAnnouncement(find, key, data)));
    for (const shelf of this.ledger.shelves.values()) await this.#loadHead(find, shelf);
  }

  async #loadHead(find: FindKey, shelf: Shelf): Promise<void> {
    const latest = this.epoch(shelf.recipient);
    shelf.revoked = latest !== null && latest.key.length === 0;
    const kept = await this.database.get<{ sequence: number; data: Bytes }>('heads', shelf.recipient);
    // The head that was current at the enrolment may still be the current one: it must pass as newer.
    const first = (this.secrets.first_heads[this.#position(shelf.recipient)] ?? 0) - 1;
    shelf.sequence = Math.max(kept?.sequence ?? 0, first, 0);
    if (!kept) return;
    try {
      const place = { site: this.site, kind: shelf.kind, recipient: shelf.recipient };
      const head = await openHead(find, place, this.epochKeys(shelf.recipient), kept.data);
      if (head.sequence === shelf.sequence) shelf.takeHead(head, this.clock.now());
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.unreadable++;
    }
  }

  async #loadAnnouncement(find: FindKey, key: string, data: Bytes): Promise<void> {
    const [recipient = '', study = ''] = key.split('/');
    const shelf = this.ledger.shelves.get(recipient);
    if (!shelf) return;
    try {
      const place = { site: this.site, kind: shelf.kind, recipient };
      const announcement = await openAnnouncement(find, place, study, this.epochKeys(recipient), data);
      shelf.takeAnnouncement(await hold(shelf.kind, recipient, study, announcement, await sha256(data)));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.unreadable++;
    }
  }

  // ── changing ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The sequence is on the disk before anything of a head is believed. */
  async saveHead(recipient: string, head: Head, data: Bytes): Promise<void> {
    await this.database.put('heads', recipient, { sequence: head.sequence, data });
  }

  async saveAnnouncement(held: Held, data: Bytes): Promise<void> {
    await this.database.put('announcements', joined(held.recipient, held.study), data);
  }

  record(recipient: string, study: string): StudyRecord {
    return this.studies.get(joined(recipient, study)) ?? { opened: 0, pinned: false, usedAt: 0, evicted: false };
  }

  async changeRecord(recipient: string, study: string, change: Partial<StudyRecord>): Promise<void> {
    const record = { ...this.record(recipient, study), ...change };
    this.studies.set(joined(recipient, study), record);
    await this.database.put('studies', joined(recipient, study), record);
  }

  async keepReceipts(records: readonly ReceiptRecord[]): Promise<void> {
    const writes = records.map((record): Write => {
      const key = joined(record.recipient, record.study, record.layer, record.event);
      this.receipts.set(key, record);
      return { table: 'receipts', key, value: record };
    });
    await this.database.write(writes);
  }

  /** Delete studies: the announcement first, because it holds the keys of the objects. */
  async removeStudies(gone: readonly Held[]): Promise<void> {
    const keys = gone.map((held) => joined(held.recipient, held.study));
    const writes: Write[] = keys.flatMap((key) => [
      { table: 'announcements', key, value: undefined } as const,
      { table: 'studies', key, value: undefined } as const,
    ]);
    for (const key of keys) {
      this.studies.delete(key);
      for (const name of [...this.receipts.keys()].filter((one) => one.startsWith(`${key}/`))) {
        this.receipts.delete(name);
        writes.push({ table: 'receipts', key: name, value: undefined });
      }
    }
    await this.database.write(writes);
  }

  /** Delete what is kept of objects that are no longer announced. */
  async removeUnannounced(): Promise<void> {
    // Objects of an announcement that does not open may be announced again as they are.
    if (this.unreadable > 0) return;
    const announced = this.ledger.objects();
    await this.blobs.remove(this.blobs.held().filter((id) => !announced.has(id)));
  }

  held(study: string): Held[] {
    const found = this.ledger.studies().filter((held) => held.study === study);
    if (found.length === 0) throw new ApiError('gone');
    return found;
  }
}
