"""A report as HTML that may be shown anywhere: made here, every text escaped, from a small fixed set of tags.

No script, style, image, form, frame or address: the only attributes are ``lang``, ``charset`` and links of the form
``#instance=UID`` or ``#instance=UID&frame=N``, by which a viewer opens an image of the study. It is well-formed
XML too.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_document import Entry, Section
from gateway.management.rendering.report_text import MAX_BYTES

if TYPE_CHECKING:
    from gateway.management.rendering.report_document import Document
    from gateway.management.rendering.report_values import Reference

TAGS: Final = frozenset(
    {"html", "head", "meta", "title", "body", "section", "h1", "h2", "h3", "h4", "h5", "h6",
     "p", "ul", "li", "strong", "small", "br", "a"}
)  # fmt: skip
"""All that ever occurs; docs/protocol.md section 8 names them."""
_DEEPEST: Final = 6
_LINKED_FRAMES: Final = 64


def to_html(document: Document) -> bytes:
    """A document in UTF-8. Raises ``Refusal`` if it is larger than ``MAX_BYTES``."""
    return _Writer().write(document)


class _Writer:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def write(self, document: Document) -> bytes:
        language = f' lang="{escape(document.language)}"' if document.language else ""
        title = escape(document.title)
        head = f'<head><meta charset="utf-8"/><title>{title}</title></head>'
        self._put(f"<!DOCTYPE html>\n<html{language}>{head}<body>\n")
        self._put(f"<h1>{title}</h1>\n")
        self._entries(document.facts)
        self._body(document.body)
        self._put("</body></html>\n")
        return "".join(self._parts).encode()

    def _put(self, markup: str) -> None:
        self._size += len(markup.encode())
        if self._size > MAX_BYTES:
            raise Refusal("too-large", "HTML of the report")
        self._parts.append(markup)

    def _body(self, body: list[Section | Entry]) -> None:
        entries: list[Entry] = []
        for one in body:
            if isinstance(one, Entry):
                entries.append(one)
                continue
            self._entries(entries)
            entries = []
            level = min(one.level, _DEEPEST)
            self._put(f"<section><h{level}>{escape(one.heading)}</h{level}>\n")
            self._body(one.body)
            self._put("</section>\n")
        self._entries(entries)

    def _entries(self, entries: list[Entry]) -> None:
        if not entries:
            return
        self._put("<ul>\n")
        for entry in entries:
            self._put("<li>")
            self._entry(entry)
            self._entries(entry.children)
            self._put("</li>\n")
        self._put("</ul>\n")

    def _entry(self, entry: Entry) -> None:
        lead = f"<small>{escape(entry.lead)}</small> " if entry.lead else ""
        label = f"<strong>{escape(entry.label)}</strong>" if entry.label else ""
        shown = [escape(entry.value).replace("\n", "<br/>")] if entry.value else []
        shown += [_link(reference) for reference in entry.references]
        value = ", ".join(shown)
        if entry.code:
            value += f" <small>{escape(entry.code)}</small>"
        if "\n" in entry.value:
            value = f"<p>{value}</p>"
        self._put(lead + label + (": " if label and value else "") + value)


def _link(reference: Reference) -> str:
    if not reference.is_legal:
        return escape(reference.readable)
    address = f"#instance={reference.instance}"
    if len(reference.frames) < 2:
        frame = f"&amp;frame={reference.frames[0]}" if reference.frames else ""
        return f'<a href="{address}{frame}">{escape(reference.readable)}</a>'
    frames = [f'<a href="{address}&amp;frame={frame}">{frame}</a>' for frame in reference.frames[:_LINKED_FRAMES]]
    more = len(reference.frames) - len(frames)
    ends = f" and {more} more" if more else ""
    note = f", {escape(reference.note)}" if reference.note else ""
    return f'<a href="{address}">{escape(reference.kind)}</a>, frames {", ".join(frames)}{ends}{note}'
