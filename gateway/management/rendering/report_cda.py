"""An encapsulated CDA document (HL7 CDA release 2, PS3.3 section A.45.2) as a report: its headings and its narrative.

The narrative blocks are what a CDA document attests to for people; coded entries say the same to machines and are not
shown. What has no narrative (``nonXMLBody``) is refused. No document type declaration is let through, so there are no
entities that could grow or point elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from gateway.management.rendering import report_values as values
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_document import Document, Entry, Section, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

MAX_ELEMENTS: Final = 100_000
MAX_DEPTH: Final = 64
_CDA: Final = "urn:hl7-org:v3 "
_DECLARED: Final = re.compile(rb"<\?xml[^>]{0,200}?encoding=[\"']([A-Za-z0-9._-]{1,40})[\"']")
_BLOCKS: Final = frozenset({"paragraph", "list", "item", "table", "thead", "tbody", "tfoot", "tr", "caption"})
_SPACE: Final = re.compile(r"[ \t\r\n]+")


@dataclass(slots=True)
class Node:
    """An element; ``parts`` are its elements and the text between them. Names of CDA's namespace stand without it."""

    name: str
    attributes: dict[str, str]
    parts: list[Node | str] = field(default_factory=list)

    def find(self, *path: str) -> Iterator[Node]:
        """The elements that ``path`` leads to."""
        found = [self]
        for name in path:
            found = [part for node in found for part in node.parts if isinstance(part, Node) and part.name == name]
        yield from found

    def text(self, *path: str) -> str:
        """The text in the first element that ``path`` leads to, on one line."""
        return next(map(_line, self.find(*path)), "")


def cda_document(data: Dataset, xml: bytes) -> Document:
    """The document; flags and dates that the XML lacks are those of ``data``. Raises ``Refusal``."""
    root = _parsed(xml)
    if root.name != "ClinicalDocument":
        raise Refusal("unsupported", "XML that is no CDA document")
    body = next(root.find("component", "structuredBody"), None)
    if body is None:
        raise Refusal("unsupported", "a CDA document without a structured body")
    return Document(
        title=root.text("title") or "Report",
        status=status_of(data),
        facts=_facts(data, root),
        language=_language(root),
        body=[_section(section, 2) for section in body.find("component", "section")],
    )


# ── header ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _facts(data: Dataset, root: Node) -> list[Entry]:
    status = status_of(data)
    moment = next((values.moment(node.attributes.get("value", "")) for node in root.find("effectiveTime")), "")
    facts = [Entry("Status", status)] if status else []
    facts += [Entry("Date", values.clean(moment))] if moment else []
    for label, role in (("Author", "author"), ("Signed by", "legalAuthenticator")):
        person = "assignedAuthor" if role == "author" else "assignedEntity"
        for node in root.find(role, person):
            names = [*map(_person, node.find("assignedPerson", "name"))]
            names += map(_line, node.find("representedOrganization", "name"))
            facts += [Entry(label, ", ".join(name for name in names if name))] if any(names) else []
    return facts


def _person(name: Node) -> str:
    """In parts or as one text; in either order of an East Asian or a Western name."""
    parts = [" ".join(map(_line, name.find(part))) for part in ("family", "given", "prefix", "suffix")]
    family, given, prefix, suffix = parts
    return values.person(f"{family}^{given}^^{prefix}^{suffix}") if any(parts) else _line(name)


def _language(root: Node) -> str:
    code = next((node.attributes.get("code", "") for node in root.find("languageCode")), "")
    return code if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", code) else ""


# ── body ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _section(section: Node, level: int) -> Section:
    body: list[Section | Entry] = [entry for text in section.find("text") for entry in _entries(text)]
    body += [_section(one, level + 1) for one in section.find("component", "section")]
    return Section(section.text("title") or "Section", level, body)


def _entries(block: Node) -> list[Entry]:
    """Blocks one after the other; text between them is a paragraph."""
    entries: list[Entry] = []
    loose = Node("paragraph", {})
    for part in block.parts:
        if isinstance(part, Node) and part.name in _BLOCKS:
            entries += _paragraph(loose)
            loose = Node("paragraph", {})
            entries += _block(part)
        else:
            loose.parts.append(part)
    return entries + _paragraph(loose)


def _block(block: Node) -> list[Entry]:
    if block.name == "tr":
        cells = [part for part in block.parts if isinstance(part, Node)]
        row = " | ".join(map(_line, cells))
        return [Entry("", row)] if row.strip(" |") else []
    if block.name in ("paragraph", "caption") and not _has_blocks(block):
        return _paragraph(block)
    found = _entries(block)
    if block.name == "item" and len(found) > 1:
        return [Entry(found[0].label, found[0].value, children=[*found[0].children, *found[1:]])]
    return found


def _has_blocks(block: Node) -> bool:
    return any(isinstance(part, Node) and part.name in _BLOCKS for part in block.parts)


def _paragraph(block: Node) -> list[Entry]:
    lines = [line.strip() for line in _inline(block).split("\n")]
    text = values.clean("\n".join(lines).strip("\n"))
    return [Entry("", text)] if text else []


def _inline(node: Node) -> str:
    """Running text; what was struck out is said to be, a picture is named in its place."""
    if node.name == "br":
        return "\n"
    if node.name == "renderMultiMedia":
        return "(a picture, which is not shown here)"
    text = "".join(_SPACE.sub(" ", part) if isinstance(part, str) else _inline(part) for part in node.parts)
    return f"(deleted: {text.strip()})" if node.attributes.get("revised") == "delete" and text.strip() else text


def _line(node: Node) -> str:
    return values.clean(" ".join(_inline(node).split()))


# ── XML ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parsed(xml: bytes) -> Node:
    """The tree, bounded; in whichever encoding Python knows."""
    declared = _DECLARED.match(xml.lstrip(b"\xef\xbb\xbf"))
    try:
        text = xml.decode(declared[1].decode("ascii") if declared else "utf-8-sig").lstrip("\ufeff")
    except (LookupError, UnicodeError) as error:
        raise Refusal("decode", "encoding of the XML") from error
    builder = _Builder()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise Refusal("decode", "XML") from error
    (root,) = builder.root.parts
    assert isinstance(root, Node)
    return root


class _Builder:
    def __init__(self) -> None:
        self.root = Node("", {})
        self._open = [self.root]
        self._count = 0

    def doctype(self, *_: object) -> None:
        raise Refusal("unsupported", "XML with a document type declaration")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) > MAX_DEPTH:
            raise Refusal("too-large", "elements of the XML")
        node = Node(name.removeprefix(_CDA), attributes)
        self._open[-1].parts.append(node)
        self._open.append(node)

    def end(self, _name: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        if len(self._open) > 1:
            self._open[-1].parts.append(text)
