"""From what an operator names to single files: folders, media and ZIPs are opened, one file at a time."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.middleware.importing.kinds import Kind, kind_of
from gateway.middleware.importing.medium import MediumError, missing
from gateway.middleware.importing.unzip import Allowance, ZipLimits, ZipRefusedError, opened, unpack
from gateway.middleware.spool import Spool

_NOISE = frozenset({"__MACOSX", "System Volume Information", "$RECYCLE.BIN", "lost+found"})


@dataclass(frozen=True, slots=True)
class Found:
    """One file that can be read until the next one is asked for."""

    path: Path
    name: str
    """As the operator knows it; for terminals, never for logs or paths."""
    kind: Kind
    is_named: bool
    """Whether the operator named this very file, or an archive around it, rather than a folder."""
    on_medium: bool
    """Whether it lies beside a DICOMDIR: pictures there belong to a viewer, not to a patient."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that is not looked into any further."""

    name: str
    is_refused: bool
    """Otherwise it was only passed over."""
    detail: str


class Finder:
    """Goes through paths in a settled order, so that the same command does the same again."""

    def __init__(self, make_spool: Callable[[], Spool], limits: ZipLimits | None = None) -> None:
        """``make_spool`` gives the temporary files into which ZIPs are unpacked."""
        self._make_spool = make_spool
        self._limits = limits or ZipLimits()

    def find(self, paths: Sequence[Path], is_named: bool = True) -> Iterator[Found | Passed]:
        """All files of ``paths``. Raises nothing: what cannot be read is ``Passed``."""
        for path in paths:
            yield from self._path(path, is_named)

    def _path(self, path: Path, is_named: bool) -> Iterator[Found | Passed]:
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                yield from self._folder(path)
            elif not stat.S_ISREG(mode):
                yield Passed(str(path), True, "neither a file nor a folder")
            elif kind_of(path) is Kind.DICOMDIR:
                yield from self._folder(path.parent)
            else:
                yield from self._file(path, str(path), is_named=is_named, on_medium=False, depth=0)
        except OSError as error:
            yield _unreadable(str(path), error)

    def _folder(self, folder: Path) -> Iterator[Found | Passed]:
        """All below it. Links to folders are not followed, so there is no way round and round."""
        media: list[Path] = []
        for here, folders, names in os.walk(folder, onerror=None):
            folders[:] = sorted(name for name in folders if not _is_noise(name))
            files = [Path(here) / name for name in sorted(names) if not _is_noise(name)]
            indexes = [path for path in files if _is_dicomdir(path)]
            if indexes:
                media.append(Path(here))
            on_medium = any(medium == Path(here) or medium in Path(here).parents for medium in media)
            for path in files:
                if path in indexes:
                    yield from _missing(path)
                elif path.is_file():
                    yield from self._file(path, str(path), is_named=False, on_medium=on_medium, depth=0)

    def _file(self, path: Path, name: str, *, is_named: bool, on_medium: bool, depth: int) -> Iterator[Found | Passed]:
        try:
            kind = kind_of(path, name)
        except OSError as error:
            yield _unreadable(name, error)
            return
        if kind is Kind.ZIP:
            yield from self._zip(path, name, depth)
        elif kind is Kind.DICOMDIR:
            yield Passed(name, False, "a DICOMDIR: the files beside it are taken by themselves")
        elif kind is Kind.OTHER:
            detail = "none of DICOM, ZIP, TIFF, JPEG, PNG, PDF" if path.stat().st_size else "empty"
            yield Passed(name, is_named, detail)
        elif kind.becomes_dicom and on_medium:
            yield Passed(name, False, f"a {kind.upper()} beside a DICOMDIR; name it by itself if it is the patient's")
        else:
            # In an archive that somebody sent, a picture was sent on purpose; in a folder it may lie there by chance.
            yield Found(path, name, kind, is_named or depth > 0, on_medium)

    def _zip(self, path: Path, name: str, depth: int) -> Iterator[Found | Passed]:
        if depth >= self._limits.depth:
            yield Passed(name, True, f"a ZIP in a ZIP, {depth} deep: unpack it first")
            return
        try:
            allowance = Allowance.of(path, self._limits)
            with opened(path, self._limits) as archive:
                entries = [info for info in archive.infolist() if not info.is_dir() and not _is_noise_path(info)]
                on_medium = any(info.filename.rpartition("/")[2].upper() == "DICOMDIR" for info in entries)
                for info in sorted(entries, key=lambda info: info.filename):
                    try:
                        spool = unpack(archive, info, self._make_spool, self._limits, allowance)
                    except ZipRefusedError as error:
                        yield Passed(f"{name}!{info.filename}", True, str(error))
                        continue
                    yield from self._entry(spool, f"{name}!{info.filename}", on_medium, depth)
        except ZipRefusedError as error:
            yield Passed(name, True, str(error))
        except OSError as error:
            yield _unreadable(name, error)

    def _entry(self, spool: Spool, name: str, on_medium: bool, depth: int) -> Iterator[Found | Passed]:
        try:
            yield from self._file(spool.path, name, is_named=False, on_medium=on_medium, depth=depth + 1)
        finally:
            spool.discard()


def _missing(dicomdir: Path) -> Iterator[Passed]:
    """What a DICOMDIR says of its medium; the files themselves are found by walking."""
    try:
        named, lacking = missing(dicomdir)
    except (MediumError, OSError) as error:
        detail = str(error) if isinstance(error, MediumError) else "it cannot be read"
        yield Passed(str(dicomdir), True, f"{detail}; the files beside it are taken all the same")
        return
    if lacking:
        yield Passed(str(dicomdir), True, f"{lacking} of the {named} files that it names are not there")
    else:
        yield Passed(str(dicomdir), False, f"all {named} files that it names are there")


def _is_dicomdir(path: Path) -> bool:
    try:
        return path.is_file() and kind_of(path) is Kind.DICOMDIR
    except OSError:
        return False


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name in _NOISE


def _is_noise_path(info: zipfile.ZipInfo) -> bool:
    return any(_is_noise(part) for part in info.filename.split("/") if part not in ("", ".", ".."))


def _unreadable(name: str, error: OSError) -> Passed:
    return Passed(name, True, f"it cannot be read ({error.strerror or type(error).__name__})")
