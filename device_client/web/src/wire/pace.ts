/** How fast a device asks, and when it asks again: round trip as in RFC 6298, credit that halves on loss. */

import { MAX_CREDIT } from './limits';

export const LEAST_CREDIT = 8;
export const START_CREDIT = 32;
export const LEAST_REPAIR_S = 2;
export const LEAST_OVERTAKEN_S = 0.75;
export const MOST_REPAIR_S = 60;

/** One for each link, shared by all objects that come over it. Times in seconds of any steady clock. */
export class Pace {
  #smoothed: number | null = null;
  #deviation = 0;
  #backoff = 1;
  #credit = START_CREDIT;
  #lostAt = Number.NEGATIVE_INFINITY;

  /** How many segments may be in flight. */
  get credit(): number {
    return Math.floor(this.#credit);
  }

  /** How long a segment that was asked for may stay away without any progress before it. */
  get repair(): number {
    if (this.#smoothed === null) return LEAST_REPAIR_S * this.#backoff;
    const measured = Math.max(LEAST_REPAIR_S, this.#smoothed + 4 * this.#deviation);
    return Math.min(measured * this.#backoff, MOST_REPAIR_S);
  }

  /** How long a segment may stay away once another that was asked for later has come. Something came: no back-off. */
  get overtaken(): number {
    if (this.#smoothed === null) return this.repair;
    return Math.min(Math.max(LEAST_OVERTAKEN_S, this.#smoothed + 4 * this.#deviation), this.repair);
  }

  /** A segment that had been asked for once came after `roundTrip`. */
  arrived(roundTrip: number): void {
    if (this.#smoothed === null) {
      this.#smoothed = roundTrip;
      this.#deviation = roundTrip / 2;
    } else {
      this.#deviation += (Math.abs(roundTrip - this.#smoothed) - this.#deviation) / 4;
      this.#smoothed += (roundTrip - this.#smoothed) / 8;
    }
    this.#backoff = 1;
    this.#credit = Math.min(MAX_CREDIT, this.#credit + 4 / this.#credit);
  }

  /** Something did not come in time. However much it was, this counts once in a repair time. */
  lost(now: number): void {
    if (now - this.#lostAt < this.repair) return;
    this.#lostAt = now;
    this.#credit = Math.max(LEAST_CREDIT, this.#credit / 2);
    this.#backoff = Math.min(this.#backoff * 2, 16);
  }
}
