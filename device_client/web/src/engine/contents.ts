/** Readers of objects: their tables of contents, kept while they are used, and their bytes. */

import { ApiError } from '../api';
import type { Bytes } from '../wire/bytes';
import { WireError } from '../wire/errors';
import { segmentCount, segmentsOf } from '../wire/seal';
import type { Blob } from './blob';
import type { StudyObject } from './groups';
import { type Contents, type Picture, Reader } from './reader';
import type { Store } from './store';

const MAX_KEPT = 64;
/** The first frame mostly lies right behind the header: asked for together, it comes a round trip earlier. */
const AHEAD = 4;

/** What to ask for of an object of which nothing is known yet. */
export function opening(object: StudyObject): number[] {
  return Array.from({ length: Math.min(AHEAD, segmentCount(object.entry.size)) }, (_, index) => index);
}

/** What of an object is here: segments from 0 on that the header needs, and whether a segment is. */
export interface Look {
  contents: Contents | null;
  /** Segments that must come before the contents can be read. */
  headerSegments: number[];
  has(index: number): boolean;
}

export class ContentsCache {
  readonly #kept = new Map<string, Contents>();

  constructor(
    private readonly store: Store,
    private readonly damaged: (object: StudyObject) => void,
  ) {}

  forget(id: string): void {
    this.#kept.delete(id);
  }

  async #with<T>(object: StudyObject, work: (blob: Blob) => Promise<T>): Promise<T> {
    const blob = await this.store.blobs.acquire(object.id, object.entry);
    try {
      return await work(blob);
    } catch (error) {
      if (error instanceof WireError && error.code !== 'missing') {
        // What is on the disk is not what was received: what does not fit its digest is fetched again.
        await blob.check();
        this.#kept.delete(object.id);
        this.damaged(object);
        throw new ApiError('damaged');
      }
      throw error instanceof WireError ? new ApiError('missing') : error;
    } finally {
      await this.store.blobs.release(object.id);
    }
  }

  /** What is here of an object; nothing where there is no file. */
  async look(object: StudyObject): Promise<Look> {
    if (!this.store.blobs.has(object.id) && !this.#kept.has(object.id)) {
      return { contents: null, headerSegments: opening(object), has: () => false };
    }
    return this.#with(object, async (blob) => {
      const has = (index: number): boolean => blob.have.has(index);
      const known = this.#kept.get(object.id);
      if (known) return { contents: known, headerSegments: [], has };
      if (!has(0)) return { contents: null, headerSegments: opening(object), has };
      const reader = await Reader.open(this.store.site, object.entry, blob);
      const [, last] = segmentsOf(0, await reader.headerEnd());
      const needed = Array.from({ length: last + 1 }, (_, index) => index);
      if (!needed.every(has)) return { contents: null, headerSegments: needed, has };
      const contents = await reader.contents(new Set(object.series));
      this.#keep(object.id, contents);
      return { contents, headerSegments: [], has };
    });
  }

  #keep(id: string, contents: Contents): void {
    this.#kept.set(id, contents);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest);
  }

  /** The bytes of a part; ApiError missing or damaged. */
  read(object: StudyObject, picture: Pick<Picture, 'start' | 'end'>): Promise<Bytes> {
    return this.#with(object, async (blob) => {
      const reader = await Reader.open(this.store.site, object.entry, blob);
      return reader.read(picture.start, picture.end);
    });
  }
}
