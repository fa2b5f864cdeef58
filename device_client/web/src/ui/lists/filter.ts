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

/**
 * Text as it is compared: without case, accents and widths, and Hangul in its letters (Unicode's NFKD). So half a
 * syllable, as it stands while one types, hits the whole one: 호 and 홍ㄱ hit 홍길동.
 */
export function folded(written: string): string {
  return written.normalize('NFKD').replaceAll(/[\u0300-\u036f]/g, '').toLowerCase();
}

/** A word of leading consonants alone, as Koreans shorten names: ㅎㄱㄷ. */
const LEADING_ALONE = /^[\u1100-\u1112]+$/;
const NOT_LEADING = /[\u1161-\u11ff]/g;

/** Whether a folded text holds a folded word. */
export function holds(hay: string, word: string): boolean {
  return hay.includes(word) || (LEADING_ALONE.test(word) && hay.replaceAll(NOT_LEADING, '').includes(word));
}

/** Everything of a study that a search may hit, folded, without the marks of DICOM. */
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
  return folded(parts.join(' '));
}

export function filtered(studies: readonly StudyItem[], filter: Filter, words: Words, now: Date): StudyItem[] {
  const sought = folded(filter.search).split(/[\s^,]+/).filter(Boolean);
  const since = filter.period === 'all' ? undefined : begins(filter.period, now);
  return studies.filter((study) => {
    if (filter.onlyNew && !study.isNew && !study.isChanged) return false;
    if (filter.modality && !modalities(study).includes(filter.modality)) return false;
    const date = studyDate(study)?.getTime();
    if (since !== undefined && (date === undefined || date < since)) return false;
    if (sought.length === 0) return true;
    const hay = haystack(study, words);
    return sought.every((word) => holds(hay, word));
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
