/** What the list finds, groups and says. */

import { describe, expect, test } from 'vitest';
import { en } from '../../src/ui/i18n/en';
import { ko } from '../../src/ui/i18n/ko';
import { byPatient, filtered, folded, holds, isFiltered, modalitiesOf, NO_FILTER } from '../../src/ui/lists/filter';
import { whereabouts } from '../../src/ui/lists/whereabouts';
import { layer, study } from './made';

const NOW = new Date(2026, 2, 10, 9, 30);
const HONG = study({
  PatientName: { Alphabetic: 'Hong^Gildong', Ideographic: '洪^吉洞', Phonetic: '홍^길동' },
  PatientID: 'P-0012',
  AccessionNumber: 'A77',
  StudyDescription: '복부 CT (조영)',
  StudyDate: '20260310',
  ModalitiesInStudy: ['CT', 'SR'],
});
const MULLER = study({
  PatientName: { Alphabetic: 'Müller^Zoë' },
  PatientID: 'P-0013',
  StudyDate: '20260303',
  ModalitiesInStudy: ['US'],
});
const ALL = [HONG, MULLER];

describe('search', () => {
  test.each([
    ['홍길동', true],
    ['길동 홍', true],
    ['홍길동'.normalize('NFD'), true], // as macOS writes file names
    ['호', true], // on the way to 홍
    ['홍ㄱ', true],
    ['ㅎㄱㄷ', true],
    ['ㄱㄷ', true],
    ['ㅎㄷ', false],
    ['호길', false],
    ['김길동', false],
    ['洪吉', true],
    ['GILDONG hong', true],
    ['hong^gil', true],
    ['Ｐ－００１２', true], // full width
    ['a77', true],
    ['복부 조영', true],
    ['CT', true],
    ['muller', false],
  ])('%s', (search, isFound) => {
    expect(filtered(ALL, { ...NO_FILTER, search }, ko, NOW).includes(HONG)).toBe(isFound);
  });

  test('a letter without its marks hits the one with them, and the other way round', () => {
    for (const search of ['muller', 'Müller', 'mu\u0308ller', 'zoe']) {
      expect(filtered(ALL, { ...NO_FILTER, search }, en, NOW)).toEqual([MULLER]);
    }
  });

  test('case is folded as it is everywhere, not as in one language', () => {
    expect(folded('IİI')).toBe('iii');
    expect(holds(folded('TITLE'), folded('title'))).toBe(true);
  });

  test('kinds of image are found in the reader’s language', () => {
    expect(filtered(ALL, { ...NO_FILTER, search: '초음파' }, ko, NOW)).toEqual([MULLER]);
    expect(filtered(ALL, { ...NO_FILTER, search: 'ultrasound' }, en, NOW)).toEqual([MULLER]);
  });
});

describe('filters', () => {
  test.each([
    ['today', [HONG]],
    ['week', [HONG]],
    ['month', [HONG, MULLER]],
    ['all', ALL],
  ] as const)('%s', (period, found) => {
    expect(filtered(ALL, { ...NO_FILTER, period }, en, NOW)).toEqual(found);
  });

  test('a week is seven days with today', () => {
    const made = (date: string) => study({ StudyDate: date });
    const week = { ...NO_FILTER, period: 'week' as const };
    expect(filtered([made('20260304')], week, en, NOW)).toHaveLength(1);
    expect(filtered([made('20260303')], week, en, NOW)).toHaveLength(0);
    expect(filtered([study({})], week, en, NOW)).toHaveLength(0);
  });

  test('by modality, and what is new or changed', () => {
    expect(filtered(ALL, { ...NO_FILTER, modality: 'US' }, en, NOW)).toEqual([MULLER]);
    const [fresh, changed] = [study({}, { isNew: true }), study({}, { isChanged: true })];
    expect(filtered([HONG, fresh, changed], { ...NO_FILTER, onlyNew: true }, en, NOW)).toEqual([fresh, changed]);
    expect(isFiltered({ ...NO_FILTER, search: ' ' })).toBe(false);
    expect(isFiltered({ ...NO_FILTER, onlyNew: true })).toBe(true);
  });

  test('most frequent kinds first, reports not among them', () => {
    expect(modalitiesOf([HONG, MULLER, MULLER])).toEqual(['US', 'CT']);
  });

  test('patients in the order of their first study; without a number each study stands alone', () => {
    const nobody = [study({}, { ref: 'a' }), study({}, { ref: 'b' })];
    const again = study({ PatientID: 'P-0012' });
    const groups = byPatient([HONG, MULLER, again, ...nobody]);
    expect(groups.map(({ studies }) => studies)).toEqual([[HONG, again], [MULLER], [nobody[0]], [nobody[1]]]);
  });
});

describe('where a study is', () => {
  const of = (layers: ReturnType<typeof layer>[], more = {}) => whereabouts(study({}, { layers, ...more }));

  test('what is wanted and not here is being fetched', () => {
    expect(of([layer('thumbnail', 10, 10), layer('display', 20, 90)])).toEqual({ kind: 'fetching', share: 0.3 });
    expect(of([{ ...layer('display', 0, 0), complete: false }])).toEqual({ kind: 'fetching', share: 0 });
  });

  test('of a study that grows what is here is never said to be all', () => {
    expect(of([layer('display', 9, 9)])).toEqual({ kind: 'whole' });
    expect(of([layer('display', 9, 9)], { settled: false })).toEqual({ kind: 'growing' });
  });

  test('what is not wanted comes when it is opened, for the first time or again', () => {
    expect(of([layer('display', 0, 9, false)])).toEqual({ kind: 'on-demand' });
    expect(of([layer('display', 0, 9, false)], { evicted: true })).toEqual({ kind: 'evicted' });
    expect(of([layer('thumbnail', 9, 9), layer('video', 0, 9, false)])).toEqual({ kind: 'on-demand' });
    expect(of([layer('display', 9, 9, false), layer('diagnostic', 0, 99, false)])).toEqual({ kind: 'whole' });
  });
});

