/** What is wanted of the objects that there are, and in which order. No IO. */

import type { ObjectEntry } from '../wire/messages';
import { encodeReference } from '../wire/names';
import { steady } from './clock';
import type { Held } from './ledger';

/** Objects that are asked for; those of which something is on screen may be more. */
const MAX_AT_ONCE = 3;
/** How long an object rests that is gone at the gateway, does not open, or does not fit on the disk. */
export const REST_S = 30;

export interface Target {
  held: Held;
  entry: ObjectEntry;
}

export class Wishes {
  readonly complete = new Set<string>();
  /** By object, in the order in which they are wanted. */
  targets = new Map<string, Target>();
  /** Segments that screens wait for, by object; in the order of their urgency. */
  focus = new Map<string, number[]>();
  readonly #resting = new Map<string, number>();

  want(targets: Iterable<Target>): void {
    this.targets = new Map([...targets].map((target) => [encodeReference(target.entry.object), target]));
  }

  rest(id: string): void {
    this.#resting.set(id, steady() + REST_S);
  }

  isResting(id: string): boolean {
    return (this.#resting.get(id) ?? 0) > steady();
  }

  /** What was complete is damaged on the disk. */
  again(id: string): void {
    this.complete.delete(id);
    this.#resting.delete(id);
  }

  isDue(id: string): boolean {
    return this.targets.has(id) && !this.complete.has(id) && !this.isResting(id);
  }

  /** The objects that are to be asked for now: the first that are wanted and not here. */
  first(): Set<string> {
    const first = new Set<string>();
    for (const id of this.targets.keys()) {
      if (first.size >= MAX_AT_ONCE) break;
      if (this.isDue(id)) first.add(id);
    }
    return first;
  }
}
