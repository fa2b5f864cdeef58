"""One part of a multipart answer on its way to the door: bytes as they came, in bounded memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

from gateway.middleware.admission import Admission
from gateway.middleware.attributes import AttributeCache
from gateway.middleware.header import data_offset
from gateway.middleware.refusal import HeaderError
from gateway.middleware.spool import Spool

_HEAD_BYTES = 64 << 10
"""No file meta group is longer."""


async def admit_part(admission: Admission, source: str, pieces: AsyncIterator[bytes], cache: AttributeCache) -> None:
    """Take one Part 10 file in. What is refused is the door's to say. Raises what ``pieces`` raises; nothing stays."""
    spool = admission.archive.spool()
    try:
        head = bytearray()
        is_begun = False
        async for piece in pieces:
            if is_begun:
                spool.write(piece)
                continue
            head += piece
            if len(head) >= _HEAD_BYTES:
                _begin(spool, bytes(head))
                is_begun = True
        if not is_begun:
            _begin(spool, bytes(head))
    except BaseException:
        spool.discard()
        raise
    # Its fsync would hold up the stream of nobody else: the loop is this request's own.
    await asyncio.to_thread(admission.admit, spool, source, None, cache)


def _begin(spool: Spool, head: bytes) -> None:
    """Write what came first: file meta group and data set apart, because two wrappings of one data set are one."""
    try:
        syntax, offset = data_offset(io.BytesIO(head))
    except HeaderError:
        syntax, offset = "", 0  # spooled all the same: refusing it is admit's to do
    spool.write_meta(head[:offset], syntax)
    spool.write(head[offset:])
