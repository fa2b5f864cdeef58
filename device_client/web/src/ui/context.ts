/** What every screen needs, and what it says when a call fails. */

import { signal } from '@preact/signals';
import { createContext } from 'preact';
import { useContext, useEffect } from 'preact/hooks';
import { type Api, ApiError, type ErrorCode } from '../api';
import { words } from './i18n';
import { Undecodable } from './viewer/player';

const ApiContext = createContext<Api | null>(null);

export const ApiProvider = ApiContext.Provider;

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error('no engine');
  return api;
}

/** The sentence for whatever was thrown. */
export function sentence(error: unknown): string {
  if (error instanceof Undecodable) return words.value.viewer.undecodable;
  const code: ErrorCode = isApiError(error) ? error.code : 'internal';
  return words.value.error[code] ?? words.value.error.internal;
}

/** Also those that came from another realm or through a message channel, which lose their class. */
export function isApiError(error: unknown): error is ApiError {
  return error instanceof ApiError || (typeof error === 'object' && error !== null && 'code' in error);
}

export function codeOf(error: unknown): ErrorCode {
  return isApiError(error) ? error.code : 'internal';
}

// ── short notes at the foot of the screen ─────────────────────────────────────────────────────────────────────────

export interface Note {
  id: number;
  text: string;
  bad: boolean;
}

export const notes = signal<Note[]>([]);
let nextNote = 1;
const NOTE_MS = 6000;

export function say(text: string, bad = false): void {
  const note = { id: nextNote, text, bad };
  nextNote += 1;
  notes.value = [...notes.value.filter((each) => each.text !== text), note].slice(-3);
  setTimeout(() => dismiss(note.id), NOTE_MS);
}

export function dismiss(id: number): void {
  notes.value = notes.value.filter((each) => each.id !== id);
}

/** Run a call whose failure is told in a note. */
export function attempt(call: Promise<unknown>, done?: string): void {
  call.then(
    () => done && say(done),
    (error: unknown) => say(sentence(error), true),
  );
}

// ── the clock that ages are told by ───────────────────────────────────────────────────────────────────────────────

export const minute = signal(Date.now());
setInterval(() => {
  minute.value = Date.now();
}, 30_000);

/** The document's title says where one is; screen readers announce it. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · ${words.peek().appName}` : words.peek().appName;
  }, [title]);
}
