/** Which studies the list shows: pure, so that it can be tried alone. */

import type { StudyItem } from '../../api';
import { modalities, names, studyDate, text } from '../dicom';
import type { Words } from '../i18n/en';

export type Period = 'all' | 'today' | 'week' | 'month' | 'year';

export interface Filter {
  search: string;
  /** Empty: all. */
  modality: string;
  period: Period;
  onlyNew: boolean;
}

export const NO_FILTER: Filter = { search: '', modality: '', period: 'all', onlyNew: false };

const DAYS: Record<Exclude<Period, 'all'>, number> = { today: 0, week: 6, month: 29, year: 364 };

export function isFiltered(filter: Filter): boolean {
  return filter.search.trim() !== '' || filter.modality !== '' || filter.period !== 'all' || filter.onlyNew;
}

function begins(period: Exclude<Period, 'all'>, now: Date): number {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - DAYS[period]).getTime();
}

/** Everything of a study that a search may hit, in lower case without the marks of DICOM. */
function haystack(study: StudyItem, words: Words): string {
  const { attributes } = study;
  const parts = [
    ...names(attributes, words),
    text(attributes, 'PatientID'),
    text(attributes, 'AccessionNumber'),
    text(attributes, 'StudyDescription'),
    ...study.series.flatMap((series) => [text(series.attributes, 'SeriesDescription'), text(series.attributes, 'BodyPartExamined')]),
    ...modalities(study).flatMap((code) => [code, words.modality[code] ?? '']),
  ];
  return parts.join(' ').toLocaleLowerCase().normalize('NFC');
}

export function filtered(studies: readonly StudyItem[], filter: Filter, words: Words, now: Date): StudyItem[] {
  const sought = filter.search.toLocaleLowerCase().normalize('NFC').split(/[\s^,]+/).filter(Boolean);
  const since = filter.period === 'all' ? undefined : begins(filter.period, now);
  return studies.filter((study) => {
    if (filter.onlyNew && !study.isNew && !study.isChanged) return false;
    if (filter.modality && !modalities(study).includes(filter.modality)) return false;
    const date = studyDate(study)?.getTime();
    if (since !== undefined && (date === undefined || date < since)) return false;
    if (sought.length === 0) return true;
    const hay = haystack(study, words);
    return sought.every((word) => hay.includes(word));
  });
}

/** Studies under their patients; patients in the order of their first study in the list. */
export function byPatient(studies: readonly StudyItem[]): { key: string; studies: StudyItem[] }[] {
  const groups = new Map<string, StudyItem[]>();
  for (const study of studies) {
    const key = text(study.attributes, 'PatientID') || study.ref;
    const group = groups.get(key);
    if (group) group.push(study);
    else groups.set(key, [study]);
  }
  return [...groups].map(([key, group]) => ({ key, studies: group }));
}

/** The modalities that there are, most frequent first. */
export function modalitiesOf(studies: readonly StudyItem[]): string[] {
  const counts = new Map<string, number>();
  for (const code of studies.flatMap(modalities)) counts.set(code, (counts.get(code) ?? 0) + 1);
  return [...counts].toSorted((a, b) => b[1] - a[1]).map(([code]) => code);
}
