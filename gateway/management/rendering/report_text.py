"""A report as plain text: for terminals, for search, for whoever has nothing better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from unicodedata import east_asian_width

from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_document import Entry, Section

if TYPE_CHECKING:
    from gateway.management.rendering.report_document import Document
    from gateway.management.rendering.report_values import Reference

MAX_BYTES: Final = 16 << 20
"""Of the text, and of the HTML."""
_UNDERLINES: Final = "=-~"
_INDENT: Final = "  "
_SHORT: Final = 72


def to_text(document: Document) -> bytes:
    """UTF-8 with line feeds. Raises ``Refusal`` if it is larger than ``MAX_BYTES``."""
    return _Writer().write(document)


class _Writer:
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._size = 0
        self._known: dict[Reference, int] = {}

    def write(self, document: Document) -> bytes:
        self._heading(document.title, 1)
        for fact in document.facts:
            self._entry(fact, 0)
        self._line("")
        self._body(document.body)
        if self._known:
            self._heading("References", 2)
            for reference, number in self._known.items():
                self._line(f"[{number}] {reference.readable}: {reference.instance or 'no UID'}")
        return ("\n".join(self._lines).strip("\n") + "\n").encode()

    def _line(self, line: str) -> None:
        if not line and self._lines and not self._lines[-1]:
            return
        self._size += len(line.encode()) + 1
        if self._size > MAX_BYTES:
            raise Refusal("too-large", "text of the report")
        self._lines.append(line.rstrip())

    def _heading(self, heading: str, level: int) -> None:
        self._line("")
        self._line(heading)
        if level <= len(_UNDERLINES):
            self._line(_UNDERLINES[level - 1] * min(_width(heading), _SHORT))

    def _body(self, body: list[Section | Entry]) -> None:
        for one in body:
            if isinstance(one, Section):
                self._heading(one.heading, one.level)
                self._body(one.body)
            else:
                self._entry(one, 0)
        self._line("")

    def _entry(self, entry: Entry, depth: int) -> None:
        label = " ".join(part for part in (entry.lead, entry.label) if part)
        value = ", ".join(part for part in (entry.value, *map(self._referred, entry.references)) if part)
        self._labelled(depth, label, value)
        for child in entry.children:
            self._entry(child, depth + 1)

    def _labelled(self, depth: int, label: str, value: str) -> None:
        indent = _INDENT * depth
        if "\n" not in value and len(value) <= _SHORT:
            self._line(indent + (f"{label}: {value}" if label else value))
            return
        if label:
            self._line(f"{indent}{label}:")
            indent += _INDENT
        for line in value.split("\n"):
            self._line(indent + line)

    def _referred(self, reference: Reference) -> str:
        number = self._known.setdefault(reference, len(self._known) + 1)
        return f"{reference.readable} [{number}]"


def _width(line: str) -> int:
    """Columns in a terminal: Hangul and other East Asian characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in line)
