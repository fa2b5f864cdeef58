/** Which segments are there: a bitmap, and the ranges of what is not. */

import { malformed } from './errors';

/** First and last index, both included. */
export type Range = [first: number, last: number];

function bitCount(byte: number): number {
  let count = 0;
  for (let rest = byte; rest; rest &= rest - 1) count++;
  return count;
}

/** A fixed number of bits, least significant first in each byte; as bytes it is what a device keeps. */
export class Bitmap {
  count = 0;
  readonly #bits: Uint8Array<ArrayBuffer>;
  // All bytes before it are full; it only ever moves on, so walking over them is paid once.
  #cursor = 0;

  /** `data` is what `toBytes` gave earlier; Malformed if it does not fit `size`. */
  constructor(
    readonly size: number,
    data?: Uint8Array,
  ) {
    const width = Math.ceil(size / 8);
    this.#bits = data ? new Uint8Array(data) : new Uint8Array(width);
    const last = this.#bits[width - 1] ?? 0;
    if (this.#bits.length !== width || (size % 8 !== 0 && last >> (size % 8) !== 0)) {
      throw malformed('a bitmap that does not fit its object');
    }
    for (const byte of this.#bits) this.count += bitCount(byte);
  }

  has(index: number): boolean {
    return index >= 0 && index < this.size && (((this.#bits[index >> 3] as number) >> (index & 7)) & 1) === 1;
  }

  add(index: number): void {
    if (index < 0 || index >= this.size) throw malformed('there is no such segment');
    if (this.has(index)) return;
    this.#bits[index >> 3] = (this.#bits[index >> 3] as number) | (1 << (index & 7));
    this.count++;
  }

  remove(index: number): void {
    if (!this.has(index)) return;
    this.#bits[index >> 3] = (this.#bits[index >> 3] as number) & ~(1 << (index & 7));
    this.count--;
    this.#cursor = Math.min(this.#cursor, index >> 3);
  }

  get complete(): boolean {
    return this.count === this.size;
  }

  /** The indices that are not set, ascending. */
  *missing(): Generator<number> {
    while (this.#cursor < this.#bits.length && this.#bits[this.#cursor] === 0xff) this.#cursor++;
    for (let at = this.#cursor; at < this.#bits.length; at++) {
      if (this.#bits[at] === 0xff) continue;
      for (let index = at * 8; index < Math.min(at * 8 + 8, this.size); index++) if (!this.has(index)) yield index;
    }
  }

  toBytes(): Uint8Array<ArrayBuffer> {
    return this.#bits.slice();
  }
}

/** Ascending indices as ranges. */
export function toRanges(indices: Iterable<number>): Range[] {
  const ranges: Range[] = [];
  for (const index of indices) {
    const last = ranges.at(-1);
    if (last && index === last[1] + 1) last[1] = index;
    else ranges.push([index, index]);
  }
  return ranges;
}
