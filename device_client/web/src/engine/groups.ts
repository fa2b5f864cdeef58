/** Studies as a person knows them: all their announcements, in several volumes or for several recipients. */

import type { DataSet } from '../api';
import type { ObjectEntry } from '../wire/messages';
import { encodeReference } from '../wire/names';
import { number, TAG, text } from './datasets';
import type { Held, Ledger } from './ledger';

/** One object of a study, with the announcement that names it and the series that it holds. */
export interface StudyObject {
  id: string;
  held: Held;
  entry: ObjectEntry;
  series: string[];
}

export interface Group {
  /** The first of `refs` in their order. */
  ref: string;
  refs: string[];
  uid: string;
  parts: Held[];
  attributes: DataSet;
  series: Map<string, DataSet>;
  objects: StudyObject[];
}

/** By StudyInstanceUID, those announced last first. */
export function groupStudies(ledger: Ledger): Group[] {
  const byUid = new Map<string, Held[]>();
  for (const held of ledger.studies()) {
    const uid = text(held.attributes, TAG.StudyInstanceUID) || held.study;
    byUid.set(uid, [...(byUid.get(uid) ?? []), held]);
  }
  return [...byUid].map(([uid, parts]) => groupOf(uid, parts));
}

function groupOf(uid: string, parts: Held[]): Group {
  const refs = [...new Set(parts.map((held) => held.study))].toSorted();
  // What an earlier announcement lacks, a later one adds.
  const attributes = Object.assign({}, ...parts.toReversed().map((held) => held.attributes)) as DataSet;
  const series = new Map<string, DataSet>();
  for (const held of parts) {
    for (const dataSet of held.series) {
      const name = text(dataSet, TAG.SeriesInstanceUID);
      if (!series.has(name)) series.set(name, dataSet);
    }
  }
  const inOrder = [...series].toSorted(([a, one], [b, other]) => {
    return number(one, TAG.SeriesNumber) - number(other, TAG.SeriesNumber) || (a < b ? -1 : 1);
  });
  return { ref: refs[0] as string, refs, uid, parts, attributes, series: new Map(inOrder), objects: objectsOf(parts) };
}

function objectsOf(parts: Held[]): StudyObject[] {
  const found = new Map<string, StudyObject>();
  for (const held of parts) {
    for (const entry of held.announcement.objects) {
      const id = encodeReference(entry.object);
      if (found.has(id)) continue;
      const series = entry.series.map((index) => text(held.series[index] as DataSet, TAG.SeriesInstanceUID));
      found.set(id, { id, held, entry, series });
    }
  }
  return [...found.values()].toSorted((a, b) => a.entry.batch - b.entry.batch);
}
