/**
 * The manifest of an object: SHA-256 of each segment, in pages of 1,024.
 *
 * A page message is `page digests | segment digests of this page`. The announced digest covers the page digests, a page
 * digest covers its segment digests: so one page is checked alone, and then each of its segments alone.
 */

import { type Bytes, concat, equal, sha256, utf8 } from './bytes';
import { malformed, WireError } from './errors';
import { DIGEST_BYTES, PAGE_DIGESTS } from './limits';

const LABEL = utf8('mpacs/1 manifest\0');
const PAGE_BYTES = PAGE_DIGESTS * DIGEST_BYTES;

export function pageCount(segments: number): number {
  return Math.ceil(segments / PAGE_DIGESTS);
}

function pageDigests(digests: Bytes): Promise<Bytes[]> {
  const pages = pageCount(digests.length / DIGEST_BYTES);
  return Promise.all(
    Array.from({ length: pages }, (_, page) => sha256(digests.slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES))),
  );
}

/** What the announcement holds, from all segment digests one after the other. */
export async function manifestDigest(digests: Bytes): Promise<Bytes> {
  return sha256(concat(LABEL, ...(await pageDigests(digests))));
}

/** The payload of topic `m{page}`. */
export async function pageMessage(digests: Bytes, page: number): Promise<Bytes> {
  const segments = digests.slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  if (segments.length === 0) throw malformed('there is no such page');
  return concat(...(await pageDigests(digests)), segments);
}

/** The segment digests of `page`, once they are shown to belong to the `announced` manifest digest. */
export async function checkPage(announced: Bytes, page: number, segments: number, payload: Bytes): Promise<Bytes> {
  const pages = pageCount(segments);
  if (page < 0 || page >= pages) throw malformed('there is no such page');
  const heads = payload.slice(0, pages * DIGEST_BYTES);
  const digests = payload.slice(pages * DIGEST_BYTES);
  if (digests.length !== Math.min(PAGE_DIGESTS, segments - page * PAGE_DIGESTS) * DIGEST_BYTES) {
    throw malformed('a manifest page of the wrong length');
  }
  if (!equal(await sha256(concat(LABEL, heads)), announced)) {
    throw new WireError('digest-mismatch', 'not a page of the announced manifest');
  }
  if (!equal(await sha256(digests), heads.subarray(page * DIGEST_BYTES, (page + 1) * DIGEST_BYTES))) {
    throw new WireError('digest-mismatch', 'not this page of the announced manifest');
  }
  return digests;
}
