/** Moving pictures as they were stored, played by the browser where it can. */

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { SeriesItem, StudyItem, VideoInfo } from '../../api';
import { useApi } from '../context';
import { text } from '../dicom';
import { words } from '../i18n';
import { Bar, Failure, Spinner } from '../parts/parts';
import { compression } from './stage';

/** Whether this browser says that it may play it. What an MP4 holds it finds out only when it tries. */
function isPlayable(video: VideoInfo): boolean {
  return document.createElement('video').canPlayType(video.media) !== '';
}

function Unplayable({ video }: { video: VideoInfo }): JSX.Element {
  const w = words.value.video;
  return (
    <div class="placeholder" role="alert">
      <p class="placeholder-title">{w.unplayable(w.kinds[video.media] ?? video.media)}</p>
      <p>{w.unplayableText}</p>
    </div>
  );
}

function Film({ study, series, video }: { study: StudyItem; series: SeriesItem; video: VideoInfo }): JSX.Element {
  const api = useApi();
  const w = words.value.video;
  const [answer, setAnswer] = useState<{ url: string } | { error: unknown } | 'unplayable'>();
  const [tries, setTries] = useState(0);
  useEffect(() => {
    setAnswer(undefined);
    let isOver = false;
    let url: string | undefined;
    // While the series is open its videos are fetched before anything else.
    const open = api.openSeries(study.ref, series.uid);
    api.video(study.ref, video.id).then(
      (blob) => {
        if (isOver) return;
        url = URL.createObjectURL(blob);
        setAnswer({ url });
      },
      (error: unknown) => isOver || setAnswer({ error }),
    );
    return () => {
      isOver = true;
      open.close();
      if (url) URL.revokeObjectURL(url);
    };
  }, [study.ref, series.uid, video.id, tries]);

  if (answer === 'unplayable') return <Unplayable video={video} />;
  if (answer && 'error' in answer) return <Failure error={answer.error} retry={() => setTries(tries + 1)} />;
  if (answer) {
    return (
      // oxlint-disable-next-line jsx-a11y/media-has-caption -- nobody speaks in it
      <video
        class="film"
        data-testid="film"
        src={answer.url}
        aria-label={text(series.attributes, 'SeriesDescription') || w.title}
        controls
        disablePictureInPicture
        controlsList="nodownload noremoteplayback"
        playsInline
        loop
        onError={() => setAnswer('unplayable')}
      />
    );
  }
  const layer = series.layers.find((one) => one.layer === 'video');
  const share = layer && layer.totalBytes > 0 ? layer.receivedBytes / layer.totalBytes : 0;
  return (
    <div class="placeholder">
      <p>{api.connection.value.state === 'online' ? w.loading : w.waiting}</p>
      <Bar share={share} label={w.loading} />
    </div>
  );
}

/** The videos of a series, one at a time. */
export function Videos(props: { study: StudyItem; series: SeriesItem }): JSX.Element {
  const { study, series } = props;
  const api = useApi();
  const w = words.value;
  const [answer, setAnswer] = useState<{ found: VideoInfo[] } | { error: unknown }>();
  const [chosen, setChosen] = useState(0);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    let isOver = false;
    api.videos(study.ref, series.uid).then(
      (found) => isOver || setAnswer({ found }),
      (error: unknown) => isOver || setAnswer({ error }),
    );
    return () => {
      isOver = true;
    };
  }, [study.ref, series.uid, series.videos, tries]);

  const found = answer && 'found' in answer ? answer.found : [];
  const video = found[Math.min(chosen, found.length - 1)];
  return (
    <div class="stage">
      {!answer && <Spinner label={w.video.loading} />}
      {answer && 'error' in answer && <Failure error={answer.error} retry={() => setTries(tries + 1)} />}
      {video && isPlayable(video) && <Film key={video.id} study={study} series={series} video={video} />}
      {video && !isPlayable(video) && <Unplayable video={video} />}
      {found.length > 1 && (
        <select
          class="corner top-left film-choice"
          aria-label={w.video.title}
          value={String(chosen)}
          onChange={(event) => setChosen(Number(event.currentTarget.value))}
        >
          {found.map((one, index) => (
            <option key={one.id} value={String(index)}>
              {w.viewer.slice(index + 1, found.length)}
            </option>
          ))}
        </select>
      )}
      <div class="film-facts">
        {!study.current && <span class="stale">{w.viewer.notCurrent}</span>}
        {video && <span>{compression(video)}</span>}
        <span class="warning">{w.viewer.notDiagnostic}</span>
      </div>
    </div>
  );
}
