/** What tabs ask of an open store. */

import * as documents from './documents';
import type { Household } from './household';
import type { Calls } from './protocol';
import { locate } from './seek';
import { video, videos } from './videos';

export type Handlers<Names extends keyof Calls> = {
  [Name in Names]: (...given: Parameters<Calls[Name]>) => Promise<ReturnType<Calls[Name]>>;
};

type StudyCalls = Handlers<
  | 'markOpened'
  | 'thumbnail'
  | 'reports'
  | 'report'
  | 'videos'
  | 'video'
  | 'locate'
  | 'download'
  | 'setPinned'
  | 'evict'
  | 'clearStore'
>;

/** `opened` throws ApiError where there is none. */
export function studyCalls(opened: () => Household): StudyCalls {
  return {
    markOpened: async (study) => opened().markOpened(study),
    thumbnail: async (study, series) => documents.thumbnail(opened(), study, series),
    reports: async (study) => documents.reports(opened(), study),
    report: async (study, id, media) => documents.report(opened(), study, id, media),
    videos: async (study, series) => videos(opened(), study, series),
    video: async (study, id) => video(opened(), study, id),
    locate: async (study, instance, frame, timeoutMs) => locate(opened(), study, instance, frame, timeoutMs),
    download: async (study) => opened().order(study),
    setPinned: async (study, pinned) => opened().setPinned(study, pinned),
    evict: async (study) => opened().evict(opened().find(study)),
    clearStore: async () => opened().clear(),
  };
}
