/** Dates, ages, sizes and names as they are said. */

import { describe, expect, test } from 'vitest';
import type { ReportInfo } from '../../src/api';
import { dateOf, isGuessed, modalities, names, patientName, sexAndAge, studyTitle } from '../../src/ui/dicom';
import { age, bytes, date, day, time } from '../../src/ui/format';
import { en } from '../../src/ui/i18n/en';
import { ko } from '../../src/ui/i18n/ko';
import { newestFirst, replacedBy, statusOf } from '../../src/ui/report/status';
import { dataSet, study } from './made';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

describe('how long ago', () => {
  test.each([
    [0, 'just now', '방금'],
    [-5 * MINUTE, 'just now', '방금'], // a clock that is behind
    [MINUTE - 1, 'just now', '방금'],
    [MINUTE, '1 minute ago', '1분 전'],
    [HOUR - 1, '59 minutes ago', '59분 전'],
    [HOUR, '1 hour ago', '1시간 전'],
    [48 * HOUR - 1, '47 hours ago', '47시간 전'],
    [48 * HOUR, '2 days ago', '2일 전'],
    [24_000 * HOUR, '1,000 days ago', '1,000일 전'],
  ])('%d ms', (passed, english, korean) => {
    expect(age(1e12, 1e12 + passed, en)).toBe(english);
    expect(age(1e12, 1e12 + passed, ko)).toBe(korean);
  });
});

describe('days', () => {
  const now = new Date(2026, 0, 1, 0, 30);
  test('by the calendar, not by hours', () => {
    expect(day(new Date(2026, 0, 1, 23, 59), now, en)).toBe('Today');
    expect(day(new Date(2025, 11, 31, 23, 59), now, ko)).toBe('어제');
    expect(day(new Date(2025, 11, 30), now, ko)).toBe('2025년 12월 30일');
    expect(date(new Date(2025, 11, 30), en)).toBe('Dec 30, 2025');
    expect(time(new Date(2025, 11, 30, 14, 5), ko)).toMatch(/2:05/);
  });
});

describe('dates of DICOM', () => {
  test.each([
    ['20260228', '142530.5', new Date(2026, 1, 28, 14, 25, 30)],
    ['20260228', '14', new Date(2026, 1, 28, 14)],
    ['2026.02.28', '14:25', new Date(2026, 1, 28, 14, 25)], // as before DICOM 3.0
    ['20260228', '', new Date(2026, 1, 28)],
    ['20260229', '', undefined], // there was none
    ['20261301', '', undefined],
    ['', '', undefined],
    ['unknown', '', undefined],
  ])('%s %s', (da, tm, found) => {
    expect(dateOf(da, tm)).toEqual(found);
  });
});

describe('who it is', () => {
  const hong = dataSet({ PatientName: { Alphabetic: 'Hong^Gildong', Ideographic: '洪^吉洞', Phonetic: '홍^길동' } });
  test('in the reader’s own letters first', () => {
    expect(names(hong, ko)).toEqual(['홍길동', 'Hong, Gildong', '洪吉洞']);
    expect(names(hong, en)).toEqual(['Hong, Gildong', '洪吉洞', '홍길동']);
  });

  test('prefix, middle and suffix; nothing of nothing', () => {
    expect(patientName(dataSet({ PatientName: { Alphabetic: 'Adams^John Robert^Quincy^Rev.^B.A.' } }), en)).toBe(
      'Adams, Rev. John Robert Quincy B.A.',
    );
    expect(patientName(dataSet({ PatientName: { Alphabetic: '^^' } }), en)).toBe('No name');
    expect(patientName(dataSet({ PatientName: { Alphabetic: 'Hong^Gildong', Ideographic: 'Hong^Gildong' } }), en)).toBe('Hong, Gildong');
  });

  test.each([
    ['19580412', new Date(2026, 3, 11), 'M · 67 y'],
    ['19580412', new Date(2026, 3, 12), 'M · 68 y'],
    ['20270101', new Date(2026, 3, 12), 'M'],
    ['17000101', new Date(2026, 3, 12), 'M'],
    ['', new Date(2026, 3, 12), 'M'],
  ])('born %s', (born, at, said) => {
    expect(sexAndAge(dataSet({ PatientSex: 'M', PatientBirthDate: born }), en, at)).toBe(said);
  });

  test('text that was guessed', () => {
    const original = [{ '04000550': { Value: [dataSet({ SpecificCharacterSet: 'ISO_IR 192' })] } }];
    expect(isGuessed(dataSet({ OriginalAttributesSequence: original }))).toBe(true);
    expect(isGuessed(dataSet({}))).toBe(false);
  });
});

describe('what it is', () => {
  const series = { uid: '1', frames: 3, videos: 0, layers: [], attributes: dataSet({ Modality: 'DX', BodyPartExamined: 'CHEST' }) };
  test('its description, else kind and part of the body', () => {
    expect(studyTitle(study({ StudyDescription: 'Thorax' }, { series: [series] }), en)).toBe('Thorax');
    expect(studyTitle(study({}, { series: [series] }), ko)).toBe('X선 CHEST');
    expect(studyTitle(study({}), en)).toBe('Study');
  });

  test('reports are named where there is nothing else', () => {
    expect(modalities(study({ ModalitiesInStudy: ['SR', 'CT', 'PR'] }))).toEqual(['CT']);
    expect(modalities(study({ ModalitiesInStudy: ['SR'] }))).toEqual(['SR']);
  });
});

describe('sizes', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [99_949, '99.9 kB'],
    [999_499, '999 kB'],
    [999_500, '1 MB'],
    [2 * 1024 ** 3, '2.1 GB'],
    [5e15, '5,000 TB'],
  ])('%d', (size, said) => {
    expect(bytes(size, en)).toBe(said);
  });
});

describe('how far a report may still change', () => {
  test.each([
    [{}, undefined],
    [{ PreliminaryFlag: 'PRELIMINARY', VerificationFlag: 'VERIFIED' }, 'preliminary'],
    [{ CompletionFlag: 'PARTIAL', VerificationFlag: 'VERIFIED' }, 'preliminary'],
    [{ CompletionFlag: 'COMPLETE', VerificationFlag: 'UNVERIFIED' }, 'preliminary'],
    [{ CompletionFlag: 'COMPLETE', VerificationFlag: 'VERIFIED' }, 'final'],
    [{ CompletionFlag: 'COMPLETE', PreliminaryFlag: 'FINAL', VerificationFlag: 'UNVERIFIED' }, 'final'],
    [{ CompletionFlag: 'COMPLETE', VerificationFlag: 'VERIFIED', PredecessorDocumentsSequence: [{}] }, 'amended'],
  ])('%j', (flags, status) => {
    expect(statusOf(dataSet(flags))).toBe(status);
  });
});

describe('several reports', () => {
  const report = (instance: string, written: string, earlier: string[] = []): ReportInfo => ({
    id: `o/${instance}`,
    instance,
    series: '1',
    media: ['text/html'],
    bytes: 1,
    attributes: dataSet({
      ContentDate: written,
      PredecessorDocumentsSequence: earlier.map((uid) => dataSet({ ReferencedSOPInstanceUID: uid })),
    }),
  });
  const all = [report('1.1', '20260101'), report('1.2', '20260102', ['1.1', '9.9']), report('1.3', '')];

  test('what another one names as its predecessor was replaced; nothing replaces itself', () => {
    expect(all.map(({ instance }) => replacedBy(all).has(instance))).toEqual([true, false, false]);
    expect(replacedBy([report('1.1', '', ['1.1'])]).size).toBe(0);
  });

  test('the newest first, those without a date last', () => {
    expect(newestFirst(all).map(({ instance }) => instance)).toEqual(['1.2', '1.1', '1.3']);
  });
});

describe('two languages', () => {
  const entries = (words: object, path = ''): [string, unknown][] =>
    Object.entries(words).flatMap(([key, value]): [string, unknown][] => {
      const at = `${path}.${key}`;
      return typeof value === 'object' && value !== null ? entries(value, at) : [[at, value]];
    });
  const leaves = (words: object): Record<string, unknown> => Object.fromEntries(entries(words));

  test('say the same things, and each of them something', () => {
    const [english, korean] = [leaves(en), leaves(ko)];
    expect(Object.keys(korean).toSorted()).toEqual(Object.keys(english).toSorted());
    for (const said of [...Object.values(english), ...Object.values(korean)]) {
      expect(typeof said === 'function' || (typeof said === 'string' && said.trim() === said && said !== '')).toBe(true);
    }
  });

  test('Korean is Korean but for names, codes and units', () => {
    const foreign = Object.entries(leaves(ko)).filter(([, said]) => typeof said === 'string' && !/[가-힣]/.test(said));
    expect(foreign.map(([path]) => path).toSorted()).toEqual(['.appName', '.locale', '.modality.CT', '.modality.MR', '.modality.PT', '.pin.pin', '.video.kinds.video/h264', '.video.kinds.video/h265', '.video.kinds.video/mp4', '.video.kinds.video/mpeg']);
  });
});
