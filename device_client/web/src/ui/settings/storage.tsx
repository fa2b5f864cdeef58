/** What is kept on this device, and how much of it there may be. */

import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';
import { attempt, useApi } from '../context';
import { bytes } from '../format';
import { words } from '../i18n';
import { Bar, Confirm } from '../parts/parts';
import { Group } from './group';

const LIMITS = [0.5e9, 1e9, 2e9, 4e9, 8e9] as const;

export function Storage(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const id = useId();
  const [clearing, setClearing] = useState(false);
  const { usedBytes, limitBytes, quotaBytes, persisted, pinnedBytes } = api.storage.value;
  const said = w.set.used(bytes(usedBytes, w), bytes(limitBytes, w));
  const choices = [...new Set<number>([...LIMITS.filter((each) => quotaBytes === null || each <= quotaBytes), limitBytes])];
  return (
    <Group title={w.set.storage}>
      <p>{said}</p>
      <Bar share={limitBytes > 0 ? usedBytes / limitBytes : 0} label={said} />
      {pinnedBytes > 0 && <p class="hint">{w.set.pinnedBytes(bytes(pinnedBytes, w))}</p>}
      <div class="field">
        <label for={id}>{w.set.limit}</label>
        <select
          id={id}
          value={String(limitBytes)}
          onChange={(event) => attempt(api.saveSettings({ storeLimitBytes: Number(event.currentTarget.value) }))}
        >
          {choices
            .toSorted((a, b) => a - b)
            .map((limit) => (
              <option key={limit} value={String(limit)}>
                {bytes(limit, w)}
              </option>
            ))}
        </select>
      </div>
      <p class="hint">{persisted ? w.set.persisted : w.set.notPersisted}</p>
      <button type="button" class="button" onClick={() => setClearing(true)}>
        {w.set.clear}
      </button>
      {clearing && (
        <Confirm
          title={w.set.clear}
          text={w.set.clearText}
          yes={w.set.clear}
          onYes={() => attempt(api.clearStore(), w.set.cleared)}
          onClose={() => setClearing(false)}
        />
      )}
    </Group>
  );
}
