/** PIN and lock. */

import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';
import { attempt, useApi } from '../context';
import { PinForm } from '../enrol/pin';
import { words } from '../i18n';
import { Group } from './group';

const MINUTES = [1, 2, 5, 10, 30] as const;

function RemovePin({ onDone }: { onDone: () => void }): JSX.Element {
  const api = useApi();
  const w = words.value.pin;
  const id = useId();
  const [current, setCurrent] = useState('');
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        attempt(api.removePin(current).then(onDone), w.removed);
      }}
    >
      <div class="field">
        <label for={id}>{w.current}</label>
        <input
          id={id}
          type="password"
          autocomplete="current-password"
          value={current}
          onInput={(event) => setCurrent(event.currentTarget.value)}
        />
      </div>
      <button type="submit" class="button danger" disabled={current === ''}>
        {w.remove}
      </button>
    </form>
  );
}

export function Security(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const id = useId();
  const { set, required } = api.pin.value;
  const [doing, setDoing] = useState<'change' | 'remove'>();
  const done = (): void => setDoing(undefined);
  const after = api.settings.value.autoLockMinutes;
  const choices = [...new Set<number>([...MINUTES, after])].filter((each) => each > 0).toSorted((a, b) => a - b);
  return (
    <Group title={w.set.security}>
      <div class="setting-buttons">
        <button
          type="button"
          class="button"
          aria-expanded={doing === 'change'}
          onClick={() => setDoing(doing === 'change' ? undefined : 'change')}
        >
          {set ? w.pin.change : w.pin.set}
        </button>
        {set && !required && (
          <button
            type="button"
            class="button"
            aria-expanded={doing === 'remove'}
            onClick={() => setDoing(doing === 'remove' ? undefined : 'remove')}
          >
            {w.pin.remove}
          </button>
        )}
        {set && (
          <button type="button" class="button" onClick={() => attempt(api.lock())}>
            {w.pin.lockNow}
          </button>
        )}
      </div>
      {!set && <p class="hint">{w.pin.setIntro}</p>}
      {doing === 'change' && <PinForm onDone={done} focus />}
      {doing === 'remove' && <RemovePin onDone={done} />}
      {set && (
        <div class="field">
          <label for={id}>{w.set.autoLock}</label>
          <select
            id={id}
            value={String(after)}
            onChange={(event) => attempt(api.saveSettings({ autoLockMinutes: Number(event.currentTarget.value) }))}
          >
            {choices.map((minutes) => (
              <option key={minutes} value={String(minutes)}>
                {w.set.minutes(minutes)}
              </option>
            ))}
            <option value="0">{w.set.autoLockNever}</option>
          </select>
        </div>
      )}
    </Group>
  );
}
