/** The few attributes that the engine itself reads from the DICOM JSON model (PS3.18 annex F). */

import type { DataSet } from '../api';

export const TAG = {
  StudyInstanceUID: '0020000D',
  SeriesInstanceUID: '0020000E',
  SeriesNumber: '00200011',
  InstanceNumber: '00200013',
  RequestedProcedurePriority: '00401003',
} as const;

/** The first value of an attribute as text; empty if there is none. */
export function text(dataSet: DataSet, tag: string): string {
  const value = dataSet[tag]?.Value?.[0];
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

export function number(dataSet: DataSet, tag: string): number {
  const value = Number(text(dataSet, tag));
  return Number.isFinite(value) ? value : 0;
}
