/** In place of Node's `crypto`, which the HPKE library would import where a platform has no WebCrypto. */
export const webcrypto = globalThis.crypto;
