"""Our pictures against those of DCMTK's ``dcmj2pnm``, frame by frame, before any JPEG.

An oracle for surveys and tests; the gateway itself never runs it. DCMTK is told the window that was rendered, so
what is compared is the pipeline, not the choice of a window.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.management.rendering.render import Picture, Renderer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.management.rendering.limits import RenderLimits

PROGRAM: Final = "dcmj2pnm"
_CHUNK: Final = 16
"""Frames that lie in the folder at a time."""
_TIMEOUT_S: Final = 120


class PeerFailedError(Exception):
    """DCMTK makes no picture of this file."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one file came to. ``worst`` is the largest difference in grey levels, first seen at ``frame``."""

    frames: int
    worst: int
    frame: int
    options: str


def compare(path: Path, limits: RenderLimits, folder: Path, allow_frame: Callable[[], None]) -> Comparison:
    """All frames of ``path``. ``folder`` takes temporary files; ``allow_frame`` is called before each frame.

    Raises ``Refusal`` where we make no picture, ``PeerFailedError`` where DCMTK makes none.
    """
    allow_frame()
    source = _readable(path, folder)
    count, worst, at, told = 0, -1, 0, ""
    with Renderer(path, limits, finish=False) as renderer:
        total = renderer.source.number_of_frames
        for first in range(0, total, _CHUNK):
            ours, options = _ours(renderer, first, min(_CHUNK, total - first), folder, allow_frame)
            for frame, theirs in _theirs(source, first, options, folder):
                difference = _difference(np.load(ours[frame - first]), theirs)
                if difference > worst:
                    worst, at, told = difference, frame, " ".join(options[frame - first])
                count += 1
    return Comparison(count, worst, at, told)


def window_options(renderer: Renderer, frame: int) -> list[str]:
    """How DCMTK is told the window of the frame rendered last: by the file's own first one where it sees that."""
    view, shown = renderer.view(frame), renderer.shown
    if not renderer.photometric.startswith("MONOCHROME"):
        # JFIF is YCbCr whatever the header says (ITU-T T.871); DCMTK believes the header unless told
        return ["+ca"] if renderer.photometric == "RGB" and b"JFIF" in renderer.source.head() else []
    if shown is None:
        return ["+Wl", "1"]
    function = "+Wfs" if shown.function == "SIGMOID" else "+Wfl"
    if "WindowCenter" in renderer.header and view.find("WindowCenter") is renderer.header:
        return ["+Wi", "1", function]
    # DCMTK knows LINEAR alone: LINEAR_EXACT is the same line, half a step and one wider (PS3.3 C.11.2.1.3.2)
    exact = shown.function == "LINEAR_EXACT"
    return ["+Ww", repr(shown.center + 0.5 * exact), repr(shown.width + exact), function]


def _readable(path: Path, folder: Path) -> Path:
    """``dcmj2pnm`` does not read JPEG-LS, which DCMTK's ``dcmdjpls`` does; other files this program copies."""
    plain = folder / "plain.dcm"
    done = subprocess.run(["dcmdjpls", str(path), str(plain)], capture_output=True, timeout=_TIMEOUT_S, check=False)
    return plain if done.returncode == 0 else path


def _ours(
    renderer: Renderer, first: int, count: int, folder: Path, allow_frame: Callable[[], None]
) -> tuple[list[Path], list[list[str]]]:
    files, options = [], []
    for frame, picture in enumerate(renderer.pictures(first, count), first):
        files.append(folder / f"ours.{frame - first}.npy")
        np.save(files[-1], picture)
        options.append(window_options(renderer, frame))
        allow_frame()
    return files, options


def _theirs(source: Path, first: int, options: list[list[str]], folder: Path) -> Iterator[tuple[int, Picture]]:
    """Frames with the same options in one run of the program."""
    for told, run in groupby(range(len(options)), key=lambda index: options[index]):
        indices = list(run)
        for left in folder.glob("peer.*"):
            left.unlink()
        command = [PROGRAM, "+op", "+Fr", str(first + indices[0] + 1), str(len(indices)), *told]
        command += [str(source), str(folder / "peer")]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        made = {int(file.name.split(".")[1]): file for file in folder.glob("peer.*")}
        if done.returncode or len(made) != len(indices):
            raise PeerFailedError
        for number, index in enumerate(indices):
            yield first + index, read_pnm(made[number].read_bytes())


def read_pnm(data: bytes) -> Picture:
    """Binary PGM or PPM of eight bits, as DCMTK writes them: (rows, columns) or (rows, columns, 3)."""
    kind, columns, rows, _maximum = data.split(maxsplit=4)[:4]
    shape = (int(rows), int(columns)) + ((3,) if kind == b"P6" else ())
    return np.frombuffer(data, np.uint8, offset=len(data) - int(np.prod(shape))).reshape(shape)


def _difference(ours: Picture, theirs: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    """In grey levels; 255 where the two do not even have the same shape."""
    if ours.ndim == 2 and theirs.ndim == 3:
        ours = np.repeat(ours[:, :, np.newaxis], 3, axis=2)
    if ours.ndim == 3 and theirs.ndim == 2:
        theirs = np.repeat(theirs[:, :, np.newaxis], 3, axis=2)
    if ours.shape != theirs.shape:
        return 255
    return int(np.abs(ours.astype(np.int16) - theirs).max())
