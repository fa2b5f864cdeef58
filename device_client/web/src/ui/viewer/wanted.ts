/** Finding the image that a report names: in this series, else in each of the others. */

import { useEffect, useRef } from 'preact/hooks';
import { say } from '../context';
import { words } from '../i18n';
import { wantedImage } from '../route';
import type { Player } from './player';

/** Headers that have not come by then are not waited for: a jump long after the tap would confuse. */
const PATIENCE_MS = 8000;

function giveUp(): void {
  wantedImage.value = null;
  say(words.peek().report.imageElsewhere, true);
}

/** `next` shows a series that is not among those tried, or says that there is none. */
export function useWantedImage(player: Player | undefined, next: (tried: ReadonlySet<string>) => boolean, series: string): void {
  const wanted = wantedImage.value;
  const known = player?.known.value;
  const tried = useRef(new Set<string>());
  useEffect(() => {
    tried.current.clear();
    if (!wanted) return undefined;
    const timer = setTimeout(giveUp, PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [wanted]);
  useEffect(() => {
    if (!wanted || !player || !known) return;
    if (player.goTo(wanted.instance, wanted.frame - 1)) {
      wantedImage.value = null;
      say(words.peek().report.toImage(player.index.peek() + 1));
      return;
    }
    if (known.length < player.count.peek() || known.includes(null)) return;
    tried.current.add(series);
    if (!next(tried.current)) giveUp();
  }, [wanted, player, known]);
}
