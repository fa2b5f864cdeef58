"""How the core asks: over the local socket of the process that talks to the PACS. Loads no DICOM library.

    pacs = PacsClient(state.pacs_socket)
    found = await pacs.find(Query("STUDY", {"PatientName": "김*"}))
    done = await pacs.retrieve(uid, on_progress=lambda progress: ...)

One question a connection: a line of JSON there, lines of JSON back, the last of which has ``done`` or ``error``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.control import address
from gateway.middleware.pacs.errors import PacsAway, PacsError, PacsRefused, QueryInvalid
from gateway.middleware.pacs.query import Found, Progress, Query, Retrieved, Stored

LINE_LIMIT_BYTES = 32 << 20
ERRORS: dict[str, type[PacsError]] = {kind.__name__: kind for kind in (PacsAway, PacsRefused, QueryInvalid)}
_T = TypeVar("_T")


class PacsClient:
    """Any number of questions at once; costs nothing until it is asked. Cancelling a task lets the question go."""

    def __init__(self, path: Path) -> None:
        """``path`` of the socket, which need not be there: then there is no PACS."""
        self._path = path

    @property
    def is_there(self) -> bool:
        """Whether a PACS is configured and the process that talks to it was started."""
        return self._path.exists()

    async def find(self, query: Query, pacs: Sequence[str] = ()) -> Found:
        """All hits of these PACS, or of all; those that do not answer stand in ``away``, and are no error.

        Raises:
            QueryInvalid: nobody was asked.
            PacsAway: the gateway's own process does not answer.
        """
        query.check()
        question = {"op": "find", "query": msgspec.to_builtins(query), "pacs": list(pacs)}
        return await self._one(question, Found)

    async def retrieve(
        self,
        StudyInstanceUID: str,
        SeriesInstanceUID: str = "",
        pacs: str = "",
        on_progress: Callable[[Progress], None] = lambda _: None,
        must_ask: bool = False,
    ) -> Retrieved:
        """Have the study, or one series of it, here: what is missing is fetched, and nothing else.

        It arrives by the same door as what is sent, so routing, rendering and announcements follow by themselves.
        Requests for the same join. Cancelling this does not stop the fetching.

        Args:
            pacs: the one to ask; empty: each in the order of the configuration, until one has it.
            on_progress: called in the event loop.
            must_ask: compare with the PACS even where it was fetched whole a short while ago.

        Raises:
            QueryInvalid: no UID.
            PacsAway: the gateway's own process does not answer; what is here stays usable.
        """
        question = {
            "op": "retrieve",
            "study": StudyInstanceUID,
            "series": SeriesInstanceUID,
            "pacs": pacs,
            "must_ask": must_ask,
        }
        async for kind, value in self._ask(question):
            if kind == "progress":
                on_progress(msgspec.convert(value, Progress))
            else:
                return msgspec.convert(value, Retrieved)
        raise PacsAway("the process that talks to the PACS ended; it is started again by itself")

    async def store(self, pacs: str, path: Path) -> Stored:
        """Send one Part 10 file to a PACS, by C-STORE or STOW-RS. A PACS that does not want it is no error: see there.

        Raises PacsAway where it cannot be reached: try again later. A file stored twice is one instance.
        """
        return await self._one({"op": "store", "pacs": pacs, "path": str(path)}, Stored)

    async def commit(self, pacs: str, instances: Sequence[tuple[str, str]]) -> str:
        """Ask a PACS to say that it keeps these, as (SOPClassUID, SOPInstanceUID); returns the TransactionUID.

        Its answer comes to the intake, seconds or hours later, and stands in ``management.index.commitments`` under
        that UID. Raises PacsAway, PacsRefused (also by DICOMweb: search for the instances instead) or QueryInvalid.
        """
        return await self._one({"op": "commit", "pacs": pacs, "instances": [list(one) for one in instances]}, str)

    async def status(self) -> list[dict[str, Any]]:
        """``{"pacs", "how", "answered_at", "tried_at", "error"}`` of each PACS; times are POSIX seconds or null."""
        return await self._one({"op": "status"}, list[dict[str, Any]])

    async def _one(self, question: dict[str, Any], kind: type[_T]) -> _T:
        async for _, value in self._ask(question):
            return msgspec.convert(value, kind)
        raise PacsAway("the process that talks to the PACS ended; it is started again by itself")

    async def _ask(self, question: dict[str, Any]) -> AsyncIterator[tuple[str, Any]]:
        try:
            with address(self._path) as place:
                reader, writer = await asyncio.open_unix_connection(place, limit=LINE_LIMIT_BYTES)
        except OSError:
            raise PacsAway("no PACS can be asked: none is configured, or the gateway does not run") from None
        try:
            writer.write(msgspec.json.encode(question) + b"\n")
            await writer.drain()
            while line := await reader.readline():
                answer = msgspec.json.decode(line)
                for kind in ("progress", "done"):
                    if kind in answer:
                        yield kind, answer[kind]
                if "error" in answer:
                    raise ERRORS.get(answer["error"], PacsError)(answer["reason"])
        except (ConnectionError, ValueError, msgspec.MsgspecError):
            raise PacsAway("the process that talks to the PACS ended; it is started again by itself") from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
