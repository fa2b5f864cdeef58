"""The decoding process: ``python -m gateway.middleware.importing.decode_main PARENT LIMITS``, jobs on standard input.

It limits itself before it opens a file, ends with the first that goes wrong and with its parent, and writes to its
standard output alone. Its standard error is silent: libraries write what they like there, parts of a file too.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from gateway.middleware.importing import protocol
from gateway.middleware.importing.protocol import DecodeError, DecodeLimits, Ended, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_NICE = 10


def main() -> None:
    """Decode files until there are no more, or one goes wrong; the exit code says how."""
    parent, limits = int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=DecodeLimits)
    out = _prepare(parent)
    from gateway.middleware.importing.decode_document import document  # the libraries count as start
    from gateway.middleware.importing.decode_photo import photo
    from gateway.middleware.importing.decode_tiff import tiff

    decode: dict[str, Callable[[Path, DecodeLimits, Callable[[], None]], Iterator[protocol.Answer | bytes]]]
    decode = {"tiff": tiff, "jpeg": photo, "png": photo, "pdf": document}
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    code = 0
    try:
        for line in sys.stdin.buffer:
            job = msgspec.json.decode(line, type=Job)
            _allow_page(limits)
            for answer in decode[job.kind](Path(job.path), limits, lambda: _allow_page(limits)):
                out.write(answer if isinstance(answer, bytes) else protocol.pack(answer))
            out.write(protocol.pack(protocol.Done()))
            out.flush()
    except DecodeError as error:
        code = error.ended
    except MemoryError:
        code = Ended.MEMORY
    except BrokenPipeError:
        code = 1
    except Exception:  # nothing that a file provokes is anything but its refusal
        code = Ended.MALFORMED
    os._exit(code)  # no library's clean-up of a file that has just misled it


def _prepare(parent: int) -> BinaryIO:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    return out


def _allow_page(limits: DecodeLimits) -> None:
    """Move the CPU limit on: what counts is each page's own time. Reaching it is SIGXCPU, which kills."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_s_per_page
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
