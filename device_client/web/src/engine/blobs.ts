/** The folder of all objects, in OPFS: who uses which file, and how much they take. */

import { ApiError } from '../api';
import { Bitmap } from '../wire/bits';
import { segmentCount } from '../wire/seal';
import { Blob, type Shape } from './blob';
import { sleep } from './clock';

const FOLDER = 'objects';
/** Files that nobody uses stay open for the next reader, up to so many. */
const MAX_IDLE = 16;

/** A tab that has just been closed may hold its files a moment longer than its lock. */
async function exclusive(handle: FileSystemFileHandle): Promise<FileSystemSyncAccessHandle> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await handle.createSyncAccessHandle();
    } catch (error) {
      if (attempt >= 80 || !(error instanceof DOMException) || error.name !== 'NoModificationAllowedError') throw error;
      await sleep(0.1);
    }
  }
}

interface Open {
  blob: Promise<Blob>;
  users: number;
}

/** One process opens each file once; readers and the writer share it. */
export class Blobs {
  readonly #open = new Map<string, Open>();
  readonly #bytes = new Map<string, number>();
  // Files that are going: whoever wants one of them anew waits for that.
  readonly #removals = new Map<string, Promise<void>>();

  private constructor(private readonly folder: FileSystemDirectoryHandle) {}

  static async open(): Promise<Blobs> {
    const root = await navigator.storage.getDirectory();
    const blobs = new Blobs(await root.getDirectoryHandle(FOLDER, { create: true }));
    for await (const [name, handle] of blobs.folder.entries()) {
      if (handle.kind === 'file') blobs.#bytes.set(name, (await (handle as FileSystemFileHandle).getFile()).size);
    }
    return blobs;
  }

  /** Whether files can be kept here at all; ApiError browser-forbids. */
  static async probe(): Promise<void> {
    try {
      const root = await navigator.storage.getDirectory();
      const file = await (await root.getFileHandle('probe', { create: true })).createSyncAccessHandle();
      file.write(Uint8Array.of(1), { at: 0 });
      file.flush();
      file.close();
      await root.removeEntry('probe');
    } catch {
      throw new ApiError('browser-forbids', 'this browser does not keep files in this mode');
    }
  }

  /** Use an object's file; `release` it in the end. */
  acquire(id: string, shape: Shape): Promise<Blob> {
    let open = this.#open.get(id);
    if (!open) {
      open = { blob: this.#openFile(id, shape), users: 0 };
      open.blob.catch(() => this.#open.delete(id));
    }
    open.users++;
    // Last used last, so that the first idle ones are closed first.
    this.#open.delete(id);
    this.#open.set(id, open);
    return open.blob;
  }

  async #openFile(id: string, shape: Shape): Promise<Blob> {
    await this.#removals.get(id);
    const handle = await this.folder.getFileHandle(id, { create: true });
    const file = await exclusive(handle);
    try {
      return await Blob.open(file, shape);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  async release(id: string): Promise<void> {
    const open = this.#open.get(id);
    if (!open) return;
    open.users--;
    const { bytes } = await open.blob;
    if (this.#open.get(id) !== open) return; // it was removed meanwhile
    this.#bytes.set(id, bytes);
    const idle = [...this.#open].filter(([, one]) => one.users <= 0);
    for (const [key, one] of idle.slice(0, Math.max(0, idle.length - MAX_IDLE))) {
      this.#open.delete(key);
      (await one.blob).close();
    }
  }

  /** Segments that are here, without keeping the file open; 0 where there is nothing that can be believed. */
  async received(id: string, size: number): Promise<number> {
    const open = this.#open.get(id);
    if (open) return (await open.blob).have.count;
    if (!this.#bytes.get(id)) return 0;
    try {
      const segments = segmentCount(size);
      const file = await (await this.folder.getFileHandle(id)).getFile();
      const start = await file.slice(0, Math.ceil(segments / 8)).arrayBuffer();
      return new Bitmap(segments, new Uint8Array(start)).count;
    } catch {
      return 0;
    }
  }

  has(id: string): boolean {
    return (this.#bytes.get(id) ?? 0) > 0;
  }

  note(id: string, bytes: number): void {
    this.#bytes.set(id, bytes);
  }

  bytes(id: string): number {
    return this.#bytes.get(id) ?? 0;
  }

  /** Of all objects together. */
  get used(): number {
    let sum = 0;
    for (const bytes of this.#bytes.values()) sum += bytes;
    return sum;
  }

  held(): string[] {
    return [...this.#bytes.keys()];
  }

  /** From the call on these files are not here any more; resolves when all are gone. */
  async remove(ids: Iterable<string>): Promise<void> {
    await Promise.all(Array.from(ids, (id) => this.#remove(id)));
  }

  async #remove(id: string): Promise<void> {
    const open = this.#open.get(id);
    this.#open.delete(id);
    this.#bytes.delete(id);
    const removal = Promise.resolve(this.#removals.get(id)).then(async () => {
      if (open) (await open.blob.catch(() => null))?.close();
      await this.folder.removeEntry(id).catch(() => undefined);
    });
    this.#removals.set(id, removal);
    await removal;
    if (this.#removals.get(id) === removal) this.#removals.delete(id);
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const one of open) (await one.blob.catch(() => null))?.close();
  }
}
