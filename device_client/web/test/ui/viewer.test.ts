/** Where a picture stands, which frames come first, how long each stays, which way the patient lies. */

import { describe, expect, test } from 'vitest';
import { frameTime } from '../../src/ui/viewer/cine';
import { Frames, order } from '../../src/ui/viewer/frames';
import { fromCosines, fromPatientOrientation } from '../../src/ui/viewer/orientation';
import { bounded, fitScale, FITTED, MAX_ZOOM, movedBy, placed, zoomedAt } from '../../src/ui/viewer/view';

const SCREEN = { width: 390, height: 600 };
const SQUARE = { width: 512, height: 512 };

describe('zoom', () => {
  test('a picture fits, in the middle', () => {
    expect(placed(FITTED, SQUARE, SCREEN)).toEqual({ x: 0, y: 105, width: 390, height: 390 });
    expect(placed(FITTED, { width: 100, height: 1000 }, SCREEN)).toEqual({ x: 165, y: 0, width: 60, height: 600 });
    expect(fitScale({ width: 0, height: 0 }, SCREEN)).toBe(1);
  });

  test('what lies under the finger stays under it', () => {
    const at = { x: 100, y: 220 };
    const before = placed(FITTED, SQUARE, SCREEN);
    const after = placed(zoomedAt(FITTED, 2.5, at, SCREEN), SQUARE, SCREEN);
    const of = (box: typeof before): [number, number] => [(at.x - box.x) / box.width, (at.y - box.y) / box.height];
    expect(of(after)[0]).toBeCloseTo(of(before)[0], 9);
    expect(of(after)[1]).toBeCloseTo(of(before)[1], 9);
  });

  test('in and out again is where it was', () => {
    const at = { x: 301, y: 77 };
    const there = zoomedAt(FITTED, 3, at, SCREEN);
    const back = zoomedAt(there, 1 / 3, at, SCREEN);
    expect(back.zoom).toBeCloseTo(1, 12);
    expect(back.x).toBeCloseTo(0, 9);
    expect(back.y).toBeCloseTo(0, 9);
  });

  test('not smaller than fitting, not larger than makes sense', () => {
    expect(zoomedAt(FITTED, 0.1, { x: 0, y: 0 }, SCREEN)).toEqual(FITTED);
    expect(zoomedAt(FITTED, 1000, { x: 0, y: 0 }, SCREEN).zoom).toBe(MAX_ZOOM);
  });

  test('no edge of a larger picture leaves its edge of the screen; a smaller one stays in the middle', () => {
    const far = bounded(movedBy({ zoom: 2, x: 0, y: 0 }, 5000, -5000), SQUARE, SCREEN);
    const box = placed(far, SQUARE, SCREEN);
    expect(box.x).toBe(0);
    expect(box.y + box.height).toBe(SCREEN.height);
    expect(bounded(movedBy(FITTED, 50, 50), SQUARE, SCREEN)).toEqual(FITTED);
  });
});

describe('which frames come first', () => {
  test('the one on screen, then outwards, further in the direction of travel', () => {
    expect(order(5, 1, 9)).toEqual([5, 6, 4, 7, 3, 8, 2, 1, 0]);
    expect(order(0, -1, 3)).toEqual([0, 1, 2]);
    const ahead = order(100, 1, 300);
    expect(Math.max(...ahead) - 100).toBe(24);
    expect(100 - Math.min(...ahead)).toBe(8);
  });

  test('memory is bounded, what is on screen stays, and then all is still', async () => {
    const freed: number[] = [];
    let loads = 0;
    const frames = new Frames<number>(
      {
        count: 50,
        load: async (index) => {
          // Frames that push out one another would come and go for ever.
          if (++loads > 500) throw new Error('no end');
          return { value: index, bytes: 10 };
        },
        free: (index) => freed.push(index),
        wanted: () => undefined,
      },
      100,
      () => undefined,
    );
    for (const index of [0, 20, 49, 10]) {
      frames.lookAt(index, 1);
      await new Promise((done) => setTimeout(done));
      const here = Array.from({ length: 50 }, (_, at) => at).filter((at) => frames.state(at).kind === 'here');
      expect(here).toContain(index);
      // Those that were on their way when it was full may be too many.
      expect(here.length).toBeLessThan(10 + 4);
    }
    frames.close();
    expect(loads).toBeLessThan(100);
    expect(freed.length).toBe(loads);
  });

  test('what failed says why, and is tried again when asked', async () => {
    let attempts = 0;
    const frames = new Frames<string>(
      {
        count: 1,
        load: async () => {
          attempts += 1;
          if (attempts === 1) throw new Error('cut');
          return { value: 'picture', bytes: 1 };
        },
        free: () => undefined,
        wanted: () => undefined,
      },
      100,
      () => undefined,
    );
    frames.lookAt(0, 1);
    await new Promise((done) => setTimeout(done));
    expect(frames.state(0)).toMatchObject({ kind: 'failed', error: { message: 'cut' } });
    frames.retry(0);
    await new Promise((done) => setTimeout(done));
    expect(frames.state(0)).toEqual({ kind: 'here', value: 'picture' });
  });
});

describe('how long a frame stands', () => {
  test.each([
    [{ frameTime: 40, recommendedRate: 10 }, 40],
    [{ recommendedRate: 25, cineRate: 10 }, 40],
    [{ cineRate: 20 }, 50],
    [{ frameTime: 0, cineRate: 0 }, 100],
    [{}, 100],
    [{ frameTime: 1 }, 1000 / 60], // no screen is quicker
    [{ frameTime: 1e6 }, 5000],
  ])('%j', (times, ms) => {
    expect(frameTime(times)).toBe(ms);
  });
});

describe('which way the patient lies', () => {
  test('axial, sagittal, coronal', () => {
    expect(fromCosines([1, 0, 0, 0, 1, 0])).toEqual({ left: 'R', right: 'L', top: 'A', bottom: 'P' });
    expect(fromCosines([0, 1, 0, 0, 0, -1])).toEqual({ left: 'A', right: 'P', top: 'H', bottom: 'F' });
    expect(fromCosines([1, 0, 0, 0, 0, -1])).toEqual({ left: 'R', right: 'L', top: 'H', bottom: 'F' });
  });

  test('oblique: the main direction first, and nothing of what is too little', () => {
    const turned = Math.PI / 6;
    const row = [Math.cos(turned), Math.sin(turned), 0];
    expect(fromCosines([...row, -Math.sin(turned), Math.cos(turned), 0])).toEqual({ left: 'RA', right: 'LP', top: 'AL', bottom: 'PR' });
    expect(fromCosines([0.999, 0.045, 0, -0.045, 0.999, 0])?.right).toBe('L');
  });

  test.each([[[]], [[1, 0, 0]], [[1, 0, 0, 1, 0, 0]], [[2, 0, 0, 0, 1, 0]], [[Number.NaN, 0, 0, 0, 1, 0]]])('not from %j', (cosines) => {
    expect(fromCosines(cosines)).toBeUndefined();
  });

  test('as the file says, if it says it in letters that are known', () => {
    expect(fromPatientOrientation(['L', 'F'])).toEqual({ left: 'R', right: 'L', top: 'H', bottom: 'F' });
    expect(fromPatientOrientation([' la ', 'FP'])).toEqual({ left: 'RP', right: 'LA', top: 'HA', bottom: 'FP' });
    expect(fromPatientOrientation(['L'])).toBeUndefined();
    expect(fromPatientOrientation(['LE', 'F'])).toBeUndefined();
  });
});
