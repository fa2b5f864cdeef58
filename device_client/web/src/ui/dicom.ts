/** What the screens read from the DICOM JSON model (PS3.18 annex F), made fit for people. */

import type { DataSet, StudyItem } from '../api';
import type { Words } from './i18n/en';

export const TAG = {
  StudyDate: '00080020',
  ContentDate: '00080023',
  StudyTime: '00080030',
  ContentTime: '00080033',
  AccessionNumber: '00080050',
  Modality: '00080060',
  ModalitiesInStudy: '00080061',
  StudyDescription: '00081030',
  SeriesDescription: '0008103E',
  ReferencedSOPInstanceUID: '00081155',
  RecommendedDisplayFrameRate: '00082144',
  PatientName: '00100010',
  PatientID: '00100020',
  PatientBirthDate: '00100030',
  PatientSex: '00100040',
  BodyPartExamined: '00180015',
  CineRate: '00180040',
  SliceThickness: '00180050',
  FrameTime: '00181063',
  SeriesNumber: '00200011',
  PatientOrientation: '00200020',
  ImageOrientationPatient: '00200037',
  ConceptNameCodeSequence: '0040A043',
  PredecessorDocumentsSequence: '0040A360',
  CompletionFlag: '0040A491',
  VerificationFlag: '0040A493',
  PreliminaryFlag: '0040A496',
  DocumentTitle: '00420010',
  SpecificCharacterSet: '00080005',
  ModifiedAttributesSequence: '04000550',
  OriginalAttributesSequence: '04000561',
  CodeMeaning: '00080104',
} as const;

export type Keyword = keyof typeof TAG;

export function values(data: DataSet | undefined, keyword: Keyword): unknown[] {
  const found = data?.[TAG[keyword]]?.Value;
  return Array.isArray(found) ? found : [];
}

export function text(data: DataSet | undefined, keyword: Keyword): string {
  return values(data, keyword)
    .filter((value) => typeof value === 'string' || typeof value === 'number')
    .join(', ')
    .trim();
}

export function numbers(data: DataSet | undefined, keyword: Keyword): number[] {
  return values(data, keyword)
    .map(Number)
    .filter((value) => Number.isFinite(value));
}

export function number(data: DataSet | undefined, keyword: Keyword): number | undefined {
  return numbers(data, keyword)[0];
}

/** The data sets of a sequence. */
export function items(data: DataSet | undefined, keyword: Keyword): DataSet[] {
  return values(data, keyword).filter((value): value is DataSet => typeof value === 'object' && value !== null);
}

/** Whether the gateway read the text against what its file declares, or without a declaration (docs/protocol.md). */
export function isGuessed(data: DataSet | undefined): boolean {
  const modified = items(data, 'OriginalAttributesSequence').flatMap((item) => items(item, 'ModifiedAttributesSequence'));
  return modified.some((item) => TAG.SpecificCharacterSet in item);
}

const HANGUL = /[\uac00-\ud7a3]/;

/** Every way in which the name is written, the one for the reader's language first. Empty if there is none. */
export function names(data: DataSet | undefined, words: Words): string[] {
  const [name] = values(data, 'PatientName');
  const groups = typeof name === 'object' && name !== null ? (name as Record<string, unknown>) : { Alphabetic: name };
  const written = ['Alphabetic', 'Ideographic', 'Phonetic']
    .map((group) => groups[group])
    .filter((group): group is string => typeof group === 'string' && group.replaceAll('^', '').trim() !== '');
  if (words.locale === 'ko') written.sort((a, b) => Number(HANGUL.test(b)) - Number(HANGUL.test(a)));
  return [...new Set(written.map(spoken))];
}

/** A name's components (PS3.5 6.2.1) as they are said: East Asian ones without a space, family name first. */
function spoken(group: string): string {
  const [family = '', given = '', middle = '', prefix = '', suffix = ''] = group.split('^').map((part) => part.trim());
  if (/[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]/.test(group)) return `${family}${given}${middle}`;
  const own = [prefix, given, middle].filter(Boolean).join(' ');
  return [[family, own].filter(Boolean).join(', '), suffix].filter(Boolean).join(' ');
}

export function patientName(data: DataSet | undefined, words: Words): string {
  return names(data, words)[0] ?? words.list.unnamed;
}

/** DA and TM as a date of this place; the time is midnight where there is none. */
export function dateOf(date: string, time = ''): Date | undefined {
  const day = /^(\d{4})\.?(\d{2})\.?(\d{2})$/.exec(date);
  if (!day) return undefined;
  const clock = /^(\d{2})(\d{2})?(\d{2})?/.exec(time.replaceAll(':', ''));
  const [hour, minute, second] = [1, 2, 3].map((at) => Number(clock?.[at] ?? 0));
  const found = new Date(Number(day[1]), Number(day[2]) - 1, Number(day[3]), hour, minute, second);
  return found.getMonth() === Number(day[2]) - 1 ? found : undefined;
}

/** When the study was made. */
export function studyDate(study: StudyItem): Date | undefined {
  return dateOf(text(study.attributes, 'StudyDate'), text(study.attributes, 'StudyTime'));
}

/** `M · 68 y`, as much of it as is known. */
export function sexAndAge(data: DataSet, words: Words, at: Date): string {
  const sex = { M: words.list.male, F: words.list.female, O: words.list.other }[text(data, 'PatientSex')];
  const born = dateOf(text(data, 'PatientBirthDate'));
  const before = born && (at.getMonth() - born.getMonth() || at.getDate() - born.getDate()) < 0;
  const age = born ? at.getFullYear() - born.getFullYear() - (before ? 1 : 0) : undefined;
  return [sex, age !== undefined && age >= 0 && age < 150 ? words.list.years(age) : undefined].filter(Boolean).join(' · ');
}

/** The study's modalities, those of reports left out where there are pictures. */
export function modalities(study: StudyItem): string[] {
  const named = values(study.attributes, 'ModalitiesInStudy').filter((each): each is string => typeof each === 'string');
  const all = new Set(named.length > 0 ? named : study.series.map((series) => text(series.attributes, 'Modality')));
  const pictures = [...all].filter((each) => each && !['SR', 'DOC', 'KO', 'PR'].includes(each));
  return pictures.length > 0 ? pictures : [...all].filter(Boolean);
}

export function modalityName(code: string, words: Words): string {
  return words.modality[code] ?? code;
}

/** What the study is called: its description, else kind of image and part of the body. */
export function studyTitle(study: StudyItem, words: Words): string {
  const described = text(study.attributes, 'StudyDescription');
  if (described) return described;
  const first = study.series.find((series) => series.frames > 0) ?? study.series[0];
  const kinds = modalities(study).map((code) => modalityName(code, words));
  const title = [...kinds, text(first?.attributes, 'BodyPartExamined')].filter(Boolean).join(' ');
  return title || words.list.untitled;
}
