/** Following a report's link, to a picture or to another report. What cannot be shown is said, and the report stays. */

import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Api, Place, SeriesItem, StudyItem } from '../../api';
import { codeOf, say, sentence, useApi } from '../context';
import { words } from '../i18n';
import { standsBeside } from '../report/beside';
import { newestFirst } from '../report/status';
import { go, type StudyRoute, type Wanted, wantedImage } from '../route';
import type { Player } from './player';

/** What has not come by then is not waited for: a jump long after the tap would confuse. */
const PATIENCE_MS = 8000;
/** Only what takes longer is worth a word. */
const SAY_MS = 600;

/** A picture that was found; its series is being opened. */
const found = signal<(Wanted & { series: string }) | null>(null);

function isOnline(api: Api): boolean {
  return api.connection.peek().state === 'online';
}

/** Why there is nothing to show, as far as this device knows. */
function absence(api: Api, study: StudyItem, error?: unknown): string {
  const w = words.peek().report;
  if (error === undefined) return study.settled ? w.linkElsewhere : w.linkNotYet;
  if (codeOf(error) !== 'missing') return sentence(error);
  return isOnline(api) ? w.linkSlow : w.linkWaiting;
}

async function showReport(api: Api, study: StudyItem, wanted: Wanted, route: StudyRoute): Promise<void> {
  const reports = newestFirst(await api.reports(study.ref));
  const index = reports.findIndex(({ instance }) => instance === wanted.instance);
  if (index >= 0 && index !== route.report) go({ ...route, report: index });
}

function showPicture(place: Place, pictures: readonly SeriesItem[], wanted: Wanted, route: StudyRoute): void {
  const series = pictures.findIndex(({ uid }) => uid === place.series);
  // A report that lies over the pictures makes way for them; back leads to the report again.
  if (standsBeside()) go({ ...route, series }, { replace: true });
  else go({ page: 'study', ref: route.ref, series });
  found.value = { ...wanted, series: place.series };
}

/** Follow what a report named, in its own study. `pictures` are the series as the route counts them. */
export function useWantedImage(study: StudyItem, pictures: readonly SeriesItem[], route: StudyRoute): void {
  const api = useApi();
  const wanted = wantedImage.value;
  useEffect(() => {
    if (!wanted) return undefined;
    let isOver = false;
    const timer = setTimeout(() => say(words.peek().report.seeking), SAY_MS);
    const follow = async (): Promise<void> => {
      const place = await api.locate(study.ref, wanted.instance, wanted.frame - 1, isOnline(api) ? PATIENCE_MS : 0);
      if (isOver) return;
      if (!place) say(absence(api, study), true);
      else if (!place.isHere && !isOnline(api)) say(words.peek().report.linkWaiting, true);
      else if (place.isDocument) await showReport(api, study, wanted, route);
      else showPicture(place, pictures, wanted, route);
    };
    follow()
      .catch((error: unknown) => isOver || say(absence(api, study, error), true))
      .finally(() => {
        clearTimeout(timer);
        if (!isOver) wantedImage.value = null;
      });
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [wanted]);
}

/** Show the picture that was found, as soon as the player of its series knows of it. */
export function useFoundImage(player: Player | undefined, series: string): void {
  const sought = found.value;
  const known = player?.known.value;
  useEffect(() => {
    if (!sought) return;
    const isShown = sought.series === series && player?.goTo(sought.instance, sought.frame - 1) === true;
    if (isShown) say(words.peek().report.toImage(player.index.peek() + 1));
    // Whoever goes to another series meanwhile is not led back.
    if (isShown || sought.series !== series) found.value = null;
  }, [sought, player, known, series]);
}
