/** The access rule: who may publish or subscribe to which topics. The broker holds it; here the vectors do. */

import type { Kind } from './names';
import * as topics from './topics';

export interface Principal {
  site: string;
  role: 'gateway' | 'device' | 'enrol';
  /** User name and client id at once. */
  name: string;
  recipients: readonly [Kind, string][];
}

function subscribable(one: Principal): string[] {
  const root = topics.siteRoot(one.site);
  switch (one.role) {
    case 'gateway':
      return [`${root}/#`];
    case 'device':
      return [
        ...one.recipients.map(([kind, recipient]) => `${topics.recipientRoot(one.site, kind, recipient)}/#`),
        topics.deviceResponse(one.site, one.name),
        `${root}/gateway/+/status`,
        topics.gatewayKeys(one.site),
      ];
    case 'enrol':
      return [topics.enrolResponse(one.site, one.name)];
  }
}

function publishable(one: Principal): string[] {
  switch (one.role) {
    case 'gateway':
      return [`${topics.siteRoot(one.site)}/#`];
    case 'device':
      return [
        topics.deviceRequest(one.site, one.name),
        topics.deviceStatus(one.site, one.name),
        `${topics.deviceRoot(one.site, one.name)}/object/+/+`,
      ];
    case 'enrol':
      return [topics.enrolRequest(one.site, one.name)];
  }
}

/** Judged by filter inclusion. */
export function maySubscribe(one: Principal, filter: string): boolean {
  return topics.isFilter(filter) && subscribable(one).some((allowed) => topics.includes(allowed, filter));
}

export function mayPublish(one: Principal, topic: string): boolean {
  return topics.isTopic(topic) && publishable(one).some((allowed) => topics.includes(allowed, topic));
}
