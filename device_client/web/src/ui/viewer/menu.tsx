/** What can be done with a study as a whole. */

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { StudyItem } from '../../api';
import { attempt, useApi } from '../context';
import { words } from '../i18n';
import { Icon, type IconName } from '../icons';
import { IconButton } from '../parts/parts';

export function StudyMenu({ study }: { study: StudyItem }): JSX.Element {
  const api = useApi();
  const w = words.value.list;
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return undefined;
    box.current?.querySelector<HTMLElement>('[role=menuitem]')?.focus();
    const away = (event: Event): void => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);
  const choices: [IconName, string, () => Promise<void>][] = [
    ['download', w.download, () => api.download(study.ref)],
    ['pin', study.pinned ? w.keepNot : w.keep, () => api.setPinned(study.ref, !study.pinned)],
    ['trash', w.drop, () => api.evict(study.ref)],
  ];
  const keys = (event: KeyboardEvent): void => {
    const all = [...(box.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    if (event.key === 'Escape') {
      setOpen(false);
      box.current?.querySelector('button')?.focus();
    } else if (event.key === 'ArrowDown') {
      all[(at + 1) % all.length]?.focus();
    } else if (event.key === 'ArrowUp') {
      all[(at - 1 + all.length) % all.length]?.focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="menu" ref={box} onKeyDown={open ? keys : undefined}>
      <IconButton icon="more" label={w.more} onClick={() => setOpen(!open)} />
      {open && (
        <div class="menu-list" role="menu" aria-label={w.more}>
          {choices.map(([icon, label, call]) => (
            <button
              key={icon}
              type="button"
              role="menuitem"
              onClick={() => {
                setOpen(false);
                attempt(call(), label);
              }}
            >
              <Icon name={icon} />
              {label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
