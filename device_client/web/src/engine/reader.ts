/** Plaintext of an object on the disk: random access by chunk, and only of what is here and opens. */

import type { Bytes } from '../wire/bytes';
import { malformed, WireError } from '../wire/errors';
import { objectContext } from '../wire/envelope';
import { CHUNK_BYTES, SEAL_HEADER_BYTES, SEALED_CHUNK_BYTES } from '../wire/limits';
import type { ObjectEntry } from '../wire/messages';
import * as objects from '../wire/objects';
import { ChunkCipher, sealedSize, segmentsOf } from '../wire/seal';
import type { DataSet } from '../api';
import type { Blob } from './blob';

/** One part of an object as a person knows it. `start` and `end` are plaintext offsets. */
export interface Picture {
  series: string;
  instance: string;
  part: objects.Part;
  start: number;
  end: number;
  attributes: DataSet;
}

/** An object's table of contents. */
export interface Contents {
  headerBytes: number;
  pictures: Picture[];
}

function dataSets(value: unknown, count: number): { shared: DataSet; parts: DataSet[] } {
  const { shared = {}, parts = [] } = (value ?? {}) as { shared?: DataSet; parts?: DataSet[] };
  if (typeof shared !== 'object' || !Array.isArray(parts)) throw malformed('attributes of another form');
  const all = parts.length > 0 ? parts : Array.from({ length: count }, (): DataSet => ({}));
  if (all.length !== count || !all.every((one) => typeof one === 'object' && one !== null)) {
    throw malformed('attributes that do not fit the parts');
  }
  return { shared, parts: all };
}

export class Reader {
  #contents: Contents | null = null;

  private constructor(
    private readonly blob: Blob,
    private readonly entry: ObjectEntry,
    private readonly cipher: ChunkCipher,
  ) {}

  /** Missing if the first segment, which holds salt and commitment, is not here. */
  static async open(site: string, entry: ObjectEntry, blob: Blob): Promise<Reader> {
    if (!blob.have.has(0)) throw new WireError('missing', 'a part of the object that is not here yet');
    const header = blob.read(0, SEAL_HEADER_BYTES);
    const boundTo = objectContext(site, entry.object, entry.layer);
    return new Reader(blob, entry, await ChunkCipher.fromHeader(entry.key, header, boundTo));
  }

  /** Plaintext bytes `start` to `end` (exclusive). */
  async read(start: number, wantedEnd: number): Promise<Bytes> {
    const end = Math.min(wantedEnd, this.entry.size);
    if (start >= end) return new Uint8Array(0);
    const [firstSegment, lastSegment] = segmentsOf(start, end);
    for (let index = firstSegment; index <= lastSegment; index++) {
      if (!this.blob.have.has(index)) throw new WireError('missing', 'a part of the object that is not here yet');
    }
    const first = Math.floor(start / CHUNK_BYTES);
    const last = Math.floor((end - 1) / CHUNK_BYTES);
    const sealedEnd = Math.min((last + 1) * SEALED_CHUNK_BYTES + SEAL_HEADER_BYTES, sealedSize(this.entry.size));
    const offset = SEAL_HEADER_BYTES + first * SEALED_CHUNK_BYTES;
    const plain = await this.cipher.decryptChunks(first, this.blob.read(offset, sealedEnd - offset));
    return plain.slice(start - first * CHUNK_BYTES, end - first * CHUNK_BYTES);
  }

  /** Where the header ends, as soon as the first segment is here. */
  async headerEnd(): Promise<number> {
    return objects.headerEnd(await this.read(0, objects.LENGTH_BYTES));
  }

  /** The table of contents; Malformed if it is not what the announcement says. */
  async contents(uids: ReadonlySet<string>): Promise<Contents> {
    if (this.#contents) return this.#contents;
    const headerBytes = await this.headerEnd();
    const header = objects.parseHeader(await this.read(0, headerBytes), this.entry.layer, this.entry.size);
    if (!header.series.every((uid) => uids.has(uid))) throw malformed('an object of other series than announced');
    const value = header.attributes.length > 0 ? await objects.inflateJson(header.attributes) : {};
    const { shared, parts } = dataSets(value, header.parts.length);
    const spans = objects.partSpans(header, headerBytes);
    const pictures = header.parts.map((part, index): Picture => {
      const instance = header.instances[part.instance] as { SOPInstanceUID: string; series: number };
      const [start, end] = spans[index] as [number, number];
      const attributes = { ...shared, ...parts[index] };
      return { series: header.series[instance.series] as string, instance: instance.SOPInstanceUID, part, start, end, attributes };
    });
    this.#contents = { headerBytes, pictures };
    return this.#contents;
  }
}

