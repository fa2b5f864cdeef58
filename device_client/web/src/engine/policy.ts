/** What is fetched by itself, and what is dropped when space is short. No IO. */

import type { Layer, Settings } from '../api';
import type { Group, StudyObject } from './groups';
import type { StudyRecord } from './store';

export const DEFAULT_SETTINGS: Settings = {
  display: 'auto',
  storeLimitBytes: 2 * 1024 ** 3,
  autoLockMinutes: 5,
  ui: {},
};

/** Small and wanted everywhere: the list's pictures, and what is written. */
const ALWAYS: readonly Layer[] = ['thumbnail', 'report'];
const ORDER: readonly Layer[] = ['thumbnail', 'report', 'display', 'video'];

/** What browsers say of the link (Network Information API), where they say it. */
export interface Connectivity {
  type?: string;
  saveData?: boolean;
}

/** Whether whole studies may come over this link by themselves; unknown links count as good ones. */
export function isGenerous(link: Connectivity | undefined): boolean {
  return link?.saveData !== true && link?.type !== 'cellular';
}

/** Whether a study's display layer is fetched without being asked for. */
export function wantsDisplay(settings: Settings, link: Connectivity | undefined, record: StudyRecord): boolean {
  if (record.pinned) return true;
  if (record.evicted || settings.display === 'on-demand') return false;
  return settings.display === 'always' || isGenerous(link);
}

/** Videos are large: they come when somebody opens them, or wants all of the study. */
export function isWanted({ entry }: StudyObject, displayToo: boolean, videoToo: boolean): boolean {
  const { layer } = entry;
  return ALWAYS.includes(layer) || (layer === 'display' && displayToo) || (layer === 'video' && videoToo);
}

/** What goes when space is short; lists, and what is written, stay. */
export function isDroppable({ entry }: StudyObject): boolean {
  return !ALWAYS.includes(entry.layer);
}

/** In the order in which they are fetched: small things of all studies first, then by study. */
export function inOrder(objects: StudyObject[]): StudyObject[] {
  const rank = (object: StudyObject): number => (isDroppable(object) ? 1 : 0);
  const layer = (object: StudyObject): number => ORDER.indexOf(object.entry.layer);
  // A stable sort: within a rank the studies stay as they came, newest first.
  return objects.toSorted((a, b) => rank(a) - rank(b) || (rank(a) === 0 ? 0 : layer(a) - layer(b)));
}

/** A study that could be dropped. */
export interface Droppable {
  group: Group;
  usedAt: number;
  bytes: number;
}

/** Studies to drop so that `needed` bytes fit below `limit`, those unused for longest first; null if it cannot be. */
export function toDrop(candidates: Droppable[], used: number, needed: number, limit: number): Group[] | null {
  let excess = used + needed - limit;
  const dropped: Group[] = [];
  for (const { group, bytes } of candidates.toSorted((a, b) => a.usedAt - b.usedAt)) {
    if (excess <= 0) break;
    excess -= bytes;
    dropped.push(group);
  }
  return excess <= 0 ? dropped : null;
}
