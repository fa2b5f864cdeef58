/** The picture itself, with what must always be seen beside it. */

import { useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { DataSet, SeriesItem } from '../../api';
import { codeOf, sentence, useApi } from '../context';
import { number, numbers, text, values } from '../dicom';
import { words } from '../i18n';
import { Bar } from '../parts/parts';
import { listen } from './gestures';
import { type EdgeLetters, fromCosines, fromPatientOrientation } from './orientation';
import type { Player } from './player';

/** Pixels that a finger moves for one frame: the whole stack in one stroke where that is not too quick. */
function strokePx(height: number, count: number): number {
  return Math.min(24, Math.max(4, (height * 0.8) / Math.max(1, count)));
}

export function letters(attributes: DataSet | undefined): EdgeLetters | undefined {
  const named = values(attributes, 'PatientOrientation').filter((each): each is string => typeof each === 'string');
  return fromCosines(numbers(attributes, 'ImageOrientationPatient')) ?? fromPatientOrientation(named);
}

function Letters({ player }: { player: Player }): JSX.Element | null {
  const w = words.value.viewer;
  const shown = player.shown.value;
  const found = shown.kind === 'here' ? letters(shown.value.info.attributes) : undefined;
  if (!found) return null;
  return (
    <div class="letters" role="img" aria-label={w.orientation(found.left, found.right, found.top, found.bottom)}>
      {(['left', 'right', 'top', 'bottom'] as const).map((edge) => (
        <span key={edge} class={`letter ${edge}`} aria-hidden="true">
          {found[edge]}
        </span>
      ))}
    </div>
  );
}

export function compression({ lossy, ratio }: { lossy: boolean; ratio: number }): string {
  const w = words.value.viewer;
  if (!lossy) return w.lossless;
  if (!(ratio > 1)) return w.lossyNoRatio;
  return w.lossy(ratio.toLocaleString(words.value.locale, { maximumFractionDigits: ratio < 10 ? 1 : 0 }));
}

/** Corners: what the series is, which image, how much was lost, and what it is not good for. */
function Facts({ player, series, current }: { player: Player; series: SeriesItem; current: boolean }): JSX.Element {
  const w = words.value.viewer;
  const shown = player.shown.value;
  const picture = shown.kind === 'here' ? shown.value : undefined;
  const thickness = number(picture?.info.attributes, 'SliceThickness');
  const count = player.count.value;
  return (
    <>
      <p class="corner top-left">
        {[text(series.attributes, 'Modality'), text(series.attributes, 'SeriesDescription')].filter(Boolean).join(' · ')}
      </p>
      <div class="corner bottom-left">
        <span class="slice" data-testid="slice">
          {w.slice(player.index.value + 1, count)}
        </span>
        {picture && (
          <span>
            {[compression(picture.info), thickness !== undefined && w.thickness(thickness.toFixed(1).replace(/\.0$/, ''))]
              .filter(Boolean)
              .join(' · ')}
          </span>
        )}
      </div>
      <div class="corner bottom-right">
        {!current && <span class="stale">{w.notCurrent}</span>}
        <span class="warning">{w.notDiagnostic}</span>
      </div>
    </>
  );
}

function Waiting({ player }: { player: Player }): JSX.Element | null {
  const w = words.value;
  const api = useApi();
  const shown = player.shown.value;
  const n = player.index.value + 1;
  if (shown.kind === 'here') return null;
  if (shown.kind === 'coming') {
    const online = api.connection.value.state === 'online';
    const said = online ? w.viewer.loading(n) : w.viewer.waiting(n);
    return (
      <div class="placeholder">
        <p>{said}</p>
        <Bar share={player.progress.value} label={said} />
      </div>
    );
  }
  return (
    <div class="placeholder" role="alert">
      <p class="placeholder-title">{codeOf(shown.error) === 'missing' ? w.viewer.waiting(n) : w.viewer.failed(n)}</p>
      <p>{sentence(shown.error)}</p>
      <button type="button" class="button" onClick={() => player.retry()}>
        {w.retry}
      </button>
    </div>
  );
}

/** What is read out: not each image of a film, only where it stands still. */
function Spoken({ player }: { player: Player }): JSX.Element {
  const w = words.value.viewer;
  const said = useComputed(() => (player.playing.value ? '' : w.sliceSpoken(player.index.value + 1, player.count.value)));
  return (
    <p class="only-spoken" aria-live="polite">
      {said.value}
    </p>
  );
}

export function Stage(props: { player: Player; series: SeriesItem; current: boolean }): JSX.Element {
  const { player, series, current } = props;
  const w = words.value.viewer;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => (canvas.current ? player.attach(canvas.current) : undefined), [player]);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    let stroked = 0;
    return listen(element, {
      drag(dx, dy) {
        if (player.count.peek() < 2) {
          player.move(dx, dy);
          return;
        }
        stroked += dy;
        const steps = Math.trunc(stroked / strokePx(element.clientHeight, player.count.peek()));
        if (steps === 0) return;
        stroked -= steps * strokePx(element.clientHeight, player.count.peek());
        player.step(steps);
      },
      pan: (dx, dy) => player.move(dx, dy),
      pinch(dx, dy, factor, at) {
        player.zoom(factor, at);
        player.move(dx, dy);
      },
      wheel(notches, zooming, at) {
        if (zooming || player.count.peek() < 2) player.zoom(Math.exp(-notches * 0.2), at);
        else player.step(notches);
      },
      doubleTap(at) {
        if (player.zoomed) player.reset();
        else player.zoom(2.5, at);
      },
    });
  }, [player]);

  const count = player.count.value;
  return (
    <div class="stage">
      <div class="picture" ref={box} role="img" aria-label={w.sliceSpoken(player.index.value + 1, count)} data-testid="picture">
        <canvas ref={canvas} />
      </div>
      <Letters player={player} />
      <Facts player={player} series={series} current={current} />
      <Waiting player={player} />
      <Spoken player={player} />
      {count > 1 && (
        <input
          class="edge-slider"
          type="range"
          min={1}
          max={count}
          value={player.index.value + 1}
          aria-label={w.slider}
          aria-orientation="vertical"
          aria-valuetext={w.sliceSpoken(player.index.value + 1, count)}
          onInput={(event) => {
            player.pause();
            player.go(Number(event.currentTarget.value) - 1);
          }}
        />
      )}
    </div>
  );
}
