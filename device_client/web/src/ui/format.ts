/** Times and sizes in the reader's language. */

import type { Words } from './i18n/en';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago, in the largest unit that fits. */
export function age(since: number, now: number, words: Words): string {
  const passed = Math.max(0, now - since);
  if (passed < MINUTE) return words.age.now;
  if (passed < HOUR) return words.age.minutes(Math.floor(passed / MINUTE));
  if (passed < 2 * DAY) return words.age.hours(Math.floor(passed / HOUR));
  return words.age.days(Math.floor(passed / DAY));
}

function midnight(at: Date): number {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();
}

/** A day as people say it: today, yesterday, else the date. */
export function day(at: Date, now: Date, words: Words): string {
  const before = Math.round((midnight(now) - midnight(at)) / DAY);
  if (before === 0) return words.age.today;
  if (before === 1) return words.age.yesterday;
  return date(at, words);
}

export function date(at: Date, words: Words): string {
  return at.toLocaleDateString(words.locale, { year: 'numeric', month: 'short', day: 'numeric' });
}

export function time(at: Date, words: Words): string {
  return at.toLocaleTimeString(words.locale, { hour: 'numeric', minute: '2-digit' });
}

export function moment(at: number, words: Words): string {
  const when = new Date(at);
  return `${day(when, new Date(), words)} ${time(when, words)}`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** Bytes in decimal units, with at most three figures. */
export function bytes(size: number, words: Words): string {
  let value = size;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toLocaleString(words.locale, { maximumFractionDigits: digits })} ${UNITS[unit] ?? ''}`;
}
