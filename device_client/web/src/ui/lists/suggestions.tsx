/** What would help this reader, said once: a PIN, the home screen. */

import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import { attempt, useApi } from '../context';
import { words } from '../i18n';
import { go } from '../route';

interface InstallPrompt extends Event {
  prompt(): Promise<unknown>;
}

/** Chromium's offer to install, kept until the reader asks for it. */
export const installPrompt = signal<InstallPrompt | null>(null);

window.addEventListener('beforeinstallprompt', (event) => {
  event.preventDefault();
  installPrompt.value = event as InstallPrompt;
});
window.addEventListener('appinstalled', () => {
  installPrompt.value = null;
});

/** Safari has no prompt; it must be told in words. */
const byHand = /iPhone|iPad/.test(navigator.userAgent) || (/Mac/.test(navigator.platform) && navigator.maxTouchPoints > 1);

export function canInstall(): boolean {
  return !matchMedia('(display-mode: standalone)').matches && (installPrompt.value !== null || byHand);
}

export function InstallButton(): JSX.Element | null {
  const w = words.value;
  const offer = installPrompt.value;
  if (!offer) return byHand ? <p>{w.set.installIos}</p> : null;
  return (
    <button
      type="button"
      class="button small"
      onClick={() => {
        installPrompt.value = null;
        void offer.prompt();
      }}
    >
      {w.set.install}
    </button>
  );
}

export function Suggestions(): JSX.Element | null {
  const api = useApi();
  const w = words.value;
  const { ui } = api.settings.value;
  const later = (what: string): void => attempt(api.saveSettings({ ui: { ...api.settings.value.ui, [what]: true } }));
  const { set, required } = api.pin.value;
  if (!set && !required && !ui['pinAsked']) {
    return (
      <aside class="suggestion">
        <h2>{w.pin.set}</h2>
        <p>{w.pin.setIntro}</p>
        <div class="suggestion-buttons">
          <button type="button" class="button small primary" onClick={() => go({ page: 'settings' })}>
            {w.pin.set}
          </button>
          <button type="button" class="button small" onClick={() => later('pinAsked')}>
            {w.set.installLater}
          </button>
        </div>
      </aside>
    );
  }
  if (canInstall() && !ui['installAsked']) {
    return (
      <aside class="suggestion">
        <h2>{w.set.install}</h2>
        <p>{w.set.installText}</p>
        <div class="suggestion-buttons">
          <InstallButton />
          <button type="button" class="button small" onClick={() => later('installAsked')}>
            {w.set.installLater}
          </button>
        </div>
      </aside>
    );
  }
  return null;
}
