/** One connection's side of the talk with the gateway: requests that are unique, and answers that name them. */

import { random, type Bytes, equal } from '../wire/bytes';
import { packRequest } from '../wire/envelope';
import type { KeySet } from '../wire/keyset';
import type { Answer, RequestBody } from '../wire/messages';
import * as topics from '../wire/topics';
import type { Clock } from './clock';
import type { Link } from './link';
import type { DeviceKeys, Identity } from './vault';

const MAX_OPEN = 1024;

export class Session {
  // A random boot id and a counter make each request unique; both are new with each connection.
  readonly #boot: Bytes = random(16);
  #counter = 0;
  readonly #open = new Map<number, RequestBody>();
  // Packing is asynchronous: one after the other, so that requests leave in the order of their counters.
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    readonly link: Link,
    private readonly identity: Identity,
    private readonly keys: DeviceKeys,
    private readonly clock: Clock,
    private readonly keySet: () => KeySet,
  ) {}

  /** Send a request; resolves when the broker has it. */
  request(body: RequestBody): Promise<void> {
    const counter = ++this.#counter;
    this.#open.set(counter, body);
    const [oldest] = this.#open.keys();
    if (this.#open.size > MAX_OPEN && oldest !== undefined) this.#open.delete(oldest);
    const { site, device } = this.identity;
    const request = { boot: this.#boot, counter, issued: this.clock.now(), body };
    const packed = this.#last.then(() => packRequest(this.keys.signer, this.keySet().exchange, site, device, request));
    const sent = packed.then((payload) => ({ done: this.link.publish(topics.deviceRequest(site, device), payload) }));
    this.#last = sent.catch(() => undefined);
    return sent.then(({ done }) => done);
  }

  /** The request that `answer` answers; null if it is not of this connection, or was answered before. */
  match(answer: Answer): RequestBody | null {
    if (!equal(answer.boot, this.#boot)) return null;
    const body = this.#open.get(answer.counter) ?? null;
    this.#open.delete(answer.counter);
    return body;
  }

  /** Publish this device's status, retained. */
  presence(payload: string): Promise<void> {
    const { site, device } = this.identity;
    return this.link.publish(topics.deviceStatus(site, device), payload, true);
  }
}
