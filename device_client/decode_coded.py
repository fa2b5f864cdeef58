"""Frames that lossy sources coded in a form that few programs open, to files that most do: a process of its own.

A gateway passes such frames on as they were stored (docs/protocol.md), so the bytes are a stranger's: they are decoded
only here, with bounds on memory and time, by ``python -m device_client.decode_coded MEDIA PHOTOMETRIC``, which takes
the frame on standard input and gives one line of JSON and the file on standard output. Needs ``mpacs-edge[viewer]``.
"""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass

from device_client.errors import ViewerMissing

_MEMORY_BYTES = 3 << 30
_TIME_S = 60
_NO_LIBRARIES = 3
_JPEG, _JPEG_LS = "image/jpeg", "image/jls"
_EIGHT_BITS = 8
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of frames that begin none (ITU-T T.81 table B.1)."""


@dataclass(frozen=True)
class Made:
    """A file of the frame's values, as they are stored."""

    extension: str
    data: bytes
    rows: int
    columns: int


def is_rarely_opened(media: str, data: bytes) -> bool:
    """Whether ordinary programs do not open the frame: JPEG-LS, and JPEG of more than eight bits a sample."""
    return media == _JPEG_LS or (media == _JPEG and _bits(data) > _EIGHT_BITS)


def _bits(data: bytes) -> int:
    """Of a JPEG's samples (ITU-T T.81 section B.2.2); 0 where no frame header is found."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return data[at + 4]
        at += 1 if marker == 0xFF else 2 + length
    return 0


def decode(media: str, data: bytes, photometric: str) -> Made | None:
    """The frame as PNG or NPY; None where it does not decode. Raises ViewerMissing."""
    command = [sys.executable, "-m", "device_client.decode_coded", media, photometric]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=2 * _TIME_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == _NO_LIBRARIES:
        raise ViewerMissing
    head, _, made = done.stdout.partition(b"\n")
    if done.returncode or not made:
        return None
    told = json.loads(head)
    return Made(str(told["extension"]), made, int(told["rows"]), int(told["columns"]))


def main(media: str, photometric: str) -> int:
    """The process itself: exit 0, 1 where it does not decode, 3 where a library is not there."""
    try:
        import imagecodecs

        from device_client.decode import MAX_PIXELS, file_of
    except ImportError:
        return _NO_LIBRARIES
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_TIME_S, _TIME_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    data = sys.stdin.buffer.read()
    try:
        values = imagecodecs.jpegls_decode(data) if media == _JPEG_LS else imagecodecs.jpeg8_decode(data)
    except Exception:  # whatever a decoder says of a stranger's bytes
        return 1
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        return 1
    made = file_of(values, photometric)
    head = {"extension": made.extension, "rows": made.rows, "columns": made.columns}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + made.data)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
