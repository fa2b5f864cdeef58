/** The worker of each tab: it waits for the Web Lock, and whoever has it runs the engine for all tabs. */

import { ApiError, type ErrorCode, type StudyItem } from '../api';
import { Engine, type Out } from './engine';
import { CHANNEL, type FromEngine, LEADER_LOCK, type SeriesUpdate, tabLock, type ToEngine } from './protocol';
import { Screen } from './screen';

const channel = new BroadcastChannel(CHANNEL);
const send = (message: FromEngine): void => channel.postMessage(message);

function codeOf(error: unknown): ErrorCode {
  if (error instanceof ApiError) return error.code;
  if (error instanceof DOMException && error.name === 'QuotaExceededError') return 'storage-full';
  return 'internal';
}

/** Serves tabs: calls, and the series that they look at. */
class Desk implements Out {
  engine: Engine | null = null;
  #items: StudyItem[] = [];
  readonly #screens = new Map<string, { tab: string; screen: Screen }>();

  // ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  state(state: Extract<FromEngine, { kind: 'state' }>['state']): void {
    send({ kind: 'state', state });
  }

  studies(items: StudyItem[]): void {
    const known = new Set(this.#items);
    const changed = items.filter((item) => !known.has(item));
    const isSame = changed.length === 0 && items.length === this.#items.length && items.every((item, at) => item === this.#items[at]);
    this.#items = items;
    if (!isSame) send({ kind: 'studies', order: items.map((item) => item.ref), changed });
  }

  emit(event: Extract<FromEngine, { kind: 'event' }>['event']): void {
    send({ kind: 'event', event });
  }

  // ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  async take(message: ToEngine): Promise<void> {
    const { engine } = this;
    if (!engine) return;
    switch (message.kind) {
      case 'hello':
        this.state(engine.state);
        send({ kind: 'studies', order: this.#items.map((item) => item.ref), changed: this.#items });
        // Granted when the tab is gone, however it went.
        void navigator.locks.request(tabLock(message.tab), () => this.#forget(message.tab));
        return;
      case 'nudge':
        return engine.nudge();
      case 'touch':
        return engine.touch();
      case 'network':
        return engine.networkChanged();
      case 'call':
        return this.#call(engine, message);
      case 'series-open':
        return this.#open(engine, message);
      case 'series-order':
        return this.#screens.get(message.handle)?.screen.prioritise(message.order);
      case 'series-close':
        return this.#close(message.handle);
    }
  }

  async #call(engine: Engine, { tab, id, name, given }: Extract<ToEngine, { kind: 'call' }>): Promise<void> {
    try {
      const work = name === 'frame' ? this.#frame : (engine.calls[name] as (...given: unknown[]) => Promise<unknown>);
      send({ kind: 'reply', tab, id, value: await work.apply(this, given as never) });
    } catch (error) {
      send({ kind: 'reply', tab, id, error: codeOf(error) });
    }
  }

  async #frame(handle: string, index: number, timeoutMs: number): Promise<unknown> {
    const screen = this.#screens.get(handle)?.screen;
    if (!screen) {
      this.engine?.opened();
      throw new ApiError('gone');
    }
    const { info, bytes } = await screen.frame(index, timeoutMs);
    return { info, blob: new Blob([bytes], { type: info.media }) };
  }

  async #open(engine: Engine, message: Extract<ToEngine, { kind: 'series-open' }>): Promise<void> {
    const { tab, handle, study, series, order } = message;
    this.#close(handle);
    try {
      const household = engine.opened();
      let sent: unknown = null;
      const screen = new Screen(
        household.find(study),
        series,
        household.cache,
        ({ frames, ...rest }) => {
          const state: SeriesUpdate = frames === sent ? rest : { ...rest, frames };
          sent = frames;
          send({ kind: 'series', handle, state });
        },
        () => household.focusChanged(),
      );
      this.#screens.set(handle, { tab, screen });
      screen.prioritise(order);
      await household.show(screen);
    } catch (error) {
      const state: SeriesUpdate = { study, series, here: [], progress: [], error: codeOf(error) };
      send({ kind: 'series', handle, state });
    }
  }

  #close(handle: string): void {
    const open = this.#screens.get(handle);
    this.#screens.delete(handle);
    if (open) this.engine?.household?.hide(open.screen);
  }

  #forget(tab: string): void {
    for (const [handle, open] of this.#screens) if (open.tab === tab) this.#close(handle);
  }
}

async function lead(): Promise<void> {
  const desk = new Desk();
  try {
    desk.engine = await Engine.start(desk);
  } catch (error) {
    const code = codeOf(error);
    const reason = code === 'browser-forbids' || code === 'browser-old' ? code : null;
    desk.state({ phase: reason ? { name: 'unsupported', reason } : { name: 'failed', code } });
  }
  channel.onmessage = (event: MessageEvent<ToEngine>) => void desk.take(event.data);
  send({ kind: 'ready' });
}

void navigator.locks.request(LEADER_LOCK, async () => {
  await lead();
  // Leads until its tab goes.
  await new Promise(() => undefined);
});
