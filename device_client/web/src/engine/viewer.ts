import type { Group, StudyObject } from './groups';

/** Somebody who looks at a study, and waits for something of it. */
export interface Viewer {
  readonly study: string;
  /** What is fetched whatever the policy says. */
  objects(): StudyObject[];
  /** Segments that are wanted first, by object. */
  focus(): Map<string, number[]>;
  /** The study was announced anew. */
  regroup(group: Group): void;
  /** Something of its objects has come. */
  updateSoon(): void;
  close(): void;
}
