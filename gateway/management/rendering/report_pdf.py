"""The first page of a PDF as a small picture, by PDFium. The document is a stranger's: only inside the worker."""

from __future__ import annotations

from io import BytesIO

import pypdfium2 as pdfium

from gateway.management.rendering.refusal import Refusal

_MAX_POINTS = 14_400
"""The largest side of a page (ISO 32000-1 annex C.2)."""


def first_page(document: bytes, side: int, quality: int) -> tuple[bytes, int, int]:
    """``(JPEG, rows, columns)`` with ``side`` pixels at the longer side. Raises ``Refusal``."""
    try:
        pdf = pdfium.PdfDocument(document)
    except pdfium.PdfiumError as error:
        raise Refusal("decode", "PDF") from error
    try:
        if not len(pdf):
            raise Refusal("decode", "a PDF without pages")
        page = pdf[0]
        width, height = page.get_size()
        longest = max(width, height)
        if not 1 <= min(width, height) <= longest <= _MAX_POINTS:
            raise Refusal("decode", "size of the page")
        picture = page.render(scale=side / longest, may_draw_forms=False).to_pil().convert("RGB")
    except pdfium.PdfiumError as error:
        raise Refusal("decode", "PDF page") from error
    finally:
        pdf.close()
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue(), picture.height, picture.width
