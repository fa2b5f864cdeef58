"""Old entries of the audit trail leave the index for a file, so that what is left still proves that it is whole."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy.engine import Connection, Engine

from gateway.audit import Event
from gateway.management.anchors import Anchors
from gateway.management.files import sync_folder
from gateway.management.index import trail
from gateway.management.index.trail import Entry, Standing


class NotPrunedError(Exception):
    """Nothing was removed; the text says why."""


def prune(engine: Engine, anchors: Anchors, before_ms: int, to: Path, actor: str) -> int:
    """Move the entries from before a time into a new file; how many. The latest entry always stays.

    The file is on the disk and read again before a checkpoint is signed, and that before anything is removed: whatever
    breaks off in between loses nothing, and the same can be asked again with another file.

    Raises:
        NotPrunedError: the trail is not whole, nothing is so old, or the file is not what was written.
        OSError: a file cannot be written.
    """
    with engine.connect() as connection:
        if anchors.verify(connection):
            raise NotPrunedError("the trail is not whole: `mpacs-gateway audit verify` says where; nothing was removed")
        last = trail.last_before(connection, before_ms)
        if last is None:
            raise NotPrunedError("no entry is so old: nothing was removed")
        _write(to, _until(connection, last.sequence))
    count, end = _read(to)
    if end != last:
        raise NotPrunedError("the file is not what was written to it: nothing was removed")
    anchors.check_out(last)
    with engine.begin() as connection:
        trail.record(connection, Event("audit-used", actor, what=f"pruned to {last.sequence}"))
        trail.remove_until(connection, last.sequence)
    return count


def _until(connection: Connection, sequence: int) -> Iterator[Entry]:
    for entry in trail.oldest_first(connection):
        if entry.sequence > sequence:
            return
        yield entry


def _write(to: Path, entries: Iterable[Entry]) -> None:
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for one in entries:
            line = {"sequence": one.sequence, "at_ms": one.at_ms, "link": one.link.hex(), "entry": one.entry}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(to.parent)


def _read(path: Path) -> tuple[int, Standing | None]:
    """How many entries a file holds, and where their chain ends: at the first that does not fit the one before."""
    count, end = 0, None
    for one in pruned(path):
        is_next = end is None or (
            one.sequence == end.sequence + 1 and trail.linked(end.link, one.sequence, one.at_ms, one.entry) == one.link
        )
        if not is_next:
            break
        count, end = count + 1, Standing(one.sequence, one.link)
    return count, end


def pruned(path: Path) -> Iterator[Entry]:
    """The entries of a file that ``prune`` wrote; ValueError at a line that is none, or where there is none at all."""
    if not path.stat().st_size:
        raise ValueError("this file holds no pruned entries: it is empty")
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                one = json.loads(line)
                yield Entry(int(one["sequence"]), int(one["at_ms"]), str(one["entry"]), bytes.fromhex(one["link"]))
            except (KeyError, TypeError, ValueError):
                raise ValueError("this file holds no pruned entries: a line is none") from None
