/** Topics: built, read, and judged (MQTT 3.1.1 section 4.7). */

import { utf8 } from './bytes';
import { topicInvalid, WireError } from './errors';
import { checkKind, checkReference, checkSite, type Kind, parseDecimal } from './names';

export const ROOT = 'mpacs/1';
export const MAX_TOPIC_BYTES = 512;

// ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────

export const siteRoot = (site: string): string => `${ROOT}/${checkSite(site)}`;
/** The tree of one recipient. */
export const recipientRoot = (site: string, kind: Kind, recipient: string): string =>
  `${siteRoot(site)}/${checkKind(kind)}/${checkReference(recipient)}`;
export const head = (site: string, kind: Kind, recipient: string): string => `${recipientRoot(site, kind, recipient)}/head`;
export const keys = (site: string, kind: Kind, recipient: string): string => `${recipientRoot(site, kind, recipient)}/keys`;
export const study = (site: string, kind: Kind, recipient: string, studyRef: string): string =>
  `${recipientRoot(site, kind, recipient)}/study/${checkReference(studyRef)}`;
/** The tree of one object, under which its segments and manifest pages appear. */
export const objectRoot = (site: string, kind: Kind, recipient: string, objectId: string): string =>
  `${recipientRoot(site, kind, recipient)}/object/${checkReference(objectId)}`;
export const segment = (site: string, kind: Kind, recipient: string, objectId: string, index: number): string =>
  `${objectRoot(site, kind, recipient, objectId)}/${index}`;
export const page = (site: string, kind: Kind, recipient: string, objectId: string, index: number): string =>
  `${objectRoot(site, kind, recipient, objectId)}/m${index}`;
export const deviceRoot = (site: string, device: string): string => `${siteRoot(site)}/device/${checkReference(device)}`;
export const deviceRequest = (site: string, device: string): string => `${deviceRoot(site, device)}/request`;
export const deviceResponse = (site: string, device: string): string => `${deviceRoot(site, device)}/response`;
export const deviceStatus = (site: string, device: string): string => `${deviceRoot(site, device)}/status`;
export const gatewayStatus = (site: string, gateway: string): string =>
  `${siteRoot(site)}/gateway/${checkReference(gateway)}/status`;
export const gatewayKeys = (site: string): string => `${siteRoot(site)}/gateway/keys`;
export const enrolRequest = (site: string, enrolment: string): string =>
  `${siteRoot(site)}/enrol/${checkReference(enrolment)}/request`;
export const enrolResponse = (site: string, enrolment: string): string =>
  `${siteRoot(site)}/enrol/${checkReference(enrolment)}/response`;

// ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a topic below `object/` names: a segment, or a page of the manifest. */
export interface ObjectTopic {
  objectId: string;
  part: 'segment' | 'page';
  index: number;
}

function asTopicError<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof WireError) throw topicInvalid(error.message);
    throw error;
  }
}

/** Read `topic` below `root` (a recipient's or a device's tree). */
export function parseObjectTopic(root: string, topic: string): ObjectTopic {
  const prefix = `${root}/object/`;
  if (!topic.startsWith(prefix)) throw topicInvalid('not an object of this tree');
  const [objectId, last, ...more] = topic.slice(prefix.length).split('/');
  if (objectId === undefined || last === undefined || more.length > 0) {
    throw topicInvalid('an object topic ends in object and part');
  }
  return asTopicError((): ObjectTopic => {
    checkReference(objectId);
    if (last.startsWith('m')) return { objectId, part: 'page', index: parseDecimal(last.slice(1)) };
    return { objectId, part: 'segment', index: parseDecimal(last) };
  });
}

/** Device and rest of a topic of any device of the site. */
export function parseDeviceTopic(site: string, topic: string): [device: string, rest: string] {
  const prefix = `${siteRoot(site)}/device/`;
  const rest = topic.startsWith(prefix) ? topic.slice(prefix.length) : '';
  const slash = rest.indexOf('/');
  if (slash < 0 || slash === rest.length - 1) throw topicInvalid("not a device's topic");
  return asTopicError((): [string, string] => [checkReference(rest.slice(0, slash)), rest.slice(slash + 1)]);
}

// ── matching ──────────────────────────────────────────────────────────────────────────────────────────────────────

// MQTT 3.1.1 section 1.5.3: NUL must not appear; control and non-characters should not, and here do not.
function isIllegal(code: number): boolean {
  return (
    code < 0x20 ||
    (code >= 0x7f && code <= 0x9f) ||
    (code >= 0xd800 && code <= 0xdfff) ||
    (code >= 0xfdd0 && code <= 0xfdef) ||
    (code & 0xfffe) === 0xfffe
  );
}

/** Whether `topic` may stand in a PUBLISH. */
export function isTopic(topic: string): boolean {
  return isFilter(topic) && !topic.includes('+') && !topic.includes('#');
}

/** Whether `text` is a legal topic filter: `+` and `#` stand alone in their level, `#` last. */
export function isFilter(text: string): boolean {
  if (text === '' || text.length > MAX_TOPIC_BYTES) return false;
  for (const character of text) if (isIllegal(character.codePointAt(0) as number)) return false;
  if (utf8(text).length > MAX_TOPIC_BYTES) return false;
  const levels = text.split('/');
  return levels.every((level, position) => {
    if (level.includes('#')) return level === '#' && position === levels.length - 1;
    return !level.includes('+') || level === '+';
  });
}

/** Whether every topic that matches the filter `requested` also matches the filter `allowed`. */
export function includes(allowed: string, requested: string): boolean {
  const wanted = requested.split('/');
  // "+/#" matches what "#" matches: every topic has a first level. Below the first, "#" reaches the parent too.
  const granted = allowed === '+/#' ? ['#'] : allowed.split('/');
  // MQTT-4.7.2-1: wildcards at the start do not reach topics that begin with "$".
  const isSystem = wanted[0]?.startsWith('$') === true;
  for (const [position, level] of granted.entries()) {
    if (level === '#') return position > 0 || !isSystem;
    if (position >= wanted.length || wanted[position] === '#') return false;
    if (level === '+') {
      if (position === 0 && isSystem) return false;
    } else if (wanted[position] !== level) return false;
  }
  return granted.length === wanted.length;
}
