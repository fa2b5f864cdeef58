/** Small things that every page uses. */

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import type { DataSet } from '../../api';
import { isGuessed } from '../dicom';
import { dismiss, notes, sentence, useApi } from '../context';
import { words } from '../i18n';
import { Icon, type IconName } from '../icons';

export function IconButton(props: {
  icon: IconName;
  label: string;
  onClick: () => void;
  pressed?: boolean;
  disabled?: boolean;
  class?: string;
}): JSX.Element {
  return (
    <button
      type="button"
      class={`icon-button ${props.class ?? ''}`}
      aria-label={props.label}
      title={props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}

/** A bar that fills; `share` from 0 to 1. */
export function Bar({ share, label }: { share: number; label: string }): JSX.Element {
  const percent = Math.floor(Math.min(1, Math.max(0, share)) * 100);
  return (
    <div class="bar" role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}>
      <div class="bar-filled" style={{ transform: `scaleX(${percent / 100})` }} />
    </div>
  );
}

export function Spinner({ label }: { label: string }): JSX.Element {
  return (
    <div class="spinner" role="status">
      <span class="spinner-ring" aria-hidden="true" />
      <span>{label}</span>
    </div>
  );
}

/** Why something did not work, and the way on. */
export function Failure(props: { error: unknown; retry?: () => void; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="failure" role="alert">
      <Icon name="alert" />
      <p>{sentence(props.error)}</p>
      {props.children}
      {props.retry && (
        <button type="button" class="button" onClick={props.retry}>
          {words.value.retry}
        </button>
      )}
    </div>
  );
}

/** Where the file does not rightly say how its text is written: what is read may be wrong. */
export function Guessed({ attributes }: { attributes: DataSet }): JSX.Element | null {
  const w = words.value.list;
  if (!isGuessed(attributes)) return null;
  return (
    <span class="mark plain guessed" title={w.guessedText}>
      {w.guessed}
    </span>
  );
}

/** Asks before something that cannot be undone. */
export function Confirm(props: {
  title: string;
  text: string;
  yes: string;
  danger?: boolean;
  onYes: () => void;
  onClose: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby={title} onCancel={props.onClose}>
      <h2 id={title}>{props.title}</h2>
      <p>{props.text}</p>
      <div class="dialog-buttons">
        <button type="button" class="button" onClick={props.onClose}>
          {words.value.cancel}
        </button>
        <button
          type="button"
          class={`button ${props.danger ? 'danger' : 'primary'}`}
          onClick={() => {
            props.onClose();
            props.onYes();
          }}
        >
          {props.yes}
        </button>
      </div>
    </dialog>
  );
}

/** Notes at the foot of the screen; read out by screen readers. */
export function Notes(): JSX.Element {
  return (
    <div class="notes" role="status" aria-live="polite">
      {notes.value.map((note) => (
        <div key={note.id} class={note.bad ? 'note bad' : 'note'}>
          <span>{note.text}</span>
          <IconButton icon="close" label={words.value.close} onClick={() => dismiss(note.id)} />
        </div>
      ))}
    </div>
  );
}

export function UpdateNotice(): JSX.Element | null {
  const api = useApi();
  const w = words.value;
  if (!api.updateReady.value) return null;
  return (
    <div class="banner info" role="status">
      <Icon name="refresh" />
      <p>{w.update.ready}</p>
      <button type="button" class="button small" onClick={() => void api.applyUpdate()}>
        {w.update.apply}
      </button>
    </div>
  );
}
