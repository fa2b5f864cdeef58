"""What an operator has to look at: files that were refused, instances kept apart, instances that were not rendered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from gateway.audit import Event
from gateway.management.index import arrivals_quarantine, arrivals_read, layers, refused_messages, trail, uses
from gateway.management.index import arrivals_tables as t
from gateway.management.index.arrivals_rows import ConflictKind, InstanceRow
from gateway.management.index.counting import ARCHIVE_BYTES, add
from gateway.management.index.uses import StoredFile
from gateway.middleware.admission import Admission, Admitted
from gateway.middleware.arrival import StoreOutcome
from gateway.middleware.refusal import Refusal

What = Literal["refused", "kept apart", "not rendered", "HL7 message"]
CONFLICTS = {
    ConflictKind.BYTES: "other bytes under a SOPInstanceUID that is known; the first stays",
    ConflictKind.PATIENT: "another patient under a StudyInstanceUID that is known; the first stays",
}
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """One of them. Holds no identity."""

    digest: str
    what: What
    reason: str
    detail: str
    source: str
    at: float
    """POSIX seconds: refused, kept apart or arrived."""
    times: int
    size_bytes: int
    path: str
    """Relative to the archive's root."""
    row: int
    """In its own table."""


class UnknownItemError(Exception):
    """No item, or several, have this beginning; the text says what to do."""


class Quarantine:
    """Lists, tries again, drops.

    ``wake`` tells the core that there is something to be done; ``reread`` takes an HL7 message once more and returns
    why it is still not taken, or nothing.
    """

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        wake: Callable[[], None],
        reread: Callable[[bytes], str],
        actor: str = "gateway",
    ) -> None:
        self._actor = actor
        self._engine = engine
        self._admission = admission
        self._archive = admission.archive
        self._wake = wake
        self._reread = reread

    def all(self) -> list[Item]:
        """The latest first."""
        with self._engine.connect() as connection:
            return items(connection)

    def find(self, beginning: str) -> Item:
        """The one item whose digest begins so. Raises UnknownItemError."""
        found = [item for item in self.all() if item.digest.startswith(beginning.lower())]
        if len(found) != 1 or not beginning:
            many = "several begin" if found else "none begins"
            raise UnknownItemError(f"{many} like this: `mpacs-gateway quarantine list` shows all with their ids")
        return found[0]

    def file(self, item: Item) -> Path:
        """Where its bytes lie, there or not."""
        return self._archive.root / item.path

    def layers(self, item: Item) -> dict[str, str]:
        """Of an instance that was not rendered: each layer that is over, with ``made`` or why it was not."""
        if item.what != "not rendered":
            return {}
        with self._engine.connect() as connection:
            return layers.over(connection, item.row)

    def message(self, item: Item) -> bytes:
        """An HL7 message as it came. Raises FileNotFoundError if it is gone."""
        with self._engine.connect() as connection:
            found = refused_messages.get(connection, item.digest)
        if found is None:
            raise FileNotFoundError
        return found.data

    def retry(self, item: Item) -> Admitted | Refusal | str | None:
        """Through the door again, as a file; or None: to be rendered again, which the running gateway does.

        Of an HL7 message the reason why it is still not taken, empty if it was.
        What is taken, or found to be here, leaves the quarantine. Raises FileNotFoundError if its bytes are gone.
        """
        if item.what == "HL7 message":
            reason = self._reread(self.message(item))
            if not reason:
                self._forget(item)
            return reason
        if item.what == "not rendered":
            with self._engine.begin() as connection:
                arrivals_quarantine.set_instance_state(connection, [item.row], "received")
                for layer in layers.NEEDS:
                    layers.reopen(connection, [item.row], layer)
            self._wake()
            return None
        result = self._admission.admit_file(self.file(item), item.source)
        if isinstance(result, Admitted) and result.outcome is not StoreOutcome.CONFLICT:
            self._forget(item)
        return result

    def drop(self, item: Item) -> None:
        """Delete its bytes and forget it; an instance that was not rendered stays known, as one without its file."""
        what = f"{item.what}, {item.digest[:12]}"
        self._forget(item, Event("quarantine-dropped", self._actor, what=what, reason=item.reason))
        self._wake()

    def _forget(self, item: Item, *events: Event) -> None:
        """Note, then remove: a cut between them leaves a file that the next start sweeps."""
        if item.what == "HL7 message":
            with self._engine.begin() as connection:
                trail.record(connection, *events)
                refused_messages.drop(connection, item.digest)
            return
        with self._archive.holding(item.digest):
            with self._engine.begin() as connection:
                trail.record(connection, *events)
                if item.what == "refused":
                    arrivals_quarantine.drop_quarantine(connection, item.digest)
                elif item.what == "kept apart":
                    connection.execute(sa.delete(t.conflicts).where(t.conflicts.c.id == item.row))
                    add(connection, ARCHIVE_BYTES, -item.size_bytes)
                else:
                    uses.evict_files(connection, [StoredFile(item.row, item.digest, item.size_bytes)])
                is_needed = bool(uses.referenced(connection, [item.digest]))
            if item.what == "refused":
                self._archive.drop_quarantined(item.digest)
            elif not is_needed:
                self._archive.remove(item.digest)


def items(connection: Connection) -> list[Item]:
    """All of them, the latest first."""
    refused = [
        Item(
            row.digest,
            "refused",
            row.reason,
            row.detail,
            row.source,
            row.refused_at,
            row.times,
            row.size_bytes,
            row.path,
            row.id,
        )
        for row in arrivals_quarantine.list_quarantine(connection, _MOST)
    ]
    apart = [
        Item(
            row.digest,
            "kept apart",
            f"conflict-{row.kind}",
            CONFLICTS[ConflictKind(row.kind)],
            row.source,
            row.seen_at,
            1,
            row.size_bytes,
            row.path,
            row.id,
        )
        for row in arrivals_read.list_conflicts(connection, _MOST)
    ]
    failed = [_failed(row) for row in _not_rendered(connection)]
    told = [
        Item(one.digest, "HL7 message", one.name, one.reason, "hl7", one.at, one.times, len(one.data), "", 0)
        for one in refused_messages.all_kept(connection)
    ]
    return sorted([*refused, *apart, *failed, *told], key=lambda item: (-item.at, item.digest))


def _not_rendered(connection: Connection) -> list[InstanceRow]:
    query = sa.select(t.instances).where(t.instances.c.state == "failed").order_by(t.instances.c.id.desc()).limit(_MOST)
    return [InstanceRow(**row._mapping) for row in connection.execute(query)]


def _failed(row: InstanceRow) -> Item:
    return Item(
        row.digest,
        "not rendered",
        row.reason,
        "it is archived, and devices do not show it",
        row.source,
        row.arrived_at,
        1,
        row.size_bytes,
        row.path,
        row.id,
    )
