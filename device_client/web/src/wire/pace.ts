/**
 * How fast a device asks, and when it asks again.
 *
 * The credit follows the delay that queues add, as LEDBAT does (RFC 6817): little more is in flight than the link holds.
 * The round trip is smoothed as in RFC 6298, and the credit halves on loss.
 */

import { MAX_CREDIT } from './limits';

export const LEAST_CREDIT = 2;
export const START_CREDIT = 8;
/** The delay by queues, of gateway, broker and link together, that a device aims at. */
export const TARGET_S = 0.2;
export const LEAST_REPAIR_S = 2;
export const LEAST_OVERTAKEN_S = 0.75;
export const MOST_REPAIR_S = 60;
const GAIN = 4;
const RECENT = 4;
const BASE_SAMPLES = 512;

/** One for each link, shared by all objects that come over it. Times in seconds of any steady clock. */
export class Pace {
  #smoothed: number | null = null;
  #deviation = 0;
  #backoff = 1;
  #credit = START_CREDIT;
  #isStarting = true;
  #lostAt = Number.NEGATIVE_INFINITY;
  // The least of the last few is without jitter, the least of many is the way alone. The way may change, to another
  // access point, say: so of the last one to two blocks of samples.
  #recent: number[] = [];
  #base = Number.POSITIVE_INFINITY;
  #baseBefore = Number.POSITIVE_INFINITY;
  #samples = 0;

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
    const room = 1 - this.#queued(roundTrip) / TARGET_S;
    this.#isStarting = this.#isStarting && room > 0.5;
    const step = this.#isStarting ? 1 : (GAIN * Math.max(room, -1)) / this.#credit;
    this.#credit = Math.min(Math.max(LEAST_CREDIT, this.#credit + step), MAX_CREDIT);
  }

  #queued(roundTrip: number): number {
    this.#recent = [...this.#recent, roundTrip].slice(-RECENT);
    this.#base = Math.min(this.#base, roundTrip);
    this.#samples++;
    const base = Math.min(this.#base, this.#baseBefore);
    if (this.#samples % BASE_SAMPLES === 0) {
      this.#baseBefore = this.#base;
      this.#base = Number.POSITIVE_INFINITY;
    }
    return Math.min(...this.#recent) - base;
  }

  /** Something did not come in time. However much it was, this counts once in a repair time. */
  lost(now: number): void {
    if (now - this.#lostAt < this.repair) return;
    this.#lostAt = now;
    // Before anything came, the way may just be longer than the least repair time.
    this.#isStarting = this.#isStarting && this.#smoothed === null;
    this.#credit = Math.max(LEAST_CREDIT, this.#credit / 2);
    this.#backoff = Math.min(this.#backoff * 2, 16);
  }
}
