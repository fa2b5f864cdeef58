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


class OrderRecord(Struct, frozen=True):
    """A layer that was wished of a study: to be ordered, taken by the gateway, or refused for ``reason``.

    ``extent`` tells whether the study has grown since.
    """

    kind: Kind
    recipient: str
    study: str
    layer: Layer
    at: int
    state: Literal["queued", "taken", "refused"]
    reason: str
    extent: int


StudyKey = tuple[str, str]
"""Recipient and study."""

ReceiptKey = tuple[str, str, str, str]
"""Recipient, study, layer and event."""

OrderKey = tuple[str, str, str]
"""Recipient, study and layer."""


class Catalogue:
    """Studies, receipts, orders: in memory at once, on the disk with the next ``flush``, however many that holds.

    What a kill takes with it is found again: a receipt that was owed is owed still, one that was taken is sent twice.
    """

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
        self._dirty = False
        studies = [msgspec.convert(dict(one), StudyRecord) for one in self._db.table("studies")]
        receipts = [msgspec.convert(dict(one), ReceiptRecord) for one in self._db.table("receipts")]
        orders = [msgspec.convert(dict(one), OrderRecord) for one in self._db.table("orders")]
        self.studies: dict[StudyKey, StudyRecord] = {(one.recipient, one.study): one for one in studies}
        self.receipts: dict[ReceiptKey, ReceiptRecord] = {receipt_key(one): one for one in receipts}
        self.orders: dict[OrderKey, OrderRecord] = {order_key(one): one for one in orders}

    def put_studies(self, records: list[StudyRecord]) -> None:
        """Add or replace."""
        self.studies.update({(record.recipient, record.study): record for record in records})
        self._dirty = True

    def put_receipts(self, records: list[ReceiptRecord]) -> None:
        """Add or replace."""
        self.receipts.update({receipt_key(record): record for record in records})
        self._dirty = True

    def put_orders(self, records: list[OrderRecord]) -> None:
        """Add or replace."""
        if records:
            self.orders.update({order_key(record): record for record in records})
            self._dirty = True

    def forget(self, keys: list[StudyKey]) -> None:
        """Remove studies that are gone, and what they owed."""
        gone = set(keys)
        for study_key in keys:
            self.studies.pop(study_key, None)
        for receipt_key_ in [key for key in self.receipts if key[:2] in gone]:
            del self.receipts[receipt_key_]
        for order_key_ in [key for key in self.orders if key[:2] in gone]:
            del self.orders[order_key_]
        self._dirty = True

    @property
    def dirty(self) -> bool:
        """Whether ``flush`` has something to write."""
        return self._dirty

    def flush(self) -> None:
        """Write what has changed; blocking. Other threads may change records meanwhile."""
        if not self._dirty:
            return
        # Before the records are looked at: what changes from here on makes it dirty again.
        self._dirty = False
        tables: dict[str, list[Any]] = {
            "studies": list(self.studies.values()),
            "receipts": list(self.receipts.values()),
            "orders": list(self.orders.values()),
        }
        try:
            for name, records in tables.items():
                # All anew, because an update of one record costs the library as much as one of all.
                table = self._db.table(name)
                table.truncate()
                table.insert_multiple([msgspec.to_builtins(record) for record in records])
            self._storage.flush()  # type: ignore[no-untyped-call]  # tinydb leaves it unannotated
        except OSError:
            self._dirty = True
            raise


def receipt_key(record: ReceiptRecord) -> ReceiptKey:
    """What a receipt is found by."""
    return record.recipient, record.study, record.layer, record.event


def order_key(record: OrderRecord) -> OrderKey:
    """What an order is found by."""
    return record.recipient, record.study, record.layer
