"""The import folder: what is put into it is taken in, then moved to ``done`` or, with a reason beside it, ``refused``.

A file is moved only after what became of it is committed, and the same file twice is one instance: a kill at any moment
loses nothing and doubles nothing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.middleware.importing.completeness import has_writer
from gateway.middleware.importing.importer import Importer, Outcome, Report
from gateway.middleware.importing.kinds import Kind, kind_of
from gateway.middleware.importing.sidecar import SUFFIX, Sidecar, SidecarError, find_sidecar

log = logging.getLogger(__name__)

DONE, REFUSED = "done", "refused"
REASON_SUFFIX = ".reason.txt"
_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", "~")
_LOOK_S = 1.0
_QUIET_S = 0.9
"""Without a writer and without a change for so long, a file is complete."""
_QUIET_UNSURE_S = 10.0
"""The same where the system cannot say whether somebody writes: on a network share, or another user's file."""
_AGAIN_S = (5.0, 60.0)
_EMPTY_S = 300.0
_TIDY_S = 3600.0
_DAY_S = 86400.0

MakeImporter = Callable[[Sidecar | None], Importer]
"""For one file; raises SidecarError where the sidecar's patient or study cannot be."""


@dataclass(slots=True)
class _Seen:
    """A file as it was when it last changed."""

    state: tuple[int, int, int]
    since: float
    not_before: float = 0.0
    failures: int = 0


class DropFolder:
    """Looks after one folder. Belongs to one thread."""

    def __init__(
        self,
        folder: Path,
        make_importer: MakeImporter,
        settle: Callable[[Collection[str]], None],
        keep_days: int,
    ) -> None:
        """
        Args:
            folder: made if it is not there.
            make_importer: see there.
            settle: told of StudyInstanceUIDs to which nothing more is waiting here.
            keep_days: so long files stay in ``done``.
        """
        self._folder = folder
        self._make_importer = make_importer
        self._settle = settle
        self._keep_s = keep_days * _DAY_S
        self._seen: dict[Path, _Seen] = {}
        self._touched: set[str] = set()
        self._tidy_at = 0.0
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Look again and again until ``stop`` is set; a failure is logged once and tried again."""
        while not stop.is_set():
            try:
                self.look(time.monotonic(), stop)
                self._trouble = ""
            except Exception as error:  # whatever it is, the folder is looked after again
                text = (error.strerror or "") if isinstance(error, OSError) else type(error).__name__
                if text != self._trouble:
                    log.error("the import folder cannot be looked after (%s); it is tried again", text)
                self._trouble = text
            stop.wait(_LOOK_S)

    def look(self, now: float, stop: threading.Event | None = None) -> int:
        """Take what is complete; returns how many files are left to be looked at again. Raises OSError."""
        for folder in (self._folder, self._folder / DONE, self._folder / REFUSED):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = set()
        for path, state in self._files():
            if stop is not None and stop.is_set():
                return len(self._seen)
            there.add(path)
            seen = self._seen.get(path)
            if seen is None or seen.state != state:
                self._seen[path] = _Seen(state, now)
            elif self._is_complete(path, seen, now) and self._take(path, seen, now):
                there.discard(path)
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        if not self._seen and self._touched:
            touched, self._touched = self._touched, set()
            self._settle(touched)
        if now >= self._tidy_at:
            self._tidy_at = now + _TIDY_S
            self._tidy(time.time())
        return len(self._seen)

    def _files(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        """What is to be taken, with what changes when it is written to. Links are not followed: they could lead out."""
        for here, folders, names in os.walk(self._folder):
            is_top = Path(here) == self._folder
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and not (is_top and name in (DONE, REFUSED))
            )
            for name in sorted(names):
                if name.startswith(".") or name.lower().endswith((SUFFIX, REASON_SUFFIX, *_UNFINISHED)):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found = (Path(here) / name).lstat()
                    if stat.S_ISREG(found.st_mode):
                        yield Path(here) / name, (found.st_size, found.st_mtime_ns, found.st_ino)

    def _is_complete(self, path: Path, seen: _Seen, now: float) -> bool:
        if now < seen.not_before or now - seen.since < _QUIET_S:
            return False
        writing = has_writer(path)
        return now - seen.since >= _QUIET_UNSURE_S if writing is None else not writing

    # ── one file ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, path: Path, seen: _Seen, now: float) -> bool:
        """Whether it is dealt with; otherwise it is looked at again."""
        try:
            reports, lines, sidecar = self._admit(path)
        except OSError as error:
            return self._later(seen, now, error.strerror or type(error).__name__)
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            if (found.st_size, found.st_mtime_ns, found.st_ino) != seen.state:
                return False  # it changed under our hands
        if any(report.is_transient for report in reports):
            return self._later(seen, now, "no room, or the index is away")
        self._touched |= {report.StudyInstanceUID for report in reports if report.StudyInstanceUID}
        if lines:
            log.warning("a file in the import folder was refused")
        self._put_away(path, REFUSED if lines else DONE, lines, sidecar)
        return True

    def _later(self, seen: _Seen, now: float, why: str) -> bool:
        seen.failures += 1
        seen.not_before = now + min(_AGAIN_S[1], _AGAIN_S[0] * 2 ** min(seen.failures, 8))
        log.warning("a file in the import folder cannot be taken (%s); it is tried again", why)
        return False

    def _admit(self, path: Path) -> tuple[list[Report], list[str], Path | None]:
        """Reports, reasons why it goes to ``refused``, and the sidecar that goes with it."""
        sidecar_path: Path | None = None
        try:
            if kind_of(path) is Kind.DICOMDIR:
                return [], [], None  # the files that it names lie here too, and are taken by themselves
            sidecar, sidecar_path = find_sidecar(path, self._folder)
            importer = self._make_importer(sidecar)
        except SidecarError as error:
            return [], [str(error)], sidecar_path
        is_named = path.parent == self._folder or sidecar is not None
        reports = list(importer.take([path], is_named=is_named))
        lines = [
            f"{_within(path, report.name)}{report.outcome}: {report.detail}"
            for report in reports
            if report.outcome in (Outcome.REFUSED, Outcome.APART)
        ]
        if is_named and all(report.outcome is Outcome.SKIPPED for report in reports):
            lines = [report.detail for report in reports] or ["there is nothing in it"]
        return reports, lines, sidecar_path

    def _put_away(self, path: Path, where: str, lines: list[str], sidecar: Path | None) -> None:
        target = _free(self._folder / where / path.relative_to(self._folder))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if lines:
            # First the reason: a kill between the two finds the file still here, and it is refused again.
            reason = target.with_name(target.name + REASON_SUFFIX)
            reason.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
        if sidecar is not None:
            with contextlib.suppress(FileNotFoundError):
                sidecar.rename(target.with_name(target.name + SUFFIX))
        with contextlib.suppress(FileNotFoundError):
            path.rename(target)

    # ── order ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tidy(self, now: float) -> None:
        """Drop what lay in ``done`` long enough, and folders that have been empty for a while."""
        for here, _, names in os.walk(self._folder / DONE, topdown=False):
            for name in names:
                path = Path(here) / name
                with contextlib.suppress(FileNotFoundError):
                    if now - path.lstat().st_ctime > self._keep_s:  # renamed then, whatever its own time says
                        path.unlink()
        kept = {self._folder, self._folder / DONE, self._folder / REFUSED}
        for here, _, _ in os.walk(self._folder, topdown=False):
            path = Path(here)
            try:
                if path not in kept and now - path.stat().st_mtime > _EMPTY_S:
                    path.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise


def _within(path: Path, name: str) -> str:
    """Of an archive's entry its own name, for whoever reads the reason beside the archive."""
    return f"{name.removeprefix(f'{path}!')}: " if name != str(path) else ""


def _free(target: Path) -> Path:
    """A name that nothing has yet."""
    number, wanted = 0, target
    while target.exists() or target.is_symlink():
        number += 1
        target = wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}")
    return target
