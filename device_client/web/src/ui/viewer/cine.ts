/** Playing a stack at the times that its frames name. */

export const SPEEDS = [0.25, 0.5, 1, 2] as const;
const FALLBACK_MS = 100;
const LEAST_MS = 1000 / 60;
const MOST_MS = 5000;

/** How long a frame stands, in ms: FrameTime, else the recommended rate, else the cine rate, else ten a second. */
export function frameTime(times: {
  frameTime?: number | undefined;
  recommendedRate?: number | undefined;
  cineRate?: number | undefined;
}): number {
  const rate = [times.recommendedRate, times.cineRate].find((each) => each !== undefined && each > 0);
  const ms = times.frameTime && times.frameTime > 0 ? times.frameTime : rate ? 1000 / rate : FALLBACK_MS;
  return Math.min(MOST_MS, Math.max(LEAST_MS, ms));
}

export interface Reel {
  /** Frames in the stack. */
  count(): number;
  current(): number;
  /** How long the frame stands at speed 1, ms. */
  standsFor(index: number): number;
  /** Whether it can be shown at once. */
  ready(index: number): boolean;
  show(index: number): void;
}

/** Moves on when a frame's time is over and the next one is here: a slow link plays slowly, and skips nothing. */
export class Cine {
  speed = 1;
  #handle: number | undefined;
  #shownAt = 0;

  constructor(private readonly reel: Reel) {}

  get playing(): boolean {
    return this.#handle !== undefined;
  }

  play(): void {
    if (this.playing) return;
    this.#shownAt = performance.now();
    this.#handle = requestAnimationFrame(this.#tick);
  }

  pause(): void {
    if (this.#handle !== undefined) cancelAnimationFrame(this.#handle);
    this.#handle = undefined;
  }

  readonly #tick = (now: number): void => {
    this.#handle = requestAnimationFrame(this.#tick);
    const { reel } = this;
    const current = reel.current();
    // A little early counts as on time: screens tick at their own rate.
    const due = this.#shownAt + reel.standsFor(current) / this.speed - 4;
    if (now < due) return;
    const next = (current + 1) % Math.max(1, reel.count());
    if (!reel.ready(next)) {
      reel.show(current);
      return;
    }
    // Times add up without drift, unless the link or the screen fell behind by more than a frame.
    this.#shownAt = now - due > 50 ? now : due + 4;
    reel.show(next);
  };
}
