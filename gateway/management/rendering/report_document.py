"""A structured report as a document: its title, its standing, and its content as sections and entries.

Text and HTML are both written from this, so neither can say what the other does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from gateway.management.rendering import report_values as values
from gateway.management.rendering.report_values import Reference

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from gateway.management.rendering.report_tree import Item, Position

Status = Literal["", "preliminary", "final", "amended"]

_FLOWING: Final = frozenset({"TEXT", "CODE", "NUM", "PNAME", "DATE", "TIME", "DATETIME"})
_LEADS: Final = {"INFERRED FROM": "inferred from", "SELECTED FROM": "selected from"}
_LANGUAGE: Final = ("121049", "DCM")
_LANGUAGE_TAG: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_CLOSING: Final = tuple(".,;:!?)")
_EXCERPT: Final = 60


@dataclass(slots=True)
class Entry:
    """One content item: ``lead label: value``, the code behind it, the objects it points to, what belongs to it."""

    label: str
    value: str
    lead: str = ""
    code: str = ""
    references: tuple[Reference, ...] = ()
    children: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """A container with a heading; ``level`` from 2 on, the title being 1."""

    heading: str
    level: int
    body: list[Section | Entry]


@dataclass(slots=True)
class Document:
    """``facts`` are about the document; ``language`` is as in RFC 5646, empty where it is not said."""

    title: str
    status: Status
    facts: list[Entry]
    language: str
    body: list[Section | Entry]


def status_of(data: Dataset) -> Status:
    """Whether the document may still change (PS3.3 section C.17.2). In doubt it may.

    Final needs somebody's word: PreliminaryFlag FINAL, or VERIFIED. Empty where the document knows no such thing.
    """
    completion = values.text(data, "CompletionFlag").strip().upper()
    verification = values.text(data, "VerificationFlag").strip().upper()
    preliminary = values.text(data, "PreliminaryFlag").strip().upper()
    if not (completion or verification or preliminary):
        return ""
    if preliminary == "PRELIMINARY" or completion == "PARTIAL":
        return "preliminary"
    if preliminary != "FINAL" and verification != "VERIFIED":
        return "preliminary"
    return "amended" if predecessors_of(data) else "final"


def predecessors_of(data: Dataset) -> list[str]:
    """SOPInstanceUIDs of the documents that this one replaces or extends (PS3.3 section C.17.2.3)."""
    return [
        values.text(reference, "ReferencedSOPInstanceUID").strip()
        for study in values.items(data, "PredecessorDocumentsSequence")
        for series in values.items(study, "ReferencedSeriesSequence")
        for reference in values.items(series, "ReferencedSOPSequence")
    ]


def title_of(data: Dataset) -> str:
    """The document's title: the root's concept name, or what an encapsulated document says of itself."""
    concept = values.code(data, "ConceptNameCodeSequence")
    title = values.text(data, "DocumentTitle").strip() or (concept.readable if concept else "")
    return " ".join(title.split())


def document_of(data: Dataset, root: Item, guessed: str = "") -> Document:
    """The whole document; ``root`` was read from ``data``, its text in an encoding that was ``guessed`` as it says."""
    by_position = {item.position: item for item in root.walk()}
    return Document(
        title=title_of(data) or "Report",
        status=status_of(data),
        facts=_facts(data, root, guessed),
        language=_language(root),
        body=_body(root, 2, by_position),
    )


# ── the document ──────────────────────────────────────────────────────────────────────────────────────────────────


def _facts(data: Dataset, root: Item, guessed: str) -> list[Entry]:
    facts: list[Entry] = []
    if status := status_of(data):
        words = [values.text(data, "CompletionFlag").strip().lower()]
        verification = values.text(data, "VerificationFlag").strip().upper()
        words.append({"VERIFIED": "verified", "UNVERIFIED": "not verified"}.get(verification, verification.lower()))
        facts.append(Entry("Status", f"{status} ({', '.join(word for word in words if word)})"))
    if remark := values.text(data, "CompletionFlagDescription"):
        facts.append(Entry("Completion", remark))
    clock = values.time(values.text(data, "ContentTime")).partition(".")[0]
    if moment := f"{values.date(values.text(data, 'ContentDate'))} {clock}".strip():
        facts.append(Entry("Date", moment))
    if root.observed:
        facts.append(Entry("Observed", root.observed))
    facts += [Entry("Verified by", _observer(one)) for one in values.items(data, "VerifyingObserverSequence")]
    if before := predecessors_of(data):
        facts.append(Entry("Replaces", "", references=tuple(Reference("earlier document", one) for one in before)))
    if guessed:
        facts.append(Entry("Characters", f"guessed: read as {guessed}"))
    if any("\ufffd" in one for item in root.walk() for one in (item.value, _name(item))):
        facts.append(Entry("Characters", "some could not be read; each stands as \ufffd"))
    return facts


def _observer(item: Dataset) -> str:
    parts = [
        values.person(values.text(item, "VerifyingObserverName")),
        values.text(item, "VerifyingOrganization"),
        values.moment(values.text(item, "VerificationDateTime")),
    ]
    identification = values.code(item, "VerifyingObserverIdentificationCodeSequence")
    if identification is not None and parts[0]:
        parts[0] += f" ({identification.readable})"
    return ", ".join(part for part in parts if part)


def _language(root: Item) -> str:
    for item in root.children:
        if item.name and item.code and (item.name.value, item.name.scheme) == _LANGUAGE:
            return item.code.value if _LANGUAGE_TAG.fullmatch(item.code.value) else ""
    return ""


# ── its content ───────────────────────────────────────────────────────────────────────────────────────────────────


def _body(container: Item, level: int, by_position: dict[Position, Item]) -> list[Section | Entry]:
    body: list[Section | Entry] = []
    flowing = _flows(container)
    if flowing:
        body.append(_flow(container, by_position))
    last = max((at for at, item in enumerate(container.children) if not _is_container(item)), default=-1)
    for at, item in enumerate(container.children):
        if flowing and item.relationship == "CONTAINS":
            continue
        if not _is_container(item):
            body.append(_entry(item, by_position))
        elif _name(item) and at > last:
            body.append(Section(_name(item), level, _body(item, level + 1, by_position)))
        elif _name(item):
            # An entry behind it would be read as a part of it, were it a section.
            body.append(_entry(item, by_position))
        else:
            body += _body(item, level, by_position)
    return body


def _is_container(item: Item) -> bool:
    return item.kind == "CONTAINER"


def _name(item: Item) -> str:
    return " ".join(item.name.readable.split()) if item.name else ""


def _entry(item: Item, by_position: dict[Position, Item]) -> Entry:
    entry = Entry(
        label=_name(item),
        value=_referred(item, by_position) if item.target is not None else item.value,
        lead=_LEADS.get(item.relationship, ""),
        code=item.code.designation if item.code else "",
        references=item.references,
    )
    if entry.code == entry.value:
        entry.code = ""
    if item.observed:
        entry.children.append(Entry("Observed", item.observed))
    if _flows(item):
        entry.children.append(_flow(item, by_position))
    below = [one for one in item.children if one.relationship != "CONTAINS"] if _flows(item) else item.children
    entry.children += [_entry(one, by_position) for one in below]
    return entry


def _referred(item: Item, by_position: dict[Position, Item]) -> str:
    target = by_position.get(item.target or ())
    if target is None:
        return "an item that is not in this document"
    value = " ".join((target.value or ", ".join(one.readable for one in target.references)).split())
    if len(value) > _EXCERPT:
        value = value[:_EXCERPT].rstrip() + "…"
    return ": ".join(part for part in (_name(target), value) if part) or f"item {'.'.join(map(str, target.position))}"


def _flows(item: Item) -> bool:
    """Whether it is running text (ContinuityOfContent, PS3.3 section C.18.8): sentences in pieces."""
    pieces = [one for one in item.children if one.relationship == "CONTAINS"]
    kinds = {one.kind for one in pieces}
    return item.is_continuous and "TEXT" in kinds and kinds <= _FLOWING and len(pieces) > 1


def _flow(item: Item, by_position: dict[Position, Item]) -> Entry:
    """One paragraph; below it, by name, the coded pieces and what qualifies them."""
    pieces = [one for one in item.children if one.relationship == "CONTAINS"]
    paragraph = ""
    for piece in pieces:
        value = piece.value if piece.target is None else _referred(piece, by_position)
        gap = "" if not paragraph or value.startswith(_CLOSING) else " "
        paragraph += gap + value
    label = next((name for one in pieces if one.kind == "TEXT" and (name := _name(one))), "")
    entry = Entry(label, paragraph)
    for piece in pieces:
        if piece.kind != "TEXT" or piece.children or _name(piece) != label:
            entry.children.append(_entry(piece, by_position))
    return entry
