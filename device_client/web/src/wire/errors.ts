/** What can be wrong with bytes, names and requests; docs/protocol.md lists when each code is due. */

export type WireCode =
  | 'name-invalid'
  | 'topic-invalid'
  | 'malformed'
  | 'too-large'
  | 'signature-invalid'
  | 'seal-broken'
  | 'digest-mismatch'
  | 'stale'
  | 'missing'
  | 'untrusted';

/** The texts never hold an identity, a key or a pixel; `code` is what programs compare. */
export class WireError extends Error {
  constructor(
    readonly code: WireCode,
    text: string,
  ) {
    super(text);
    this.name = 'WireError';
  }
}

export const malformed = (text: string): WireError => new WireError('malformed', text);
export const tooLarge = (text: string): WireError => new WireError('too-large', text);
export const sealBroken = (text: string): WireError => new WireError('seal-broken', text);
export const nameInvalid = (text: string): WireError => new WireError('name-invalid', text);
export const topicInvalid = (text: string): WireError => new WireError('topic-invalid', text);

/** Run `work`; whatever fails in it that is no WireError becomes `error`. */
export async function guarded<T>(work: () => Promise<T>, error: () => WireError): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw cause instanceof WireError ? cause : error();
  }
}
