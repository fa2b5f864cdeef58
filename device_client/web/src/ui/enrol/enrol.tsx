/** Setting a device up by the hospital's link. */

import type { JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { codeOf, sentence, useApi, useTitle } from '../context';
import { words } from '../i18n';
import { Spinner } from '../parts/parts';
import { enrolmentLink } from '../route';
import { Gate } from './gate';

/** A name that tells this device from the reader's others. */
function suggestedName(): string {
  const w = words.peek().enrol;
  const agent = navigator.userAgent;
  const named = /iPhone|iPad|Galaxy|Pixel \d\w*|SM-\w+/.exec(agent)?.[0];
  if (named) return named;
  if (/Android/.test(agent)) return /Mobile/.test(agent) ? w.phone : w.tablet;
  const system = /Mac OS X|Windows|Linux|CrOS/.exec(agent)?.[0];
  return system ? `${w.computer} (${system.replace('Mac OS X', 'Mac')})` : w.computer;
}

const LATE_MS = 1500;

/** After these the same link cannot work again. */
const SPENT: ReadonlySet<string> = new Set(['link-invalid', 'link-expired', 'link-refused']);

/** Shown once the answer is late: where nobody has to confirm, it comes at once. */
function Confirmation({ fingerprint }: { fingerprint: string }): JSX.Element | null {
  const w = words.value.enrol;
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), LATE_MS);
    return () => clearTimeout(timer);
  }, []);
  if (!isLate) return null;
  return (
    <div role="status">
      <p>{w.confirm}</p>
      <p class="fingerprint shown">{fingerprint}</p>
      <p class="hint">{w.stay}</p>
    </div>
  );
}

export function Enrol(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const id = useId();
  const [pasted, setPasted] = useState('');
  const [name, setName] = useState(suggestedName);
  const [error, setError] = useState<unknown>();
  const alert = useRef<HTMLParagraphElement>(null);
  const phase = api.phase.value;
  const fromLink = enrolmentLink.value;
  useTitle(w.enrol.title);
  useEffect(() => {
    if (error) alert.current?.focus();
  }, [error]);

  if (phase.name === 'enrolling') {
    return (
      <Gate title={w.enrol.title}>
        <Spinner label={w.enrol.steps[phase.step]} />
        {phase.fingerprint && <Confirmation fingerprint={phase.fingerprint} />}
      </Gate>
    );
  }

  const start = async (event: Event): Promise<void> => {
    event.preventDefault();
    setError(undefined);
    try {
      await api.enrol((fromLink ?? pasted).trim(), name.trim() || suggestedName());
      enrolmentLink.value = null;
    } catch (caught) {
      if (SPENT.has(codeOf(caught))) enrolmentLink.value = null;
      setError(caught);
    }
  };
  const canPaste = typeof navigator.clipboard?.readText === 'function';
  return (
    <Gate title={w.enrol.title}>
      <p class="gate-lead">{fromLink ? w.enrol.fromLink : w.enrol.intro}</p>
      {error !== undefined && (
        <p class="form-error" role="alert" ref={alert} tabIndex={-1}>
          {sentence(error)}
        </p>
      )}
      <form class="form" onSubmit={start}>
        {!fromLink && (
          <div class="field">
            <label for={`${id}l`}>{w.enrol.link}</label>
            <textarea
              id={`${id}l`}
              rows={3}
              required
              value={pasted}
              aria-describedby={`${id}lh`}
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              onInput={(event) => setPasted(event.currentTarget.value)}
            />
            <p class="hint" id={`${id}lh`}>
              {w.enrol.linkHint}
            </p>
            {canPaste && (
              <button
                type="button"
                class="button"
                onClick={() => void navigator.clipboard.readText().then(setPasted, () => undefined)}
              >
                {w.enrol.paste}
              </button>
            )}
          </div>
        )}
        <div class="field">
          <label for={`${id}n`}>{w.enrol.name}</label>
          <input
            id={`${id}n`}
            type="text"
            maxLength={64}
            value={name}
            aria-describedby={`${id}nh`}
            autocomplete="off"
            onInput={(event) => setName(event.currentTarget.value)}
          />
          <p class="hint" id={`${id}nh`}>
            {w.enrol.nameHint}
          </p>
        </div>
        <button type="submit" class="button primary wide" disabled={!fromLink && pasted.trim() === ''}>
          {w.enrol.start}
        </button>
      </form>
      <ul class="assurances">
        <li>{w.enrol.private}</li>
        <li>{w.enrol.once}</li>
        <li>{w.enrol.compare}</li>
      </ul>
    </Gate>
  );
}
