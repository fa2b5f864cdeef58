/** Studies made up for tests of what the screens compute. */

import type { DataSet, LayerProgress, StudyItem } from '../../src/api';
import { type Keyword, TAG } from '../../src/ui/dicom';

export function dataSet(values: Partial<Record<Keyword, unknown>>): DataSet {
  const made = Object.entries(values).map(([keyword, value]) => [TAG[keyword as Keyword], { Value: [value].flat() }]);
  return Object.fromEntries(made) as DataSet;
}

export function layer(name: LayerProgress['layer'], received: number, total: number, wanted = true): LayerProgress {
  return { layer: name, receivedBytes: received, totalBytes: total, frames: 1, complete: received === total, wanted };
}

export function study(values: Partial<Record<Keyword, unknown>>, more: Partial<StudyItem> = {}): StudyItem {
  return {
    ref: 'r',
    refs: ['r'],
    uid: '1.2.3',
    recipients: [],
    attributes: dataSet(values),
    series: [],
    issued: 0,
    sequence: 1,
    settled: true,
    current: true,
    isNew: false,
    isChanged: false,
    pinned: false,
    hasReport: false,
    critical: false,
    layers: [],
    storedBytes: 0,
    evicted: false,
    ...more,
  };
}
