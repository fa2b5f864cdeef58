/** The engine as the screens see it: replaced by the real one as it lands. */

import type { Api } from '../api';
import { ApiError } from '../api';

export async function createApi(): Promise<Api> {
  throw new ApiError('browser-old', 'the engine is not built in');
}
