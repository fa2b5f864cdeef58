/** From ledger and disk to what the screens show. Items that did not change stay the same objects. */

import type { Layer, LayerProgress, RecipientState, SeriesItem, StudyItem } from '../api';
import { segmentCount } from '../wire/seal';
import { TAG, text } from './datasets';
import type { Group, StudyObject } from './groups';
import type { Ledger } from './ledger';
import type { Store, StudyRecord } from './store';

/** What a view needs to know of an object: segments that are here, and whether policy or a screen wants it. */
export interface ObjectState {
  received: number;
  wanted: boolean;
}

export type StateOf = (object: StudyObject) => ObjectState;

const URGENT = new Set(['STAT', 'HIGH']);

function layersOf(objects: StudyObject[], stateOf: StateOf): LayerProgress[] {
  const found = new Map<Layer, LayerProgress>();
  for (const object of objects) {
    const { layer, size, frames } = object.entry;
    const { received, wanted } = stateOf(object);
    const segments = segmentCount(size);
    const known = found.get(layer) ?? { layer, receivedBytes: 0, totalBytes: 0, frames: 0, complete: true, wanted: false };
    found.set(layer, {
      layer,
      receivedBytes: known.receivedBytes + Math.round((size * received) / segments),
      totalBytes: known.totalBytes + size,
      frames: known.frames + frames,
      complete: known.complete && received === segments,
      wanted: known.wanted || wanted,
    });
  }
  return [...found.values()];
}

function seriesOf(group: Group, stateOf: StateOf): SeriesItem[] {
  return [...group.series].map(([uid, attributes]) => {
    const objects = group.objects.filter((object) => object.series.includes(uid));
    const pictures = objects.filter((object) => object.entry.layer === 'display' && object.series.length === 1);
    const frames = pictures.reduce((sum, object) => sum + object.entry.frames, 0);
    const videos = objects.filter(({ entry }) => entry.layer === 'video').length;
    return { uid, attributes, frames, videos, layers: layersOf(objects, stateOf) };
  });
}

/** The records of a study's parts as one: opened only if every part was. */
export function recordOf(store: Store, group: Group): StudyRecord & { openedAll: boolean; openedAny: boolean } {
  const records = group.parts.map((held) => ({ held, record: store.record(held.recipient, held.study) }));
  return {
    opened: Math.min(...records.map(({ record }) => record.opened)),
    pinned: records.some(({ record }) => record.pinned),
    usedAt: Math.max(...records.map(({ record }) => record.usedAt)),
    evicted: records.some(({ record }) => record.evicted),
    openedAny: records.some(({ record }) => record.opened > 0),
    openedAll: records.every(({ held, record }) => record.opened >= held.announcement.sequence),
  };
}

export function studyItem(store: Store, group: Group, stateOf: StateOf, nowMs: number): StudyItem {
  const record = recordOf(store, group);
  return {
    ref: group.ref,
    refs: group.refs,
    uid: group.uid,
    recipients: group.parts.map(({ kind, recipient }) => ({ kind, recipient })),
    attributes: group.attributes,
    series: seriesOf(group, stateOf),
    issued: Math.max(...group.parts.map((held) => held.announcement.issued)),
    sequence: Math.max(...group.parts.map((held) => held.announcement.sequence)),
    settled: group.parts.every((held) => held.announcement.settled),
    current: group.parts.every((held) => store.ledger.shelves.get(held.recipient)?.isCurrent(held.study, nowMs) === true),
    isNew: !record.openedAny,
    isChanged: record.openedAny && !record.openedAll,
    pinned: record.pinned,
    hasReport: group.objects.some((object) => object.entry.layer === 'report'),
    critical: URGENT.has(text(group.attributes, TAG.RequestedProcedurePriority).toUpperCase()),
    layers: layersOf(group.objects, stateOf),
    storedBytes: group.objects.reduce((sum, object) => sum + store.blobs.bytes(object.id), 0),
    evicted: record.evicted,
  };
}

export function recipientStates(store: Store, ledger: Ledger, nowMs: number): RecipientState[] {
  return [...ledger.shelves.values()].map((shelf) => ({
    kind: shelf.kind,
    recipient: shelf.recipient,
    label: store.label(shelf.recipient),
    current: shelf.isListCurrent(nowMs),
    asOf: shelf.head?.issued ?? null,
    revoked: shelf.revoked,
  }));
}

/** What of an item can change; attributes change only with the sequence. */
export function changeKey(item: StudyItem): string {
  const layers = (all: LayerProgress[]): unknown => all.map((one) => [one.layer, one.receivedBytes, one.totalBytes, one.wanted]);
  const { attributes: _attributes, series, layers: own, ...rest } = item;
  return JSON.stringify([rest, layers(own), series.map((one) => [one.uid, layers(one.layers)])]);
}
