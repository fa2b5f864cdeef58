/** An open store and what follows from its changes: what is fetched, shown, owed and dropped. Lives as long as the lease. */

import { ApiError, type ApiEvent, type RecipientState, type Settings, type StorageState, type StudyItem } from '../api';
import type { WireError } from '../wire/errors';
import { segmentCount } from '../wire/seal';
import { ContentsCache } from './contents';
import { Fetcher } from './fetcher';
import { type Group, groupStudies, type StudyObject } from './groups';
import type { Held } from './ledger';
import { receiptsOwed } from './owed';
import * as policy from './policy';
import { Space } from './space';
import type { Store } from './store';
import type { Viewer } from './viewer';
import { changeKey, type ObjectState, recipientStates, recordOf, studyItem } from './views';

const SHOW_MS = 250;

export interface HouseholdHooks {
  show(): void;
  emit(event: ApiEvent): void;
  receiptsDue(): void;
  refuse(error: WireError): void;
}

export class Household {
  readonly fetcher: Fetcher;
  readonly cache: ContentsCache;
  readonly #space: Space;
  readonly screens = new Set<Viewer>();
  groups: Group[] = [];
  // Studies that are fetched whole because somebody said so; until they are complete.
  readonly #ordered = new Set<string>();
  readonly #received = new Map<string, number>();
  readonly #announcedComplete = new Set<string>();
  #items = new Map<string, { item: StudyItem; key: string }>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    readonly store: Store,
    private settings: Settings,
    private readonly hooks: HouseholdHooks,
  ) {
    this.fetcher = new Fetcher(store, {
      progressed: (id, received) => this.#progressed(id, received),
      completed: (id) => this.#completed(id),
      makeRoom: (bytes, { held }) => this.#space.trim(bytes, held),
      storageFull: () => this.showSoon(),
      refuse: (error) => hooks.refuse(error),
    });
    this.#space = new Space(store, {
      groups: () => this.groups,
      open: () => new Set([...this.screens].map((screen) => screen.study)),
      limitBytes: () => this.settings.storeLimitBytes,
      evict: (group) => this.evict(group),
    });
    this.cache = new ContentsCache(store, (object) => this.fetcher.again(object.id));
  }

  static async open(store: Store, settings: Settings, hooks: HouseholdHooks): Promise<Household> {
    const household = new Household(store, settings, hooks);
    for (const [id, { entry }] of store.ledger.objects()) {
      const received = await store.blobs.received(id, entry.size);
      household.#received.set(id, received);
      if (received === segmentCount(entry.size)) household.fetcher.complete.add(id);
    }
    household.changed();
    for (const group of household.groups) await household.#settle(group, false);
    return household;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const screen of this.screens) screen.close();
    this.screens.clear();
    await this.fetcher.close();
    await this.store.blobs.close();
  }

  // ── what is wanted ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Ledger, settings, link or screens have changed. */
  changed(): void {
    this.groups = groupStudies(this.store.ledger);
    for (const screen of this.screens) {
      const group = this.groups.find((one) => one.refs.includes(screen.study));
      if (group) screen.regroup(group);
    }
    const wanted = policy.inOrder(this.groups.flatMap((group) => this.#wanted(group)));
    this.fetcher.want(wanted.filter(({ held }) => !this.#isLeaving(held)));
    this.focusChanged();
    this.showSoon();
  }

  #isLeaving(held: Held): boolean {
    const shelf = this.store.ledger.shelves.get(held.recipient);
    return !shelf || shelf.revoked || shelf.unlisted.has(held.study);
  }

  #wanted(group: Group): StudyObject[] {
    const link = (navigator as { connection?: policy.Connectivity }).connection;
    const isOrdered = this.#ordered.has(group.ref);
    const record = recordOf(this.store, group);
    const displayToo = isOrdered || policy.wantsDisplay(this.settings, link, record);
    const videoToo = isOrdered || record.pinned;
    const open = new Set([...this.screens].flatMap((screen) => screen.objects().map((object) => object.id)));
    return group.objects.filter((object) => policy.isWanted(object, displayToo, videoToo) || open.has(object.id));
  }

  focusChanged(): void {
    const focus = new Map<string, number[]>();
    for (const screen of this.screens) {
      for (const [id, segments] of screen.focus()) focus.set(id, [...(focus.get(id) ?? []), ...segments]);
    }
    this.fetcher.focus(focus);
  }

  takeSettings(settings: Settings): void {
    this.settings = settings;
    this.changed();
    void this.#space.trim(0, null);
  }

  // ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────────

  find(ref: string): Group {
    const group = this.groups.find((one) => one.refs.includes(ref));
    if (!group) throw new ApiError('gone');
    return group;
  }

  /** Fetch a study whole, whatever the policy says. */
  async order(ref: string): Promise<void> {
    const group = this.find(ref);
    this.#ordered.add(group.ref);
    await this.#change(group, { evicted: false, usedAt: this.store.clock.now() });
    this.changed();
  }

  async setPinned(ref: string, pinned: boolean): Promise<void> {
    await this.#change(this.find(ref), pinned ? { pinned, evicted: false } : { pinned });
    this.changed();
  }

  /** Opened on a screen: the NEW mark goes, and the sender hears of it. */
  async markOpened(ref: string): Promise<void> {
    const group = this.find(ref);
    const at = this.store.clock.now();
    const layers = new Set(group.objects.map(({ entry }) => entry.layer));
    const layer = (['display', 'video'] as const).find((one) => layers.has(one)) ?? 'report';
    for (const { recipient, study, announcement } of group.parts) {
      const { sequence } = announcement;
      const isFirst = this.store.record(recipient, study).opened < sequence;
      await this.store.changeRecord(recipient, study, { opened: sequence, usedAt: at });
      if (isFirst) await this.store.keepReceipts([{ recipient, study, sequence, layer, event: 'opened', at, state: 'queued' }]);
    }
    this.hooks.receiptsDue();
    this.showSoon();
  }

  async #change(group: Group, change: Parameters<Store['changeRecord']>[2]): Promise<void> {
    for (const { recipient, study } of group.parts) await this.store.changeRecord(recipient, study, change);
  }

  /** Somebody looks at a study: what was dropped of it comes again. */
  async show(screen: Viewer): Promise<void> {
    this.screens.add(screen);
    const group = this.find(screen.study);
    const evicted = recordOf(this.store, group).evicted ? { evicted: false } : {};
    await this.#change(group, { usedAt: this.store.clock.now(), ...evicted });
    this.changed();
  }

  hide(screen: Viewer): void {
    this.screens.delete(screen);
    screen.close();
    this.changed();
  }

  // ── space ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Drop the pictures of a study; thumbnails and reports stay, the study stays listed. */
  async evict(group: Group): Promise<void> {
    this.#ordered.delete(group.ref);
    await this.#change(group, { evicted: true });
    const ids = group.objects.filter(policy.isDroppable).map(({ id }) => id);
    this.fetcher.forget(ids);
    for (const id of ids) {
      this.cache.forget(id);
      this.#received.delete(id);
    }
    // Before anybody looks again: who has the study open fetches anew, and must not find what is going.
    const removal = this.store.blobs.remove(ids);
    this.changed();
    await removal;
    this.showSoon();
  }

  /** Drop the pictures of all that is not pinned. */
  async clear(): Promise<void> {
    for (const group of this.groups) if (!recordOf(this.store, group).pinned) await this.evict(group);
  }

  // ── what follows ────────────────────────────────────────────────────────────────────────────────────────────────

  #progressed(id: string, received: number): void {
    this.#received.set(id, received);
    for (const screen of this.screens) if (screen.objects().some((object) => object.id === id)) screen.updateSoon();
    this.showSoon();
  }

  #completed(id: string): void {
    for (const group of this.groups.filter((one) => one.objects.some((object) => object.id === id))) {
      const object = group.objects.find((one) => one.id === id);
      if (object) this.#received.set(id, segmentCount(object.entry.size));
      void this.#settle(group, true);
    }
    for (const screen of this.screens) screen.updateSoon();
    this.showSoon();
  }

  /** Whether a study has become complete, and what receipts that owes. */
  async #settle(group: Group, isNews: boolean): Promise<void> {
    const due = receiptsOwed(this.store, group, this.fetcher.complete, this.store.clock.now());
    if (due.length > 0) {
      await this.store.keepReceipts(due);
      this.hooks.receiptsDue();
    }
    const isComplete = this.#wanted(group).every((object) => this.fetcher.complete.has(object.id));
    if (!isComplete || this.#announcedComplete.has(group.ref)) return;
    this.#announcedComplete.add(group.ref);
    this.#ordered.delete(group.ref);
    if (isNews) this.hooks.emit({ name: 'study-complete', study: group.ref });
  }

  /** Heads or announcements were applied. */
  async ledgerChanged(news: { held: Held; isNew: boolean }[]): Promise<void> {
    this.changed();
    for (const { held, isNew } of news) {
      const group = this.groups.find((one) => one.refs.includes(held.study));
      if (!group) continue;
      this.#announcedComplete.delete(group.ref);
      this.hooks.emit({ name: isNew ? 'study-new' : 'study-changed', study: group.ref });
      await this.#settle(group, true);
    }
    await this.sweep();
  }

  /** Delete what heads no longer name, and objects that are no longer announced. */
  async sweep(): Promise<void> {
    const nowMs = this.store.clock.now();
    const gone: Held[] = [];
    for (const shelf of this.store.ledger.shelves.values()) {
      for (const study of shelf.gone(nowMs)) {
        const held = shelf.studies.get(study);
        if (held) gone.push(held);
        shelf.drop(study);
      }
    }
    if (gone.length > 0) {
      await this.store.removeStudies(gone);
      this.changed();
      for (const { study } of gone) this.hooks.emit({ name: 'study-gone', study });
    }
    await this.store.removeUnannounced();
  }

  /** An object is gone at the gateway. */
  lost(id: string): void {
    this.fetcher.rest(id);
  }

  // ── what is shown ───────────────────────────────────────────────────────────────────────────────────────────────

  showSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.hooks.show();
    }, SHOW_MS);
  }

  /** The studies as the screens see them; an item that did not change is the same object as before. */
  items(): StudyItem[] {
    const nowMs = this.store.clock.now();
    const fresh = new Map<string, { item: StudyItem; key: string }>();
    for (const group of this.groups) {
      const wanted = new Set(this.#wanted(group));
      const stateOf = (object: StudyObject): ObjectState => ({
        received: this.#received.get(object.id) ?? 0,
        wanted: wanted.has(object),
      });
      const item = studyItem(this.store, group, stateOf, nowMs);
      const key = changeKey(item);
      const known = this.#items.get(group.ref);
      fresh.set(group.ref, known?.key === key ? known : { item, key });
    }
    this.#items = fresh;
    return [...fresh.values()].map(({ item }) => item);
  }

  recipients(): RecipientState[] {
    return recipientStates(this.store, this.store.ledger, this.store.clock.now());
  }

  storage(): Promise<StorageState> {
    return this.#space.state();
  }
}
