/** Finding where an instance lies that a report names: in which object, and whether it can be shown. */

import { ApiError, type Place } from '../api';
import { segmentsOf } from '../wire/seal';
import { type ContentsCache, type Look, opening } from './contents';
import type { Group, StudyObject } from './groups';
import type { Household } from './household';
import type { Picture } from './reader';
import type { Viewer } from './viewer';

const LOOK_MS = 100;
const SHOWN = new Set(['display', 'video', 'report']);

/** Looks through the tables of contents of a study; while it does, those that are not here are fetched first. */
class Seeker implements Viewer {
  #unread: StudyObject[] = [];
  #looks = new Map<string, Look>();
  #isClosed = false;

  constructor(
    private group: Group,
    private readonly instance: string,
    private readonly frame: number,
    private readonly cache: ContentsCache,
    private readonly onFocus: () => void,
  ) {
    this.#unread = this.#candidates();
  }

  get study(): string {
    return this.group.ref;
  }

  /** Objects that must begin to come before more can be said. */
  objects(): StudyObject[] {
    return this.#unread;
  }

  focus(): Map<string, number[]> {
    return new Map(this.#unread.map((object) => [object.id, this.#looks.get(object.id)?.headerSegments ?? opening(object)]));
  }

  regroup(group: Group): void {
    this.group = group;
  }

  updateSoon(): void {
    // It looks by itself.
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Null: in nothing that this device was told of. ApiError missing: something that may hold it did not come in time. */
  async find(timeoutMs: number): Promise<Place | null> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const place = await this.#look();
      if (place || this.#unread.length === 0) return place;
      if (this.#isClosed || performance.now() >= until) throw new ApiError('missing');
      this.onFocus();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  #candidates(): StudyObject[] {
    return this.group.objects.filter(({ entry }) => SHOWN.has(entry.layer));
  }

  async #look(): Promise<Place | null> {
    const unread: StudyObject[] = [];
    for (const object of this.#candidates()) {
      const look = await this.cache.look(object).catch(() => null);
      const picture = look?.contents?.pictures.find((one) => this.#isSought(object, one));
      if (look && picture) return placeOf(object, picture, look);
      if (look) this.#looks.set(object.id, look);
      if (!look?.contents) unread.push(object);
    }
    this.#unread = unread;
    return null;
  }

  #isSought({ entry }: StudyObject, { instance, part }: Picture): boolean {
    return instance === this.instance && (entry.layer !== 'display' || part.frame === this.frame);
  }
}

/** Where an instance lies: see Api. */
export async function locate(
  household: Household,
  study: string,
  instance: string,
  frame: number,
  timeoutMs: number,
): Promise<Place | null> {
  const seeker = new Seeker(household.find(study), instance, frame, household.cache, () => household.focusChanged());
  household.screens.add(seeker);
  household.changed();
  return seeker.find(timeoutMs).finally(() => household.hide(seeker));
}

function placeOf({ entry }: StudyObject, picture: Picture, look: Look): Place {
  const [first, last] = segmentsOf(picture.start, picture.end);
  let isHere = true;
  for (let index = first; index <= last; index++) isHere &&= look.has(index);
  return { series: picture.series, isDocument: entry.layer === 'report', isHere };
}
