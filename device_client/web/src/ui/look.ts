/** Language, colours and size of text, as the settings say, on the whole page. */

import { computed, effect, signal } from '@preact/signals';
import type { Api } from '../api';
import { language, type Language, words } from './i18n';

export type Theme = 'auto' | 'light' | 'dark';
export type TextSize = 'normal' | 'large' | 'larger';

export const theme = signal<Theme>('auto');
export const textSize = signal<TextSize>('normal');

const darkSystem = matchMedia('(prefers-color-scheme: dark)');
const systemTheme = signal<'light' | 'dark'>(darkSystem.matches ? 'dark' : 'light');
darkSystem.addEventListener('change', (event) => {
  systemTheme.value = event.matches ? 'dark' : 'light';
});

export const shownTheme = computed<'light' | 'dark'>(() => (theme.value === 'auto' ? systemTheme.value : theme.value));

function one<T extends string>(value: unknown, known: readonly T[], otherwise: T): T {
  return known.find((each) => each === value) ?? otherwise;
}

/** Follow the settings from now on. */
export function followSettings(api: Api): void {
  effect(() => {
    const { ui } = api.settings.value;
    language.value = one<Language>(ui['language'], ['auto', 'en', 'ko'], 'auto');
    theme.value = one<Theme>(ui['theme'], ['auto', 'light', 'dark'], 'auto');
    textSize.value = one<TextSize>(ui['textSize'], ['normal', 'large', 'larger'], 'normal');
  });
  effect(() => {
    const root = document.documentElement;
    root.lang = words.value.locale;
    root.dataset['theme'] = shownTheme.value;
    root.dataset['text'] = textSize.value;
    const colour = shownTheme.value === 'dark' ? '#10161b' : '#f4f7f9';
    document.querySelector('meta[name=theme-color]')?.setAttribute('content', colour);
  });
}
