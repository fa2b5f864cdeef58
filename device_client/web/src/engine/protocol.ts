/** What tabs and the leading worker say to each other, over one BroadcastChannel of the origin. */

import type {
  ApiEvent,
  Connection,
  ErrorCode,
  FrameInfo,
  Identity,
  Phase,
  PinState,
  Place,
  RecipientState,
  Settings,
  SeriesState,
  StorageState,
  StudyItem,
} from '../api';

export const CHANNEL = 'mpacs-engine';
/** Whoever holds this Web Lock leads. */
export const LEADER_LOCK = 'mpacs-leader';
/** Each tab holds one of its own while it lives. */
export const tabLock = (tab: string): string => `mpacs-tab-${tab}`;

/** What all tabs see; parts are sent when they change. */
export interface State {
  phase: Phase;
  identity: Identity | null;
  connection: Connection;
  recipients: RecipientState[];
  storage: StorageState;
  settings: Settings;
  pin: PinState;
  leaseExpires: number | null;
}

/** Calls that are answered; `frame` goes to an open series. */
export interface Calls {
  enrol(link: string, name: string): void;
  forget(): void;
  unlock(pin: string): void;
  lock(): void;
  setPin(pin: string, current: string | undefined): void;
  removePin(current: string): void;
  markOpened(study: string): void;
  thumbnail(study: string, series: string): Blob | null;
  reports(study: string): import('../api').ReportInfo[];
  report(study: string, id: string, media: string): Blob;
  videos(study: string, series: string): import('../api').VideoInfo[];
  video(study: string, id: string): Blob;
  locate(study: string, instance: string, frame: number, timeoutMs: number): Place | null;
  download(study: string): void;
  setPinned(study: string, pinned: boolean): void;
  evict(study: string): void;
  clearStore(): void;
  saveSettings(change: Partial<Settings>): void;
  refresh(): void;
  frame(handle: string, index: number, timeoutMs: number): { info: FrameInfo; blob: Blob };
}

export type CallName = keyof Calls;

export type ToEngine =
  | { kind: 'hello'; tab: string }
  | { kind: 'nudge' | 'touch' | 'network' }
  | { kind: 'call'; tab: string; id: number; name: CallName; given: unknown[] }
  | { kind: 'series-open'; tab: string; handle: string; study: string; series: string; order: number[] }
  | { kind: 'series-order'; handle: string; order: number[] }
  | { kind: 'series-close'; handle: string };

/** A series' state without its frames where those have not changed. */
export type SeriesUpdate = Omit<SeriesState, 'frames'> & { frames?: SeriesState['frames'] };

export type FromEngine =
  /** A worker leads from now on: what was asked of the one before is asked again. */
  | { kind: 'ready' }
  | { kind: 'state'; state: Partial<State> }
  /** All studies in their order by `ref`; items only of those that changed, or all of them to a new tab. */
  | { kind: 'studies'; order: string[]; changed: StudyItem[] }
  | { kind: 'reply'; tab: string; id: number; value?: unknown; error?: ErrorCode }
  | { kind: 'series'; handle: string; state: SeriesUpdate }
  | { kind: 'event'; event: ApiEvent };
