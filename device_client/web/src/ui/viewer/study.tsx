/** One study: its pictures, and its reports beside or over them. */

import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { SeriesItem, StudyItem } from '../../api';
import { attempt, useApi, useTitle } from '../context';
import { patientName, sexAndAge, studyDate, studyTitle, text } from '../dicom';
import { date } from '../format';
import { words } from '../i18n';
import { Icon } from '../icons';
import { Guessed, IconButton } from '../parts/parts';
import { ReportPanel } from '../report/panel';
import { back, closeReport, go, type StudyRoute } from '../route';
import { useFoundImage, useWantedImage } from './wanted';
import { StudyMenu } from './menu';
import { Controls, keyPressed } from './controls';
import { Player } from './player';
import { Stage } from './stage';
import { Strip } from './strip';
import { Videos } from './video';

function leave(): void {
  back({ page: 'list' });
}

/** Who it is, always in sight. */
function Head({ study }: { study: StudyItem }): JSX.Element {
  const w = words.value;
  const { attributes } = study;
  const made = studyDate(study);
  const facts = [text(attributes, 'PatientID'), sexAndAge(attributes, w, made ?? new Date())];
  const what = [studyTitle(study, w), made ? date(made, w) : w.list.noDate];
  return (
    <header class="study-head">
      <IconButton icon="back" label={w.back} onClick={leave} />
      <div class="study-who">
        <h1>
          {patientName(attributes, w)} <Guessed attributes={attributes} />
          <span class="study-facts">{facts.filter(Boolean).join(' · ')}</span>
        </h1>
        <p>
          {!study.current && <span class="mark stale">{w.viewer.notCurrent}</span>} {what.join(' · ')}
        </p>
      </div>
      <StudyMenu study={study} />
    </header>
  );
}

/** Opens the reports and closes them; where the thumb reaches it. */
function ReportButton({ study, route }: { study: StudyItem; route: StudyRoute }): JSX.Element | null {
  const open = route.report !== undefined;
  if (!study.hasReport) return null;
  return (
    <button
      type="button"
      class="button report-button"
      aria-expanded={open}
      onClick={() => (open ? closeReport(route) : go({ ...route, report: 0 }))}
    >
      <Icon name="report" />
      <span>{words.value.viewer.reports}</span>
    </button>
  );
}

function Pictures(props: { study: StudyItem; all: readonly SeriesItem[]; chosen: number; route: StudyRoute }): JSX.Element {
  const { study, all, chosen, route } = props;
  const api = useApi();
  const w = words.value;
  const series = all[chosen];
  const hasFrames = series !== undefined && series.frames > 0;
  const player = useMemo(
    () => (hasFrames ? new Player(api.openSeries(study.ref, series.uid), series.frames) : undefined),
    [study.ref, series?.uid, hasFrames],
  );
  useEffect(() => () => player?.close(), [player]);
  const online = api.connection.value.state === 'online';
  useEffect(() => {
    if (online) player?.retryAll();
  }, [online, player]);

  const choose = (index: number): void => {
    if (index >= 0 && index < all.length) go({ ...route, series: index }, { replace: true });
  };
  useEffect(() => {
    if (!player) return undefined;
    const pressed = (event: KeyboardEvent): void => keyPressed(event, player, (by) => choose(chosen + by), leave);
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  });

  useFoundImage(player, series?.uid ?? '');

  if (series && series.frames === 0 && series.videos > 0) {
    return (
      <>
        <Videos key={series.uid} study={study} series={series} />
        <div class="controls">
          <ReportButton study={study} route={route} />
        </div>
      </>
    );
  }
  if (!series || !player || player.count.value === 0) {
    return (
      <>
        <div class="stage nothing">
          <p>{w.viewer.noImages}</p>
          <p>{study.settled ? w.viewer.noImagesText : w.viewer.imagesComing}</p>
        </div>
        <div class="controls">
          <ReportButton study={study} route={route} />
        </div>
      </>
    );
  }
  return (
    <>
      <Stage key={series.uid} player={player} series={series} current={study.current} />
      <Controls player={player}>
        <ReportButton study={study} route={route} />
      </Controls>
    </>
  );
}

/** What there is to see of a series: its pictures, and its videos apart from them. */
function shownParts(series: SeriesItem): SeriesItem[] {
  const parts = series.frames > 0 && series.videos > 0 ? [{ ...series, videos: 0 }, { ...series, frames: 0 }] : [series];
  return parts.filter(({ frames, videos }) => frames + videos > 0);
}

function Opened({ study, route }: { study: StudyItem; route: StudyRoute }): JSX.Element {
  const api = useApi();
  const w = words.value;
  const all = study.series.flatMap(shownParts);
  const chosen = Math.min(route.series ?? 0, Math.max(0, all.length - 1));
  const reports = route.report !== undefined;
  useTitle(studyTitle(study, w));
  useWantedImage(study, all, route);
  useEffect(() => {
    // Nothing to see but what is to read.
    if (all.length === 0 && study.hasReport && study.settled && !reports) go({ ...route, report: 0 }, { replace: true });
  }, [study.ref]);
  useEffect(() => attempt(api.markOpened(study.ref)), [study.ref, study.sequence]);
  return (
    <div class={`study ${reports ? 'with-report' : ''} ${all.length > 1 ? 'with-strip' : ''}`}>
      <Head study={study} />
      <main id="content" class="looking" tabIndex={-1} aria-label={w.viewer.region} aria-describedby="viewer-help">
        <p id="viewer-help" class="only-spoken">
          {w.viewer.help}
        </p>
        <Pictures study={study} all={all} chosen={chosen} route={route} />
      </main>
      {all.length > 1 && (
        <Strip study={study} series={all} chosen={chosen} onChoose={(index) => go({ ...route, series: index }, { replace: true })} />
      )}
      {reports && <ReportPanel study={study} chosen={route.report ?? 0} route={route} />}
    </div>
  );
}

export function Study({ route }: { route: StudyRoute }): JSX.Element {
  const api = useApi();
  const w = words.value;
  const [seen, setSeen] = useState(false);
  const study = api.studies.value.find((each) => each.refs.includes(route.ref));
  useEffect(() => {
    if (study) setSeen(true);
  }, [study]);
  if (study) return <Opened study={study} route={route} />;
  return (
    <div class="study">
      <header class="study-head">
        <IconButton icon="back" label={w.back} onClick={leave} />
      </header>
      <main id="content" class="empty" tabIndex={-1}>
        <Icon name="alert" />
        <h1>{seen ? w.list.gone : w.list.notHere}</h1>
        <button type="button" class="button" onClick={leave}>
          {w.back}
        </button>
      </main>
    </div>
  );
}
