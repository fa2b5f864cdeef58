/** The engine as the screens of one tab see it: signals that follow the leading worker, and calls to it. */

import { type Signal, signal } from '@preact/signals';
import { ApiError } from '../api';
import type { Api, ApiEvent, OpenSeries, Phase, SeriesState, StudyItem } from '../api';
import { DEFAULT_SETTINGS } from './policy';
import { type CallName, type Calls, CHANNEL, type FromEngine, type State, tabLock, type ToEngine } from './protocol';
import { unsupported } from './support';
import { watchUpdates } from './update';

const TOUCH_MS = 5000;
const FRAME_MS = 30_000;

interface Pending {
  message: Extract<ToEngine, { kind: 'call' }>;
  resolve(value: unknown): void;
  reject(error: ApiError): void;
}

interface Handle {
  state: Signal<SeriesState>;
  order: number[];
}

class Client {
  readonly signals: { [Name in keyof State]: Signal<State[Name]> } = {
    phase: signal<Phase>({ name: 'starting' }),
    identity: signal(null),
    connection: signal({ state: 'offline', gatewayOnline: null, synced: false, error: null }),
    recipients: signal([]),
    storage: signal({ usedBytes: 0, limitBytes: 0, quotaBytes: null, persisted: false, pinnedBytes: 0 }),
    settings: signal(DEFAULT_SETTINGS),
    pin: signal({ set: false, required: false, minLength: 6 }),
    leaseExpires: signal(null),
  };
  readonly studies = signal<StudyItem[]>([]);
  readonly listeners = new Set<(event: ApiEvent) => void>();
  readonly #tab = crypto.randomUUID();
  readonly #channel = new BroadcastChannel(CHANNEL);
  readonly #pending = new Map<number, Pending>();
  readonly #handles = new Map<string, Handle>();
  #nextId = 0;
  #touchedAt = 0;

  start(): void {
    this.#channel.onmessage = (event: MessageEvent<FromEngine>) => this.#take(event.data);
    // Held while this tab lives: the leader waits for it to know when the tab is gone.
    void navigator.locks.request(tabLock(this.#tab), () => new Promise(() => undefined));
    // eslint-disable-next-line no-new -- the worker lives as long as the page
    new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'mpacs-engine' });
    this.send({ kind: 'hello', tab: this.#tab });
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.send({ kind: 'nudge' });
    });
    for (const change of ['online', 'offline']) globalThis.addEventListener(change, () => this.send({ kind: 'network' }));
    globalThis.addEventListener('pageshow', () => this.send({ kind: 'hello', tab: this.#tab }));
    (navigator as { connection?: EventTarget }).connection?.addEventListener('change', () => this.send({ kind: 'network' }));
  }

  send(message: ToEngine): void {
    this.#channel.postMessage(message);
  }

  emit(event: ApiEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  // ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #take(message: FromEngine): void {
    switch (message.kind) {
      case 'ready':
        return this.#startOver();
      case 'state':
        return this.#takeState(message.state);
      case 'studies':
        return this.#takeStudies(message.order, message.changed);
      case 'reply':
        return message.tab === this.#tab ? this.#takeReply(message) : undefined;
      case 'series':
        return this.#takeSeries(message.handle, message.state);
      case 'event':
        return this.emit(message.event);
    }
  }

  /** Another worker leads: it knows nothing of what was asked. */
  #startOver(): void {
    this.send({ kind: 'hello', tab: this.#tab });
    for (const [handle, { state, order }] of this.#handles) {
      this.send({ kind: 'series-open', tab: this.#tab, handle, study: state.value.study, series: state.value.series, order });
    }
    for (const { message } of this.#pending.values()) this.send(message);
  }

  #takeState(state: Partial<State>): void {
    for (const [name, value] of Object.entries(state)) (this.signals[name as keyof State] as Signal<unknown>).value = value;
  }

  #takeStudies(order: string[], changed: StudyItem[]): void {
    const known = new Map([...this.studies.value, ...changed].map((item) => [item.ref, item]));
    this.studies.value = order.flatMap((ref) => known.get(ref) ?? []);
  }

  #takeReply({ id, value, error }: Extract<FromEngine, { kind: 'reply' }>): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) pending?.reject(new ApiError(error));
    else pending?.resolve(value);
  }

  #takeSeries(handle: string, update: Extract<FromEngine, { kind: 'series' }>['state']): void {
    const known = this.#handles.get(handle);
    if (known) known.state.value = { ...known.state.value, ...update };
  }

  // ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  call<Name extends CallName>(name: Name, ...given: Parameters<Calls[Name]>): Promise<ReturnType<Calls[Name]>> {
    const id = ++this.#nextId;
    const message = { kind: 'call', tab: this.#tab, id, name, given } as const;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { message, resolve: resolve as (value: unknown) => void, reject });
      this.send(message);
    });
  }

  touch(): void {
    if (Date.now() - this.#touchedAt < TOUCH_MS) return;
    this.#touchedAt = Date.now();
    this.send({ kind: 'touch' });
  }

  openSeries(study: string, series: string): OpenSeries {
    const handle = `${this.#tab}/${++this.#nextId}`;
    const state = signal<SeriesState>({ study, series, frames: [], here: [], progress: [], error: null });
    const own: Handle = { state, order: [] };
    this.#handles.set(handle, own);
    this.send({ kind: 'series-open', tab: this.#tab, handle, study, series, order: [] });
    return {
      state,
      frame: (index, { signal: abort, timeoutMs = FRAME_MS } = {}) =>
        abortable(this.call('frame', handle, index, timeoutMs), abort),
      prioritise: (order) => {
        own.order = order;
        this.send({ kind: 'series-order', handle, order });
      },
      close: () => {
        this.#handles.delete(handle);
        this.send({ kind: 'series-close', handle });
      },
    };
  }
}

/** Gives up waiting when told to; the work goes on. */
function abortable<T>(work: Promise<T>, abort: AbortSignal | undefined): Promise<T> {
  if (!abort) return work;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(abort.reason as Error);
    if (abort.aborted) return stop();
    abort.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => abort.removeEventListener('abort', stop));
  });
}

export async function createApi(): Promise<Api> {
  const client = new Client();
  const updates = watchUpdates(() => client.emit({ name: 'update-ready' }));
  const reason = await unsupported();
  if (reason) client.signals.phase.value = { name: 'unsupported', reason };
  else client.start();
  return {
    ...client.signals,
    studies: client.studies,
    updateReady: updates.ready,
    version: __APP_VERSION__,
    enrol: (link, name) => client.call('enrol', link, name),
    forget: () => client.call('forget'),
    unlock: (pin) => client.call('unlock', pin),
    lock: () => client.call('lock'),
    setPin: (pin, current) => client.call('setPin', pin, current),
    removePin: (current) => client.call('removePin', current),
    touch: () => client.touch(),
    markOpened: (study) => client.call('markOpened', study),
    openSeries: (study, series) => client.openSeries(study, series),
    thumbnail: (study, series) => client.call('thumbnail', study, series),
    reports: (study) => client.call('reports', study),
    report: (study, id, media) => client.call('report', study, id, media),
    videos: (study, series) => client.call('videos', study, series),
    video: (study, id) => client.call('video', study, id),
    locate: (study, instance, frame, timeoutMs) => client.call('locate', study, instance, frame, timeoutMs),
    download: (study) => client.call('download', study),
    setPinned: (study, pinned) => client.call('setPinned', study, pinned),
    evict: (study) => client.call('evict', study),
    clearStore: () => client.call('clearStore'),
    saveSettings: (change) => client.call('saveSettings', change),
    refresh: () => client.call('refresh'),
    applyUpdate: () => updates.apply(),
    on(listener) {
      client.listeners.add(listener);
      return () => client.listeners.delete(listener);
    },
  };
}
