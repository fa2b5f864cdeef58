/**
 * One object as received, in OPFS: ciphertext at fixed offsets, a bitmap of what is there, and the manifest pages that came.
 *
 * In its file: bitmap | page flags | page digests | segment digests | (from a multiple of 4,096 on) ciphertext. Order
 * is what makes a kill harmless: data, flush, bitmap, flush. So no bit ever stands without its data; data without its bit
 * is found again by its digest.
 */

import { Bitmap } from '../wire/bits';
import { type Bytes, concat, equal, sha256 } from '../wire/bytes';
import { malformed } from '../wire/errors';
import { DIGEST_BYTES, PAGE_DIGESTS } from '../wire/limits';
import { checkPage, pageCount } from '../wire/manifest';
import { sealedSize, segmentCount, segmentSpan } from '../wire/seal';

const ALIGN = 4096;

/** What must be known of an object to open its file: plaintext size, and the announced manifest digest. */
export interface Shape {
  size: number;
  manifest: Bytes;
}

/** One object on the disk. `have` is shared with the receiver, which sets its bits. */
export class Blob {
  readonly segments: number;
  have: Bitmap;
  /** Verified segment digests by page. */
  readonly pages = new Map<number, Bytes>();
  readonly #pageTotal: number;
  readonly #flagsAt: number;
  readonly #headsAt: number;
  readonly #digestsAt: number;
  readonly #dataAt: number;

  private constructor(
    private readonly file: FileSystemSyncAccessHandle,
    readonly shape: Shape,
  ) {
    this.segments = segmentCount(shape.size);
    this.have = new Bitmap(this.segments);
    this.#pageTotal = pageCount(this.segments);
    this.#flagsAt = Math.ceil(this.segments / 8);
    this.#headsAt = this.#flagsAt + Math.ceil(this.#pageTotal / 8);
    this.#digestsAt = this.#headsAt + this.#pageTotal * DIGEST_BYTES;
    this.#dataAt = Math.ceil((this.#digestsAt + this.segments * DIGEST_BYTES) / ALIGN) * ALIGN;
  }

  /** Read what is there and find what a kill left without its bit. */
  static async open(file: FileSystemSyncAccessHandle, shape: Shape): Promise<Blob> {
    const blob = new Blob(file, shape);
    if (file.getSize() === 0) return blob;
    await blob.#loadPages();
    blob.#loadBitmap();
    await blob.#recover();
    return blob;
  }

  #read(offset: number, length: number): Bytes {
    const data = new Uint8Array(length);
    return data.subarray(0, this.file.read(data, { at: offset }));
  }

  #put(data: Bytes, offset: number): void {
    if (this.file.write(data, { at: offset }) !== data.length) {
      throw new DOMException('a write that was cut', 'QuotaExceededError');
    }
  }

  async #loadPages(): Promise<void> {
    const flags = this.#read(this.#flagsAt, this.#headsAt - this.#flagsAt);
    const heads = this.#read(this.#headsAt, this.#digestsAt - this.#headsAt);
    for (let page = 0; page < this.#pageTotal; page++) {
      if (((flags[page >> 3] ?? 0) >> (page & 7) & 1) === 0) continue;
      const count = Math.min(PAGE_DIGESTS, this.segments - page * PAGE_DIGESTS);
      const digests = this.#read(this.#digestsAt + page * PAGE_DIGESTS * DIGEST_BYTES, count * DIGEST_BYTES);
      try {
        this.pages.set(page, await checkPage(this.shape.manifest, page, this.segments, concat(heads, digests)));
      } catch {
        // Not what was announced: it is asked for again.
      }
    }
  }

  #loadBitmap(): void {
    try {
      const have = new Bitmap(this.segments, this.#read(0, this.#flagsAt));
      const isWhole = this.#endOf(have) <= this.file.getSize() - this.#dataAt;
      const isVouched = Array.from({ length: this.#pageTotal }, (_, page) => page).every(
        (page) => this.pages.has(page) || !this.#hasAny(have, page),
      );
      if (isWhole && isVouched) this.have = have;
    } catch {
      // Nothing is believed: recovery looks at the data itself.
    }
  }

  #hasAny(have: Bitmap, page: number): boolean {
    const end = Math.min((page + 1) * PAGE_DIGESTS, this.segments);
    for (let index = page * PAGE_DIGESTS; index < end; index++) if (have.has(index)) return true;
    return false;
  }

  #endOf(have: Bitmap): number {
    for (let index = this.segments - 1; index >= 0; index--) {
      if (!have.has(index)) continue;
      const [offset, length] = segmentSpan(index, this.shape.size);
      return offset + length;
    }
    return 0;
  }

  async #recover(): Promise<void> {
    const end = this.file.getSize() - this.#dataAt;
    let found = 0;
    for (const index of this.have.missing()) {
      const [offset, length] = segmentSpan(index, this.shape.size);
      if (offset + length > end) break;
      const isHole = this.#read(this.#dataAt + offset, 16).every((byte) => byte === 0);
      if (!isHole && (await this.#fits(index))) {
        this.have.add(index);
        found++;
      }
    }
    if (found > 0) this.commit();
  }

  async #fits(index: number): Promise<boolean> {
    const digests = this.pages.get(Math.floor(index / PAGE_DIGESTS));
    if (!digests) return false;
    const [offset, length] = segmentSpan(index, this.shape.size);
    const start = (index % PAGE_DIGESTS) * DIGEST_BYTES;
    const digest = await sha256(this.#read(this.#dataAt + offset, length));
    return equal(digest, digests.subarray(start, start + DIGEST_BYTES));
  }

  /** Believe nothing: keep exactly the bits whose data fit their digests. */
  async check(): Promise<void> {
    for (let index = 0; index < this.segments; index++) {
      if (this.have.has(index) && !(await this.#fits(index))) this.have.remove(index);
    }
    this.commit();
  }

  /** Put a verified segment in its place. Not durable until the next `commit`. */
  write(index: number, ciphertext: Bytes): void {
    const [offset, length] = segmentSpan(index, this.shape.size);
    if (ciphertext.length !== length) throw malformed('a segment of another length than its place');
    this.#put(ciphertext, this.#dataAt + offset);
  }

  /** Keep a page: `payload` as it came, `digests` as they were verified. */
  savePage(page: number, payload: Bytes, digests: Bytes): void {
    this.pages.set(page, digests);
    this.#put(payload.slice(0, this.#pageTotal * DIGEST_BYTES), this.#headsAt);
    this.#put(digests, this.#digestsAt + page * PAGE_DIGESTS * DIGEST_BYTES);
    const flags = new Uint8Array(this.#headsAt - this.#flagsAt);
    for (const known of this.pages.keys()) flags[known >> 3] = (flags[known >> 3] as number) | (1 << (known & 7));
    this.#put(flags, this.#flagsAt);
  }

  /** Data, flush, bitmap, flush. */
  commit(): void {
    this.file.flush();
    this.#put(this.have.toBytes(), 0);
    this.file.flush();
  }

  /** Ciphertext from `offset` on; the caller has looked at `have`. */
  read(offset: number, length: number): Bytes {
    return this.#read(this.#dataAt + offset, length);
  }

  get bytes(): number {
    return this.file.getSize();
  }

  close(): void {
    this.file.close();
  }
}

/** Of an object on the disk when it is whole. */
export function fileBytes(size: number): number {
  return sealedSize(size) + segmentCount(size) * DIGEST_BYTES + ALIGN;
}
