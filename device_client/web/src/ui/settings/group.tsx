/** Headings and choices of the settings. */

import type { ComponentChildren, JSX } from 'preact';
import { useId } from 'preact/hooks';

export function Group({ title, children }: { title: string; children: ComponentChildren }): JSX.Element {
  const id = useId();
  return (
    <section class="setting-group" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      <div class="setting-card">{children}</div>
    </section>
  );
}

/** One of a few, as radio buttons that look like a row of buttons. */
export function Choice<T extends string>(props: {
  label: string;
  value: T;
  choices: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  column?: boolean;
}): JSX.Element {
  const name = useId();
  return (
    <fieldset class={props.column ? 'choice column' : 'choice'}>
      <legend>{props.label}</legend>
      <div class="choice-options">
        {props.choices.map(([value, label]) => (
          <label key={value}>
            <input type="radio" name={name} checked={value === props.value} onChange={() => props.onChange(value)} />
            <span>{label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
