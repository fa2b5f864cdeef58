/** The series of the study, to choose from. */

import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { SeriesItem, StudyItem } from '../../api';
import { modalityName, text } from '../dicom';
import { words } from '../i18n';
import { Bar } from '../parts/parts';
import { Thumb } from '../parts/thumb';

export function seriesTitle(series: SeriesItem): string {
  const w = words.value;
  const described = text(series.attributes, 'SeriesDescription');
  const numbered = text(series.attributes, 'SeriesNumber');
  return described || (numbered ? w.viewer.seriesName(numbered) : modalityName(text(series.attributes, 'Modality'), w));
}

function Choice(props: { study: StudyItem; series: SeriesItem; chosen: boolean; onChoose: () => void }): JSX.Element {
  const w = words.value;
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (props.chosen) button.current?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [props.chosen]);
  const kind = props.series.frames > 0 ? 'display' : 'video';
  const display = props.series.layers.filter((layer) => layer.layer === kind);
  const total = display.reduce((sum, layer) => sum + layer.totalBytes, 0);
  const received = display.reduce((sum, layer) => sum + layer.receivedBytes, 0);
  const title = seriesTitle(props.series);
  return (
    <button ref={button} type="button" class="series" aria-pressed={props.chosen} onClick={props.onChoose}>
      <Thumb study={props.study} series={props.series} />
      <span class="series-text">
        <span class="series-title">{title}</span>
        <span class="series-count">{props.series.frames > 0 ? w.list.images(props.series.frames) : w.list.videos(props.series.videos)}</span>
      </span>
      {received < total && <Bar share={received / total} label={w.list.fetching(Math.floor((received / total) * 100))} />}
    </button>
  );
}

export function Strip(props: {
  study: StudyItem;
  series: readonly SeriesItem[];
  chosen: number;
  onChoose: (index: number) => void;
}): JSX.Element {
  return (
    <nav class="strip" aria-label={words.value.viewer.seriesStrip}>
      {props.series.map((series, index) => (
        <Choice
          key={`${series.uid} ${series.frames > 0}`}
          study={props.study}
          series={series}
          chosen={index === props.chosen}
          onChoose={() => props.onChoose(index)}
        />
      ))}
    </nav>
  );
}
