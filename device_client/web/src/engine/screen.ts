/** A series that somebody looks at: its frames in order, what of them is here, and what is wanted first. */

import { ApiError, type ErrorCode, type FrameInfo, type SeriesState } from '../api';
import { segmentsOf } from '../wire/seal';
import { type ContentsCache, type Look, opening } from './contents';
import { number, TAG } from './datasets';
import type { Group, StudyObject } from './groups';
import type { Picture } from './reader';
import { everySegment, openedVideos } from './videos';
import type { Viewer } from './viewer';

const UPDATE_MS = 100;
/** While somebody waits for a frame, or not even the table of contents is here. */
const URGENT_MS = 10;

interface Place {
  object: StudyObject;
  picture: Picture;
  first: number;
  last: number;
}

interface Waiter {
  index: number;
  resolve(frame: { info: FrameInfo; bytes: Uint8Array<ArrayBuffer> }): void;
  reject(error: ApiError): void;
  timer: ReturnType<typeof setTimeout>;
}

export class Screen implements Viewer {
  state: SeriesState;
  #places: (Place | null)[] = [];
  #looks = new Map<string, Look>();
  #order: number[] = [];
  #waiters: Waiter[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isUpdating = false;
  #known = '';
  #isClosed = false;

  /** `onState` hears of every change; `onFocus` that what is wanted first has changed. */
  constructor(
    private group: Group,
    readonly series: string,
    private readonly cache: ContentsCache,
    private readonly onState: (state: SeriesState) => void,
    private readonly onFocus: () => void,
  ) {
    this.state = { study: group.ref, series, frames: [], here: [], progress: [], error: null };
    this.updateSoon();
  }

  get study(): string {
    return this.group.ref;
  }

  /** What is fetched whatever the policy says: the frames of this series, and its videos. */
  objects(): StudyObject[] {
    return [...this.#pictures(), ...openedVideos(this.group, this.series)];
  }

  /** The objects that hold the frames of this series. */
  #pictures(): StudyObject[] {
    return this.group.objects.filter((one) => one.entry.layer === 'display' && one.series.includes(this.series));
  }

  /** The study was announced anew. */
  regroup(group: Group): void {
    this.group = group;
    this.updateSoon();
  }

  prioritise(order: number[]): void {
    this.#order = order;
    this.onFocus();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const waiter of this.#waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(new ApiError('missing'));
    }
  }

  /** Segments that are wanted first, by object. */
  focus(): Map<string, number[]> {
    const wanted = new Map<string, number[]>();
    const add = (id: string, segments: number[]): void => {
      wanted.set(id, [...(wanted.get(id) ?? []), ...segments]);
    };
    for (const object of this.#pictures()) {
      const headers = this.#looks.get(object.id)?.headerSegments ?? opening(object);
      if (headers.length > 0) add(object.id, headers);
    }
    // All of the series is wanted before other studies; what is on screen before the rest of it.
    const rest = [...this.#places.keys()].filter((index) => !this.#order.includes(index));
    for (const index of [...this.#waiters.map((one) => one.index), ...this.#order, ...rest]) {
      const place = this.#places[index];
      if (!place || this.state.here[index]) continue;
      add(place.object.id, Array.from({ length: place.last - place.first + 1 }, (_, step) => place.first + step));
    }
    for (const object of openedVideos(this.group, this.series)) add(object.id, everySegment(object));
    return wanted;
  }

  // ── what is here ────────────────────────────────────────────────────────────────────────────────────────────────

  updateSoon(): void {
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#update();
    }, this.#waiters.length > 0 || this.#places.some((place) => place === null) || this.#known === '' ? URGENT_MS : UPDATE_MS);
  }

  async #update(): Promise<void> {
    if (this.#isUpdating) return this.updateSoon();
    this.#isUpdating = true;
    try {
      await this.#look();
    } finally {
      this.#isUpdating = false;
    }
  }

  async #look(): Promise<void> {
    let error: ErrorCode | null = null;
    const places: (Place | null)[] = [];
    for (const object of this.#pictures()) {
      try {
        const look = await this.cache.look(object);
        this.#looks.set(object.id, look);
        places.push(...this.#placesOf(object, look));
      } catch (cause) {
        this.#looks.delete(object.id);
        error = cause instanceof ApiError ? cause.code : 'internal';
        places.push(...Array.from({ length: object.entry.frames }, () => null));
      }
    }
    if (this.#isClosed) return;
    this.#places = places.every((place) => place !== null) ? inOrder(places) : places;
    this.#tell(error);
    this.onFocus();
    await this.#serve();
  }

  #placesOf(object: StudyObject, look: Look): (Place | null)[] {
    if (!look.contents) return Array.from({ length: object.entry.frames }, () => null);
    return look.contents.pictures
      .filter((picture) => picture.series === this.series && picture.part.media.startsWith('image/'))
      .map((picture) => {
        const [first, last] = segmentsOf(picture.start, picture.end);
        return { object, picture, first, last };
      });
  }

  #tell(error: ErrorCode | null): void {
    const known = this.#pictures().map(({ id }) => `${id} ${this.#looks.get(id)?.contents ? 1 : 0}`).join();
    if (known !== this.#known) this.#describe(known);
    const progress = this.#places.map((place) => this.#progress(place));
    this.state = { ...this.state, study: this.group.ref, progress, here: progress.map((part) => part === 1), error };
    this.onState(this.state);
  }

  /** The frames stay the same array until something new is known of them: it is large, and copied to the screens. */
  #describe(known: string): void {
    this.#known = known;
    const multi = new Set(this.#places.filter((place) => (place?.picture.part.frame ?? 0) > 0).map((place) => place?.picture.instance));
    const frames = this.#places.map((place, index) => place && frameInfo(place, index, multi.has(place.picture.instance)));
    this.state = { ...this.state, frames };
  }

  #progress(place: Place | null): number {
    const look = place && this.#looks.get(place.object.id);
    if (!place || !look) return 0;
    let here = 0;
    for (let index = place.first; index <= place.last; index++) if (look.has(index)) here++;
    return here / (place.last - place.first + 1);
  }

  // ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The frame's bytes, as soon as they are here; ApiError missing after `timeoutMs`. */
  frame(index: number, timeoutMs: number): Promise<{ info: FrameInfo; bytes: Uint8Array<ArrayBuffer> }> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((one) => one !== waiter);
        reject(new ApiError(this.state.error ?? 'missing'));
      }, timeoutMs);
      const waiter: Waiter = { index, resolve, reject, timer };
      this.#waiters.push(waiter);
      this.onFocus();
      void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    const due = this.#waiters.filter((one) => this.state.here[one.index]);
    this.#waiters = this.#waiters.filter((one) => !due.includes(one));
    await Promise.all(due.map((waiter) => this.#answer(waiter)));
  }

  async #answer(waiter: Waiter): Promise<void> {
    clearTimeout(waiter.timer);
    const place = this.#places[waiter.index];
    const info = this.state.frames[waiter.index];
    try {
      if (!place || !info) throw new ApiError('missing');
      waiter.resolve({ info, bytes: await this.cache.read(place.object, place.picture) });
    } catch (error) {
      waiter.reject(error instanceof ApiError ? error : new ApiError('internal'));
    }
  }
}

/** By instance number and frame, as far as all are known; batches come in the order in which instances arrived. */
function inOrder(places: Place[]): Place[] {
  return places.toSorted((a, b) => {
    const instances = number(a.picture.attributes, TAG.InstanceNumber) - number(b.picture.attributes, TAG.InstanceNumber);
    return instances || (a.picture.instance === b.picture.instance ? a.picture.part.frame - b.picture.part.frame : 0);
  });
}

function frameInfo({ picture }: Place, index: number, multiFrame: boolean): FrameInfo {
  const { part } = picture;
  return {
    index,
    instance: picture.instance,
    frame: part.frame,
    multiFrame,
    media: part.media,
    bytes: part.length,
    lossy: part.lossy,
    ratio: part.ratio_x100 / 100,
    attributes: picture.attributes,
  };
}
