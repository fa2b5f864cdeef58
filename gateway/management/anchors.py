"""Anchors of the audit trail: signed notes, outside the database, of where its chain stood.

Whoever can write the database alone can make a chain anew, and cannot make it fit what was anchored. ``head`` is the
latest anchor, written about a second after each entry; ``anchors.jsonl`` keeps one for each ten minutes in which
something was added. A copy of that file on another machine (``audit.anchor`` in the configuration may lie on one)
also convicts somebody who holds the key.
"""

import contextlib
import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection, Engine

from gateway.management.files import write_private
from gateway.management.index import trail
from gateway.management.index.trail import Entry, Standing

KEEP_EVERY_S = 600.0
_LABEL = b"mpacs/1 audit anchor\0"
_CHECKPOINT = b"mpacs/1 audit checkpoint\0"
"""Another label: an anchor is no leave to remove what is before it."""
_KEY_BYTES = 32
_LINE_BYTES = 1024
"""More than a line takes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the trail; ``sequence`` is 0 where no one entry is at fault."""

    sequence: int
    what: str


class Anchors:
    """One folder of anchors, and the key that signs them."""

    def __init__(self, folder: Path, key_file: Path, site: str, copy: Path | None = None) -> None:
        """``folder`` and key are made when they are missing; ``copy`` is a second place for ``anchors.jsonl``."""
        self._head = folder / "head"
        self._lines = [folder / "anchors.jsonl", *([copy] if copy else [])]
        self._checkpoints = folder / "checkpoints.jsonl"
        self._site = site.encode()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not key_file.exists():
            write_private(key_file, Ed25519PrivateKey.generate().private_bytes_raw())
        self._key = Ed25519PrivateKey.from_private_bytes(key_file.read_bytes()[:_KEY_BYTES])

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, engine: Engine, keep: bool = False) -> None:
        """Anchor what was added since; with ``keep`` for good whatever the time. Raises OSError."""
        with engine.connect() as connection:
            standing = trail.standing(connection)
        with self._locked():
            last = self._read_head()
            if standing.sequence == 0 or (last and last["sequence"] > standing.sequence):
                return  # a tail that was cut stays convicted
            is_new = last is None or last["sequence"] < standing.sequence
            line = self._signed(standing) if is_new else json.dumps(last)
            if is_new:
                write_private(self._head, line.encode())
            for path in self._lines:
                if self._is_due(path, standing, keep):
                    _append(path, line)

    def _is_due(self, path: Path, standing: Standing, keep: bool) -> bool:
        kept = _last_line(path)
        if kept is None:
            return True
        is_old = time.time() - kept["at_ms"] / 1000 > KEEP_EVERY_S
        return bool(kept["sequence"] < standing.sequence and (keep or is_old))

    def check_out(self, standing: Standing) -> None:
        """Sign that all up to here was moved elsewhere: the trail may begin after it. Raises OSError."""
        with self._locked():
            _append(self._checkpoints, self._signed(standing, _CHECKPOINT))

    def _signed(self, standing: Standing, label: bytes = _LABEL) -> str:
        at_ms = int(time.time() * 1000)
        signature = self._key.sign(self._covered(standing.sequence, standing.link, at_ms, label)).hex()
        return json.dumps(
            {"sequence": standing.sequence, "link": standing.link.hex(), "at_ms": at_ms, "signature": signature}
        )

    def _covered(self, sequence: int, link: bytes, at_ms: int, label: bytes) -> bytes:
        return label + self._site + b"\0" + sequence.to_bytes(8, "big") + link + at_ms.to_bytes(8, "big")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The core and a command may anchor at the same time."""
        descriptor = os.open(self._head.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read_head(self) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError):
            return _parsed(self._head.read_text())
        return None

    # ── verifying ─────────────────────────────────────────────────────────────────────────────────────────────────

    def verify(self, connection: Connection, against: Path | None = None, earlier: Iterable[Entry] = ()) -> list[Fault]:
        """What is wrong with the trail, the first hundred faults; none if it is whole and fits every anchor.

        ``against`` is a copy of the anchors that was kept elsewhere, ``earlier`` what was pruned, in its order.
        """
        faults: list[Fault] = []
        wanted = self._anchored(faults, [*self._lines, *([against] if against else [])])
        if against is not None and not against.read_bytes().strip():
            faults.append(Fault(0, "the copy of the anchors is empty: it proves nothing"))
        before, expected = trail.FIRST_LINK, 1
        entries = itertools.chain(earlier, trail.oldest_first(connection))
        first = next(entries, None)
        if first is not None and (checkpoint := self._checked_out().get(first.sequence - 1)):
            before, expected = checkpoint, first.sequence
            wanted = {sequence: link for sequence, link in wanted.items() if sequence >= expected}
        for entry in itertools.chain([first] if first else [], entries):
            if entry.sequence != expected:
                gone = (
                    f"entry {expected} is"
                    if entry.sequence == expected + 1
                    else f"entries {expected} to {entry.sequence - 1} are"
                )
                faults.append(Fault(expected, f"{gone} missing: deleted"))
            elif trail.linked(before, entry.sequence, entry.at_ms, entry.entry) != entry.link:
                faults.append(
                    Fault(
                        entry.sequence,
                        f"entry {entry.sequence} does not fit its link: it, or one before it, was changed",
                    )
                )
            anchored = wanted.pop(entry.sequence, None)
            if anchored is not None and anchored != entry.link.hex():
                faults.append(
                    Fault(
                        entry.sequence, f"entry {entry.sequence} is not what was anchored: the chain was written anew"
                    )
                )
            before, expected = entry.link, entry.sequence + 1
            if len(faults) > 100:
                return faults
        if wanted:
            faults.append(
                Fault(max(wanted), f"the trail ends at {expected - 1}, but was anchored further: its tail was cut")
            )
        elif trail.counted(connection) != expected - 1:
            faults.append(Fault(expected, "the trail is shorter than the index counts: its tail was cut"))
        return faults

    def _anchored(self, faults: list[Fault], files: list[Path]) -> dict[int, str]:
        """Sequence to link of all anchors; those whose signature does not fit are faults."""
        found: dict[int, str] = {}
        lines = [line for path in files if path.exists() for line in path.read_text(errors="replace").splitlines()]
        if self._head.exists():
            lines.append(self._head.read_text())
        for line in lines:
            anchor = _parsed(line)
            if anchor is None or not self._is_ours(anchor):
                faults.append(Fault(0, "an anchor is not signed by this gateway: it was changed, or is another's"))
                continue
            sequence = anchor["sequence"]
            if found.setdefault(sequence, anchor["link"]) != anchor["link"]:
                faults.append(Fault(sequence, f"two anchors of entry {sequence} differ: the chain was written anew"))
        if not found:
            faults.append(Fault(0, "there is no anchor: the folder audit of the state folder was removed"))
        return found

    def _checked_out(self) -> dict[int, bytes]:
        """Sequence to link of the checkpoints that this gateway signed."""
        found = {}
        if self._checkpoints.exists():
            for line in self._checkpoints.read_text(errors="replace").splitlines():
                one = _parsed(line)
                if one is not None and self._is_ours(one, _CHECKPOINT):
                    found[one["sequence"]] = bytes.fromhex(one["link"])
        return found

    def _is_ours(self, anchor: dict[str, Any], label: bytes = _LABEL) -> bool:
        try:
            covered = self._covered(anchor["sequence"], bytes.fromhex(anchor["link"]), anchor["at_ms"], label)
            self._key.public_key().verify(bytes.fromhex(anchor["signature"]), covered)
        except (InvalidSignature, KeyError, TypeError, ValueError, OverflowError):
            return False
        return True


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("sequence"), int) else None


def _last_line(path: Path) -> dict[str, Any] | None:
    """Read from the end: the file grows for years, and this is asked once a second."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _LINE_BYTES, 0))
        lines = file.read().decode(errors="replace").splitlines()
        return _parsed(lines[-1]) if lines else None
    return None


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
