"""PDFs: whether one can be opened at all. In the decoding process only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.middleware.importing.protocol import DecodeError, DecodeLimits, Document, Ended

_PASSWORD = 4
"""FPDF_ERR_PASSWORD."""


def document(path: Path, _limits: DecodeLimits, _: Callable[[], None]) -> Iterator[Document]:
    """Says how many pages there are. Raises DecodeError."""
    import pypdfium2  # late: most files are no PDFs

    try:
        opened = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        is_locked = getattr(error, "err_code", None) == _PASSWORD
        raise DecodeError(Ended.ENCRYPTED if is_locked else Ended.MALFORMED) from error
    pages = len(opened)
    opened.close()
    if not pages:
        raise DecodeError(Ended.MALFORMED)
    yield Document(pages=pages)
