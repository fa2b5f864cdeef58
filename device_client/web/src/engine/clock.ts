/** The device's clock: the larger of its own and the last signed time, so that turning it back gains nothing. */

import type { Database } from './database';

const KEEP_EVERY_MS = 60_000;

export class Clock {
  #signedMs: number;
  #signedAt = performance.now();
  #keptMs: number;

  private constructor(
    private readonly database: Database,
    keptMs: number,
  ) {
    this.#keptMs = keptMs;
    this.#signedMs = keptMs;
  }

  static async open(database: Database): Promise<Clock> {
    return new Clock(database, (await database.get<number>('facts', 'clock')) ?? 0);
  }

  /** The time that leases, key sets and heads are judged by. */
  now(): number {
    return Math.max(Date.now(), this.#signedMs + Math.floor(performance.now() - this.#signedAt));
  }

  /** A verified message was issued at `signedMs`; kept at most once a minute. */
  saw(signedMs: number): void {
    if (signedMs <= this.#signedMs + (performance.now() - this.#signedAt)) return;
    this.#signedMs = signedMs;
    this.#signedAt = performance.now();
    if (this.#signedMs - this.#keptMs >= KEEP_EVERY_MS) void this.keep();
  }

  async keep(): Promise<void> {
    this.#keptMs = this.#signedMs;
    await this.database.put('facts', 'clock', this.#keptMs);
  }
}

/** Seconds of a steady clock, for the wire's receiver and pace. */
export function steady(): number {
  return performance.now() / 1000;
}

export function sleep(seconds: number, wake?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (wake?.aborted) return resolve();
    const timer = setTimeout(resolve, seconds * 1000);
    wake?.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
