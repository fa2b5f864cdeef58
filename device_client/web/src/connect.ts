/** The one way for the screens to the engine: the real one, or in `--mode fake` one in memory. */

import type { Api } from './api';

export async function connect(): Promise<Api> {
  if (import.meta.env.MODE === 'fake') {
    const { createFakeApi } = await import('./api.fake');
    return createFakeApi();
  }
  const { createApi } = await import('./engine/client');
  return createApi();
}
