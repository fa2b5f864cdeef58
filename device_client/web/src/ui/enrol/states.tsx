/** Pages that say why there is nothing to see, and what to do. */

import type { JSX } from 'preact';
import type { ErrorCode, Phase } from '../../api';
import { attempt, useApi, useTitle } from '../context';
import { words } from '../i18n';
import { ConnectionMark } from '../parts/banners';
import { Spinner } from '../parts/parts';
import { Gate } from './gate';

export function Unsupported({ reason }: { reason: Extract<Phase, { name: 'unsupported' }>['reason'] }): JSX.Element {
  const w = words.value.state;
  const said = {
    insecure: [w.insecureTitle, w.insecureText],
    'browser-forbids': [w.forbidsTitle, w.forbidsText],
    'browser-old': [w.oldTitle, w.oldText],
  } as const;
  const [title, text] = said[reason];
  useTitle(title);
  return (
    <Gate title={title}>
      <p class="gate-lead">{text}</p>
      {reason === 'insecure' && (
        <p>
          <a class="button" href="/install">
            {w.install}
          </a>
        </p>
      )}
    </Gate>
  );
}

export function LeaseEnded(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const online = api.connection.value.state === 'online';
  useTitle(w.state.leaseTitle);
  return (
    <Gate title={w.state.leaseTitle}>
      <p class="gate-lead">{w.state.leaseText}</p>
      <p>
        <ConnectionMark />
      </p>
      {online && <Spinner label={w.state.leaseAsking} />}
      <button type="button" class="button primary wide" onClick={() => attempt(api.refresh())}>
        {w.retry}
      </button>
    </Gate>
  );
}

export function Revoked(): JSX.Element {
  const api = useApi();
  const w = words.value;
  useTitle(w.state.revokedTitle);
  return (
    <Gate title={w.state.revokedTitle}>
      <p class="gate-lead">{w.state.revokedText}</p>
      <button type="button" class="button primary wide" onClick={() => attempt(api.forget())}>
        {w.state.startAgain}
      </button>
    </Gate>
  );
}

export function Failed({ code }: { code: ErrorCode }): JSX.Element {
  const w = words.value;
  useTitle(w.state.failedTitle);
  return (
    <Gate title={w.state.failedTitle}>
      <p class="gate-lead">{w.error[code]}</p>
      <button type="button" class="button primary wide" onClick={() => location.reload()}>
        {w.retry}
      </button>
    </Gate>
  );
}
