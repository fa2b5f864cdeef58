"""A device reduced to what the wire sees: it enrols, asks, and keeps every message; it can also misbehave."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion

from wire import enrolment, envelope, hpke, messages, objects, seal, topics
from wire.enrolment import CodeKeys, Welcome
from wire.errors import SealBroken
from wire.keyset import KeySet
from wire.limits import MAX_CREDIT
from wire.messages import Announcement, Answer, Head, Known, ObjectEntry, Request, Sync, Want
from wire.names import encode_reference

TIMEOUT_S = 20.0


def now_ms() -> int:
    return int(time.time() * 1000)


class Mqtt:
    """A paho client whose messages are waited for, never slept for."""

    def __init__(self, host: str, port: int, name: str, password: str, authority: Path | None = None) -> None:
        """With ``authority`` (PEM) by WebSocket over TLS, as a browser does; else by plain TCP."""
        self._changed = threading.Condition()
        self.messages: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self._subscribed: set[int] = set()
        self._filters: list[str] = []
        self.is_connected = False
        transport: Literal["tcp", "websockets"] = "tcp" if authority is None else "websockets"
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, transport=transport)
        if authority is not None:
            client.tls_set(str(authority))
            client.ws_set_options("/mqtt")
        client.username_pw_set(name, password)
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        self.client = client
        self.refused = False
        client.connect_async(host, port, keepalive=30)
        client.loop_start()

    def _on_connect(self, client: mqtt.Client, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if self._filters and not code.is_failure:
            client.subscribe([(one, 1) for one in self._filters])
        with self._changed:
            self.is_connected, self.refused = not code.is_failure, bool(code.is_failure)
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self.is_connected = False
            self._changed.notify_all()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload)))
            if message.retain:
                self.retained[message.topic] = bytes(message.payload)
            self._changed.notify_all()

    def _on_subscribe(self, _c: Any, _u: Any, mid: int, _r: Any, _p: Any) -> None:
        with self._changed:
            self._subscribed.add(mid)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """What ``condition`` gives once it is true; AssertionError after ``timeout_s``."""
        with self._changed:
            found = self._changed.wait_for(condition, timeout_s)
        assert found, f"not within {timeout_s} s: {what}"
        return found

    def subscribe(self, *filters: str) -> None:
        """Subscribe, at every later connection too, and wait until the broker said yes."""
        self._filters += filters
        _, mid = self.client.subscribe([(one, 1) for one in filters])
        self.wait(lambda: mid in self._subscribed, "SUBACK")

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the acknowledgement."""
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(TIMEOUT_S)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@dataclass
class WireDevice:
    """An enrolled device of one recipient; ``connect`` before it is used."""

    port: int
    link: enrolment.Link
    welcome: Welcome
    signer: Ed25519PrivateKey
    exchange: ec.EllipticCurvePrivateKey
    boot: bytes = field(default_factory=lambda: os.urandom(16))
    counter: int = 0
    mqtt: Mqtt | None = None
    authority: Path | None = None

    @classmethod
    def enrol(
        cls, port: int, uri: str, name: str = "a device", timeout_s: float = TIMEOUT_S, authority: Path | None = None
    ) -> Self:
        """Enrol by the link, as a device does; AssertionError if no answer comes."""
        link = enrolment.parse_link(uri)
        reference = encode_reference(link.enrolment)
        keys = CodeKeys.derive(link.code, reference)
        signer, exchange = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
        request = enrolment.pack_request(keys, link.site, reference, signer, hpke.raw_public(exchange), name)
        door = Mqtt("127.0.0.1", port, reference, keys.password, authority)
        try:
            door.wait(lambda: door.is_connected, "the enrolment's login")
            door.subscribe(topics.enrol_response(link.site, reference))
            door.publish(topics.enrol_request(link.site, reference), request)
            door.wait(lambda: door.messages, "the answer to the enrolment", timeout_s)
        finally:
            door.stop()
        welcome = enrolment.open_answer(link, reference, exchange, request, now_ms(), door.messages[0][1])
        return cls(port, link, welcome, signer, exchange, authority=authority)

    # ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def device(self) -> str:
        return encode_reference(self.welcome.enrolled.device)

    @property
    def recipient(self) -> str:
        return encode_reference(self.welcome.enrolled.recipients[0].recipient)

    @property
    def kind(self) -> Any:
        return self.welcome.enrolled.recipients[0].kind

    @property
    def root(self) -> str:
        return topics.recipient_root(self.link.site, self.kind, self.recipient)

    @property
    def seen(self) -> list[tuple[str, bytes]]:
        assert self.mqtt is not None
        return self.mqtt.messages

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def connect(self) -> Self:
        """Connect and subscribe to all that the device may read, but no object."""
        password = self.welcome.enrolled.password.hex()
        self.mqtt = Mqtt("127.0.0.1", self.port, self.device, password, self.authority)
        connection = self.mqtt
        connection.wait(lambda: connection.is_connected, "the device's login")
        site = self.link.site
        connection.subscribe(f"{self.root}/keys", f"{self.root}/head", f"{self.root}/study/+")
        connection.subscribe(topics.device_response(site, self.device), topics.gateway_keys(site))
        connection.publish(topics.device_status(site, self.device), messages.ONLINE, retain=True)
        return self

    def stop(self) -> None:
        if self.mqtt is not None:
            self.mqtt.stop()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        assert self.mqtt is not None
        return self.mqtt.wait(condition, what, timeout_s)

    # ── what came ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def keys(self) -> KeySet:
        return self.welcome.key_set

    def find_key(self, key_id: bytes) -> bytes | None:
        return self.keys.find_key(now_ms())(key_id)

    def epochs(self) -> dict[int, bytes]:
        """The epoch keys that were ever published for this device."""
        found: dict[int, bytes] = {}
        for topic, data in list(self.seen):
            if topic == f"{self.root}/keys" and data:
                epoch, key = envelope.open_keys(
                    self.find_key, self.link.site, self.kind, self.recipient, self.device, self.exchange, data
                )
                if key is not None:
                    found[epoch] = key
        return found

    def heads(self) -> list[Head]:
        """All heads that this device can open, as they came."""
        return [head for head, _ in self.heads_with_bytes()]

    def heads_with_bytes(self) -> list[tuple[Head, bytes]]:
        epochs, found = self.epochs(), []
        for topic, data in list(self.seen):
            if topic == f"{self.root}/head" and data:
                try:
                    head = envelope.open_head(self.find_key, self.link.site, self.kind, self.recipient, epochs, data)
                except SealBroken:
                    continue
                found.append((head, data))
        return found

    def announcements(self) -> list[tuple[str, Announcement, bytes]]:
        """``(study reference, announcement, bytes)`` of all that this device can open, as they came."""
        epochs, found = self.epochs(), []
        for topic, data in list(self.seen):
            if topic.startswith(f"{self.root}/study/"):
                reference = topic.rpartition("/")[2]
                try:
                    announcement = envelope.open_announcement(
                        self.find_key, self.link.site, self.kind, self.recipient, reference, epochs, data
                    )
                except SealBroken:
                    continue
                found.append((reference, announcement, data))
        return found

    def current(self) -> dict[str, Announcement]:
        """What the latest head names, each with the announcement that it names, if that came."""
        heads = self.heads()
        if not heads:
            return {}
        by_digest = {hashlib.sha256(data).digest(): one for _, one, data in self.announcements()}
        latest = max(heads, key=lambda head: head.sequence)
        return {encode_reference(e.study): by_digest[e.digest] for e in latest.studies if e.digest in by_digest}

    def is_current(self) -> bool:
        """Whether there is a head and every announcement that it names."""
        heads = self.heads()
        return bool(heads) and len(self.current()) == len(max(heads, key=lambda head: head.sequence).studies)

    def answers(self) -> list[Answer]:
        topic = topics.device_response(self.link.site, self.device)
        return [
            envelope.open_answer(self.find_key, self.exchange, self.link.site, self.device, data)
            for at, data in list(self.seen)
            if at == topic
        ]

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────

    def pack(self, body: Any) -> bytes:
        """The next request, ready to be published."""
        self.counter += 1
        request = Request(boot=self.boot, counter=self.counter, issued=now_ms(), body=body)
        return envelope.pack_request(self.signer, self.keys.exchange, self.link.site, self.device, request)

    def send(self, payload: bytes) -> None:
        assert self.mqtt is not None
        self.mqtt.publish(topics.device_request(self.link.site, self.device), payload)

    def ask(self, body: Any, timeout_s: float = TIMEOUT_S) -> Any:
        """Send a request and return its answer's body."""
        payload = self.pack(body)
        counter = self.counter
        self.send(payload)
        answer: Answer = self.wait(
            lambda: next((a for a in self.answers() if a.counter == counter and a.boot == self.boot), None),
            f"an answer to {type(body).__name__}",
            timeout_s,
        )
        return answer.body

    def sync(self, known: list[tuple[bytes, int]] | None = None) -> Any:
        """Ask what is current, saying what is known."""
        head = max((head.sequence for head in self.heads()), default=0)
        recipient = self.welcome.enrolled.recipients[0].recipient
        return self.ask(Sync(known=[Known(self.kind, recipient, head, known or [])]))

    def want(self, entry: ObjectEntry, ranges: list[tuple[int, int]], pages: list[int] | None = None) -> Want:
        return Want(
            kind=self.kind,
            recipient=self.welcome.enrolled.recipients[0].recipient,
            object=entry.object,
            pages=pages or [],
            ranges=ranges,
            credit=64,
            again=False,
        )

    def fetch(self, entry: ObjectEntry, timeout_s: float = TIMEOUT_S) -> bytes:
        """One object's plaintext, checked and opened."""
        assert self.mqtt is not None
        object_id = encode_reference(entry.object)
        count = seal.segment_count(entry.size)
        root = f"{self.root}/object/{object_id}"
        self.mqtt.subscribe(f"{root}/+")

        def parts() -> dict[str, bytes]:
            return {topic.rpartition("/")[2]: data for topic, data in list(self.seen) if topic.startswith(f"{root}/")}

        for first in range(0, count, MAX_CREDIT):
            end = min(first + MAX_CREDIT, count)
            self.send(self.pack(self.want(entry, [(first, end - 1)], [0] if first == 0 else [])))
            self.wait(lambda end=end: len(parts()) == end + 1, "all segments and the manifest", timeout_s)
        found = parts()
        sealed = b"".join(found[str(index)] for index in range(count))
        context = envelope.object_context(self.link.site, entry.object, entry.layer)
        return seal.open_whole(entry.key, context, sealed)


def attributes_of(announcement: Announcement) -> dict[str, Any]:
    """``{"study": …, "series": […]}``."""
    found: dict[str, Any] = objects.inflate_json(announcement.attributes)
    return found


def header_of(entry: ObjectEntry, plaintext: bytes) -> objects.Header:
    return objects.parse_header(plaintext, entry.layer, entry.size)
