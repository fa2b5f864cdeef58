/** Videos: streams that the browser plays by itself. They are fetched when their series is opened, and handed over whole. */

import { ApiError, type VideoInfo } from '../api';
import { segmentCount } from '../wire/seal';
import { sleep } from './clock';
import { opening } from './contents';
import type { Group, StudyObject } from './groups';
import type { Household } from './household';
import type { Picture } from './reader';
import type { Viewer } from './viewer';

const LOOK_S = 0.2;
/** Nothing came for so long. */
const STALLED_S = 20;
/** Decrypted at once; the browser keeps the pieces, on the disk where they are many. */
const PIECE_BYTES = 4 * 1024 * 1024;

function hasPictures(group: Group, series: readonly string[]): boolean {
  return group.objects.some(({ entry, series: uids }) => entry.layer === 'display' && uids.some((uid) => series.includes(uid)));
}

/** Videos that are fetched when their series is opened: of one that has pictures too, each is asked for by itself. */
export function openedVideos(group: Group, series: string): StudyObject[] {
  return hasPictures(group, [series]) ? [] : videoObjects(group, series);
}

/** Videos of a series, by the announcement alone. */
function videoObjects(group: Group, series: string): StudyObject[] {
  return group.objects.filter(({ entry, series: uids }) => entry.layer === 'video' && uids.includes(series));
}

/** All of it, for whoever wants it first. */
export function everySegment({ entry }: StudyObject): number[] {
  return Array.from({ length: segmentCount(entry.size) }, (_, index) => index);
}

/** Somebody who needs certain segments of some objects. */
class ObjectViewer implements Viewer {
  constructor(
    readonly study: string,
    private readonly wanted: StudyObject[],
    private readonly segments: (object: StudyObject) => number[],
  ) {}

  objects(): StudyObject[] {
    return this.wanted;
  }

  focus(): Map<string, number[]> {
    return new Map(this.wanted.map((object) => [object.id, this.segments(object)]));
  }

  regroup(): void {
    // Objects never change.
  }

  updateSoon(): void {
    // Whoever waits looks by himself.
  }

  close(): void {
    // Nothing is held.
  }
}

/** Done while somebody looks. */
async function seen<T>(household: Household, viewer: Viewer, work: () => Promise<T>): Promise<T> {
  household.screens.add(viewer);
  household.changed();
  return work().finally(() => household.hide(viewer));
}

/** What `look` finds, as soon as it does; ApiError missing if nothing of the objects comes any more. */
async function awaited<T>(household: Household, objects: StudyObject[], look: () => Promise<T | null>): Promise<T> {
  const received = (): number => objects.reduce((sum, { id }) => sum + household.store.blobs.bytes(id), 0);
  let before = received();
  for (let waited = 0; waited < STALLED_S; waited += LOOK_S) {
    const found = await look();
    if (found !== null) return found;
    await sleep(LOOK_S);
    const now = received();
    if (now !== before) waited = 0;
    before = now;
  }
  throw new ApiError('missing');
}

/** The stream of an object, once its header is here. */
async function stream(household: Household, object: StudyObject): Promise<Picture | null> {
  const { contents } = await household.cache.look(object);
  if (!contents) return null;
  const [found] = contents.pictures;
  if (!found?.part.media.startsWith('video/')) throw new ApiError('damaged');
  return found;
}

export async function videos(household: Household, study: string, series: string): Promise<VideoInfo[]> {
  const objects = videoObjects(household.find(study), series);
  return seen(household, new ObjectViewer(study, objects, opening), async () => {
    const found: VideoInfo[] = [];
    for (const object of objects) {
      const { part, attributes } = await awaited(household, [object], () => stream(household, object));
      found.push({ id: object.id, media: part.media, bytes: part.length, lossy: part.lossy, ratio: part.ratio_x100 / 100, attributes });
    }
    return found;
  });
}

/** All of a stream, verified and decrypted. Where its series has pictures too, only this fetches it. */
export async function video(household: Household, study: string, id: string): Promise<Blob> {
  const object = household.find(study).objects.find((one) => one.id === id && one.entry.layer === 'video');
  if (!object) throw new ApiError('gone');
  const viewer = new ObjectViewer(study, hasPictures(household.find(study), object.series) ? [object] : [], everySegment);
  const { part, start, end } = await seen(household, viewer, () =>
    awaited(household, [object], async () => (household.fetcher.complete.has(id) ? stream(household, object) : null)),
  );
  const pieces: Blob[] = [];
  for (let at = start; at < end; at += PIECE_BYTES) {
    pieces.push(new Blob([await household.cache.read(object, { start: at, end: Math.min(at + PIECE_BYTES, end) })]));
  }
  return new Blob(pieces, { type: part.media });
}
