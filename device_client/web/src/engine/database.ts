/**
 * IndexedDB: keys that cannot be extracted, and small records. Every write is on the disk when its promise resolves.
 *
 * `facts` holds single records by name; the others are lists by key. Nothing here names a person, except what is sealed.
 */

const NAME = 'mpacs';
const VERSION = 1;
export const TABLES = ['keys', 'facts', 'heads', 'announcements', 'studies', 'receipts'] as const;
export type Table = (typeof TABLES)[number];

/** One write of a transaction; `value` undefined deletes. Keys of several parts are joined. */
export interface Write {
  table: Table;
  key: string;
  value: unknown;
}

function finished<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB'));
  });
}

/** The key of a record that has several parts. */
export function joined(...parts: string[]): string {
  return parts.join('/');
}

export class Database {
  private constructor(private readonly db: IDBDatabase) {}

  static async open(): Promise<Database> {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      for (const table of TABLES) request.result.createObjectStore(table);
    };
    const db = await finished(request);
    // Another tab forgets everything: this one must not keep the database from going.
    db.onversionchange = () => db.close();
    return new Database(db);
  }

  get<T>(table: Table, key: string): Promise<T | undefined> {
    return finished(this.db.transaction(table).objectStore(table).get(key) as IDBRequest<T | undefined>);
  }

  /** Everything of a table, by key. */
  async all<T>(table: Table): Promise<Map<string, T>> {
    const store = this.db.transaction(table).objectStore(table);
    const [keys, values] = await Promise.all([finished(store.getAllKeys()), finished(store.getAll() as IDBRequest<T[]>)]);
    return new Map(keys.map((key, index) => [String(key), values[index] as T]));
  }

  /** All of it or nothing. */
  write(writes: readonly Write[]): Promise<void> {
    if (writes.length === 0) return Promise.resolve();
    const tables = [...new Set(writes.map((one) => one.table))];
    const transaction = this.db.transaction(tables, 'readwrite', { durability: 'strict' });
    for (const { table, key, value } of writes) {
      if (value === undefined) transaction.objectStore(table).delete(key);
      else transaction.objectStore(table).put(value, key);
    }
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB'));
    });
  }

  put(table: Table, key: string, value: unknown): Promise<void> {
    return this.write([{ table, key, value }]);
  }

  async clear(...tables: Table[]): Promise<void> {
    const transaction = this.db.transaction(tables, 'readwrite', { durability: 'strict' });
    for (const table of tables) transaction.objectStore(table).clear();
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB'));
    });
  }
}
