/** Which page is shown: first what the device is in, then where the reader went. */

import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Api, ApiEvent } from '../api';
import { ApiProvider, say, useApi } from './context';
import { Enrol } from './enrol/enrol';
import { PinSetup, Unlock } from './enrol/pin';
import { Failed, LeaseEnded, Revoked, Unsupported } from './enrol/states';
import { words } from './i18n';
import { List } from './lists/list';
import { Failure, Notes, Spinner } from './parts/parts';
import { enrolmentLink, route } from './route';
import { Settings } from './settings/settings';
import { Study } from './viewer/study';

function told(event: ApiEvent): void {
  const w = words.peek();
  if (event.name === 'study-new') say(w.event.studyNew);
  if (event.name === 'wiped') say(w.event.wiped);
}

function Pages(): JSX.Element {
  const at = route.value;
  if (at.page === 'settings') return <Settings />;
  if (at.page === 'study') return <Study key={at.ref} route={at} />;
  return <List />;
}

function Open(): JSX.Element {
  const api = useApi();
  useEffect(() => {
    // A person is there: the lock waits.
    const touched = (): void => api.touch();
    const kinds = ['pointerdown', 'keydown', 'wheel'] as const;
    for (const kind of kinds) window.addEventListener(kind, touched, { passive: true });
    return () => {
      for (const kind of kinds) window.removeEventListener(kind, touched);
    };
  }, [api]);
  useEffect(() => {
    if (!enrolmentLink.value) return;
    enrolmentLink.value = null;
    say(words.peek().error['already-enrolled']);
  }, [enrolmentLink.value]);
  return (
    <>
      <a
        class="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById('content')?.focus();
        }}
      >
        {words.value.skipToContent}
      </a>
      <Pages />
      <Notes />
    </>
  );
}

function Screen(): JSX.Element {
  const phase = useApi().phase.value;
  switch (phase.name) {
    case 'starting':
      return (
        <main class="starting">
          <Spinner label={words.value.starting} />
        </main>
      );
    case 'unsupported':
      return <Unsupported reason={phase.reason} />;
    case 'not-enrolled':
    case 'enrolling':
      return <Enrol />;
    case 'pin-needed':
      return <PinSetup />;
    case 'locked':
      return <Unlock />;
    case 'lease-ended':
      return <LeaseEnded />;
    case 'revoked':
      return <Revoked />;
    case 'failed':
      return <Failed code={phase.code} />;
    case 'open':
      return <Open />;
  }
}

export function App({ api }: { api: Api }): JSX.Element {
  useEffect(() => api.on(told), [api]);
  return (
    <ApiProvider value={api}>
      <Screen />
    </ApiProvider>
  );
}

/** The engine itself did not come up, so there is nothing to ask. */
export function NotStarted({ error }: { error: unknown }): JSX.Element {
  return (
    <main class="starting">
      <Failure error={error} retry={() => location.reload()} />
    </main>
  );
}
