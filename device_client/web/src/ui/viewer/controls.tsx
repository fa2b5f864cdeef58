/** Playing and zooming by buttons, for those who do not pinch. */

import type { ComponentChildren, JSX } from 'preact';
import { words } from '../i18n';
import { IconButton } from '../parts/parts';
import { SPEEDS } from './cine';
import type { Player } from './player';

export function Controls({ player, children }: { player: Player; children: ComponentChildren }): JSX.Element {
  const w = words.value.viewer;
  const several = player.count.value > 1;
  const playing = player.playing.value;
  const zoomed = player.view.value.zoom > 1.001;
  return (
    <div class="controls" role="toolbar" aria-label={w.region}>
      {several && (
        <>
          <IconButton icon={playing ? 'pause' : 'play'} label={playing ? w.pause : w.play} onClick={() => player.toggle()} />
          <select
            class="speed"
            aria-label={w.speed}
            value={String(player.speed.value)}
            onChange={(event) => player.setSpeed(Number(event.currentTarget.value))}
          >
            {SPEEDS.map((speed) => (
              <option key={speed} value={String(speed)}>
                {speed}×
              </option>
            ))}
          </select>
        </>
      )}
      <span class="controls-gap" />
      {children}
      <span class="controls-gap" />
      {zoomed && (
        <>
          <IconButton icon="minus" label={w.zoomOut} onClick={() => player.zoom(1 / 1.5)} />
          <IconButton icon="fit" label={w.reset} onClick={() => player.reset()} />
        </>
      )}
      <IconButton icon="plus" label={w.zoomIn} onClick={() => player.zoom(1.5)} />
    </div>
  );
}

/** Keys on the whole page, as long as none is meant for a field. */
export function keyPressed(event: KeyboardEvent, player: Player, series: (by: 1 | -1) => void, leave: () => void): void {
  const target = event.target as HTMLElement;
  if (event.altKey || event.ctrlKey || event.metaKey || target.closest('input, select, textarea, dialog, iframe')) return;
  const onButton = target.closest('button, a, summary') !== null;
  const actions: Record<string, () => void> = {
    ArrowDown: () => player.step(1),
    ArrowRight: () => player.step(1),
    ArrowUp: () => player.step(-1),
    ArrowLeft: () => player.step(-1),
    PageDown: () => player.step(10),
    PageUp: () => player.step(-10),
    Home: () => player.go(0),
    End: () => player.go(player.count.peek() - 1),
    '+': () => player.zoom(1.25),
    '=': () => player.zoom(1.25),
    '-': () => player.zoom(1 / 1.25),
    '0': () => player.reset(),
    ']': () => series(1),
    '[': () => series(-1),
    Escape: leave,
    ...(onButton ? {} : { ' ': () => player.toggle() }),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}
