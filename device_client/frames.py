"""Frames of the layer ``diagnostic`` as files: both bands, or the first alone for a lower resolution."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from device_client import attributes, decode_coded
from device_client.errors import DeviceError, ViewerMissing
from device_client.pictures import Picture
from device_client.reader import ObjectReader
from device_client.store.blobs import Blob
from wire import codestream, objects, seal
from wire.errors import Malformed
from wire.messages import ObjectEntry

OWN = {"image/jpeg": "jpg", "image/jls": "jls", "image/jp2": "j2k", "image/jphc": "jphc"}
"""Frames of lossy sources are written as they were coded, where most programs open that."""


@dataclass(frozen=True)
class Frame:
    """One frame; ``rest`` None where its first band is all of it."""

    base: Picture
    rest: Picture | None

    @property
    def is_banded(self) -> bool:
        """Whether it was coded by the gateway, and so has lower resolutions."""
        return self.base.part.media == "image/jphc" and self.rest is not None


@dataclass(frozen=True)
class Written:
    """A file and what is told of it beside it."""

    extension: str
    data: bytes
    about: dict[str, Any]


def frames_of(pictures: Iterable[Picture]) -> Iterator[Frame]:
    """The frames of one object, in the order of their first bands; Malformed for a band without its first."""
    rests: dict[tuple[str, int], Picture] = {}
    bases: dict[tuple[str, int], Picture] = {}
    for one in pictures:
        bands = bases if one.part.band == 0 else rests
        if one.part.band > 1 or (one.instance, one.part.frame) in bands:
            raise Malformed("bands of another form")
        bands[one.instance, one.part.frame] = one
    if not rests.keys() <= bases.keys():
        raise Malformed("a second band without its first")
    return (Frame(base, rests.get(key)) for key, base in bases.items())


def _parts(frame: Frame, level: int) -> list[Picture]:
    """What this resolution is read from."""
    return [frame.base] if frame.rest is None or level >= codestream.QUARTER else [frame.base, frame.rest]


def segments_needed(site: str, entry: ObjectEntry, blob: Blob, level: int) -> int:
    """How many of an object's first segments hold every frame at this level; Missing where its header is not here."""
    header, end = ObjectReader(site, entry, blob).header()
    spans = objects.part_spans(header, end)
    last = max(
        (stop for part, (_, stop) in zip(header.parts, spans, strict=True) if _is_read(part.band, level)), default=end
    )
    return seal.segments_of(0, last)[-1] + 1


def _is_read(band: int, level: int) -> bool:
    return band == 0 or level < codestream.QUARTER


def read(reader: ObjectReader, frame: Frame, level: int) -> Written:
    """The frame halved ``level`` times. Missing where a part has not come, DeviceError where it has no such level."""
    data = b"".join(reader.read(one.start, one.end) for one in _parts(frame, level))
    part = frame.base.part
    if not frame.is_banded:
        if level:
            raise DeviceError(f"a frame is kept in its source's own coding ({part.media}), which has no lower levels")
        return _own(part.media, data, attributes.text(frame.base.attributes, "PhotometricInterpretation"))
    stream = codestream.parse(data)
    if level > stream.decompositions:
        raise DeviceError(f"a frame has {stream.decompositions} lower resolutions: choose a level up to that")
    try:
        from device_client.decode import decode
    except ImportError:
        raise ViewerMissing from None
    tags = frame.base.attributes
    rows, columns = _number(tags, "Rows"), _number(tags, "Columns")
    made = decode(data, level, rows, columns, attributes.text(tags, "PhotometricInterpretation"))
    about = {"level": level, "rows": made.rows, "columns": made.columns, "offset": made.offset}
    return Written(made.extension, made.data, {**about, "stored": "pixel - offset", "spacing_factor": 2**level})


def _own(media: str, data: bytes, photometric: str) -> Written:
    """A frame in its source's own coding: as it is, or decoded where few programs would open it."""
    if decode_coded.is_rarely_opened(media, data) and (made := decode_coded.decode(media, data, photometric)):
        about = {"level": 0, "rows": made.rows, "columns": made.columns, "offset": 0}
        return Written(made.extension, made.data, {**about, "stored": "pixel - offset"})
    return Written(OWN.get(media, "bin"), data, {"level": 0, "offset": None})


def _number(tags: dict[str, Any], keyword: str) -> int:
    text = attributes.text(tags, keyword)
    if not text.isdecimal() or len(text) > 9:
        raise Malformed("a frame without its size")
    return int(text)
