"""What a wall display needs of the store, as plain values: the studies with how they stand, and the pictures of one.

Both are answered in the running process or through its local socket, as every other request is. What heads no longer
name is not on the board from that moment on, though it is deleted only after the grace time.
"""

import base64
from dataclasses import dataclass
from typing import Any

from device_client import attributes
from device_client.errors import DeviceError, NoSuchStudy
from device_client.ledger import Held, Shelf
from device_client.pictures import Picture, pictures_of
from device_client.reader import ObjectReader
from device_client.store import storage
from device_client.store.state import Store
from wire import seal
from wire.errors import Missing, WireError
from wire.messages import ObjectEntry
from wire.names import encode_reference

MAX_PICTURE_BYTES = 32 * 1024 * 1024
MAX_TEXT = 256
_MEDIA = ("image/jpeg", "image/png")
_RATES = ("RecommendedDisplayFrameRate", "CineRate")


@dataclass(frozen=True)
class Entry:
    """One study on the board: all of its volumes for any of the device's recipients. Taken on the event loop."""

    uid: str
    parts: list[Held]


def entries(store: Store) -> list[Entry]:
    """Every study that a head of a recipient names, or is announced and not yet in a head; those of last first."""
    found: dict[str, list[Held]] = {}
    for held in store.ledger.studies():
        shelf = store.ledger.shelves[held.recipient]
        if not shelf.revoked and held.study not in shelf.unlisted:
            found.setdefault(attributes.text(held.attributes[0], "StudyInstanceUID"), []).append(held)
    return [Entry(uid, parts) for uid, parts in found.items()]


def standing(store: Store) -> list[dict[str, Any]]:
    """Of each recipient: since when what is known of it stands, and whether a newer head should have come."""
    now_ms = store.state.clock.now_ms()
    return [_shelf(store, shelf, now_ms) for shelf in store.ledger.shelves.values()]


def _shelf(store: Store, shelf: Shelf, now_ms: int) -> dict[str, Any]:
    return {
        "label": store.label(shelf.recipient),
        "kind": shelf.kind,
        "issued": shelf.head.issued if shelf.head is not None else 0,
        "overdue": shelf.is_overdue(now_ms),
        "revoked": shelf.revoked,
        "behind": len(shelf.behind()),
    }


def describe_all(store: Store, found: list[Entry]) -> tuple[list[dict[str, Any]], str]:
    """Every study in a list, and what is wrong with the disk (storage.trouble). Blocks on it."""
    trouble = storage.trouble(store.state.folder, store.state.storage)
    return [describe(store, entry) for entry in found], trouble


def describe(store: Store, entry: Entry) -> dict[str, Any]:
    """One study in a list. Texts are cut; times are milliseconds since 1970-01-01 UTC."""
    study: attributes.DataSet = {}
    modalities: list[str] = []
    segments = received = frames = 0
    seen: set[bytes] = set()
    for held in entry.parts:
        data_set, series = held.attributes
        study = {**data_set, **study}
        modalities += [attributes.text(one, "Modality") for one in series]
        for one in held.announcement.objects:
            if one.layer == "display" and one.object not in seen:
                seen.add(one.object)
                progress = store.blobs.progress(encode_reference(one.object), one.size)
                segments, received, frames = (
                    segments + progress.segments, received + progress.received, frames + one.frames,
                )  # fmt: skip
    return {
        "study": min(held.study for held in entry.parts),
        **{key: text[:MAX_TEXT] for key, text in attributes.name_groups(study).items()},
        "CurrentPatientLocation": attributes.text(study, "CurrentPatientLocation")[:MAX_TEXT],
        "StudyDate": attributes.text(study, "StudyDate")[:MAX_TEXT],
        "StudyTime": attributes.text(study, "StudyTime")[:MAX_TEXT],
        "StudyDescription": attributes.text(study, "StudyDescription")[:MAX_TEXT],
        "RequestedProcedurePriority": attributes.text(study, "RequestedProcedurePriority")[:MAX_TEXT],
        "modalities": sorted({text[:MAX_TEXT] for text in modalities if text}),
        "issued": max(held.announcement.issued for held in entry.parts),
        "settled": all(held.announcement.settled for held in entry.parts),
        "frames": frames,
        "segments": segments,
        "received": received,
        "blank_after_s": _number(attributes.text(study, "BlankAfter")),
        # What the board is asked for again only when it has changed.
        "version": [len(seen), received, max(held.announcement.sequence for held in entry.parts)],
    }


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def frames_of(store: Store, found: list[Entry], study: str) -> list[dict[str, Any]]:
    """The pictures of a study that are here as a whole, by series, then as their instances are numbered."""
    entry = _find(found, study)
    listed: list[tuple[Held, ObjectEntry, list[str]]] = []
    seen: set[bytes] = set()
    numbers: dict[str, int] = {}
    for held in entry.parts:
        series = held.attributes[1]
        uids = [attributes.text(data_set, "SeriesInstanceUID") for data_set in series]
        for uid, data_set in zip(uids, series, strict=True):
            numbers.setdefault(uid, _number(attributes.text(data_set, "SeriesNumber")))
        for one in held.announcement.objects:
            if one.layer == "display" and one.object not in seen:
                seen.add(one.object)
                listed.append((held, one, [uids[index] for index in one.series]))
    try:
        pictures, _ = pictures_of(store, listed, "display")
    except WireError:
        return []
    here = {one.object: _have(store, one) for _, one, _ in listed}
    shown = [one for one in pictures if one.part.media in _MEDIA and one.end - one.start <= MAX_PICTURE_BYTES]
    shown = [one for one in shown if all(i in here[one.entry.object] for i in seal.segments_of(one.start, one.end))]
    shown.sort(key=lambda one: (numbers.get(one.series, 0), one.series, _instance(one), one.instance, one.part.frame))
    return [_frame(one) for one in shown]


def _have(store: Store, entry: ObjectEntry) -> frozenset[int]:
    try:
        blob = store.blobs.read_only(encode_reference(entry.object), entry.size)
    except FileNotFoundError:
        return frozenset()
    try:
        return frozenset(index for index in range(blob.segments) if index in blob.have)
    finally:
        blob.close()


def _frame(picture: Picture) -> dict[str, Any]:
    return {
        "object": encode_reference(picture.entry.object),
        "start": picture.start,
        "end": picture.end,
        "series": picture.series,
        "multi": picture.multi_frame,
        "rate": _rate(picture),
        "lossy": picture.part.lossy,
        "ratio": picture.part.ratio_x100,
    }


def _rate(picture: Picture) -> float:
    """Frames a second that the file asks for (PS3.3 C.7.6.5); 0 where it says nothing."""
    for keyword in _RATES:
        if rate := _real(attributes.text(picture.attributes, keyword)):
            return rate
    milliseconds = _real(attributes.text(picture.attributes, "FrameTime"))
    return 1000 / milliseconds if milliseconds else 0.0


def _real(text: str) -> float:
    try:
        value = float(text[:32])
    except ValueError:
        return 0.0
    return value if 0 < value < 10_000 else 0.0


def _instance(picture: Picture) -> int:
    return _number(attributes.text(picture.attributes, "InstanceNumber"))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 12 else 0


def _find(found: list[Entry], study: str) -> Entry:
    for entry in found:
        if any(held.study == study for held in entry.parts):
            return entry
    raise NoSuchStudy("the study is not on the board any more")


def frame(store: Store, found: list[Entry], object_id: str, start: int, end: int) -> str:
    """The encoded picture that lies there, verified, in base64; DeviceError where it does not open or has gone."""
    if not 0 <= start < end or end - start > MAX_PICTURE_BYTES:
        raise DeviceError("not a picture")
    for entry in found:
        for held in entry.parts:
            for one in held.announcement.objects:
                if encode_reference(one.object) == object_id:
                    return base64.b64encode(_read(store, one, start, end)).decode()
    raise NoSuchStudy("the picture is not on the board any more")


def _read(store: Store, entry: ObjectEntry, start: int, end: int) -> bytes:
    try:
        blob = store.blobs.read_only(encode_reference(entry.object), entry.size)
    except FileNotFoundError:
        raise NoSuchStudy("the picture is not here") from None
    try:
        return ObjectReader(store.site, entry, blob).read(start, end)
    except (Missing, WireError) as error:
        raise DeviceError(f"the picture does not open ({getattr(error, 'code', 'missing')})") from None
    finally:
        blob.close()


OPS = ("frames", "frame")


def answer(store: Store, found: list[Entry], request: dict[str, Any]) -> Any:
    """``frames`` and ``frame``; and ``board`` where no process has a link. Blocks on the disk."""
    match request:
        case {"op": "frames", "study": str(study)}:
            return frames_of(store, found, study)
        case {"op": "frame", "object": str(object_id), "start": int(start), "end": int(end)}:
            return frame(store, found, object_id, start, end)
        case {"op": "board"}:
            link = {"connected": False, "gateway": True}
            studies, trouble = describe_all(store, found)
            now_ms = store.state.clock.now_ms()
            told = {"recipients": standing(store), "studies": studies, "storage": trouble}
            return {"store": "open", "now": now_ms, **link, **told}
    raise DeviceError("a request that this version does not know")
