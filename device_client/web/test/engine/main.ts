/** The engine without screens: tests/web/test_web_engine.py drives it by `api` in a real browser. */

import { createApi } from '../../src/engine/client';

const scope = globalThis as unknown as Record<string, unknown>;
const api = await createApi();
scope['api'] = api;
/** The last series that was opened. */
scope['open'] = (study: string, series: string) => {
  scope['series'] = api.openSeries(study, series);
};
const events: unknown[] = [];
api.on((event) => events.push(event));
scope['events'] = events;
