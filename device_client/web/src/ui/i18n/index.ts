/** Which language, and its words. A component that reads `words.value` is drawn again when the language changes. */

import { computed, signal } from '@preact/signals';
import { en, type Words } from './en';
import { ko } from './ko';

export type Language = 'auto' | 'en' | 'ko';

export const language = signal<Language>('auto');

const preferred: Exclude<Language, 'auto'> = navigator.language.toLowerCase().startsWith('ko') ? 'ko' : 'en';

export const words = computed<Words>(() => ((language.value === 'auto' ? preferred : language.value) === 'ko' ? ko : en));
