/** Decoded frames around the one on screen, within a bound of memory; what is on screen comes first. */

export interface Loaded<T> {
  readonly value: T;
  /** What it holds in memory. */
  readonly bytes: number;
}

export type FrameState<T> =
  | { readonly kind: 'here'; readonly value: T }
  | { readonly kind: 'coming' }
  | { readonly kind: 'failed'; readonly error: unknown };

export interface Source<T> {
  readonly count: number;
  load(index: number, signal: AbortSignal): Promise<Loaded<T>>;
  /** Give back what a frame held. */
  free(value: T): void;
  /** The order in which frames are wanted now, the one on screen first. */
  wanted(order: readonly number[]): void;
}

const AT_ONCE = 4;
const AHEAD = 24;
const BEHIND = 8;

/** Indices from `current` outwards, more of them in the direction of travel. */
export function order(current: number, direction: 1 | -1, count: number): number[] {
  const found = [current];
  for (let step = 1; step <= AHEAD; step += 1) {
    found.push(current + step * direction);
    if (step <= BEHIND) found.push(current - step * direction);
  }
  return found.filter((index) => index >= 0 && index < count);
}

export class Frames<T> {
  readonly #here = new Map<number, Loaded<T>>();
  readonly #coming = new Map<number, AbortController>();
  readonly #failed = new Map<number, unknown>();
  #order: number[] = [];
  #bytes = 0;
  #closed = false;

  /** `changed` is called when a frame has come or failed. */
  constructor(
    private readonly source: Source<T>,
    private readonly budgetBytes: number,
    private readonly changed: (index: number) => void,
  ) {}

  state(index: number): FrameState<T> {
    const here = this.#here.get(index);
    if (here) return { kind: 'here', value: here.value };
    return this.#failed.has(index) ? { kind: 'failed', error: this.#failed.get(index) } : { kind: 'coming' };
  }

  /** Look at `index`: it and its neighbours are loaded, what is far goes when room is needed. */
  lookAt(index: number, direction: 1 | -1): void {
    this.#order = order(index, direction, this.source.count);
    this.source.wanted(this.#order);
    for (const [each, stop] of this.#coming) {
      if (!this.#order.includes(each)) stop.abort();
    }
    this.#fill();
  }

  /** Another picture stands in this place now, or the room is needed. */
  forget(index: number): void {
    const loaded = this.#here.get(index);
    if (!loaded) return;
    this.#here.delete(index);
    this.#bytes -= loaded.bytes;
    this.source.free(loaded.value);
  }

  retry(index: number): void {
    this.#failed.delete(index);
    this.#fill();
  }

  /** What failed is tried again: the link is back. */
  retryAll(): void {
    this.#failed.clear();
    this.#fill();
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#coming.values()) stop.abort();
    for (const each of this.#here.values()) this.source.free(each.value);
    this.#here.clear();
  }

  #fill(): void {
    if (this.#closed) return;
    const [current, ...around] = this.#order;
    if (current === undefined) return;
    this.#start(current);
    for (const index of around) {
      if (this.#coming.size >= AT_ONCE) return;
      // What is here already needs no room: to make some for it would let frames come and go without end.
      if (this.#isDone(index)) continue;
      // Prefetching must not push out what is nearer.
      if (this.#bytes >= this.budgetBytes && !this.#makeRoom(index)) return;
      this.#start(index);
    }
  }

  #isDone(index: number): boolean {
    return this.#here.has(index) || this.#coming.has(index) || this.#failed.has(index);
  }

  #start(index: number): void {
    if (this.#isDone(index)) return;
    const stop = new AbortController();
    this.#coming.set(index, stop);
    this.source.load(index, stop.signal).then(
      (loaded) => this.#came(index, loaded),
      (error: unknown) => this.#fell(index, stop, error),
    );
  }

  #came(index: number, loaded: Loaded<T>): void {
    this.#coming.delete(index);
    if (this.#closed) {
      this.source.free(loaded.value);
      return;
    }
    this.#here.set(index, loaded);
    this.#bytes += loaded.bytes;
    while (this.#bytes > this.budgetBytes && this.#makeRoom(index));
    this.changed(index);
    this.#fill();
  }

  #fell(index: number, stop: AbortController, error: unknown): void {
    this.#coming.delete(index);
    if (this.#closed) return;
    if (!stop.signal.aborted) {
      this.#failed.set(index, error);
      this.changed(index);
    }
    this.#fill();
  }

  /** Give back the frame that is wanted least, if it is wanted less than `index`. */
  #makeRoom(index: number): boolean {
    const rank = (each: number): number => {
      const found = this.#order.indexOf(each);
      return found < 0 ? this.#order.length + Math.abs(each - (this.#order[0] ?? 0)) : found;
    };
    let worst = -1;
    for (const each of this.#here.keys()) {
      if (worst < 0 || rank(each) > rank(worst)) worst = each;
    }
    if (worst < 0 || worst === this.#order[0] || rank(worst) <= rank(index)) return false;
    this.forget(worst);
    return true;
  }
}
