/** Fingers, mouse and wheel over the picture, told as what they mean. */

import type { Point } from './view';

export interface Meaning {
  /** One finger or the left button moved by so many CSS pixels. */
  drag(dx: number, dy: number): void;
  /** Two fingers: moved, and spread by a factor about a point of the element. */
  pinch(dx: number, dy: number, factor: number, at: Point): void;
  /** Middle button, or with Shift: move the picture. */
  pan(dx: number, dy: number): void;
  /** Wheel turned, in notches; with Ctrl (as trackpads pinch) it zooms. */
  wheel(notches: number, zooming: boolean, at: Point): void;
  doubleTap(at: Point): void;
}

const TAP_PX = 8;
const DOUBLE_MS = 320;
const DOUBLE_PX = 40;
const NOTCH_PX = 50;

/** Listen on `element`; the answer stops it. */
export function listen(element: HTMLElement, meaning: Meaning): () => void {
  const fingers = new Map<number, Point>();
  let start: Point | undefined;
  let moved = false;
  let lastTap: (Point & { time: number }) | undefined;
  let wheeled = 0;
  const stop = new AbortController();
  const options = { signal: stop.signal };

  const at = (event: MouseEvent): Point => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  element.addEventListener(
    'pointerdown',
    (event) => {
      if (event.button > 1) return;
      element.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
      if (fingers.size === 1) {
        start = at(event);
        moved = false;
      } else {
        moved = true;
      }
    },
    options,
  );

  element.addEventListener(
    'pointermove',
    (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = at(event);
      if (fingers.size === 1) {
        if (!moved && start && Math.hypot(now.x - start.x, now.y - start.y) < TAP_PX) return;
        moved = true;
        const panning = event.shiftKey || (event.buttons & 4) !== 0;
        if (panning) meaning.pan(now.x - before.x, now.y - before.y);
        else meaning.drag(now.x - before.x, now.y - before.y);
      } else if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1] ?? before;
        const spread = (a: Point): number => Math.max(1, Math.hypot(a.x - other.x, a.y - other.y));
        meaning.pinch((now.x - before.x) / 2, (now.y - before.y) / 2, spread(now) / spread(before), {
          x: (now.x + other.x) / 2,
          y: (now.y + other.y) / 2,
        });
      }
      fingers.set(event.pointerId, now);
    },
    options,
  );

  const lift = (event: PointerEvent): void => {
    if (!fingers.delete(event.pointerId) || event.type === 'pointercancel') return;
    if (moved || fingers.size > 0) return;
    const here = { ...at(event), time: event.timeStamp };
    const again =
      lastTap && here.time - lastTap.time < DOUBLE_MS && Math.hypot(here.x - lastTap.x, here.y - lastTap.y) < DOUBLE_PX;
    lastTap = again ? undefined : here;
    if (again) meaning.doubleTap(here);
  };
  element.addEventListener('pointerup', lift, options);
  element.addEventListener('pointercancel', lift, options);

  element.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault();
      const px = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * (NOTCH_PX / 3) : event.deltaY;
      if (event.ctrlKey) {
        meaning.wheel(px / NOTCH_PX, true, at(event));
        return;
      }
      // A mouse turns in notches, a trackpad in pixels: whole notches only, the rest is kept for the next event.
      wheeled += px;
      const notches = Math.trunc(wheeled / NOTCH_PX);
      wheeled -= notches * NOTCH_PX;
      if (notches) meaning.wheel(notches, false, at(event));
    },
    { ...options, passive: false },
  );
  return () => stop.abort();
}
