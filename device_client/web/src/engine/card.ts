/** Who this device is: its identity, its keys, and the gateways' keys that it knows. */

import type { Identity as ShownIdentity, PinState } from '../api';
import type { Bytes } from '../wire/bytes';
import { type KeySet, unpack } from '../wire/keyset';
import { gatewayKeys } from '../wire/topics';
import type { Database } from './database';
import * as pin from './pin';
import * as vault from './vault';

export class Card {
  identity: vault.Identity | null = null;
  keys: vault.DeviceKeys | null = null;
  keySet: KeySet | null = null;

  constructor(private readonly database: Database) {}

  /** What is kept of it; false if this device is not enrolled. */
  async load(): Promise<boolean> {
    const identity = await this.database.get<vault.Identity>('facts', 'identity');
    const keys = identity ? await vault.loadKeys(this.database) : null;
    if (!identity || !keys) return false;
    this.identity = identity;
    this.keys = keys;
    this.keySet = (await unpack(identity.root, identity.site, gatewayKeys(identity.site), identity.keySet)).keySet;
    return true;
  }

  /** As it is shown, once it was loaded. */
  async described(): Promise<{ identity: ShownIdentity; pin: PinState } | null> {
    if (!this.identity || !this.keys) return null;
    const { site, device, deviceName, enrolledAt, recipients } = this.identity;
    const fingerprint = await vault.fingerprint(this.keys);
    const set = (await pin.attemptsLeft(this.database)) !== null;
    const required = recipients.some(({ kind }) => kind === 'doctor');
    return {
      identity: { site, device, deviceName, fingerprint, enrolledAt },
      pin: { set, required, minLength: pin.MIN_LENGTH },
    };
  }

  async keepKeySet(keySet: KeySet, root: Bytes, data: Bytes): Promise<void> {
    if (!this.identity) return;
    this.identity = { ...this.identity, root, keySet: data };
    await this.database.put('facts', 'identity', this.identity);
    this.keySet = keySet;
  }

  forget(): void {
    this.identity = this.keys = this.keySet = null;
  }
}
