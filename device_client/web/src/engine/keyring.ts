/** The device secret: where it is kept, how a PIN opens it, and the vault that is sealed under what follows from it. */

import { ApiError } from '../api';
import type { Bytes } from '../wire/bytes';
import type { Clock } from './clock';
import type { Database, Write } from './database';
import * as pin from './pin';
import type { Store } from './store';
import * as vault from './vault';

export class Keyring {
  /** At hand: there is no PIN, or it was given. */
  secret: CryptoKey | null = null;

  /** `erase` is what follows on too many wrong PINs. */
  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
    private readonly device: () => string | undefined,
    private readonly erase: () => Promise<void>,
  ) {}

  /** Where there is no PIN. */
  async load(): Promise<void> {
    this.secret = (await this.database.get<CryptoKey>('keys', 'secret')) ?? null;
  }

  /** ApiError pin-wrong, or pin-locked once everything was erased. */
  async unlock(given: string): Promise<void> {
    this.secret = await vault.importSecret(await this.#proven(given));
  }

  /** The first PIN, or another one: `current` then proves who asks. The store must be opened anew. */
  async setPin(given: string, current: string | null, store: Store | null): Promise<void> {
    pin.checkStrength(given);
    let writes: Write[];
    let { secret } = this;
    if (current !== null) writes = await pin.wrap(given, await this.#proven(current));
    else {
      // The browser does not give out the secret that is there: a new one, and the vault sealed under it.
      const fresh = vault.newSecret();
      secret = await vault.importSecret(fresh);
      writes = [...(await pin.wrap(given, fresh)), await this.#resealed(secret, store)];
    }
    await this.database.write(writes);
    this.secret = secret;
  }

  async removePin(current: string): Promise<void> {
    const secret = await vault.importSecret(await this.#proven(current));
    await this.database.write(pin.unwrapWrites(secret));
  }

  async #resealed(secret: CryptoKey, store: Store | null): Promise<Write> {
    if (store) return store.resealed(secret);
    const lease = await vault.loadLease(this.database, this.clock.now());
    const device = this.device();
    if (!lease || !this.secret || !device) throw new ApiError('lease-ended');
    const secrets = await vault.openSecrets(this.database, await vault.storeKey(this.secret, lease), device);
    const key = await vault.storeKey(secret, lease);
    return { table: 'facts', key: 'vault', value: await vault.sealSecrets(key, device, secrets) };
  }

  /** The device secret, once the PIN was given that wraps it. */
  async #proven(current: string): Promise<Bytes> {
    try {
      return await pin.unwrap(this.database, current);
    } catch (error) {
      if (error instanceof ApiError && error.code === 'pin-locked') await this.erase();
      throw error;
    }
  }
}
