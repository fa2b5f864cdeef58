"""Who lay where and when: a patient's movements, put in order by when they happened, give the stays. Pure.

Nothing is ever changed afterwards: a movement that comes late, or takes an earlier one back, only makes the fold come
out differently. So the order in which messages arrive does not matter, and the history says what is known now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.middleware.movement import Change, Movement

_MOVES = frozenset({Change.ADMIT, Change.TRANSFER})


@dataclass(frozen=True, slots=True)
class Stay:
    """In one bed, or in a ward without one, from ``begins`` until ``ends``; POSIX seconds, None: until now."""

    ward: str
    bed: str
    begins: float
    ends: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a patient lies whom the census knows. An empty ward: nowhere, for the patient was discharged."""

    ward: str = ""
    bed: str = ""


NOWHERE = Place()


def stays(movements: Sequence[Movement]) -> list[Stay]:
    """The stays of one patient, the earliest first.

    Args:
        movements: of one patient, in the order in which they came; what happened at one moment keeps that order.
    """
    found: list[Stay] = []
    for movement in _standing(sorted(movements, key=lambda one: one.at)):
        last = found[-1] if found and found[-1].ends is None else None
        if movement.change in _MOVES:
            if last is not None and (last.ward, last.bed) == (movement.ward, movement.bed):
                continue
            _close(found, movement.at)
            found.append(Stay(movement.ward, movement.bed, movement.at))
        elif movement.change is Change.DISCHARGE:
            _close(found, movement.at)
        elif (
            movement.change is Change.UPDATE
            and last is not None
            and movement.ward == last.ward
            and movement.bed not in ("", last.bed)
        ):
            _close(found, movement.at)
            found.append(Stay(last.ward, movement.bed, movement.at))
    return [one for one in found if one.ends is None or one.ends > one.begins]


def _standing(ordered: Iterable[Movement]) -> list[Movement]:
    """Without what was taken back: a cancellation takes the latest of its kind before it."""
    found: list[Movement] = []
    for movement in ordered:
        cancelled = movement.change.cancels
        if cancelled is None:
            found.append(movement)
            continue
        for position in range(len(found) - 1, -1, -1):
            if found[position].change is cancelled:
                del found[position]
                break
    return found


def _close(found: list[Stay], at: float) -> None:
    if found and found[-1].ends is None:
        found[-1] = replace(found[-1], ends=at)


def place(of: Sequence[Stay]) -> Place:
    """Where the last of the stays still is; nowhere if it ended."""
    return Place(of[-1].ward, of[-1].bed) if of and of[-1].ends is None else NOWHERE
