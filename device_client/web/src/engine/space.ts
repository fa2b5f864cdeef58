/** What the store takes of this device's space, and what is dropped when it is short. */

import type { StorageState } from '../api';
import type { Group } from './groups';
import type { Held } from './ledger';
import * as policy from './policy';
import type { Store } from './store';
import { recordOf } from './views';

/** What has to be known of the household. */
export interface Rooms {
  groups(): Group[];
  /** Studies that are on a screen. */
  open(): Set<string>;
  limitBytes(): number;
  evict(group: Group): Promise<void>;
}

export class Space {
  constructor(
    private readonly store: Store,
    private readonly rooms: Rooms,
  ) {}

  /** Drop what was unused for longest until `bytes` more fit. What is open, pinned, or newer than `forWhom` stays. */
  async trim(bytes: number, forWhom: Held | null): Promise<boolean> {
    const open = this.rooms.open();
    const isFree = forWhom === null || open.has(forWhom.study);
    const age = isFree ? Number.POSITIVE_INFINITY : this.#usedAt(forWhom);
    const candidates = this.rooms
      .groups()
      .filter((group) => !open.has(group.ref) && !recordOf(this.store, group).pinned)
      .map((group) => ({ group, usedAt: this.#lastUse(group), bytes: this.#droppableBytes(group) }))
      .filter((one) => one.bytes > 0 && one.usedAt < age);
    const dropped = policy.toDrop(candidates, this.store.blobs.used, bytes, this.rooms.limitBytes());
    for (const group of dropped ?? []) await this.rooms.evict(group);
    return dropped !== null;
  }

  #usedAt(held: Held): number {
    return Math.max(held.announcement.issued, this.store.record(held.recipient, held.study).usedAt);
  }

  #lastUse(group: Group): number {
    return Math.max(...group.parts.map((held) => this.#usedAt(held)));
  }

  #droppableBytes(group: Group): number {
    const dropped = group.objects.filter(policy.isDroppable);
    return dropped.reduce((sum, { id }) => sum + this.store.blobs.bytes(id), 0);
  }

  async state(): Promise<StorageState> {
    const { quota } = await navigator.storage.estimate().catch((): StorageEstimate => ({}));
    const pinned = this.rooms.groups().filter((group) => recordOf(this.store, group).pinned);
    return {
      usedBytes: this.store.blobs.used,
      limitBytes: this.rooms.limitBytes(),
      quotaBytes: quota ?? null,
      persisted: await navigator.storage.persisted().catch(() => false),
      pinnedBytes: pinned.flatMap((group) => group.objects).reduce((sum, { id }) => sum + this.store.blobs.bytes(id), 0),
    };
  }
}
