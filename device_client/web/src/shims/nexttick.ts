/** In place of `process-nextick-args`: browsers have microtasks. */
export const nextTick = (work: (...given: unknown[]) => void, ...given: unknown[]): void =>
  queueMicrotask(() => work(...given));
export default { nextTick };
