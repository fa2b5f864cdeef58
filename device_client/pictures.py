"""The parts of objects as a person knows them: pictures and documents of a series."""

import re
from dataclasses import dataclass
from typing import Any

from device_client.ledger import Held
from device_client.reader import ObjectReader
from device_client.store.state import Store
from wire import objects
from wire.errors import Malformed, Missing, SealBroken
from wire.messages import Layer, ObjectEntry
from wire.names import encode_reference
from wire.objects import Part

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_UID_CHARACTERS = 64


def check_uid(uid: str) -> str:
    """``uid`` if it is a legal DICOM UID (PS3.5 section 9.1), before it stands in a path; Malformed otherwise."""
    if len(uid) > MAX_UID_CHARACTERS or not _UID.fullmatch(uid):
        raise Malformed("not a legal UID")
    return uid


@dataclass(frozen=True)
class Picture:
    """One part of one object. ``start`` and ``end`` are plaintext offsets; ``attributes`` are DICOM JSON."""

    entry: ObjectEntry
    series: str
    instance: str
    part: Part
    start: int
    end: int
    attributes: dict[str, Any]
    multi_frame: bool

    def describe(self) -> dict[str, Any]:
        """What is said of it in listings; frames count from 1 as in DICOM."""
        return {
            "layer": self.entry.layer,
            "SOPInstanceUID": self.instance,
            "frame": self.part.frame + 1 if self.multi_frame else None,
            "media": self.part.media,
            "bytes": self.part.length,
            "lossy": self.part.lossy,
            "ratio": self.part.ratio_x100 / 100,
        }


def pictures_of(
    store: Store, listed: list[tuple[Held, ObjectEntry, list[str]]], layer: Layer | None = None
) -> tuple[list[Picture], list[str]]:
    """``(pictures of the objects whose headers are here, ids of objects that do not open)``."""
    found: list[Picture] = []
    damaged: list[str] = []
    for _, entry, uids in listed:
        if layer is not None and entry.layer != layer:
            continue
        try:
            found += _pictures(store, entry, uids)
        except (Missing, FileNotFoundError):
            continue
        except SealBroken:
            damaged.append(encode_reference(entry.object))
    return _mark_multi_frame(found), damaged


def _pictures(store: Store, entry: ObjectEntry, uids: list[str]) -> list[Picture]:
    blob = store.blobs.read_only(encode_reference(entry.object), entry.size)
    try:
        header, end = ObjectReader(store.site, entry, blob).header()
    finally:
        blob.close()
    if not set(header.series) <= set(uids):
        raise Malformed("an object of other series than announced")
    shared, parts = _attributes(header.attributes, len(header.parts))
    spans = objects.part_spans(header, end)
    pictures = []
    for part, (start, stop), own in zip(header.parts, spans, parts, strict=True):
        instance = header.instances[part.instance]
        series = check_uid(header.series[instance.series])
        merged = {**shared, **own}
        uid = check_uid(instance.SOPInstanceUID)
        pictures.append(Picture(entry, series, uid, part, start, stop, merged, False))
    return pictures


def _attributes(data: bytes, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    value = objects.inflate_json(data) if data else {}
    shared = value.get("shared", {}) if isinstance(value, dict) else None
    parts = value.get("parts", []) if isinstance(value, dict) else None
    if not isinstance(shared, dict) or not isinstance(parts, list):
        raise Malformed("attributes of another form")
    parts = parts or [{}] * count
    if len(parts) != count or not all(isinstance(one, dict) for one in parts):
        raise Malformed("attributes that do not fit the parts")
    return shared, parts


def _mark_multi_frame(pictures: list[Picture]) -> list[Picture]:
    """An instance is multi-frame if any of its pictures is not its first frame, in whichever object that is."""
    multi = {picture.instance for picture in pictures if picture.part.frame > 0}
    marked = [
        Picture(**{**picture.__dict__, "multi_frame": True}) if picture.instance in multi else picture
        for picture in pictures
    ]
    return sorted(marked, key=lambda one: (one.series, one.entry.layer, one.entry.batch))
