/** Choosing a PIN, and opening with it. */

import type { JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { codeOf, say, sentence, useApi, useTitle } from '../context';
import { words } from '../i18n';
import { Confirm, IconButton } from '../parts/parts';
import { Gate } from './gate';

function PinField(props: {
  label: string;
  value: string;
  onInput: (value: string) => void;
  fresh?: boolean;
  hint?: string;
  focus?: boolean;
  /** Offer the keys of a telephone: the PIN has digits alone. */
  digits?: boolean;
}): JSX.Element {
  const w = words.value.pin;
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [plain, setPlain] = useState(false);
  useEffect(() => {
    if (props.focus) input.current?.focus();
  }, []);
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <div class="pin-input">
        <input
          ref={input}
          id={id}
          type={(plain ? 'text' : 'password') as 'password'}
          inputMode={props.digits ? 'numeric' : undefined}
          value={props.value}
          autocomplete={props.fresh ? 'new-password' : 'current-password'}
          autocapitalize="off"
          spellcheck={false}
          required
          aria-describedby={props.hint ? `${id}h` : undefined}
          onInput={(event) => props.onInput(event.currentTarget.value)}
        />
        <IconButton icon="eye" label={plain ? w.hide : w.show} pressed={plain} onClick={() => setPlain(!plain)} />
      </div>
      {props.hint && (
        <p class="hint" id={`${id}h`}>
          {props.hint}
        </p>
      )}
    </div>
  );
}

/** The form that sets or changes a PIN; `onDone` after success. */
export function PinForm({ onDone, focus }: { onDone: () => void; focus?: boolean }): JSX.Element {
  const api = useApi();
  const w = words.value;
  const { set, minLength } = api.pin.value;
  const [current, setCurrent] = useState('');
  const [fresh, setFresh] = useState('');
  const [again, setAgain] = useState('');
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (fresh !== again) {
      setError(w.pin.mismatch);
      return;
    }
    setBusy(true);
    try {
      await (set ? api.setPin(fresh, current) : api.setPin(fresh));
      const { ui } = api.settings.value;
      await api.saveSettings({ ui: { ...ui, pinDigits: /^\d+$/.test(fresh) } });
      say(w.pin.saved);
      onDone();
    } catch (caught) {
      setError(sentence(caught));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form class="form" onSubmit={save}>
      {error && (
        <p class="form-error" role="alert">
          {error}
        </p>
      )}
      {set && <PinField label={w.pin.current} value={current} onInput={setCurrent} focus={focus === true} />}
      <PinField
        label={w.pin.fresh}
        value={fresh}
        onInput={setFresh}
        fresh
        hint={w.pin.hint(minLength)}
        focus={focus === true && !set}
      />
      <PinField label={w.pin.again} value={again} onInput={setAgain} fresh />
      <button type="submit" class="button primary wide" disabled={busy || fresh.length < minLength || again === ''}>
        {w.pin.save}
      </button>
    </form>
  );
}

export function PinSetup(): JSX.Element {
  const w = words.value;
  useTitle(w.pin.setTitle);
  return (
    <Gate title={w.pin.setTitle}>
      <p class="gate-lead">{w.pin.setIntroRequired}</p>
      <PinForm onDone={() => undefined} focus />
    </Gate>
  );
}

export function Unlock(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const [pin, setPin] = useState('');
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const [forgetting, setForgetting] = useState(false);
  const phase = api.phase.value;
  useTitle(w.pin.unlockTitle);
  const open = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await api.unlock(pin);
    } catch (caught) {
      setPin('');
      setError(sentence(caught));
      if (codeOf(caught) === 'pin-locked') say(sentence(caught), true);
    } finally {
      setBusy(false);
    }
  };
  const digits = api.settings.value.ui['pinDigits'] === true;
  const few = phase.name === 'locked' && phase.attemptsLeft <= 5;
  return (
    <Gate title={w.pin.unlockTitle}>
      <form class="form" onSubmit={open}>
        {error && (
          <p class="form-error" role="alert">
            {error} {few && phase.name === 'locked' && w.pin.attempts(phase.attemptsLeft)}
          </p>
        )}
        <PinField label={w.pin.pin} value={pin} onInput={setPin} focus digits={digits} />
        <button type="submit" class="button primary wide" disabled={busy || pin === ''}>
          {w.pin.unlock}
        </button>
      </form>
      <details class="forgotten">
        <summary>{w.pin.forgotten}</summary>
        <p>{w.pin.forgottenHelp}</p>
        <button type="button" class="button danger" onClick={() => setForgetting(true)}>
          {w.set.forget}
        </button>
      </details>
      {forgetting && (
        <Confirm
          title={w.set.forget}
          text={w.set.forgetText}
          yes={w.set.forgetYes}
          danger
          onYes={() => void api.forget()}
          onClose={() => setForgetting(false)}
        />
      )}
    </Gate>
  );
}
