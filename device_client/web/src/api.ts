/**
 * The facade between the screens and the engine. The screens import this file alone and `connect()` of ./connect.
 *
 * The engine lives in a worker of whichever tab leads; here are typed copies of its state, as signals, and calls.
 * Times are milliseconds since 1970-01-01 UTC. `DataSet` is the DICOM JSON model (PS3.18 annex F).
 */

import type { ReadonlySignal } from '@preact/signals';

export type { ReadonlySignal };

/** One data set in the DICOM JSON model: tag (eight hex digits, upper case) to element. */
export type DataSet = Record<string, { vr?: string; Value?: unknown[]; InlineBinary?: string }>;

export type Kind = 'patient' | 'doctor' | 'ward';
export type Layer = 'thumbnail' | 'display' | 'diagnostic' | 'report' | 'video' | 'original';

/** What a call fails with; the screens have a sentence for each. */
export type ErrorCode =
  | 'link-invalid' // not an enrolment link, or cut
  | 'link-expired'
  | 'link-refused' // used already, or wrong: the broker or the gateway refuses it
  | 'unreachable' // no connection to the gateway
  | 'silent' // connected, but the gateway does not answer in time
  | 'insecure' // no HTTPS from a trusted authority: no WebCrypto
  | 'browser-forbids' // private or lockdown mode: keys or files do not stay
  | 'browser-old' // lacks what is needed (OPFS, Ed25519, Web Locks)
  | 'already-enrolled'
  | 'not-enrolled'
  | 'pin-wrong'
  | 'pin-locked' // too many attempts: everything was erased
  | 'pin-weak'
  | 'locked'
  | 'lease-ended'
  | 'revoked'
  | 'missing' // not here yet (and not fetched in time)
  | 'gone' // no longer at the gateway; it is made again and announced anew
  | 'damaged' // what is stored is not what was received; it is fetched again
  | 'storage-full'
  | 'refused' // the gateway refused the request
  | 'internal';

export class ApiError extends Error {
  constructor(
    readonly code: ErrorCode,
    detail = '',
  ) {
    super(detail || code);
    this.name = 'ApiError';
  }
}

/**
 * What the application is in. Studies are readable in `open` alone.
 *
 * starting → unsupported | not-enrolled | locked | open | lease-ended | revoked.
 * pin-needed: enrolled, but a doctor's device must set a PIN before anything is shown.
 * lease-ended: the store cannot be opened until the gateway renews the lease (it is asked while connected).
 */
export type Phase =
  | { name: 'starting' }
  | { name: 'unsupported'; reason: 'insecure' | 'browser-forbids' | 'browser-old' }
  | { name: 'not-enrolled' }
  /** `fingerprint` while it waits: what an operator of the hospital may want to compare first. */
  | { name: 'enrolling'; step: 'keys' | 'connecting' | 'waiting' | 'storing'; fingerprint?: string }
  | { name: 'pin-needed' }
  | { name: 'locked'; attemptsLeft: number }
  | { name: 'open' }
  | { name: 'lease-ended' }
  | { name: 'revoked' }
  | { name: 'failed'; code: ErrorCode };

export interface Identity {
  site: string;
  /** Opaque; its first characters may be shown as the device's number. */
  device: string;
  deviceName: string;
  /** SHA-256 of the device's public signing key, hex in groups of four: what an operator compares. */
  fingerprint: string;
  enrolledAt: number;
}

export interface Connection {
  state: 'offline' | 'connecting' | 'online';
  /** The gateway's own presence; null while unknown. */
  gatewayOnline: boolean | null;
  /** Whether the gateway has said over this connection what is current. */
  synced: boolean;
  /** Why there is none, where that is known. */
  error: ErrorCode | null;
}

export interface RecipientState {
  kind: Kind;
  recipient: string;
  /** How people call the recipient: a name, a ward. */
  label: string;
  /** False: show "not current" with the age of `asOf`. */
  current: boolean;
  /** When the last head that was verified was issued; null if none ever came. */
  asOf: number | null;
  revoked: boolean;
}

export interface LayerProgress {
  layer: Layer;
  receivedBytes: number;
  totalBytes: number;
  frames: number;
  complete: boolean;
  /** Whether the policy fetches it by itself; false: on demand. */
  wanted: boolean;
}

export interface SeriesItem {
  uid: string;
  attributes: DataSet;
  /** From the announcement: frames of the display layer; 0 for a series without pictures. */
  frames: number;
  /** Videos, which are no frames. */
  videos: number;
  layers: LayerProgress[];
}

export interface StudyItem {
  /** Stable here: an opaque reference; the deep link is `#study=` and it. Never a DICOM UID. */
  ref: string;
  /** All opaque references of this study (several recipients or volumes). */
  refs: string[];
  uid: string;
  recipients: { kind: Kind; recipient: string }[];
  attributes: DataSet;
  series: SeriesItem[];
  /** When it was announced last. */
  issued: number;
  sequence: number;
  settled: boolean;
  current: boolean;
  /** Not opened on this device since it was announced. */
  isNew: boolean;
  /** Opened before, and changed since. */
  isChanged: boolean;
  pinned: boolean;
  hasReport: boolean;
  /** Marked urgent by what was announced (RequestedProcedurePriority / report flag). */
  critical: boolean;
  layers: LayerProgress[];
  storedBytes: number;
  /** Fetched before and dropped for space: comes again when opened. */
  evicted: boolean;
}

export interface StorageState {
  usedBytes: number;
  /** What this application lets itself use (settings), and what the browser says it may. */
  limitBytes: number;
  quotaBytes: number | null;
  /** Whether the browser promised not to evict us. */
  persisted: boolean;
  pinnedBytes: number;
}

/** auto: at once on Wi-Fi or Ethernet, on demand on a mobile or saving link. */
export type FetchPolicy = 'always' | 'auto' | 'on-demand';

export interface Settings {
  display: FetchPolicy;
  /** Bytes of ciphertext kept; pinned studies count, but are not evicted. */
  storeLimitBytes: number;
  /** Minutes without use until the PIN is asked again; 0: only when reopened. */
  autoLockMinutes: number;
  /** The screens' own (language, theme, text size …): kept, never read by the engine. */
  ui: Record<string, string | number | boolean>;
}

export interface PinState {
  set: boolean;
  /** A doctor's device may not be without. */
  required: boolean;
  minLength: number;
}

/** One frame of the display layer, known once its object's header is here. `index` is its place in the series. */
export interface FrameInfo {
  index: number;
  instance: string;
  /** Counts from 0. */
  frame: number;
  multiFrame: boolean;
  media: string;
  bytes: number;
  lossy: boolean;
  /** Compression ratio, 1 for lossless. */
  ratio: number;
  /** Shared and own attributes, merged. */
  attributes: DataSet;
}

export interface SeriesState {
  study: string;
  series: string;
  /** As many as are known: grows while the study does. `null` where the header of its object is not here yet. */
  frames: (FrameInfo | null)[];
  /** By index: whether all of the frame's bytes are here (checked, openable now). */
  here: boolean[];
  /** By index: 0 to 1 of the bytes that are here. */
  progress: number[];
  error: ErrorCode | null;
}

export interface FramePicture {
  info: FrameInfo;
  /** `image/jpeg` or `image/png`, verified and decrypted. Decode by createImageBitmap(blob). */
  blob: Blob;
}

/** A series that a screen looks at. While it is open its frames are fetched before anything else. */
export interface OpenSeries {
  readonly state: ReadonlySignal<SeriesState>;
  /**
   * The frame, fetched if need be. Rejects with ApiError: missing (no connection for `timeoutMs`), gone, damaged, locked.
   * The signal of `options` gives up waiting (AbortError); the fetching goes on.
   */
  frame(index: number, options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<FramePicture>;
  /** What is wanted next, most wanted first: the frame on screen, then those around it. Replaces the last order. */
  prioritise(order: number[]): void;
  close(): void;
}

export interface ReportInfo {
  id: string;
  instance: string;
  series: string;
  /** Which forms there are. */
  media: ('text/html' | 'text/plain' | 'application/pdf')[];
  attributes: DataSet;
  bytes: number;
}

/** One stream as it was stored. */
export interface VideoInfo {
  id: string;
  /** How it begins: docs/protocol.md section 8. */
  media: string;
  bytes: number;
  lossy: boolean;
  /** Compression ratio, 0 where it is not known. */
  ratio: number;
  attributes: DataSet;
}

/** Where an instance that a report names lies. */
export interface Place {
  series: string;
  /** A report, by its instance; else a picture of the series. */
  isDocument: boolean;
  /** Whether all of its bytes are here. */
  isHere: boolean;
}

export type ApiEvent =
  | { name: 'study-new' | 'study-changed' | 'study-complete' | 'study-gone'; study: string }
  | { name: 'locked' }
  | { name: 'lease-renewed' }
  | { name: 'update-ready' }
  | { name: 'wiped' };

export interface Api {
  readonly phase: ReadonlySignal<Phase>;
  readonly identity: ReadonlySignal<Identity | null>;
  readonly connection: ReadonlySignal<Connection>;
  readonly recipients: ReadonlySignal<RecipientState[]>;
  /** Newest first. Items are replaced, never changed: compare by identity. */
  readonly studies: ReadonlySignal<StudyItem[]>;
  readonly storage: ReadonlySignal<StorageState>;
  readonly settings: ReadonlySignal<Settings>;
  readonly pin: ReadonlySignal<PinState>;
  /** When the lease ends; null if there is none. */
  readonly leaseExpires: ReadonlySignal<number | null>;
  /** A new version waits: offer `applyUpdate()`. */
  readonly updateReady: ReadonlySignal<boolean>;
  readonly version: string;

  /** `link` is the whole link, or its fragment. `name` is how the device is called at the gateway. */
  enrol(link: string, name: string): Promise<void>;
  /** Forget everything: keys, store, settings. */
  forget(): Promise<void>;

  unlock(pin: string): Promise<void>;
  lock(): Promise<void>;
  /** Sets the first PIN, or changes it (`current` then is needed). Digits or text; ApiError pin-weak if too simple. */
  setPin(pin: string, current?: string): Promise<void>;
  /** Where none is required. */
  removePin(current: string): Promise<void>;
  /** A person is there: call on input (throttled inside), so that the lock does not come while one reads. */
  touch(): void;

  /** Said when a study is opened on screen: takes its NEW mark, and sends the signed receipt. */
  markOpened(study: string): Promise<void>;
  openSeries(study: string, series: string): OpenSeries;
  /** The small picture of a series; null while it is not here. */
  thumbnail(study: string, series: string): Promise<Blob | null>;
  reports(study: string): Promise<ReportInfo[]>;
  /** Verified and decrypted bytes with that media type; fetched if need be. */
  report(study: string, id: string, media: string): Promise<Blob>;
  /** The videos of a series, as soon as their headers are here. */
  videos(study: string, series: string): Promise<VideoInfo[]>;
  /** All of a stream, verified and decrypted. It is fetched while its series is open. */
  video(study: string, id: string): Promise<Blob>;
  /**
   * Where an instance (of pictures, its frame from 0) lies; null if it is in nothing that this device was told of.
   * ApiError missing: what may hold it is announced, and did not come within `timeoutMs`.
   */
  locate(study: string, instance: string, frame: number, timeoutMs: number): Promise<Place | null>;

  /** Fetch a study whole whatever the policy says. */
  download(study: string): Promise<void>;
  /** Kept when space is short. */
  setPinned(study: string, pinned: boolean): Promise<void>;
  /** Drop the bytes of a study (it stays in the list), or of all that are not pinned. */
  evict(study: string): Promise<void>;
  clearStore(): Promise<void>;

  saveSettings(change: Partial<Settings>): Promise<void>;
  /** Ask the gateway what is current, now. */
  refresh(): Promise<void>;
  applyUpdate(): Promise<void>;
  on(listener: (event: ApiEvent) => void): () => void;
}
