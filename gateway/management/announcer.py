"""What each recipient is told: announcements, heads and epoch keys, made from the index and kept in it.

No MQTT here: every method returns payloads with their topics, and whoever calls publishes them. All methods block on
the database and are called from a thread.
"""

import hashlib
import json
import os
import time
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection, Engine

from gateway.config import Delivery
from gateway.management import routing
from gateway.management.index import arrivals_read, deliveries, people
from gateway.management.index.arrivals_rows import SeriesRow, StudyRow
from gateway.management.index.deliveries import Announced, SealedObject
from gateway.management.index.people import Profile
from gateway.management.vault import Vault
from wire import envelope, hpke, messages, objects, topics
from wire.errors import TooLarge
from wire.limits import MAX_ANNOUNCEMENT_BYTES
from wire.messages import Announcement, Head, HeadEntry, Keys, ObjectEntry
from wire.names import decode_reference, encode_reference

_VOLUME_OBJECTS = 48
"""Objects in one announcement; a study with more of them is announced in several volumes."""
_SEAL_ROOM = 512
_SERIES_NUMBER = "00200011"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """To be published with QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(slots=True)
class Changes:
    """What a refresh gives: announcements to publish first, then the recipients whose head is due."""

    outgoing: list[Outgoing] = field(default_factory=list)
    heads: dict[str, Profile] = field(default_factory=dict)


def _now_ms() -> int:
    return int(time.time() * 1000)


class Announcer:
    """Keeps what recipients were told equal to what the index holds."""

    def __init__(self, engine: Engine, vault: Vault, site: str, settings: Delivery) -> None:
        """``settings`` give the window of days and when heads fall due."""
        self._engine = engine
        self._vault = vault
        self._site = site
        self._settings = settings

    # ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, study_id: int) -> Changes:
        """Announce the study anew to every recipient for whom something changed, and withdraw it where it must go."""
        changes = Changes()
        with self._engine.begin() as connection:
            study = arrivals_read.study_by_id(connection, study_id)
            if study is None:
                return changes
            volumes = self._volumes(connection, study)
            references = deliveries.references_of(connection, study_id)
            references += [encode_reference(os.urandom(16)) for _ in range(len(volumes) - len(references))]
            deliveries.set_progress(connection, study_id, study.revision, references)
            profiles = {p.reference: p for p in people.all_profiles(connection)}
            entitled = {p.reference: p for p in self._entitled(study, list(profiles.values()))}
            told = {(a.recipient, a.study_ref): a for a in deliveries.announced_of(connection, study_id)}
            for profile in entitled.values():
                for reference, volume in zip(references, volumes, strict=False):
                    known = told.pop((profile.reference, reference), None)
                    self._announce(connection, profile, study, reference, volume, known, changes)
            for recipient, reference in told:
                deliveries.remove_announcement(connection, recipient, reference)
                if recipient in profiles:
                    changes.heads[recipient] = profiles[recipient]
        return changes

    def _entitled(self, study: StudyRow, profiles: list[Profile]) -> list[Profile]:
        if time.time() - study.last_arrival_at > self._settings.window_days * 86400:
            return []
        return routing.recipients(json.loads(study.attributes), study.PatientID, profiles)

    def _volumes(self, connection: Connection, study: StudyRow) -> list[Announcement]:
        """The study's announcement without its reference, sequence and time; in parts if it has very many objects."""
        series = sorted(arrivals_read.series_of(connection, study.id), key=_series_order)
        sealed = sorted(deliveries.objects_of(connection, study.id), key=lambda o: (o.batch, o.object))
        return list(_pack(study, series, sealed, _VOLUME_OBJECTS))

    def _announce(
        self,
        connection: Connection,
        profile: Profile,
        study: StudyRow,
        reference: str,
        volume: Announcement,
        known: Announced | None,
        changes: Changes,
    ) -> None:
        epoch, epoch_key = self._epoch(connection, profile)
        contents = hashlib.sha256(epoch_key + messages.encode(volume)).digest()
        if known is not None and known.contents == contents:
            return
        sequence = known.sequence + 1 if known else 1
        announcement = Announcement(
            study=decode_reference(reference),
            sequence=sequence,
            issued=_now_ms(),
            settled=volume.settled,
            attributes=volume.attributes,
            objects=volume.objects,
        )
        payload = envelope.pack_announcement(
            self._vault.online, self._site, profile.kind, profile.reference, epoch, epoch_key, announcement
        )
        digest = hashlib.sha256(payload).digest()
        deliveries.put_announcement(
            connection, Announced(profile.reference, reference, study.id, sequence, contents, digest, payload)
        )
        topic = topics.study(self._site, profile.kind, profile.reference, reference)
        changes.outgoing.append(Outgoing(topic, payload))
        changes.heads[profile.reference] = profile

    def refresh_all(self) -> Changes:
        """After profiles changed: every study of the window is judged anew."""
        with self._engine.connect() as connection:
            ids = [study.id for study in arrivals_read.studies(connection, limit=100_000)]
        everything = Changes()
        for study_id in ids:
            changes = self.refresh(study_id)
            everything.outgoing += changes.outgoing
            everything.heads |= changes.heads
        return everything

    # ── heads and keys ────────────────────────────────────────────────────────────────────────────────────────────

    def head(self, profile: Profile) -> Outgoing:
        """The recipient's next head; its sequence is safe before it is returned."""
        due_s = self._settings.head_ward_s if profile.kind == "ward" else self._settings.head_s
        with self._engine.begin() as connection:
            epoch, epoch_key = self._epoch(connection, profile)
            now = _now_ms()
            head = Head(
                sequence=deliveries.next_head(connection, profile.reference),
                issued=now,
                next_due=now + int(due_s * 1000),
                studies=[
                    HeadEntry(decode_reference(a.study_ref), a.sequence, a.digest)
                    for a in deliveries.announced_to(connection, profile.reference)
                ],
            )
        payload = envelope.pack_head(
            self._vault.online, self._site, profile.kind, profile.reference, epoch, epoch_key, head
        )
        return Outgoing(topics.head(self._site, profile.kind, profile.reference), payload, retain=True)

    def keys(self, profile: Profile) -> Outgoing:
        """The recipient's epoch key for each of its devices."""
        with self._engine.begin() as connection:
            epoch, epoch_key = self._epoch(connection, profile)
            devices = [
                d for d in people.all_devices(connection, with_revoked=False) if d.reference == profile.reference
            ]
        keys = Keys(
            suite=hpke.SUITE,
            epoch=epoch,
            issued=_now_ms(),
            devices=[
                envelope.seal_epoch_key(
                    self._site, profile.kind, profile.reference, d.device, d.exchange_key, epoch, epoch_key
                )
                for d in devices
            ],
        )
        payload = envelope.pack_keys(self._vault.online, self._site, profile.kind, profile.reference, keys)
        return Outgoing(topics.keys(self._site, profile.kind, profile.reference), payload, retain=True)

    def new_epoch(self, profile: Profile) -> None:
        """A device was revoked: from now on announcements and heads are sealed under a key that it never had."""
        with self._engine.begin() as connection:
            people.start_epoch(connection, profile.reference, os.urandom(32))

    @staticmethod
    def _epoch(connection: Connection, profile: Profile) -> tuple[int, bytes]:
        current = people.current_epoch(connection, profile.reference)
        if current is not None:
            return current
        key = os.urandom(32)
        return people.start_epoch(connection, profile.reference, key), key

    def missing(self, profile: Profile, known: dict[str, int]) -> list[Outgoing]:
        """The announcements that a device of ``profile`` lacks; ``known`` maps its study references to sequences."""
        with self._engine.connect() as connection:
            told = deliveries.announced_to(connection, profile.reference)
        return [
            Outgoing(topics.study(self._site, profile.kind, profile.reference, a.study_ref), a.payload)
            for a in told
            if known.get(a.study_ref, 0) < a.sequence
        ]


def _series_order(series: SeriesRow) -> tuple[int, int]:
    value = json.loads(series.attributes).get(_SERIES_NUMBER, {}).get("Value", [0])
    return (value[0] if value and isinstance(value[0], int) else 0), series.id


def _pack(study: StudyRow, series: list[SeriesRow], sealed: list[SealedObject], most: int) -> list[Announcement]:
    """Volumes of at most ``most`` objects, each small enough to be announced; one at least."""
    groups = [sealed[start : start + most] for start in range(0, len(sealed), most)] or [[]]
    pictured = {series_id for o in sealed for series_id in o.series_ids}
    volumes: list[Announcement] = []
    for group in groups:
        wanted = {series_id for o in group for series_id in o.series_ids}
        if not volumes:
            # Series that hold no picture yet, or none at all, are named too.
            wanted |= {s.id for s in series} - pictured
        volume = _volume(study, [s for s in series if s.id in wanted], group)
        if len(messages.encode(volume)) > MAX_ANNOUNCEMENT_BYTES - _SEAL_ROOM:
            if most == 1:
                raise TooLarge("a study whose attributes alone do not fit an announcement")
            return _pack(study, series, sealed, most // 2)
        volumes.append(volume)
    return volumes


def _volume(study: StudyRow, series: list[SeriesRow], group: list[SealedObject]) -> Announcement:
    index = {s.id: position for position, s in enumerate(series)}
    attributes = {"study": json.loads(study.attributes), "series": [json.loads(s.attributes) for s in series]}
    return Announcement(
        study=bytes(16),
        sequence=1,
        issued=0,
        settled=study.settled,
        attributes=objects.deflate_json(attributes),
        objects=[
            ObjectEntry(
                object=decode_reference(o.object),
                layer=o.layer,
                series=[index[series_id] for series_id in o.series_ids],
                batch=o.batch,
                frames=o.frames,
                key=o.key,
                size=o.size,
                manifest=o.manifest,
            )
            for o in group
        ],
    )
