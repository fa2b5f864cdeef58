/** Search and filters above the list. */

import type { JSX } from 'preact';
import { useId } from 'preact/hooks';
import type { Signal } from '@preact/signals';
import { modalityName } from '../dicom';
import { words } from '../i18n';
import { Icon } from '../icons';
import { IconButton } from '../parts/parts';
import type { Filter, Period } from './filter';

export function Filters({ filter, kinds }: { filter: Signal<Filter>; kinds: string[] }): JSX.Element {
  const w = words.value;
  const id = useId();
  const { search, modality, period, onlyNew } = filter.value;
  const change = (part: Partial<Filter>): void => {
    filter.value = { ...filter.value, ...part };
  };
  const periods: [Period, string][] = [
    ['all', w.list.allDates],
    ['today', w.list.today],
    ['week', w.list.week],
    ['month', w.list.month],
    ['year', w.list.year],
  ];
  return (
    <search class="filters">
      <div class="search">
        <Icon name="search" />
        <input
          id={`${id}s`}
          type="search"
          aria-label={w.list.search}
          placeholder={w.list.searchHint}
          value={search}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          enterKeyHint="search"
          onInput={(event) => change({ search: event.currentTarget.value })}
        />
        {search && <IconButton icon="close" label={w.list.clearSearch} onClick={() => change({ search: '' })} />}
      </div>
      <div class="filter-choices">
        <select
          aria-label={w.list.modality}
          class={modality ? 'chosen' : ''}
          value={modality}
          onChange={(event) => change({ modality: event.currentTarget.value })}
        >
          <option value="">{w.list.allModalities}</option>
          {kinds.map((code) => (
            <option key={code} value={code}>
              {modalityName(code, w)}
            </option>
          ))}
        </select>
        <select
          aria-label={w.list.date}
          class={period === 'all' ? '' : 'chosen'}
          value={period}
          onChange={(event) => change({ period: event.currentTarget.value as Period })}
        >
          {periods.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
        <button type="button" class="chip" aria-pressed={onlyNew} onClick={() => change({ onlyNew: !onlyNew })}>
          {w.list.onlyNew}
        </button>
      </div>
    </search>
  );
}
