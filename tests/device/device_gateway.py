"""A small gateway on top of ``wire``: enrols, announces, serves; and can be told to misbehave."""

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from wire import enrolment, envelope, hpke, keyset, messages, objects, seal, sign, topics
from wire.bits import from_ranges
from wire.enrolment import CodeKeys, Enrolled, Link, Recipient
from wire.errors import WireError
from wire.keyset import KeySet, OnlineKey
from wire.manifest import Manifest
from wire.messages import (
    Announcement,
    Answer,
    Done,
    Gone,
    Head,
    HeadEntry,
    Keys,
    Lease,
    ObjectEntry,
    Receipt,
    Sync,
    Synced,
    Want,
)
from wire.names import Kind, encode_reference
from wire.objects import Header, Instance, Media, Part
from wire.sender import Sender

SITE = "clinic"
KIND: Kind = "doctor"
"""Whoever may export."""


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Sealed:
    """One object as it lies at the gateway."""

    entry: ObjectEntry
    segments: list[bytes]
    pages: list[bytes]


@dataclass
class Study:
    reference: bytes
    attributes: dict[str, Any]
    sequence: int
    settled: bool
    entries: list[ObjectEntry] = field(default_factory=list)
    payload: bytes = b""

    @property
    def ref(self) -> str:
        return encode_reference(self.reference)


class ScriptedGateway:
    """Everything of one recipient; ``start`` connects. The knobs are plain attributes."""

    def __init__(self, port: int, ca: str | None = None) -> None:
        self.root = Ed25519PrivateKey.generate()
        self.signer = Ed25519PrivateKey.generate()
        self.exchange = ec.generate_private_key(ec.SECP256R1())
        self.gateway = os.urandom(16)
        self.recipient = os.urandom(16)
        self.epoch, self.epoch_key = 1, os.urandom(32)
        self.key_set_sequence = 1
        self.links = [keyset.link(self.root, SITE, sign.raw_public(self.root))]
        self.lease = Lease(secret=os.urandom(32), expires=now_ms() + 3_600_000)
        self.broker_url = f"mqtt://127.0.0.1:{port}"
        self.certificate = b""
        self.authority = b""
        self.head_sequence = 0
        self.next_due_ms = 300_000
        self.head_payload = b""
        self.objects: dict[str, Sealed] = {}
        self.studies: dict[str, Study] = {}
        self.devices: dict[str, tuple[bytes, bytes]] = {}
        self.passwords: dict[str, bytes] = {}
        self.codes: dict[str, tuple[Link, CodeKeys]] = {}
        self.used: set[str] = set()
        self.receipts: list[Receipt] = []
        self.syncs: list[Sync] = []
        self.asked: list[tuple[str, int, bool]] = []
        self.pages_asked: list[tuple[str, int]] = []
        self.published: list[tuple[str, int]] = []
        self.statuses: list[bytes] = []
        self.corrupt: set[tuple[str, int]] = set()
        self.gone: set[str] = set()
        self.answers = True
        self.pace_s = 0.0
        self.limit: int | None = None
        self.on_enrolled: Any = None
        self._sender = Sender()
        self.late_ms = 0
        self._retained: set[str] = set()
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stop = False
        self._up = threading.Event()
        self._port = port
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, self.name)
        self.client.username_pw_set(self.name, "")
        if ca is not None:
            self.client.tls_set(ca)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_socket_open = lambda _client, _data, opened: opened.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def ref(self) -> str:
        return encode_reference(self.recipient)

    @property
    def name(self) -> str:
        return encode_reference(self.gateway)

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, host: str = "127.0.0.1") -> None:
        self.client.max_queued_messages_set(0)
        self.client.connect(host, self._port)
        self.client.loop_start()
        assert self._up.wait(30)
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._wake.set()
        last = None
        for topic in self._retained:
            last = self.client.publish(topic, b"", 1, True)
        if last is not None and self.client.is_connected():
            last.wait_for_publish(5)
        self.client.disconnect()
        self.client.loop_stop()

    def forget(self) -> None:
        """As a gateway does whose device has gone, or that has just started."""
        with self._lock:
            self._sender.reset()

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        assert not code.is_failure, code
        client.subscribe(
            [(f"{topics.site_root(SITE)}/device/+/+", 1), (f"{topics.site_root(SITE)}/enrol/+/request", 1)]
        )
        self.publish_retained()
        self._up.set()

    def key_set_bytes(self) -> bytes:
        online = [OnlineKey(gateway=self.gateway, public=sign.raw_public(self.signer), expires=now_ms() + 10**9)]
        key_set = KeySet(
            sequence=self.key_set_sequence,
            issued=now_ms(),
            suite=hpke.SUITE,
            exchange=hpke.raw_public(self.exchange),
            online=online,
        )
        return keyset.pack(self.root, topics.gateway_keys(SITE), self.links, key_set)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        if retain:
            self._retained.add(topic)
        self.client.publish(topic, payload, 1, retain)

    def publish_retained(self) -> None:
        with self._lock:
            self.publish(topics.gateway_keys(SITE), self.key_set_bytes(), True)
            self.publish_keys()
            if self.head_payload:
                self.publish(topics.head(SITE, KIND, self.ref), self.head_payload, True)
            self.publish(topics.gateway_status(SITE, encode_reference(self.gateway)), messages.ONLINE, True)

    def publish_keys(self) -> None:
        entries = [
            envelope.seal_epoch_key(SITE, KIND, self.ref, device, exchange, self.epoch, self.epoch_key)
            for device, (_, exchange) in self.devices.items()
        ]
        keys = Keys(suite=hpke.SUITE, epoch=self.epoch, issued=now_ms(), devices=entries)
        self.publish(
            topics.keys(SITE, KIND, self.ref), envelope.pack_keys(self.signer, SITE, KIND, self.ref, keys), True
        )

    # ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────

    def seal_object(
        self,
        layer: str,
        series: list[str],
        parts: list[tuple[str, int, int, bytes]],
        indices: list[int],
        batch: int = 0,
        media: Sequence[Media] = (),
        attributes: dict[str, Any] | None = None,
        bands: Sequence[int] = (),
    ) -> Sealed:
        """``parts``: (SOPInstanceUID, index into ``series``, frame, bytes); ``media`` of each, JPEG if not given."""
        instances: dict[str, int] = {}
        listed, places = [], []
        for uid, where, frame, data in parts:
            if uid not in instances:
                instances[uid] = len(instances)
                places.append(Instance(uid, where))
            kind = media[len(listed)] if media else "image/jpeg"
            band = bands[len(listed)] if bands else 0
            listed.append(Part(instances[uid], frame, band, len(data), kind, not media, 100 if media else 900))
        header = objects.pack_header(
            Header(
                version=1,
                layer=layer,
                series=series,
                instances=places,
                parts=listed,
                attributes=objects.deflate_json(
                    {
                        "shared": attributes or {"00280010": {"vr": "US", "Value": [512]}},
                        "parts": [{"00200013": {"vr": "IS", "Value": [n + 1]}} for n in range(len(parts))],
                    }
                ),
            )
        )
        plain = header + b"".join(data for *_, data in parts)
        object_id, key = os.urandom(16), os.urandom(32)
        segments = list(seal.seal_stream(key, envelope.object_context(SITE, object_id, layer), [plain]))
        manifest = Manifest(b"".join(hashlib.sha256(segment).digest() for segment in segments))
        entry = ObjectEntry(
            object=object_id,
            layer=layer,
            series=indices,
            batch=batch,
            frames=len(parts),
            key=key,
            size=len(plain),
            manifest=manifest.digest(),
        )
        pages = [manifest.page_message(page) for page in range(-(-len(segments) // 1024))]
        sealed = Sealed(entry, segments, pages)
        with self._lock:
            self.objects[encode_reference(object_id)] = sealed
        return sealed

    def announce(self, study: Study, then_head: bool = True) -> bytes:
        with self._lock:
            announcement = Announcement(
                study=study.reference,
                sequence=study.sequence,
                issued=now_ms() - self.late_ms,
                settled=study.settled,
                attributes=objects.deflate_json(study.attributes),
                objects=study.entries,
            )
            study.payload = envelope.pack_announcement(
                self.signer, SITE, KIND, self.ref, self.epoch, self.epoch_key, announcement
            )
            self.studies[study.ref] = study
            self.publish(topics.study(SITE, KIND, self.ref, study.ref), study.payload)
            if then_head:
                self.publish_head()
            return study.payload

    def publish_head(self, next_due_ms: int | None = None) -> bytes:
        with self._lock:
            self.head_sequence += 1
            entries = [
                HeadEntry(study.reference, study.sequence, hashlib.sha256(study.payload).digest())
                for study in self.studies.values()
            ]
            due = now_ms() + (self.next_due_ms if next_due_ms is None else next_due_ms)
            head = Head(sequence=self.head_sequence, issued=now_ms() - self.late_ms, next_due=due, studies=entries)
            self.head_payload = envelope.pack_head(self.signer, SITE, KIND, self.ref, self.epoch, self.epoch_key, head)
            self.publish(topics.head(SITE, KIND, self.ref), self.head_payload, True)
            return self.head_payload

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────────────────

    def invite(self, seconds: float = 600.0) -> str:
        reference = os.urandom(16)
        link = Link(
            version=1,
            site=SITE,
            broker=self.broker_url,
            certificate=self.certificate,
            root=keyset.root_digest(sign.raw_public(self.root)),
            enrolment=reference,
            code=os.urandom(16),
            expires=now_ms() + int(seconds * 1000),
        )
        name = encode_reference(reference)
        self.codes[name] = (link, CodeKeys.derive(link.code, name))
        return enrolment.format_link("https://gateway.test", link)

    def _enrol(self, name: str, data: bytes) -> None:
        _, keys = self.codes[name]
        if name in self.used:
            return
        request = enrolment.open_request(keys.request_key, SITE, name, data)
        self.used.add(name)
        device = os.urandom(16)
        password = os.urandom(32)
        self.devices[encode_reference(device)] = (request.sign, request.exchange)
        self.passwords[encode_reference(device)] = password
        if self.on_enrolled is not None:
            self.on_enrolled(encode_reference(device), password.hex())
        enrolled = Enrolled(
            device=device,
            password=password,
            recipients=[
                Recipient(kind=KIND, recipient=self.recipient, label="Dr. Nightingale", head=self.head_sequence)
            ],
            lease=self.lease,
            authority=self.authority,
            issued=now_ms(),
            request=hashlib.sha256(data).digest(),
        )
        answer = enrolment.pack_answer(self.signer, self.key_set_bytes(), request.exchange, SITE, name, enrolled)
        self.publish_keys()
        self.publish(topics.enrol_response(SITE, name), answer)

    # ── serving ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            parts = message.topic.split("/")
            if parts[3] == "enrol":
                self._enrol(parts[4], message.payload)
            elif parts[5] == "status":
                self.statuses.append(message.payload)
            elif parts[5] == "request" and self.answers and parts[4] in self.devices:
                try:
                    self._request(parts[4], message.payload)
                except WireError as error:
                    print("gateway:", error)

    def _answer(self, device: str, request: messages.Request, body: Any) -> None:
        answer = Answer(boot=request.boot, counter=request.counter, issued=now_ms(), body=body)
        _, exchange = self.devices[device]
        payload = envelope.pack_answer(self.signer, exchange, SITE, device, answer)
        self.publish(topics.device_response(SITE, device), payload)

    def _request(self, device: str, data: bytes) -> None:
        request = envelope.open_request(self.devices[device][0], self.exchange, SITE, device, data)
        match request.body:
            case Sync(known=known) as sync:
                self.syncs.append(sync)
                have = {study: sequence for one in known for study, sequence in one.studies}
                for study in self.studies.values():
                    if have.get(study.reference, 0) < study.sequence:
                        self.publish(topics.study(SITE, KIND, self.ref, study.ref), study.payload)
                heads = [self.head_payload] if self.head_payload else []
                self._answer(device, request, Synced(heads=heads, lease=self.lease))
            case Want() as want:
                self._want(device, request, want)
            case Receipt() as receipt:
                self.receipts.append(receipt)
                self._answer(device, request, Done())

    def _want(self, device: str, request: messages.Request, want: Want) -> None:
        object_id = encode_reference(want.object)
        if object_id in self.gone or object_id not in self.objects:
            self._answer(device, request, Gone(object=want.object))
            return
        segments = list(from_ranges(want.ranges))
        self.asked += [(object_id, index, want.again) for index in segments]
        self.pages_asked += [(object_id, page) for page in want.pages]
        root = topics.recipient_root(SITE, KIND, self.ref)
        self._sender.ask(
            time.monotonic(), device + request.boot.hex(), root, object_id, want.pages, segments, want.again
        )
        self._wake.set()

    def _serve(self) -> None:
        while not self._stop:
            with self._lock:
                held = self.limit is not None and len(self.published) >= self.limit
                piece = None if held else self._sender.next(time.monotonic())
                if piece is not None:
                    self._publish_piece(piece)
            if piece is None:
                self._wake.wait(0.02)
                self._wake.clear()
            elif self.pace_s:
                time.sleep(self.pace_s)

    def _publish_piece(self, piece: Any) -> None:
        sealed = self.objects[piece.object_id]
        if piece.part == "page":
            self.client.publish(f"{piece.root}/object/{piece.object_id}/m{piece.index}", sealed.pages[piece.index], 0)
            return
        data = sealed.segments[piece.index]
        if (piece.object_id, piece.index) in self.corrupt:
            self.corrupt.discard((piece.object_id, piece.index))
            data = data[:100] + bytes([data[100] ^ 1]) + data[101:]
        self.published.append((piece.object_id, piece.index))
        self.client.publish(f"{piece.root}/object/{piece.object_id}/{piece.index}", data, 0)


def study_attributes(uid: str, series: list[str], name: str = "Kim^Sora", patient: str = "P-4711") -> dict[str, Any]:
    return {
        "study": {
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": name, "Ideographic": "金^소라", "Phonetic": "김^소라"}]},
            "00100020": {"vr": "LO", "Value": [patient]},
            "0020000D": {"vr": "UI", "Value": [uid]},
            "00080020": {"vr": "DA", "Value": ["20260102"]},
            "00081030": {"vr": "LO", "Value": ["Chest"]},
        },
        "series": [
            {
                "0020000E": {"vr": "UI", "Value": [one]},
                "00080060": {"vr": "CS", "Value": ["CT"]},
                "00200011": {"vr": "IS", "Value": [number + 1]},
            }
            for number, one in enumerate(series)
        ],
    }


def make_study(gateway: ScriptedGateway, uid: str, size_bytes: int = 400_000, pictures: int = 4) -> Study:
    """One study of one series with a thumbnail and a display object."""
    series = [f"{uid}.1"]
    study = Study(os.urandom(16), study_attributes(uid, series), 1, True)
    each = size_bytes // pictures
    parts = [(f"{uid}.1.{n + 1}", 0, 0, os.urandom(each)) for n in range(pictures)]
    study.entries = [
        gateway.seal_object("thumbnail", series, [(f"{uid}.1.1", 0, 0, b"\xff\xd8thumb")], [0]).entry,
        gateway.seal_object("display", series, parts, [0]).entry,
    ]
    return study
