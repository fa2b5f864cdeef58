/**
 * Letters that say which way the patient lies (PS3.3 C.7.6.1.1.1 and C.7.6.2.1.1).
 *
 * The patient's axes: +x to the Left, +y Posterior, +z to the Head.
 */

export interface EdgeLetters {
  left: string;
  right: string;
  top: string;
  bottom: string;
}

type Vector = readonly [number, number, number];

const TOWARDS = ['L', 'P', 'H'] as const;

const OPPOSITE: Readonly<Record<string, string>> = { L: 'R', R: 'L', P: 'A', A: 'P', H: 'F', F: 'H' };

/** Below this share of a unit vector (about 10 degrees) a direction is not worth a letter. */
const LEAST = 0.17;

function lettersOf(direction: Vector): string {
  return direction
    .map((value, axis) => {
      const letter = TOWARDS[axis] ?? '';
      return { letter: value > 0 ? letter : opposite(letter), size: Math.abs(value) };
    })
    .filter((each) => each.size >= LEAST)
    .toSorted((a, b) => b.size - a.size)
    .map((each) => each.letter)
    .join('');
}

function known(text: string | undefined): text is string {
  return !!text && /^[LRPAHF]{1,3}$/.test(text);
}

function opposite(letters: string): string {
  return [...letters].map((letter) => OPPOSITE[letter] ?? '').join('');
}

function edges(toRight: string, toBottom: string): EdgeLetters {
  return { left: opposite(toRight), right: toRight, top: opposite(toBottom), bottom: toBottom };
}

/** Letters from the row and column cosines; undefined where they are not two perpendicular unit vectors. */
export function fromCosines(cosines: readonly number[]): EdgeLetters | undefined {
  if (cosines.length !== 6 || !cosines.every(Number.isFinite)) return undefined;
  const row = cosines.slice(0, 3) as unknown as Vector;
  const column = cosines.slice(3) as unknown as Vector;
  const dot = row[0] * column[0] + row[1] * column[1] + row[2] * column[2];
  const unit = (v: Vector): boolean => Math.abs(Math.hypot(...v) - 1) < 0.05;
  return unit(row) && unit(column) && Math.abs(dot) < 0.05 ? edges(lettersOf(row), lettersOf(column)) : undefined;
}

/** Letters from PatientOrientation, whose two values point to the right edge and to the bottom edge. */
export function fromPatientOrientation(values: readonly string[]): EdgeLetters | undefined {
  const [toRight, toBottom] = values.map((value) => value.trim().toUpperCase());
  return known(toRight) && known(toBottom) ? edges(toRight, toBottom) : undefined;
}
