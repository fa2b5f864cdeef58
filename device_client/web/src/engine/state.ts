import * as pin from './pin';
import { DEFAULT_SETTINGS } from './policy';
import type { State } from './protocol';

/** What tabs see of an engine that knows nothing yet. */
export function initialState(): State {
  return {
    phase: { name: 'starting' },
    identity: null,
    connection: { state: 'offline', gatewayOnline: null, synced: false, error: null },
    recipients: [],
    storage: { usedBytes: 0, limitBytes: 0, quotaBytes: null, persisted: false, pinnedBytes: 0 },
    settings: DEFAULT_SETTINGS,
    pin: { set: false, required: false, minLength: pin.MIN_LENGTH },
    leaseExpires: null,
  };
}
