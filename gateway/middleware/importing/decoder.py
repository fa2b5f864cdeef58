"""The decoding process as its starter sees it: heads that are checked, bytes that are counted, a clock over both."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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
    """One file in the process."""

    def __init__(self, process: subprocess.Popen[bytes], wall_s: float) -> None:
        self._process = process
        self._wall_s = wall_s
        assert process.stdout is not None
        self._fd = process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.is_done = False

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
                self.is_done = True
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


class Decoder:
    """Starts a process when there is a file, keeps it for the next, and replaces it when one went wrong."""

    def __init__(self, limits: protocol.DecodeLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def decoding(self, path: Path, kind: protocol.DecodedKind) -> Iterator[Decoding]:
        """Decode one file. Raises NotDecodedError."""
        process = self._process or self._start()
        self._process = process
        decoding = Decoding(process, self._limits.wall_s)
        try:
            assert process.stdin is not None
            try:
                process.stdin.write(msgspec.json.encode(Job(path=str(path.absolute()), kind=kind)) + b"\n")
            except (OSError, UnicodeEncodeError, msgspec.MsgspecError):
                raise NotDecodedError("its decoder does not take it") from None
            yield decoding
        finally:
            if not decoding.is_done:
                self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        try:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # the current folder must not lend modules to it
                    "-m",
                    "gateway.middleware.importing.decode_main",
                    str(os.getpid()),
                    msgspec.json.encode(self._limits).decode(),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment | _LEAN_ENVIRONMENT,
            )
        except OSError:  # no memory, no descriptors
            raise NotDecodedError("no process to decode it could be started") from None

    def close(self) -> None:
        """End the process; returns when it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait()
