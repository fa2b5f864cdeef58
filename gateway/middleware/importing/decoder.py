"""The decoding process as its starter sees it: heads that are checked, bytes that are counted, a clock over both."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.middleware.importing import protocol
from gateway.middleware.importing.protocol import Document, Done, Ended, Image, Job

_KEPT_ENVIRONMENT: Final = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TZ")
_LEAN_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TIFFFILE_NUM_THREADS": "1",
}
_PIECE_BYTES = 1 << 18
_REASONS = {
    Ended.MALFORMED: "it is damaged, or not what it begins like",
    Ended.UNSUPPORTED: "its samples or its compression are none that an image in DICOM can have",
    Ended.TOO_LARGE: "a page is larger than any that is shown, or there are too many",
    Ended.MEMORY: "it takes too much memory to decode",
    Ended.ENCRYPTED: "it is encrypted: save it without a password first",
}


class NotDecodedError(Exception):
    """Nothing (more) comes of the file; the text says why, in words of ours."""


class Decoding:
    """One process, for one file."""

    def __init__(self, process: subprocess.Popen[bytes], wall_s: float) -> None:
        self._process = process
        self._wall_s = wall_s
        assert process.stdout is not None
        self._fd = process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def answers(self) -> Iterator[Image | Document]:
        """What the file holds; the bytes behind each head are the caller's to read. Raises NotDecodedError."""
        while True:
            length = protocol.LENGTH.unpack(self._exactly(protocol.LENGTH.size))[0]
            if length > protocol.MAX_HEAD_BYTES:
                raise NotDecodedError(_REASONS[Ended.MALFORMED])
            try:
                answer = protocol.unpack(self._exactly(length))
            except (msgspec.DecodeError, RecursionError):
                raise NotDecodedError(_REASONS[Ended.MALFORMED]) from None
            if isinstance(answer, Done):
                return
            yield answer

    def read(self, count: int) -> Iterator[bytes]:
        """The next ``count`` bytes, in pieces. Raises NotDecodedError."""
        while count:
            piece = self._some(min(count, _PIECE_BYTES))
            count -= len(piece)
            yield piece

    def _exactly(self, count: int) -> bytes:
        return b"".join(self.read(count))

    def _some(self, most: int) -> bytes:
        if not self._poll.poll(self._wall_s * 1000):
            raise NotDecodedError("it takes too long to decode")
        piece = os.read(self._fd, most)
        if not piece:
            raise NotDecodedError(self._cause())
        return piece

    def _cause(self) -> str:
        """Why the process ended: SIGXCPU is its CPU limit."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "it takes too long to decode"
        if code == -signal.SIGXCPU:
            return "it takes too long to decode"
        return _REASONS.get(Ended(code), "") if code in set(Ended) else "its decoder fell to it"


@contextmanager
def decoding(
    path: Path, kind: Literal["tiff", "jpeg", "png", "pdf"], limits: protocol.DecodeLimits
) -> Iterator[Decoding]:
    """Start a process for the file; it is gone when the context ends. Raises NotDecodedError where none starts."""
    job = Job(path=str(path.absolute()), kind=kind, limits=limits)
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",  # the current folder must not lend modules to it
                "-m",
                "gateway.middleware.importing.decode_main",
                str(os.getpid()),
                msgspec.json.encode(job).decode(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment | _LEAN_ENVIRONMENT,
        )
    except (OSError, ValueError):  # no memory, no descriptors, a path with a NUL
        raise NotDecodedError("no process to decode it could be started") from None
    try:
        yield Decoding(process, limits.wall_s)
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        _reap(process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
