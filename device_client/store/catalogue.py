"""The catalogue: small records in TinyDB, written on a change of state only.

A record names opaque references, sequences and states; never an announcement, a picture, a progress or an identity.
"""

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from tinydb import TinyDB
from tinydb.middlewares import CachingMiddleware
from tinydb.storages import Storage
from tinydb.table import Document

from device_client.errors import StoreBroken
from device_client.store import files
from wire.messages import Layer
from wire.names import Kind


class AtomicStorage(Storage):
    """One JSON file; a crash leaves the old one or the new one (TinyDB's own storage leaves none)."""

    def __init__(self, path: Path) -> None:
        """``path`` need not exist."""
        self._path = path

    def read(self) -> dict[str, dict[str, Any]] | None:
        """All tables, or None if there is no file yet."""
        try:
            data = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise StoreBroken("the catalogue is damaged") from None
        if not isinstance(data, dict):
            raise StoreBroken("the catalogue is damaged")
        return data

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Replace the file."""
        files.write_atomic(self._path, json.dumps(data, separators=(",", ":")).encode())


class StudyRecord(Struct, frozen=True):
    """A study of one recipient: its highest announcement sequence, and whether it is complete."""

    kind: Kind
    recipient: str
    study: str
    sequence: int
    state: Literal["announced", "complete"]


class ReceiptRecord(Struct, frozen=True):
    """A receipt that is owed (``queued``) or was taken (``done``); ``at`` in milliseconds."""

    kind: Kind
    recipient: str
    study: str
    sequence: int
    layer: Layer
    event: Literal["received", "opened"]
    at: int
    state: Literal["queued", "done"]


StudyKey = tuple[str, str]
"""Recipient and study."""

ReceiptKey = tuple[str, str, str, str]
"""Recipient, study, layer and event."""


class Catalogue:
    """Studies and receipts. Every method that changes something writes once, however many records it is given."""

    def __init__(self, path: Path) -> None:
        """Read ``path``; a damaged file is set aside, because announcements and heads stand in files of their own."""
        self._path = path
        try:
            self._open()
        except (StoreBroken, msgspec.ValidationError, ValueError):
            path.replace(path.with_name(path.name + ".damaged"))
            self._open()

    def _open(self) -> None:
        # The cache of the library writes when it is told to: a batch of records is one write.
        self._storage = CachingMiddleware(AtomicStorage)  # type: ignore[no-untyped-call]  # tinydb leaves it unannotated
        self._storage.WRITE_CACHE_SIZE = 1 << 30
        self._db = TinyDB(self._path, storage=self._storage)
        self._study_ids: dict[StudyKey, int] = {}
        self._receipt_ids: dict[ReceiptKey, int] = {}
        self.studies: dict[StudyKey, StudyRecord] = {}
        self.receipts: dict[ReceiptKey, ReceiptRecord] = {}
        for document in self._db.table("studies"):
            study = msgspec.convert(dict(document), StudyRecord)
            self._study_ids[study.recipient, study.study] = document.doc_id
            self.studies[study.recipient, study.study] = study
        for document in self._db.table("receipts"):
            receipt = msgspec.convert(dict(document), ReceiptRecord)
            key = (receipt.recipient, receipt.study, receipt.layer, receipt.event)
            self._receipt_ids[key] = document.doc_id
            self.receipts[key] = receipt

    def _flush(self) -> None:
        self._storage.flush()  # type: ignore[no-untyped-call]  # tinydb leaves it unannotated

    def put_studies(self, records: list[StudyRecord]) -> None:
        """Add or replace."""
        table = self._db.table("studies")
        for record in records:
            key = (record.recipient, record.study)
            doc_id = self._study_ids.setdefault(key, max(self._study_ids.values(), default=0) + 1)
            table.upsert(Document(msgspec.to_builtins(record), doc_id))
            self.studies[key] = record
        self._flush()

    def put_receipts(self, records: list[ReceiptRecord]) -> None:
        """Add or replace."""
        table = self._db.table("receipts")
        for record in records:
            key = (record.recipient, record.study, record.layer, record.event)
            doc_id = self._receipt_ids.setdefault(key, max(self._receipt_ids.values(), default=0) + 1)
            table.upsert(Document(msgspec.to_builtins(record), doc_id))
            self.receipts[key] = record
        self._flush()

    def forget(self, keys: list[StudyKey]) -> None:
        """Remove studies that are gone, and what they owed."""
        studies = [self._study_ids.pop(key) for key in keys if key in self._study_ids]
        owed = [key for key in self.receipts if key[:2] in set(keys)]
        receipts = [self._receipt_ids.pop(key) for key in owed]
        for study_key in keys:
            self.studies.pop(study_key, None)
        for receipt_key in owed:
            del self.receipts[receipt_key]
        if studies:
            self._db.table("studies").remove(doc_ids=studies)
        if receipts:
            self._db.table("receipts").remove(doc_ids=receipts)
        self._flush()
