/** Which page, by the address's fragment: it is never sent to a server, and the browser's back works. */

import { signal } from '@preact/signals';

export interface StudyRoute {
  page: 'study';
  ref: string;
  series?: number;
  report?: number;
}

export type Route = { page: 'list' } | StudyRoute | { page: 'settings' };

/** An enrolment link's fragment that the application was opened with; it was taken out of the address bar. */
export const enrolmentLink = signal<string | null>(null);

/** What a report's link names: an instance, and which of its frames, from 1 on. */
export interface Wanted {
  instance: string;
  frame: number;
}

/** To be found and shown; it was taken out of the address bar, where no UID shall stay. */
export const wantedImage = signal<Wanted | null>(null);

export const route = signal<Route>({ page: 'list' });

/** What was named, while the browser goes back to the page that it was named on. */
let named: Wanted | null = null;

/** Whether the page before this one is ours, so that back leads to it. */
let depth = 0;

function index(value: string | null): number | undefined {
  return value !== null && /^\d{1,4}$/.test(value) ? Number(value) : undefined;
}

export function parse(fragment: string): Route {
  const parts = new URLSearchParams(fragment.replace(/^#/, ''));
  const ref = parts.get('study');
  if (ref && /^[a-z0-9]{1,64}$/i.test(ref)) {
    const series = index(parts.get('series'));
    const report = index(parts.get('report'));
    return {
      page: 'study',
      ref,
      ...(series === undefined ? {} : { series }),
      ...(report === undefined ? {} : { report }),
    };
  }
  return parts.has('settings') ? { page: 'settings' } : { page: 'list' };
}

export function fragmentOf(to: Route): string {
  if (to.page === 'settings') return '#settings';
  if (to.page === 'list') return '#';
  const series = to.series === undefined ? '' : `&series=${to.series}`;
  const report = to.report === undefined ? '' : `&report=${to.report}`;
  return `#study=${to.ref}${series}${report}`;
}

export function go(to: Route, options: { replace?: boolean } = {}): void {
  if (options.replace) {
    history.replaceState(history.state, '', fragmentOf(to));
  } else {
    depth += 1;
    history.pushState({ depth }, '', fragmentOf(to));
  }
  route.value = to;
}

/** Back to where one came from, or to `otherwise` where one came from elsewhere (a deep link). */
export function back(otherwise: Route): void {
  if (depth > 0) history.back();
  else go(otherwise, { replace: true });
}

/** Back from a report to the pictures that were shown before it. */
export function closeReport(from: StudyRoute): void {
  back({ page: 'study', ref: from.ref, ...(from.series === undefined ? {} : { series: from.series }) });
}

function read(): void {
  const fragment = location.hash;
  const parts = new URLSearchParams(fragment.slice(1));
  const enrol = parts.get('enrol');
  const instance = parts.get('instance');
  if (enrol) {
    // The code is worth the device's identity: it must not stay in the address bar or the history.
    enrolmentLink.value = `${location.origin}/#enrol=${enrol}`;
    history.replaceState(history.state, '', `${location.pathname}${location.search}`);
    route.value = { page: 'list' };
    return;
  }
  if (instance) {
    history.replaceState(history.state, '', fragmentOf(route.peek()));
    if (route.peek().page !== 'study') return;
    // It may be nowhere, so the link itself is no step: what leads to where it is will be one.
    named = { instance, frame: Math.max(1, Number(parts.get('frame') ?? 1) || 1) };
    history.back();
    return;
  }
  if (named) wantedImage.value = named;
  named = null;
  depth = typeof history.state?.depth === 'number' ? history.state.depth : 0;
  route.value = parse(fragment);
}

/** Follow the address bar from now on. */
export function follow(): void {
  read();
  window.addEventListener('popstate', read);
  window.addEventListener('hashchange', read);
}
