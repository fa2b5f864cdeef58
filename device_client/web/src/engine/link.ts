/** One MQTT 3.1.1 connection over a WebSocket of this page's own origin: clean session, keepalive, QoS 1 upwards. */

import { Buffer } from 'buffer';
import { generate, type IPublishPacket, type Packet, parser as makeParser } from 'mqtt-packet';
import type { Bytes } from '../wire/bytes';
import { MAX_PACKET_BYTES } from '../wire/limits';
import { OFFLINE } from '../wire/messages';

const KEEPALIVE_S = 30;
const OPEN_MS = 15_000;
const ANSWER_MS = 20_000;
/** Somebody waits to know. Whatever arrives counts as an answer. */
const PROBE_MS = 3000;
const REFUSALS = new Set([2, 4, 5]);

/** The connection ended or never came; `refused`: the broker does not take these credentials. */
export class LinkError extends Error {
  constructor(
    readonly refused: boolean,
    text: string,
  ) {
    super(text);
    this.name = 'LinkError';
  }
}

export interface Credentials {
  name: string;
  password: string;
  willTopic?: string;
}

export type OnMessage = (topic: string, payload: Bytes, retained: boolean) => void;

interface Waiter {
  resolve: (packet: Packet) => void;
  reject: (error: LinkError) => void;
}

/** Where the page's own gateway bridges MQTT. */
export function bridgeUrl(): string {
  return `${location.protocol === 'http:' ? 'ws' : 'wss'}://${location.host}/mqtt`;
}

export class Link {
  /** Resolves with the reason when the connection has ended. */
  readonly closed: Promise<LinkError>;
  readonly #socket: WebSocket;
  readonly #parser = makeParser({ protocolVersion: 4 });
  readonly #waiting = new Map<string, Waiter>();
  #end: (error: LinkError) => void = () => undefined;
  #ended: LinkError | null = null;
  #nextId = 0;
  #heardAt = performance.now();
  #sentAt = performance.now();
  #pings: ReturnType<typeof setInterval> | undefined;

  private constructor(
    url: string,
    private readonly onMessage: OnMessage,
  ) {
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#socket = new WebSocket(url, 'mqtt');
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onmessage = (event: MessageEvent<unknown>) => this.#received(event.data);
    this.#socket.onclose = () => this.#finish(new LinkError(false, 'the connection ended'));
    this.#parser.on('packet', (packet: Packet) => this.#packet(packet));
    this.#parser.on('error', () => this.#finish(new LinkError(false, 'not MQTT')));
  }

  /** Connected; LinkError if it cannot be. */
  static async open(credentials: Credentials, onMessage: OnMessage, url = bridgeUrl()): Promise<Link> {
    const link = new Link(url, onMessage);
    const timer = setTimeout(() => link.#finish(new LinkError(false, 'no answer')), OPEN_MS);
    try {
      await new Promise<void>((resolve, reject) => {
        link.#socket.onopen = () => resolve();
        void link.closed.then(reject);
      });
      const connack = link.#wait('connack');
      link.#send({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: true,
        clientId: credentials.name,
        username: credentials.name,
        password: Buffer.from(credentials.password),
        keepalive: KEEPALIVE_S,
        ...(credentials.willTopic && {
          will: { topic: credentials.willTopic, payload: Buffer.from(OFFLINE), qos: 1 as const, retain: true },
        }),
      });
      const answer = await connack;
      const code = answer.cmd === 'connack' ? (answer.returnCode ?? -1) : -1;
      if (code !== 0) throw new LinkError(REFUSALS.has(code), 'the broker refuses');
    } catch (error) {
      link.#finish(error instanceof LinkError ? error : new LinkError(false, 'no connection'));
      throw error instanceof LinkError ? error : new LinkError(false, 'no connection');
    } finally {
      clearTimeout(timer);
    }
    link.#pings = setInterval(() => link.#beat(), 5000);
    return link;
  }

  get isOpen(): boolean {
    return this.#ended === null;
  }

  /** Whoever may be asleep should look: a page that comes back finds a connection that died meanwhile. */
  probe(): void {
    this.#ping(PROBE_MS);
  }

  /** Resolves when the broker has granted all of it. */
  async subscribe(filters: string[], qos: 0 | 1 = 1): Promise<void> {
    const messageId = this.#id();
    const answer = this.#wait(`suback ${messageId}`);
    this.#send({ cmd: 'subscribe', messageId, subscriptions: filters.map((topic) => ({ topic, qos })) } as Packet);
    const granted = await answer;
    if (granted.cmd === 'suback' && granted.granted.some((code) => Number(code) >= 128)) {
      throw new LinkError(false, 'a subscription was refused');
    }
  }

  async unsubscribe(filters: string[]): Promise<void> {
    const messageId = this.#id();
    const answer = this.#wait(`unsuback ${messageId}`);
    this.#send({ cmd: 'unsubscribe', messageId, unsubscriptions: filters } as Packet);
    await answer;
  }

  /** QoS 1; resolves when the broker has it. */
  async publish(topic: string, payload: Bytes | string, retain = false): Promise<void> {
    const messageId = this.#id();
    const answer = this.#wait(`puback ${messageId}`);
    this.#send({ cmd: 'publish', messageId, topic, payload: Buffer.from(payload as Uint8Array), qos: 1, dup: false, retain });
    await answer;
  }

  /** With DISCONNECT, so that the broker does not publish the will. */
  close(): void {
    if (this.#ended === null && this.#socket.readyState === WebSocket.OPEN) this.#send({ cmd: 'disconnect' });
    this.#finish(new LinkError(false, 'closed'));
  }

  // ── below ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #id(): number {
    this.#nextId = (this.#nextId % 65535) + 1;
    return this.#nextId;
  }

  #wait(name: string): Promise<Packet> {
    const answer = new Promise<Packet>((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      // On a slow link an answer stands behind what was asked for before: as long as anything comes, it may still come.
      const timer = setInterval(() => {
        if (performance.now() - this.#heardAt > ANSWER_MS) this.#finish(new LinkError(false, 'the broker is silent'));
      }, ANSWER_MS);
      const done = (): void => {
        clearInterval(timer);
        this.#waiting.delete(name);
      };
      this.#waiting.set(name, {
        resolve(packet) {
          done();
          resolve(packet);
        },
        reject(error) {
          done();
          reject(error);
        },
      });
    });
    // Whoever sends and then gives up has nobody to hear of the end.
    answer.catch(() => undefined);
    return answer;
  }

  #send(packet: Packet): void {
    if (this.#ended) throw this.#ended;
    this.#sentAt = performance.now();
    this.#socket.send(new Uint8Array(generate(packet)));
  }

  #received(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) return this.#finish(new LinkError(false, 'not MQTT'));
    this.#heardAt = performance.now();
    const waiting = this.#parser.parse(Buffer.from(data));
    // No packet of the contract is larger: what claims to be is not waited for.
    if (waiting > MAX_PACKET_BYTES) this.#finish(new LinkError(false, 'a packet larger than the contract allows'));
  }

  #packet(packet: Packet): void {
    if (packet.cmd === 'publish') return this.#published(packet);
    const id = packet.messageId === undefined ? '' : ` ${packet.messageId}`;
    this.#waiting.get(`${packet.cmd}${id}`)?.resolve(packet);
  }

  #published(packet: IPublishPacket): void {
    if (packet.qos === 1 && this.#ended === null) this.#send({ cmd: 'puback', messageId: packet.messageId ?? 0 });
    const payload = packet.payload as Buffer;
    this.onMessage(packet.topic, new Uint8Array(payload), packet.retain);
  }

  #beat(): void {
    const now = performance.now();
    // 1.5 times the keepalive without a sound, as MQTT 3.1.1 section 3.1.2.10 has it for the other end.
    if (now - this.#heardAt > KEEPALIVE_S * 1500) this.#finish(new LinkError(false, 'the broker is silent'));
    else if (now - Math.min(this.#sentAt, this.#heardAt) > KEEPALIVE_S * 500) this.#ping(ANSWER_MS);
  }

  #ping(withinMs: number): void {
    const asked = performance.now();
    if (this.#ended === null) this.#send({ cmd: 'pingreq' });
    setTimeout(() => {
      if (this.#heardAt < asked) this.#finish(new LinkError(false, 'the broker is silent'));
    }, withinMs);
  }

  #finish(error: LinkError): void {
    if (this.#ended) return;
    this.#ended = error;
    clearInterval(this.#pings);
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#socket.close();
    this.#end(error);
  }
}
