"""The layer ``report``: structured reports and CDA as text and HTML, PDF as it is. Runs in the worker.

A job gives the document's parts, all of frame 0; with ``thumbnail_side`` set it gives a picture of a PDF's first page
instead, alone, because what it takes to draw one may fall to a file whose bytes are good enough to be passed on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.management import worker_protocol as protocol
from gateway.management.rendering import report_values as values
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_document import document_of, predecessors_of, title_of
from gateway.management.rendering.report_file import read_report
from gateway.management.rendering.report_html import to_html
from gateway.management.rendering.report_text import to_text
from gateway.management.rendering.report_tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom.dataset import Dataset

    from gateway.management.rendering.limits import RenderLimits
    from gateway.management.rendering.report_document import Document
    from gateway.management.rendering.report_file import ReportFile
    from wire.objects import Media

_SHOWN: Final = (
    "Modality", "InstanceNumber", "ContentDate", "ContentTime", "DocumentTitle",
    "CompletionFlag", "VerificationFlag", "PreliminaryFlag",
)  # fmt: skip
"""What lists show of a report; no Patient module."""
_MAX_TEXT: Final = 256
_MAX_PREDECESSORS: Final = 64
_PDF: Final = "application/pdf"
_XML: Final = frozenset({"text/xml", "application/xml"})
_PDF_MARK: Final = b"%PDF-"
_PDF_MARK_WITHIN: Final = 1024
"""Readers allow other bytes in front of it (ISO 32000-1 annex H.3)."""


def parts(
    job: protocol.Job, limits: RenderLimits, allow_frame: Callable[[], None]
) -> Iterator[tuple[protocol.Frame, bytes]]:
    """The document's parts, or its thumbnail. Raises ``Refusal``."""
    allow_frame()
    if job.first_frame != 0 or job.frame_count not in (None, 1):
        raise Refusal("no-frame")
    file = read_report(Path(job.path), limits)
    data = file.data
    attributes = _attributes(data)
    if "EncapsulatedDocument" in data and _mime(data) == _PDF:
        pdf = _pdf(data)
        if not job.thumbnail_side:
            yield _part(_PDF, attributes), pdf
            return
        from gateway.management.rendering.report_pdf import first_page

        picture, rows, columns = first_page(pdf, job.thumbnail_side, job.quality)
        yield _part("image/jpeg", attributes, rows, columns), picture
        return
    if job.thumbnail_side:
        raise Refusal("unsupported", "no picture of a report that is no PDF")
    document = _document(file)
    attributes.setdefault(_tag("DocumentTitle"), protocol.Element("ST", [document.title[:_MAX_TEXT]]))
    text, html = to_text(document), to_html(document)
    yield _part("text/plain", attributes), text
    yield _part("text/html", attributes), html


def _document(file: ReportFile) -> Document:
    data = file.data
    if "EncapsulatedDocument" in data:
        if _mime(data) not in _XML:
            raise Refusal("unsupported", "an encapsulated document that is neither PDF nor CDA")
        from gateway.management.rendering.report_cda import cda_document

        return cda_document(data, _encapsulated(data).rstrip(b"\0"))
    if "ContentSequence" not in data and values.text(data, "ValueType").strip() != "CONTAINER":
        raise Refusal("unsupported", "no content tree and no document")
    return document_of(data, read_tree(data), file.guessed)


def _part(media: Media, attributes: dict[str, protocol.Element], rows: int = 0, columns: int = 0) -> protocol.Frame:
    return protocol.Frame(
        frame=0,
        kind="report",
        media=media,
        rows=rows,
        columns=columns,
        lossy=False,
        ratio_x100=100,
        attributes=attributes,
    )


def _mime(data: Dataset) -> str:
    return values.text(data, "MIMETypeOfEncapsulatedDocument").strip().lower()


def _encapsulated(data: Dataset) -> bytes:
    try:
        found: Any = data["EncapsulatedDocument"].value
        return bytes(found or b"")
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise Refusal("malformed", "EncapsulatedDocument") from error


def _pdf(data: Dataset) -> bytes:
    """The document byte for byte, without the byte that makes its length even (PS3.3 section C.24.2)."""
    document = _encapsulated(data)
    if _PDF_MARK not in document[:_PDF_MARK_WITHIN]:
        raise Refusal("decode", "no PDF")
    lengths = values.integers(data, "EncapsulatedDocumentLength")
    if lengths and lengths[0] == len(document) - 1:
        return document[:-1]
    if not lengths and document.endswith(b"\0"):
        return document[:-1]
    return document


def _attributes(data: Dataset) -> dict[str, protocol.Element]:
    found: dict[str, protocol.Element] = {}
    for keyword in _SHOWN:
        value = title_of(data) if keyword == "DocumentTitle" else values.text(data, keyword).strip()
        if not value:
            continue
        vr = dictionary_VR(keyword)
        if vr == "IS":
            found |= {_tag(keyword): protocol.Element(vr, [one]) for one in values.integers(data, keyword)[:1]}
        else:
            found[_tag(keyword)] = protocol.Element(vr, [value[:_MAX_TEXT]])
    concept = values.code(data, "ConceptNameCodeSequence")
    if concept is not None:
        item = {
            _tag("CodeValue"): protocol.Leaf("SH", [concept.value[:_MAX_TEXT]]),
            _tag("CodingSchemeDesignator"): protocol.Leaf("SH", [concept.scheme[:_MAX_TEXT]]),
            _tag("CodeMeaning"): protocol.Leaf("LO", [concept.meaning[:_MAX_TEXT]]),
        }
        found[_tag("ConceptNameCodeSequence")] = protocol.Element("SQ", [item])
    before = [one for one in predecessors_of(data) if values.is_uid(one)][:_MAX_PREDECESSORS]
    if before:
        found[_tag("PredecessorDocumentsSequence")] = protocol.Element(
            "SQ", [{_tag("ReferencedSOPInstanceUID"): protocol.Leaf("UI", [one])} for one in before]
        )
    return found


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"
