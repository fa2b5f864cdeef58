/** Settings: how it looks, how it is locked, what is fetched and kept, which device this is. */

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { FetchPolicy } from '../../api';
import { attempt, useApi, useTitle } from '../context';
import { moment } from '../format';
import { words } from '../i18n';
import { canInstall, InstallButton } from '../lists/suggestions';
import { ConnectionMark } from '../parts/banners';
import { Confirm, IconButton } from '../parts/parts';
import { back } from '../route';
import { Choice, Group } from './group';
import { Security } from './security';
import { Storage } from './storage';

function Look(): JSX.Element {
  const api = useApi();
  const w = words.value.set;
  const { ui } = api.settings.value;
  const change = (key: string) => (value: string) => attempt(api.saveSettings({ ui: { ...api.settings.value.ui, [key]: value } }));
  const now = (key: string, otherwise: string): string => String(ui[key] ?? otherwise);
  return (
    <Group title={w.display}>
      <Choice
        label={w.language}
        value={now('language', 'auto')}
        choices={[
          ['auto', w.languageAuto],
          ['ko', '한국어'],
          ['en', 'English'],
        ]}
        onChange={change('language')}
      />
      <Choice
        label={w.theme}
        value={now('theme', 'auto')}
        choices={[
          ['auto', w.themeAuto],
          ['light', w.light],
          ['dark', w.dark],
        ]}
        onChange={change('theme')}
      />
      <Choice
        label={w.textSize}
        value={now('textSize', 'normal')}
        choices={[
          ['normal', w.textNormal],
          ['large', w.textLarge],
          ['larger', w.textLarger],
        ]}
        onChange={change('textSize')}
      />
    </Group>
  );
}

function Download(): JSX.Element {
  const api = useApi();
  const w = words.value.set;
  return (
    <Group title={w.download}>
      <Choice<FetchPolicy>
        label={w.policy}
        value={api.settings.value.display}
        choices={[
          ['always', w.always],
          ['auto', w.auto],
          ['on-demand', w.onDemand],
        ]}
        onChange={(display) => attempt(api.saveSettings({ display }))}
        column
      />
      <p class="hint">{w.policyText}</p>
    </Group>
  );
}

function Device(): JSX.Element {
  const api = useApi();
  const w = words.value.set;
  const identity = api.identity.value;
  const lease = api.leaseExpires.value;
  const [forgetting, setForgetting] = useState(false);
  return (
    <Group title={w.device}>
      <dl class="facts">
        {identity && (
          <>
            <dt>{w.deviceName}</dt>
            <dd>{identity.deviceName}</dd>
            <dt>{w.site}</dt>
            <dd>{identity.site}</dd>
            <dt>{w.enrolledAt}</dt>
            <dd>{moment(identity.enrolledAt, words.value)}</dd>
            <dt>{w.fingerprint}</dt>
            <dd class="fingerprint">{identity.fingerprint}</dd>
          </>
        )}
        {lease !== null && (
          <>
            <dt>{w.lease}</dt>
            <dd>{moment(lease, words.value)}</dd>
          </>
        )}
      </dl>
      <p class="hint">{w.fingerprintText}</p>
      <button type="button" class="button danger" onClick={() => setForgetting(true)}>
        {w.forget}
      </button>
      {forgetting && (
        <Confirm
          title={w.forget}
          text={w.forgetText}
          yes={w.forgetYes}
          danger
          onYes={() => attempt(api.forget())}
          onClose={() => setForgetting(false)}
        />
      )}
    </Group>
  );
}

export function Settings(): JSX.Element {
  const api = useApi();
  const w = words.value;
  useTitle(w.settings);
  return (
    <div class="page narrow">
      <header class="page-top">
        <IconButton icon="back" label={w.back} onClick={() => back({ page: 'list' })} />
        <div class="top-title">
          <h1>{w.settings}</h1>
          <ConnectionMark />
        </div>
      </header>
      <main id="content" class="settings" tabIndex={-1}>
        <Look />
        <Security />
        <Download />
        <Storage />
        {canInstall() && (
          <Group title={w.set.install}>
            <p>{w.set.installText}</p>
            <InstallButton />
          </Group>
        )}
        <Device />
        <Group title={w.set.about}>
          <dl class="facts">
            <dt>{w.set.version}</dt>
            <dd>{api.version}</dd>
          </dl>
          <p class="hint">{w.set.notice}</p>
        </Group>
      </main>
    </div>
  );
}
