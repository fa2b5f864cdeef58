/** The frame of every page that stands before the studies. */

import type { ComponentChildren, JSX } from 'preact';
import { useApi } from '../context';
import { words } from '../i18n';
import { Notes } from '../parts/parts';

/** Switch between the two languages, where the settings cannot be reached yet. */
function LanguageSwitch(): JSX.Element {
  const api = useApi();
  const other = words.value.locale === 'ko' ? { code: 'en', name: 'English' } : { code: 'ko', name: '한국어' };
  return (
    <button
      type="button"
      class="link-button"
      lang={other.code}
      onClick={() => void api.saveSettings({ ui: { ...api.settings.value.ui, language: other.code } })}
    >
      {other.name}
    </button>
  );
}

export function Gate(props: { title: string; children: ComponentChildren }): JSX.Element {
  const w = words.value;
  return (
    <div class="gate">
      <header class="gate-top">
        <img class="gate-mark" src="/icons/icon.svg" alt="" width="40" height="40" />
        <div>
          <p class="gate-name">{w.appName}</p>
          <p class="gate-tagline">{w.tagline}</p>
        </div>
        <LanguageSwitch />
      </header>
      <main id="content" class="gate-card" tabIndex={-1}>
        <h1>{props.title}</h1>
        {props.children}
      </main>
      <Notes />
    </div>
  );
}
