/** What arrives: to which recipient and purpose a topic belongs, and what its bytes say once they are verified. */

import { type Bytes, equal, sha256 } from '../wire/bytes';
import { openAnnouncement, openAnswer, openHead, openKeys, type Place } from '../wire/envelope';
import { WireError } from '../wire/errors';
import { findKey, type KeySet } from '../wire/keyset';
import type { Answer, Head } from '../wire/messages';
import { checkReference } from '../wire/names';
import type { FindKey } from '../wire/sign';
import * as topics from '../wire/topics';
import type { Clock } from './clock';
import { type Held, hold } from './ledger';
import type { Store } from './store';
import type { DeviceKeys, Identity } from './vault';

export type Route =
  | { purpose: 'response' | 'key-set' }
  | { purpose: 'head' | 'keys'; recipient: string }
  | { purpose: 'study'; recipient: string; study: string }
  | { purpose: 'object'; part: topics.ObjectTopic }
  | { purpose: 'status'; gateway: string };

/** The topics of one device; anything else is none of its business. */
export class Routes {
  readonly #exact = new Map<string, Route>();
  readonly #trees: { root: string; recipient: string }[] = [];
  readonly #status: string;

  constructor(identity: Identity) {
    const { site } = identity;
    this.#exact.set(topics.deviceResponse(site, identity.device), { purpose: 'response' });
    this.#exact.set(topics.gatewayKeys(site), { purpose: 'key-set' });
    for (const { kind, recipient } of identity.recipients) {
      this.#exact.set(topics.head(site, kind, recipient), { purpose: 'head', recipient });
      this.#exact.set(topics.keys(site, kind, recipient), { purpose: 'keys', recipient });
      this.#trees.push({ root: topics.recipientRoot(site, kind, recipient), recipient });
    }
    this.#status = `${topics.siteRoot(site)}/gateway/`;
  }

  /** Subscribed first: what is signed to the device, and what verifies the rest. */
  own(): string[] {
    return this.#named('response').concat(this.#named('key-set'));
  }

  /** The recipients' trees without their objects. Epoch keys before heads: retained messages come in that order. */
  shared(): string[] {
    const announcements = this.#trees.map(({ root }) => `${root}/study/+`);
    return [...this.#named('keys'), ...this.#named('head'), ...announcements, `${this.#status}+/status`];
  }

  #named(purpose: Route['purpose']): string[] {
    return [...this.#exact].filter(([, route]) => route.purpose === purpose).map(([topic]) => topic);
  }

  find(topic: string): Route | null {
    const route = this.#exact.get(topic);
    if (route) return route;
    try {
      for (const { root, recipient } of this.#trees) {
        if (topic.startsWith(`${root}/object/`)) return { purpose: 'object', part: topics.parseObjectTopic(root, topic) };
        const prefix = `${root}/study/`;
        if (topic.startsWith(prefix)) return { purpose: 'study', recipient, study: checkReference(topic.slice(prefix.length)) };
      }
      if (topic.startsWith(this.#status) && topic.endsWith('/status')) {
        return { purpose: 'status', gateway: checkReference(topic.slice(this.#status.length, -'/status'.length)) };
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
    return null;
  }
}

/** Verifies. Every method rejects with a WireError what is not as the contract wants it. */
export class Inbox {
  /** How often what was refused, by code: never what. */
  readonly refused = new Map<string, number>();

  constructor(
    private readonly identity: Identity,
    private readonly keys: DeviceKeys,
    private readonly clock: Clock,
    private readonly keySet: () => KeySet,
  ) {}

  refuse(error: WireError): void {
    this.refused.set(error.code, (this.refused.get(error.code) ?? 0) + 1);
  }

  #find(): FindKey {
    return findKey(this.keySet(), this.clock.now());
  }

  #place(store: Store, recipient: string): Place {
    const shelf = store.ledger.shelves.get(recipient);
    if (!shelf) throw new WireError('topic-invalid', 'not a recipient of this device');
    return { site: this.identity.site, kind: shelf.kind, recipient };
  }

  async answer(data: Bytes): Promise<Answer> {
    const { site, device } = this.identity;
    const answer = await openAnswer(this.#find(), this.keys.exchange, site, device, data);
    this.clock.saw(answer.issued);
    return answer;
  }

  /** The epoch and its key if the message says something new, null if not; Stale for an older epoch. */
  async epoch(store: Store, recipient: string, data: Bytes): Promise<{ epoch: number; key: Bytes | null } | null> {
    const place = this.#place(store, recipient);
    const news = await openKeys(this.#find(), place, this.identity.device, this.keys.exchange, data);
    const known = store.epoch(recipient);
    if (known && news.epoch < known.epoch) throw new WireError('stale', 'an epoch before the latest');
    if (known && news.epoch === known.epoch) {
      // A replayed message of the same epoch, from before this device was in it, takes no key away.
      if (!news.key || equal(known.key, news.key)) return null;
    }
    return news;
  }

  /** A head that is newer than every head before. */
  async head(store: Store, recipient: string, data: Bytes): Promise<Head> {
    const head = await openHead(this.#find(), this.#place(store, recipient), store.epochKeys(recipient), data);
    store.ledger.shelves.get(recipient)?.checkHead(head);
    this.clock.saw(head.issued);
    return head;
  }

  /** An announcement that is newer than the one that is here. */
  async announcement(store: Store, recipient: string, study: string, data: Bytes): Promise<Held> {
    const place = this.#place(store, recipient);
    const announcement = await openAnnouncement(this.#find(), place, study, store.epochKeys(recipient), data);
    const digest = await sha256(data);
    store.ledger.shelves.get(recipient)?.checkAnnouncement(study, announcement, digest);
    const held = await hold(place.kind, recipient, study, announcement, digest);
    this.clock.saw(announcement.issued);
    return held;
  }
}
