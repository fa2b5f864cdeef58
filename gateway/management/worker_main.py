"""One render worker: ``python -m gateway.management.worker_main PARENT_PID LIMITS`` (started by the pool).

It limits itself before it reads the first job, speaks only through the socket that is its standard input, and ends
with its parent.
Its standard error is silent from then on: codecs and libraries write what they like there, values of a header too.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import select
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from gateway.management import worker_protocol as protocol
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_NICE = 10
_MUCH_BYTES = 128_000_000
_SOON_MS = 50


def main() -> None:
    """Serve jobs until standard input ends."""
    parent, limits = int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=RenderLimits)
    libc = ctypes.CDLL(None, use_errno=True)
    _tie_to_parent(libc, parent)
    jobs, answers = _take_socket()
    from gateway.management.rendering import render  # noqa: F401  # numpy and pydicom count as start, not as job

    _limit(limits)
    _silence()
    answers.write(protocol.pack(protocol.Ready()))
    answers.flush()
    lean = _Lean(libc, jobs)
    while head := _read_head(jobs, lean):
        try:
            _serve(protocol.unpack_job(head), limits, lean, answers)
        except OSError:  # the pool has gone
            return


def _tie_to_parent(libc: ctypes.CDLL, parent: int) -> None:
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)
    os.nice(_NICE)
    os.umask(0o077)


class _Lean:
    """Free memory goes back to the system once no job follows at once, or there is much of it.

    Between two slices it would only have to be fetched again, which costs a fifth of a slice's time.
    """

    def __init__(self, libc: ctypes.CDLL, jobs: BinaryIO) -> None:
        self._libc = libc
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._page_bytes = resource.getpagesize()
        self._poll = select.poll()
        self._poll.register(jobs.fileno(), select.POLLIN)

    def resident_bytes(self) -> int:
        """After a job, without what is free."""
        if (resident := self._resident_bytes()) > _MUCH_BYTES:
            self._libc.malloc_trim(0)
            return self._resident_bytes()
        return resident

    def wait(self) -> None:
        """Until there is a job, or none will come."""
        if not self._poll.poll(_SOON_MS):
            self._libc.malloc_trim(0)

    def _resident_bytes(self) -> int:
        return int(os.pread(self._statm, 128, 0).split()[1]) * self._page_bytes


def _take_socket() -> tuple[BinaryIO, BinaryIO]:
    """A private descriptor for the pool's socket, which arrives as standard input: no library may stumble on it."""
    connection = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open("rb") as null:
        os.dup2(null.fileno(), 0)
    jobs, answers = connection.makefile("rb"), connection.makefile("wb")
    connection.close()  # the two files keep it open
    return jobs, answers


def _limit(limits: RenderLimits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _silence() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 2)


def _read_head(jobs: BinaryIO, lean: _Lean) -> bytes:
    lean.wait()  # the pool sends no job before the last one was answered: nothing of the next is buffered
    lengths = jobs.read(protocol.LENGTHS.size)
    if len(lengths) < protocol.LENGTHS.size:
        return b""
    return jobs.read(protocol.LENGTHS.unpack(lengths)[0])


def _serve(job: protocol.Job, limits: RenderLimits, lean: _Lean, answers: BinaryIO) -> None:
    frame: int | None = None
    closing: protocol.Done | protocol.Refused
    try:
        for head, body in _parts(job, limits):
            frame = head.frame
            answers.write(protocol.pack(head, body))
            answers.flush()
        closing = protocol.Done(lean.resident_bytes())
    except OSError as error:
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            raise
        closing = protocol.Refused("unreadable", _next(frame), lean.resident_bytes())
    except Refusal as refusal:
        closing = protocol.Refused(refusal.reason, _next(frame), lean.resident_bytes())
    except MemoryError:
        closing = protocol.Refused("memory", _next(frame), lean.resident_bytes())
    except RecursionError:
        closing = protocol.Refused("malformed", _next(frame), lean.resident_bytes())
    except Exception:  # nothing that a file provokes may end the worker; the text may quote the file
        closing = protocol.Refused("malformed", _next(frame), lean.resident_bytes())
    answers.write(protocol.pack(closing))
    answers.flush()


def _next(frame: int | None) -> int | None:
    return None if frame is None else frame + 1


def _parts(job: protocol.Job, limits: RenderLimits) -> Iterator[tuple[protocol.Frame, bytes]]:
    from gateway.management.rendering.job import parts

    def allow_frame(seconds: int | None = None, /) -> None:
        """Move the CPU limit on: what counts is each frame's own time. Reaching it is SIGXCPU, which kills."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + (limits.cpu_s_per_frame if seconds is None else seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    return parts(job, limits, allow_frame)


if __name__ == "__main__":
    main()
