/** The contract's vectors: each ends as it stands in its file, and whatever else is done to their bytes is refused. */

import { describe, expect, test } from 'vitest';
import { type Bytes, fromHex, hex } from '../src/wire/bytes';
import { WireError } from '../src/wire/errors';
import { files, type Given, inputs, OPERATIONS, tagged, type Vector } from './vectors';

async function outcome(op: string, given: Given): Promise<{ result: string; out?: unknown }> {
  try {
    const value = await (OPERATIONS[op] as (given: Given) => unknown)(given);
    return { result: 'valid', out: await tagged(value) };
  } catch (error) {
    if (error instanceof WireError) return { result: error.code };
    throw error;
  }
}

describe.each(files)('%s', (_name, tests) => {
  test.each(tests)('$op: $reason', async (vector) => {
    const { result, out } = await outcome(vector.op, inputs(tests, vector));
    expect(result).toBe(vector.result);
    if (vector.result === 'valid') expect(out).toEqual(vector.out);
  });
});

/** The input that is changed, of operations whose bytes come from strangers; and whether any change must be refused. */
const FUZZED: Record<string, [input: string, isAuthenticated: boolean]> = {
  cbor_decode: ['data_hex', false],
  decode_message: ['data_hex', false],
  parse_header: ['data_hex', false],
  inflate_json: ['data_hex', false],
  open_signed: ['data_hex', true],
  open_whole: ['sealed_hex', true],
  hpke_open: ['sealed_hex', true],
  check_page: ['payload_hex', true],
  open_head: ['data_hex', true],
  open_announcement: ['data_hex', true],
  open_keys: ['data_hex', true],
  open_answer: ['data_hex', true],
  unpack_key_set: ['data_hex', true],
  open_enrolment_answer: ['data_hex', true],
};

/** Every place of short bytes, some of long ones, always the first and the last. */
function places(size: number): number[] {
  const step = Math.max(1, Math.floor(size / (size > 4096 ? 40 : 300)));
  return [...new Set([...Array.from({ length: Math.ceil(size / step) }, (_, index) => index * step), size - 1])];
}

function* changes(data: Bytes): Generator<Bytes> {
  for (const place of places(data.length)) {
    yield data.slice(0, place);
    const flipped = data.slice();
    flipped[place] = (flipped[place] as number) ^ (1 << (place % 8));
    yield flipped;
  }
  yield Uint8Array.from([...data, 0]);
}

/** One valid vector of each operation (of `decode_message`, of each message), the longest that is quick to try often. */
function samples(): [string, Vector, Given][] {
  const chosen = new Map<string, [Vector, Given]>();
  for (const [, tests] of files) {
    for (const vector of tests.filter((one) => one.result === 'valid' && one.op in FUZZED)) {
      const given = inputs(tests, vector);
      const size = (given[(FUZZED[vector.op] as [string, boolean])[0]] as string).length / 2;
      const name = `${vector.op} ${(given['message'] as string | undefined) ?? ''}`.trim();
      const input = (FUZZED[vector.op] as [string, boolean])[0];
      const best = chosen.get(name);
      const isHandy = size > 0 && size < 65536 && !vector.reason.includes('MiB');
      if (isHandy && (!best || (best[1][input] as string).length / 2 < size)) chosen.set(name, [vector, given]);
    }
  }
  return [...chosen].map(([name, [vector, given]]) => [name, vector, given]);
}

test.each(samples())('%s: cut at every length and changed at every place, it ends in a declared error', async (_name, vector, given) => {
  const [input, isAuthenticated] = FUZZED[vector.op] as [string, boolean];
  const tried = new Map<string, number>();
  for (const changed of changes(fromHex(given[input]))) {
    const { result } = await outcome(vector.op, { ...given, [input]: hex(changed) });
    tried.set(result, (tried.get(result) ?? 0) + 1);
  }
  if (isAuthenticated) expect(tried.get('valid')).toBeUndefined();
  expect([...tried.keys()].some((result) => result !== 'valid')).toBe(true);
});

test('every operation of the files is there, and most vectors must fail', () => {
  const all = files.flatMap(([, tests]) => tests);
  expect(all.filter((vector) => !(vector.op in OPERATIONS))).toEqual([]);
  expect(all.filter((vector) => vector.result !== 'valid').length).toBeGreaterThan(all.length / 2);
});
