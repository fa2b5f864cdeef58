"""What an announcement says of a study, cut into volumes where one message cannot hold it. Pure.

A volume holds at most ``_MOST_OBJECTS`` objects or ``_MOST_SERIES`` series without pictures, and less where that would
not fit. Volumes are cut from the front, so those before the last stay as they are while a study grows.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.management.index.arrivals_rows import SeriesRow, StudyRow
from gateway.management.index.deliveries import SealedObject
from wire import messages, objects
from wire.errors import WireError
from wire.limits import MAX_ANNOUNCEMENT_BYTES
from wire.messages import Announcement, ObjectEntry
from wire.names import decode_reference

_MOST_OBJECTS = 48
_MOST_SERIES = 48
_SEAL_ROOM = 512
_SERIES_NUMBER = "00200011"
_STUDY_ESSENTIALS = (
    *("0020000D", "00100010", "00100020", "04000561", "00910010", "00911003"),
    *("00080020", "00080030", "00080050", "00081030", "00380300", "00911001", "00911002"),
)
"""StudyInstanceUID, PatientName, PatientID, the mark of text that was guessed, after what time wards hide it;
StudyDate, StudyTime, AccessionNumber, StudyDescription, CurrentPatientLocation, and who shared it until when."""
_IDENTITY_COUNT = 6
_SERIES_ESSENTIALS = ("0020000E", "00080060", _SERIES_NUMBER)
"""SeriesInstanceUID, Modality, SeriesNumber."""

_T = TypeVar("_T")
Keep = Callable[[dict[str, Any], Sequence[str]], dict[str, Any]]


def _all(attributes: dict[str, Any], _: Sequence[str]) -> dict[str, Any]:
    return attributes


def _essentials(attributes: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    return {tag: attributes[tag] for tag in wanted if tag in attributes}


def _identity(attributes: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    return _essentials(attributes, wanted[:_IDENTITY_COUNT])


def volumes(study: StudyRow, series: Sequence[SeriesRow], sealed: Sequence[SealedObject]) -> list[Announcement]:
    """The study's announcement without its reference, sequence and time, in as many volumes as it takes; one at least.

    A header so full of text that no volume could hold it is cut to what identifies study and series.
    """
    for keep in (_all, _essentials):
        try:
            return _Cutter(study, series, keep).cut(sealed)
        except _DoesNotFitError:
            continue
    return _Cutter(study, series, _identity).cut(sealed)


class _DoesNotFitError(Exception):
    """One object, or one series, is too much already."""


class _Cutter:
    def __init__(self, study: StudyRow, series: Sequence[SeriesRow], keep: Keep) -> None:
        self._settled = study.settled
        self._study = keep(json.loads(study.attributes), _STUDY_ESSENTIALS)
        attributes = {one.id: json.loads(one.attributes) for one in series}
        order = sorted(series, key=lambda one: (_series_number(attributes[one.id]), one.id))
        self._series = {one.id: keep(attributes[one.id], _SERIES_ESSENTIALS) for one in order}

    def cut(self, sealed: Sequence[SealedObject]) -> list[Announcement]:
        pictured = {series_id for one in sealed for series_id in one.series_ids}
        bare = [series_id for series_id in self._series if series_id not in pictured]
        found: list[Announcement] = []
        rest = sorted(sealed, key=lambda one: (one.batch, one.object))
        while rest:
            count, volume = _largest(self._of_objects, rest, _MOST_OBJECTS)
            if not found and (whole := self._of_objects(rest[:count], bare)) and _fits(whole):
                # Series that hold no picture yet, or none at all, are named too: in the first volume if they can.
                volume, bare = whole, []
            rest = rest[count:]
            found.append(volume)
        while bare or not found:
            count, volume = _largest(self._volume, bare, _MOST_SERIES)
            bare = bare[count:]
            found.append(volume)
        return found

    def _of_objects(self, group: Sequence[SealedObject], bare: Sequence[int] = ()) -> Announcement:
        wanted = {series_id for one in group for series_id in one.series_ids} | set(bare)
        return self._volume([series_id for series_id in self._series if series_id in wanted], group)

    def _volume(self, series_ids: Sequence[int], group: Sequence[SealedObject] = ()) -> Announcement:
        index = {series_id: position for position, series_id in enumerate(series_ids)}
        attributes = {"study": self._study, "series": [self._series[series_id] for series_id in series_ids]}
        return Announcement(
            study=bytes(16),
            sequence=1,
            issued=0,
            settled=self._settled,
            attributes=objects.deflate_json(attributes),
            objects=[_entry(one, index) for one in group],
        )


def _largest(make: Callable[[Sequence[_T]], Announcement], items: Sequence[_T], most: int) -> tuple[int, Announcement]:
    """The volume of as many of the first ``items`` as fit, in halving steps from ``most``, and how many those are."""
    while True:
        group = items[:most]
        volume = make(group)
        if _fits(volume):
            return len(group), volume
        if most == 1 or not group:
            raise _DoesNotFitError
        most //= 2


def _fits(volume: Announcement) -> bool:
    try:
        return len(messages.encode(volume)) <= MAX_ANNOUNCEMENT_BYTES - _SEAL_ROOM
    except WireError:
        return False


def _entry(sealed: SealedObject, index: dict[int, int]) -> ObjectEntry:
    return ObjectEntry(
        object=decode_reference(sealed.object),
        layer=sealed.layer,
        series=[index[series_id] for series_id in sealed.series_ids],
        batch=sealed.batch,
        frames=sealed.frames,
        key=sealed.key,
        size=sealed.size,
        manifest=sealed.manifest,
    )


def _series_number(attributes: dict[str, Any]) -> int:
    value = attributes.get(_SERIES_NUMBER, {}).get("Value", [0])
    return value[0] if value and isinstance(value[0], int) else 0
