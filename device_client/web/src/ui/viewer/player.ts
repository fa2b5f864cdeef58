/** One series on the screen: which frame, how it stands, what plays. No element but the canvas that it draws on. */

import { batch, effect, signal, untracked } from '@preact/signals';
import type { FrameInfo, FramePicture, OpenSeries, SeriesState } from '../../api';
import { number } from '../dicom';
import { Cine, frameTime } from './cine';
import { Frames, type FrameState, type Loaded } from './frames';
import { bounded, FITTED, movedBy, placed, type Point, type Size, type View, zoomedAt } from './view';

export interface Picture {
  readonly info: FrameInfo;
  readonly bitmap: ImageBitmap;
}

/** Decoded pictures kept: about ninety slices of 512², nine radiographs of 1,600². */
const BUDGET_BYTES = 96 * 1024 * 1024;
const TIMEOUT_MS = 20_000;

/** The picture came whole and verified, but this browser cannot decode it. */
export class Undecodable extends Error {}

async function decode(picture: FramePicture): Promise<Loaded<Picture>> {
  const bitmap = await createImageBitmap(picture.blob).catch(() => {
    throw new Undecodable('the browser cannot decode the picture');
  });
  return { value: { info: picture.info, bitmap }, bytes: bitmap.width * bitmap.height * 4 };
}

function same(one: FrameInfo, other: FrameInfo): boolean {
  return one.instance === other.instance && one.frame === other.frame;
}

export class Player {
  readonly index = signal(0);
  readonly count = signal(0);
  readonly view = signal<View>(FITTED);
  readonly playing = signal(false);
  readonly speed = signal(1);
  /** What is to be seen now. */
  readonly shown = signal<FrameState<Picture>>({ kind: 'coming' });
  /** The frames as far as their headers are here; by index. */
  readonly known = signal<readonly (FrameInfo | null)[]>([]);
  /** Of the frame on screen, 0 to 1. */
  readonly progress = signal(0);

  readonly #frames: Frames<Picture>;
  readonly #cine: Cine;
  readonly #stop: (() => void)[] = [];
  #canvas: HTMLCanvasElement | undefined;
  #screen: Size = { width: 0, height: 0 };
  #direction: 1 | -1 = 1;
  #drawing = 0;

  /** `announced` is how many frames the series is said to have; the engine's state may come to know more. */
  constructor(
    private readonly series: OpenSeries,
    announced: number,
    start = 0,
  ) {
    const { count, index } = this;
    this.count.value = Math.max(announced, series.state.value.frames.length);
    this.index.value = Math.min(Math.max(0, start), Math.max(0, this.count.value - 1));
    this.#frames = new Frames<Picture>(
      {
        get count() {
          return count.peek();
        },
        load: async (at, stop) => decode(await series.frame(at, { signal: stop, timeoutMs: TIMEOUT_MS })),
        free: (picture) => picture.bitmap.close(),
        wanted: (order) => series.prioritise([...order]),
      },
      BUDGET_BYTES,
      (at) => this.#came(at),
    );
    this.#cine = new Cine({
      count: () => count.peek(),
      current: () => index.peek(),
      standsFor: (at) => this.#standsFor(at),
      ready: (at) => this.#frames.state(at).kind === 'here',
      show: (at) => this.go(at, 1),
    });
    this.#stop.push(
      effect(() => {
        const state = series.state.value;
        untracked(() => this.#follow(state, announced));
      }),
    );
    this.#stop.push(
      effect(() => {
        void this.view.value;
        this.#draw();
      }),
    );
    if (this.count.peek() > 0) this.#frames.lookAt(this.index.peek(), 1);
    this.#refresh();
  }

  close(): void {
    this.pause();
    for (const stop of this.#stop) stop();
    cancelAnimationFrame(this.#drawing);
    this.#frames.close();
    this.series.close();
  }

  // ── which frame ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** Show a frame; beyond the ends, the last one. */
  go(index: number, direction?: 1 | -1): void {
    const to = Math.min(Math.max(0, index), this.count.peek() - 1);
    if (to < 0) return;
    const from = this.index.peek();
    if (to !== from) this.#direction = direction ?? (to > from ? 1 : -1);
    batch(() => {
      this.index.value = to;
      this.#frames.lookAt(to, this.#direction);
      this.#refresh();
    });
  }

  step(by: number): void {
    this.pause();
    this.go(this.index.peek() + by);
  }

  /** Find the frame that a report names; false where it is not in this series, as far as is known. */
  goTo(instance: string, frame: number): boolean {
    const at = this.known.peek().findIndex((each) => each?.instance === instance && each.frame === frame);
    if (at < 0) return false;
    this.pause();
    this.go(at);
    return true;
  }

  retry(): void {
    this.#frames.retry(this.index.peek());
    this.#refresh();
  }

  /** The link is back: what was missing may come now. */
  retryAll(): void {
    this.#frames.retryAll();
    this.#refresh();
  }

  // ── playing ─────────────────────────────────────────────────────────────────────────────────────────────────────

  play(): void {
    if (this.count.peek() < 2) return;
    this.#cine.play();
    this.playing.value = true;
  }

  pause(): void {
    this.#cine.pause();
    this.playing.value = false;
  }

  toggle(): void {
    if (this.playing.peek()) this.pause();
    else this.play();
  }

  setSpeed(speed: number): void {
    this.#cine.speed = speed;
    this.speed.value = speed;
  }

  #standsFor(index: number): number {
    const attributes = this.known.peek()[index]?.attributes;
    return frameTime({
      frameTime: number(attributes, 'FrameTime'),
      recommendedRate: number(attributes, 'RecommendedDisplayFrameRate'),
      cineRate: number(attributes, 'CineRate'),
    });
  }

  // ── how it stands ───────────────────────────────────────────────────────────────────────────────────────────────

  get zoomed(): boolean {
    return this.view.peek().zoom > 1.001;
  }

  move(dx: number, dy: number): void {
    this.#look(movedBy(this.view.peek(), dx, dy));
  }

  zoom(factor: number, at?: Point): void {
    const middle = { x: this.#screen.width / 2, y: this.#screen.height / 2 };
    this.#look(zoomedAt(this.view.peek(), factor, at ?? middle, this.#screen));
  }

  reset(): void {
    this.view.value = FITTED;
  }

  #look(view: View): void {
    const shown = this.shown.peek();
    if (shown.kind === 'here') this.view.value = bounded(view, shown.value.bitmap, this.#screen);
  }

  // ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Draw on `canvas` from now on, following its size; the answer ends it. */
  attach(canvas: HTMLCanvasElement): () => void {
    this.#canvas = canvas;
    const observer = new ResizeObserver(([entry]) => {
      if (!entry) return;
      const { width, height } = entry.contentRect;
      this.#screen = { width, height };
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      this.#look(this.view.peek());
      this.#paint();
    });
    observer.observe(canvas);
    return () => {
      observer.disconnect();
      this.#canvas = undefined;
    };
  }

  #draw(): void {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => this.#paint());
  }

  #paint(): void {
    const canvas = this.#canvas;
    const context = canvas?.getContext('2d', { alpha: false });
    if (!canvas || !context) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = '#000';
    context.fillRect(0, 0, canvas.width, canvas.height);
    const shown = this.shown.peek();
    if (shown.kind !== 'here' || !this.#screen.width) return;
    const scale = canvas.width / this.#screen.width;
    const { bitmap } = shown.value;
    const at = placed(this.view.peek(), bitmap, this.#screen);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = this.playing.peek() ? 'low' : 'high';
    context.drawImage(bitmap, at.x * scale, at.y * scale, at.width * scale, at.height * scale);
  }

  /** The canvas never shows another frame than the number beside it names. */
  #refresh(): void {
    this.shown.value = this.#frames.state(this.index.peek());
    this.progress.value = this.series.state.peek().progress[this.index.peek()] ?? 0;
    this.#draw();
  }

  #came(index: number): void {
    const state = this.#frames.state(index);
    const known = this.known.peek()[index];
    if (state.kind === 'here' && known && !same(state.value.info, known)) {
      // It was on its way when another picture took its place.
      this.#frames.forget(index);
      this.#frames.lookAt(this.index.peek(), this.#direction);
    }
    if (index === this.index.peek()) this.#refresh();
  }

  // ── what the engine knows ───────────────────────────────────────────────────────────────────────────────────────

  #follow(state: SeriesState, announced: number): void {
    const before = this.known.peek();
    const at = this.index.peek();
    const current = before[at];
    this.known.value = state.frames;
    this.count.value = Math.max(announced, state.frames.length);
    let moved = false;
    for (const [index, was] of before.entries()) {
      const is = state.frames[index];
      if (was && !(is && same(was, is))) {
        this.#frames.forget(index);
        moved = true;
      }
    }
    if (moved && current) {
      // A study that grows may gain slices in the middle: stay with the picture, not with its number.
      const now = state.frames.findIndex((each) => each && same(each, current));
      if (now >= 0) this.index.value = now;
    }
    if (this.#frames.state(this.index.peek()).kind === 'failed' && state.here[this.index.peek()]) {
      this.#frames.retry(this.index.peek());
    }
    if (moved || before.length === 0) this.#frames.lookAt(this.index.peek(), this.#direction);
    this.#refresh();
  }
}
