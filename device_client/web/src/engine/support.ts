/** Whether this browser, in this mode, can be a device at all; asked before anything is stored. */

import type { Phase } from '../api';

type Reason = Extract<Phase, { name: 'unsupported' }>['reason'];

export async function unsupported(): Promise<Reason | null> {
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) return 'insecure';
  const hasAll = 'locks' in navigator && 'BroadcastChannel' in globalThis && 'DecompressionStream' in globalThis;
  if (!hasAll || !('storage' in navigator) || !('getDirectory' in navigator.storage)) return 'browser-old';
  try {
    await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
  } catch {
    return 'browser-old';
  }
  try {
    await navigator.storage.getDirectory();
    await new Promise<void>((resolve, reject) => {
      const request = indexedDB.open('mpacs-probe');
      request.onsuccess = () => {
        request.result.close();
        indexedDB.deleteDatabase('mpacs-probe');
        resolve();
      };
      request.onerror = () => reject(request.error ?? new Error('IndexedDB'));
    });
  } catch {
    return 'browser-forbids';
  }
  return null;
}
