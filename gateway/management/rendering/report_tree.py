"""The content tree of a structured report (PS3.3 section C.17.3), read from a data set into plain values, bounded.

Whatever has a content tree is read, whichever SOP Class it says: Basic Text to Extensible SR, dose reports, key object
selections. What is not known (a value type to come) is named as such, never passed over in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.management.rendering import report_values as values
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_values import Code, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

MAX_ITEMS: Final = 20_000
"""A dose report of a long intervention has some thousands; so many take a worker 240 MB."""
MAX_DEPTH: Final = 64

Position = tuple[int, ...]


@dataclass(slots=True)
class Item:
    """One content item.

    ``position`` is its place as ReferencedContentItemIdentifier (0040,DB73) gives it, the root being (1,). ``value``
    is readable text; ``references`` are objects that it points to; ``target`` is set where the item stands for
    another one of this document (a by-reference relationship, PS3.3 section C.17.3.2.5).
    """

    position: Position
    relationship: str
    kind: str
    name: Code | None
    value: str = ""
    code: Code | None = None
    references: tuple[Reference, ...] = ()
    is_continuous: bool = False
    observed: str = ""
    target: Position | None = None
    children: list[Item] = field(default_factory=list)

    def walk(self) -> Iterator[Item]:
        """The item and all below it, in the order of the document."""
        waiting = [self]
        while waiting:
            item = waiting.pop()
            yield item
            waiting += reversed(item.children)


def read_tree(data: Dataset) -> Item:
    """The tree of ``data``, whose own level is the root content item. Raises ``Refusal``."""
    root = _item(data, (1,))
    waiting = [(root, data)]
    count = 1
    while waiting:
        parent, parent_data = waiting.pop()
        below = values.items(parent_data, "ContentSequence")
        count += len(below)
        if count > MAX_ITEMS:
            raise Refusal("too-large", "content items")
        if below and len(parent.position) >= MAX_DEPTH:
            raise Refusal("too-large", "nesting of content items")
        for number, child_data in enumerate(below, 1):
            child = _item(child_data, (*parent.position, number))
            parent.children.append(child)
            waiting.append((child, child_data))
    return root


def _item(data: Dataset, position: Position) -> Item:
    kind = values.text(data, "ValueType").strip().upper()
    item = Item(
        position=position,
        relationship=values.text(data, "RelationshipType").strip().upper(),
        kind=kind,
        name=values.code(data, "ConceptNameCodeSequence"),
        observed=values.moment(values.text(data, "ObservationDateTime")),
        target=_target(data),
    )
    match kind:
        case "CONTAINER":
            item.is_continuous = values.text(data, "ContinuityOfContent").strip().upper() == "CONTINUOUS"
        case "CODE":
            item.code = values.code(data, "ConceptCodeSequence")
            item.value = item.code.readable if item.code else ""
        case "NUM":
            item.value = values.measurement(data)
        case "IMAGE" | "COMPOSITE" | "WAVEFORM":
            item.references = values.references(data)
        case "TABLE":
            item.value = "(a table, which is not shown here)"
        case _ if kind in _READERS:
            item.value = _READERS[kind](data)
        case "" if item.target is not None:
            pass
        case _:
            item.value = f"(a value of the kind {values.clean(kind)[:16] or 'none'}, which is not shown here)"
    return item


def _target(data: Dataset) -> Position | None:
    found = values.integers(data, "ReferencedContentItemIdentifier")
    return tuple(found) if found else None


_READERS: Final = {
    "TEXT": lambda data: values.text(data, "TextValue"),
    "PNAME": lambda data: values.person(values.text(data, "PersonName")),
    "DATE": lambda data: values.date(values.text(data, "Date")),
    "TIME": lambda data: values.time(values.text(data, "Time")),
    "DATETIME": lambda data: values.moment(values.text(data, "DateTime")),
    "UIDREF": lambda data: values.text(data, "UID"),
    "SCOORD": lambda data: values.graphic(data),
    "SCOORD3D": lambda data: values.graphic_3d(data),
    "TCOORD": lambda data: values.time_range(data),
}
