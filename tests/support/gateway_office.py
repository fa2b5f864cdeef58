"""The management layer of a gateway in this process: index, keys, registry, announcer; without broker or DICOM."""

import hashlib
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import app
from gateway.config import Access, Config, Delivery
from gateway.management.announcer import Announcer
from gateway.management.census import Census
from gateway.management.index import arrivals, arrivals_read, deliveries, people
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.index.people import Device, Profile
from gateway.management.registry import Registry
from gateway.management.vault import Vault
from gateway.middleware.arrival import Arrival
from wire import envelope, hpke, sign
from wire.messages import Announcement, Head
from wire.names import encode_reference

_numbers = itertools.count(1)
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


class Office:
    """A state folder that was just made. Times of arrivals are given, so that windows can be tried."""

    def __init__(self, folder: Path, **delivery: Any) -> None:
        self.config = Config(site="office", delivery=Delivery(**delivery), access=Access(release="automatic"))
        self.state = app.State(folder)
        app.init(self.state, self.config)
        self.engine = app.open_index(self.state, self.config)
        self.vault = Vault.load(self.state.keys)
        self.registry = Registry(self.engine, self.vault, self.config, b"", b"")
        self.census = Census(self.engine, self.config.access)
        self.announcer = Announcer(self.engine, self.vault, "office", self.config.delivery, self.census)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    # ── people ────────────────────────────────────────────────────────────────────────────────────────────────────

    def profile(self, kind: Any, identifier: str, name: str = "", attends: tuple[str, ...] = ()) -> Profile:
        return self.registry.put_profile(kind, identifier, name, attends)[0]

    def device(self, profile: Profile) -> Device:
        """An enrolled device, without its having enrolled."""
        made = Device(
            device=encode_reference(os.urandom(16)),
            reference=profile.reference,
            name="d",
            sign_key=sign.raw_public(Ed25519PrivateKey.generate()),
            exchange_key=hpke.raw_public(ec.generate_private_key(ec.SECP256R1())),
            password_sha256=hashlib.sha256(os.urandom(32)).hexdigest(),
            lease_secret=os.urandom(32),
            enrolled_at=time.time(),
            seen_at=time.time(),
            revoked_at=None,
        )
        with self.engine.begin() as connection:
            people.add_device(connection, made)
        return made

    # ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────

    def arrive(
        self,
        study: str = "1.2.3",
        patient: str = "P-1",
        series: str = "1.2.3.1",
        at: float | None = None,
        study_attributes: dict[str, Any] | None = None,
        series_attributes: dict[str, Any] | None = None,
        frames: int = 1,
        path: Path | None = None,
        sop_class: str = CT_IMAGE,
        modality: str = "CT",
        transfer_syntax: str = "1.2.840.10008.1.2.1",
        uid: str = "",
    ) -> tuple[int, int]:
        """One more instance; returns the ids of its study and of itself."""
        number = next(_numbers)
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        uid = uid or f"1.2.826.7.{number}"
        arrival = Arrival(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=uid,
            SOPClassUID=sop_class,
            TransferSyntaxUID=transfer_syntax,
            PatientID=patient,
            IssuerOfPatientID="",
            PatientName="Nobody^A",
            Modality=modality,
            InstanceNumber=number,
            NumberOfFrames=frames,
            has_pixels=sop_class == CT_IMAGE,
            digest=digest,
            data_digest=digest,
            size_bytes=1,
            path=str(path or f"{digest[:2]}/{digest}"),
            source="TEST",
            study_attributes=json.dumps({**_study(study, patient), **(study_attributes or {})}).encode(),
            series_attributes=json.dumps({**_series(series), **(series_attributes or {})}).encode(),
        )
        with self.engine.begin() as connection:
            arrivals.add_arrival(connection, arrival, time.time() if at is None else at)
            row = arrivals_read.instance(connection, uid)
        assert row is not None
        return row.study_id, row.id

    def add_object(self, study_id: int, series_ids: tuple[int, ...], layer: Any = "display", **values: Any) -> str:
        """An object's row; there is no file."""
        with self.engine.begin() as connection:
            sealed = SealedObject(
                object=encode_reference(os.urandom(16)),
                study_id=study_id,
                layer=layer,
                series_ids=series_ids,
                batch=values.get("batch", deliveries.next_batch(connection, study_id)),
                frames=1,
                key=os.urandom(32),
                size=values.get("size", 1000),
                manifest=os.urandom(32),
            )
            spans = [FrameSpan(instance, 0, 1) for instance in values.get("instances", ())]
            deliveries.add_object(connection, sealed, spans)
            deliveries.touch(connection, study_id)
        return sealed.object

    # ── reading as a device would ─────────────────────────────────────────────────────────────────────────────────

    def find_key(self, key_id: bytes) -> bytes | None:
        public = sign.raw_public(self.vault.online)
        return public if sign.key_id(public) == key_id else None

    def epochs(self, profile: Profile) -> dict[int, bytes]:
        from gateway.management.index.epochs import current_epoch

        with self.engine.connect() as connection:
            current = current_epoch(connection, profile.reference)
        return {current[0]: current[1]} if current else {}

    def open_announcement(self, profile: Profile, topic: str, data: bytes) -> Announcement:
        reference = topic.rpartition("/")[2]
        return envelope.open_announcement(
            self.find_key, "office", profile.kind, profile.reference, reference, self.epochs(profile), data
        )

    def head(self, profile: Profile) -> Head:
        """The recipient's next head, opened."""
        data = self.announcer.head(profile).payload
        return envelope.open_head(self.find_key, "office", profile.kind, profile.reference, self.epochs(profile), data)


def _study(uid: str, patient: str) -> dict[str, Any]:
    return {"0020000D": {"vr": "UI", "Value": [uid]}, "00100020": {"vr": "LO", "Value": [patient]}}


def _series(uid: str) -> dict[str, Any]:
    return {"0020000E": {"vr": "UI", "Value": [uid]}, "00080060": {"vr": "CS", "Value": ["CT"]}}
