"""One worker of a survey that compares: ``python -m gateway.management.rendering.against_worker LIMITS FOLDER``.

Reads a path a line from standard input and answers with a JSON line. Limited as a render worker is, because it
decodes the same strangers' pixels; it ends when its input does.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import msgspec

from gateway.management.rendering.against import PeerFailedError, compare
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal


def main() -> None:
    """Serve paths until standard input ends."""
    limits, folder = msgspec.json.decode(sys.argv[1], type=RenderLimits), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with Path(os.devnull).open("wb") as null:  # codecs write what they like
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def allow_frame() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_s_per_frame
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    for line in sys.stdin:
        try:
            answer: dict[str, object] = asdict(compare(Path(line.rstrip("\n")), limits, folder, allow_frame))
        except (PeerFailedError, subprocess.TimeoutExpired):
            answer = {"failed": "peer"}
        except (Refusal, MemoryError, RecursionError):
            answer = {"failed": "ours"}
        except Exception:  # whatever a damaged file provokes; the text may quote the file
            answer = {"failed": "ours"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        for left in folder.iterdir():
            left.unlink()


if __name__ == "__main__":
    main()
