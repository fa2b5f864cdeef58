/** Messages as types and bounds at once: each schema reads a decoded CBOR value, checked, and writes it back. */

import type { Bytes } from './bytes';
import { type Cbor, type CborMap, decode as decodeCbor, encode as encodeCbor } from './cbor';
import { malformed } from './errors';

export interface Schema<T> {
  /** The typed value; Malformed names the place, never the value. */
  read(value: Cbor | undefined, place: string): T;
  write(value: T): Cbor;
}

export type Infer<S> = S extends Schema<infer T> ? T : never;

const bad = (place: string): Error => malformed(`not legal at ${place}`);

/** An integer from `least` to `most`, both included. */
export function uint(least = 0, most = Number.MAX_SAFE_INTEGER): Schema<number> {
  return {
    read(value, place) {
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) throw bad(place);
      return value;
    },
    write: (value) => value,
  };
}

export function bytes(least: number, most = least): Schema<Bytes> {
  return {
    read(value, place) {
      if (!(value instanceof Uint8Array) || value.length < least || value.length > most) throw bad(place);
      // A copy: the library's bytes may be a view of the whole message.
      return new Uint8Array(value);
    },
    write: (value) => value,
  };
}

/** Lengths in characters (code points). */
export function text(least = 0, most = Number.POSITIVE_INFINITY, pattern?: RegExp): Schema<string> {
  return {
    read(value, place) {
      if (typeof value !== 'string' || (pattern && !pattern.test(value))) throw bad(place);
      const length = value.length > most || value.length < 2 * least ? [...value].length : value.length;
      if (length < least || length > most) throw bad(place);
      return value;
    },
    write: (value) => value,
  };
}

export const bool: Schema<boolean> = {
  read(value, place) {
    if (typeof value !== 'boolean') throw bad(place);
    return value;
  },
  write: (value) => value,
};

export function oneOf<const T extends string>(...words: readonly T[]): Schema<T> {
  return {
    read(value, place) {
      const word = words.find((one) => one === value);
      if (word === undefined) throw bad(place);
      return word;
    },
    write: (value) => value,
  };
}

export function list<T>(item: Schema<T>, least: number, most: number): Schema<T[]> {
  return {
    read(value, place) {
      if (!Array.isArray(value) || value.length < least || value.length > most) throw bad(place);
      return value.map((one) => item.read(one, `${place}[]`));
    },
    write: (value) => value.map((one) => item.write(one)),
  };
}

export function pair<A, B>(first: Schema<A>, second: Schema<B>): Schema<[A, B]> {
  return {
    read(value, place) {
      if (!Array.isArray(value) || value.length !== 2) throw bad(place);
      return [first.read(value[0], `${place}[]`), second.read(value[1], `${place}[]`)];
    },
    write: ([a, b]) => [first.write(a), second.write(b)],
  };
}

type Fields = Record<string, Schema<never> | Schema<unknown>>;
type Struct<F> = { [K in keyof F]: Infer<F[K]> };

function fieldsOf(fields: Fields): [string, Schema<unknown>][] {
  return Object.entries(fields) as [string, Schema<unknown>][];
}

/** A map of exactly these fields. */
export function struct<const F extends Record<string, object>>(fields: F, refine?: (value: Struct<F>) => boolean): Schema<Struct<F>> {
  return tagged(undefined, fields, refine) as Schema<Struct<F>>;
}

/** The same, told apart from others by `op`. */
export function variant<const Op extends string, const F extends Record<string, object>>(
  op: Op,
  fields: F,
  refine?: (value: Struct<F>) => boolean,
): Schema<{ op: Op } & Struct<F>> {
  return tagged(op, fields, refine as (value: never) => boolean) as Schema<{ op: Op } & Struct<F>>;
}

function tagged(op: string | undefined, fields: object, refine?: (value: never) => boolean): Schema<unknown> {
  const entries = fieldsOf(fields as Fields);
  const size = entries.length + (op === undefined ? 0 : 1);
  return {
    read(value, place) {
      if (!(value instanceof Map) || value.size !== size || (op !== undefined && value.get('op') !== op)) throw bad(place);
      const found: Record<string, unknown> = op === undefined ? {} : { op };
      for (const [name, schema] of entries) found[name] = schema.read(value.get(name), `${place}.${name}`);
      if (refine && !refine(found as never)) throw bad(place);
      return found;
    },
    write(value) {
      const written: CborMap = new Map(op === undefined ? [] : [['op', op]]);
      for (const [name, schema] of entries) written.set(name, schema.write((value as Record<string, unknown>)[name]));
      return written;
    },
  };
}

/** An array with a fixed place for each field. */
export function row<const F extends Record<string, object>>(fields: F): Schema<Struct<F>> {
  const entries = fieldsOf(fields as unknown as Fields);
  return {
    read(value, place) {
      if (!Array.isArray(value) || value.length !== entries.length) throw bad(place);
      return Object.fromEntries(
        entries.map(([name, schema], index) => [name, schema.read(value[index], `${place}[${index}]`)]),
      ) as Struct<F>;
    },
    write: (value) => entries.map(([name, schema]) => schema.write((value as Record<string, unknown>)[name])),
  };
}

/** One of several variants, by `op`. */
export function union<S extends Record<string, object>>(variants: S): Schema<Infer<S[keyof S]>> {
  const known = new Map(fieldsOf(variants as unknown as Fields));
  const find = (op: unknown, place: string): Schema<unknown> => {
    const schema = typeof op === 'string' ? known.get(op) : undefined;
    if (!schema) throw bad(place);
    return schema;
  };
  return {
    read: (value, place) =>
      find(value instanceof Map ? value.get('op') : undefined, place).read(value, place) as Infer<S[keyof S]>,
    write: (value) => find((value as { op: string }).op, '$').write(value),
  };
}

/** A message of `data`; TooLarge or Malformed. */
export function decode<T>(schema: Schema<T>, data: Uint8Array, maxBytes?: number): T {
  return schema.read(decodeCbor(data, maxBytes), '$');
}

/** The message as CBOR; Malformed if a field is out of its bounds. */
export function encode<T>(schema: Schema<T>, value: T): Bytes {
  const plain = schema.write(value);
  schema.read(plain, '$');
  return encodeCbor(plain);
}
