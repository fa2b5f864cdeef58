/** The bounds of the contract, as in docs/protocol.md. Sizes in bytes, times in seconds unless the name says otherwise. */

export const CHUNK_BYTES = 16 * 1024;
export const TAG_BYTES = 16;
export const CHUNKS_PER_SEGMENT = 4;
export const SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES;
export const SEGMENT_BYTES = CHUNKS_PER_SEGMENT * SEALED_CHUNK_BYTES;
/** Salt and commitment, which stand before the first chunk and so travel in segment 0. */
export const SEAL_HEADER_BYTES = 24 + 32;
/** Segment 0 of an object of several. */
export const MAX_SEGMENT_BYTES = SEAL_HEADER_BYTES + SEGMENT_BYTES;

export const MAX_PACKET_BYTES = 320 * 1024;
export const MAX_ANNOUNCEMENT_BYTES = 16 * 1024;
export const MAX_MESSAGE_BYTES = 256 * 1024;
export const MAX_DEPTH = 8;

export const MAX_SEGMENTS = 2 ** 18;
/** 16 GiB less one byte: the empty chunk after a last full one would be a segment too many. */
export const MAX_OBJECT_BYTES = MAX_SEGMENTS * CHUNKS_PER_SEGMENT * CHUNK_BYTES - 1;
export const PAGE_DIGESTS = 1024;
export const DIGEST_BYTES = 32;
export const MAX_PAGES = MAX_SEGMENTS / PAGE_DIGESTS;
export const MAX_OBJECT_HEADER_BYTES = 1024 * 1024;
export const MAX_PARTS = 8192;
/** Inflated DICOM JSON of one announcement or object header. */
export const MAX_ATTRIBUTES_BYTES = 4 * 1024 * 1024;

/** Series that one object holds, or one order names. */
export const MAX_SERIES = 256;

export const MAX_CREDIT = 64;
export const MAX_RANGES = 64;
/** Current studies of one recipient: a head of so many, and a sync that names them, fit a message. */
export const MAX_STUDIES = 4096;

/** Studies or people in one answer; the rest stands on further pages. */
export const MAX_HITS = 50;
export const MAX_SEARCH_PAGES = 200;
export const MAX_READ = 256;
/** Of one file that a device sends; a gateway may set less. */
export const MAX_UPLOAD_BYTES = 2 ** 30;

/** How long a head may be newer than the announcement it names, before the device says that it is not current. */
export const GRACE_S = 5;
