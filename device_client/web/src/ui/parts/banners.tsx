/** What keeps the list from being the newest state, said above it. */

import type { JSX } from 'preact';
import { attempt, minute, useApi } from '../context';
import { age, moment } from '../format';
import { words } from '../i18n';
import { Icon } from '../icons';

const HOUR = 3_600_000;

/** Offline, gateway away, not current, access ended, lease about to end: the most telling ones. */
export function Banners(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const now = minute.value;
  const connection = api.connection.value;
  const recipients = api.recipients.value;
  const stale = recipients.filter((each) => !each.current && !each.revoked);
  const several = recipients.length > 1;
  const expires = api.leaseExpires.value;
  const offline = connection.state === 'offline';
  const saidOffline = connection.error === 'refused' ? w.connection.refused : w.connection.offlineText;
  const away = connection.state === 'online' && connection.gatewayOnline === false;
  return (
    <>
      {(offline || away) && (
        <div class="banner warn" role="status">
          <Icon name="offline" />
          <p>{offline ? saidOffline : w.connection.gatewayOff}</p>
        </div>
      )}
      {stale.map((each) => (
        <div key={each.recipient} class="banner warn" role="status">
          <Icon name="clock" />
          <p>
            {each.asOf === null
              ? w.connection.never(several ? each.label : '')
              : w.connection.notCurrentSince(age(each.asOf, now, w), several ? each.label : '')}
          </p>
          {!offline && (
            <button type="button" class="button small" onClick={() => attempt(api.refresh())}>
              {w.connection.refresh}
            </button>
          )}
        </div>
      ))}
      {recipients
        .filter((each) => each.revoked)
        .map((each) => (
          <div key={each.recipient} class="banner warn" role="status">
            <Icon name="alert" />
            <p>{w.connection.recipientRevoked(each.label)}</p>
          </div>
        ))}
      {expires !== null && expires - now < 12 * HOUR && connection.state !== 'online' && (
        <div class="banner warn" role="status">
          <Icon name="lock" />
          <p>{w.connection.leaseSoon(moment(expires, w))}</p>
        </div>
      )}
    </>
  );
}

/** A dot and a word: connected or not. */
export function ConnectionMark(): JSX.Element {
  const w = words.value;
  const { state, gatewayOnline } = useApi().connection.value;
  const shown = state === 'online' && gatewayOnline === false ? 'offline' : state;
  return (
    <span class={`connection ${shown}`}>
      <span class="dot" aria-hidden="true" />
      {w.connection[shown]}
    </span>
  );
}
