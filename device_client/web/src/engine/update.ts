/** The service worker as the page sees it: it keeps the shell for when there is no network, and says of new versions. */

import { type ReadonlySignal, signal } from '@preact/signals';

const LOOK_MS = 60 * 60_000;

export interface Updates {
  ready: ReadonlySignal<boolean>;
  apply(): Promise<void>;
}

export function watchUpdates(onReady: () => void): Updates {
  const ready = signal(false);
  let waiting: ServiceWorker | null = null;

  const found = (worker: ServiceWorker | null): void => {
    // The first worker of all is no update.
    if (!worker || !navigator.serviceWorker.controller) return;
    waiting = worker;
    ready.value = true;
    onReady();
  };

  async function register(): Promise<void> {
    const registration = await navigator.serviceWorker.register('/sw.js', { updateViaCache: 'none' });
    found(registration.waiting);
    registration.addEventListener('updatefound', () => {
      const worker = registration.installing;
      worker?.addEventListener('statechange', () => worker.state === 'installed' && found(worker));
    });
    setInterval(() => void registration.update().catch(() => undefined), LOOK_MS);
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') void registration.update().catch(() => undefined);
    });
  }

  // Without one the application works, but does not open offline.
  if (import.meta.env.PROD && 'serviceWorker' in navigator) register().catch(() => undefined);
  return {
    ready,
    async apply() {
      navigator.serviceWorker?.addEventListener('controllerchange', () => location.reload(), { once: true });
      if (waiting) waiting.postMessage('skip-waiting');
      else location.reload();
    },
  };
}
