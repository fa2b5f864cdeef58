/** One study in the list. */

import type { JSX } from 'preact';
import { memo } from 'preact/compat';
import type { StudyItem } from '../../api';
import { modalities, modalityName, studyDate, studyTitle } from '../dicom';
import { day, time } from '../format';
import { words } from '../i18n';
import type { Words } from '../i18n/en';
import { Icon } from '../icons';
import { Bar } from '../parts/parts';
import { Thumb } from '../parts/thumb';
import { fragmentOf, go } from '../route';
import { whereabouts } from './whereabouts';

function Where({ study }: { study: StudyItem }): JSX.Element {
  const w = words.value.list;
  const at = whereabouts(study);
  if (at.kind === 'fetching') {
    const said = w.fetching(Math.floor(at.share * 100));
    return (
      <span class="row-progress">
        <Bar share={at.share} label={said} />
        <span class="row-state">{said}</span>
      </span>
    );
  }
  const said = { whole: w.complete, growing: w.growing, evicted: w.evicted, 'on-demand': w.onDemand }[at.kind];
  return (
    <span class="row-state">
      {at.kind === 'whole' && <Icon name="check" />}
      {said}
    </span>
  );
}

function Marks({ study }: { study: StudyItem }): JSX.Element {
  const w = words.value.list;
  return (
    <>
      {study.critical && <span class="mark critical">{w.critical}</span>}
      {study.isNew && <span class="mark new">{w.isNew}</span>}
      {!study.isNew && study.isChanged && <span class="mark changed">{w.isChanged}</span>}
      {study.hasReport && <span class="mark plain">{w.report}</span>}
      {study.pinned && <span class="mark plain">{w.pinned}</span>}
      {!study.current && <span class="mark stale">{words.value.connection.notCurrent}</span>}
    </>
  );
}

/** The time of day matters for what was made just now. */
function when(made: Date, w: Words): string {
  const now = new Date();
  const recent = now.getTime() - made.getTime() < 2 * 86_400_000;
  return recent ? `${day(made, now, w)} ${time(made, w)}` : day(made, now, w);
}

function StudyRow({ study }: { study: StudyItem }): JSX.Element {
  const w = words.value;
  const made = studyDate(study);
  const kinds = modalities(study).map((code) => modalityName(code, w));
  const images = study.series.reduce((sum, series) => sum + series.frames, 0);
  const videos = study.series.reduce((sum, series) => sum + series.videos, 0);
  const held = [images > 0 && w.list.images(images), videos > 0 && w.list.videos(videos)].filter(Boolean);
  const first = study.series.find((series) => series.frames > 0) ?? study.series[0];
  const to = { page: 'study', ref: study.ref } as const;
  return (
    <li class="row">
      <a
        class="row-link"
        href={fragmentOf(to)}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          go(to);
        }}
      >
        <Thumb study={study} series={first} />
        <span class="row-text">
          <span class="row-title">{studyTitle(study, w)}</span>
          <span class="row-facts">
            {[kinds.join(', '), made ? when(made, w) : w.list.noDate].filter(Boolean).join(' · ')}
          </span>
          <span class="row-facts">{held.length > 0 ? held.join(' · ') : w.list.series(study.series.length)}</span>
          <span class="row-marks">
            <Marks study={study} />
          </span>
          <Where study={study} />
        </span>
      </a>
    </li>
  );
}

/** Items are replaced when they change, so a row whose item is the same is not drawn again. */
export const Row = memo(StudyRow, (before, after) => before.study === after.study);
