"""A PACS by DICOMweb (PS3.18): QIDO-RS, WADO-RS and STOW-RS.

Everything is streamed: of a multipart answer one piece is in memory, never an instance.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import BodyPartReader, MultipartReader, hdrs

from gateway.config_pacs import Pacs
from gateway.middleware.admission import Admission
from gateway.middleware.attributes import AttributeCache
from gateway.middleware.header import read_header
from gateway.middleware.pacs import identifiers
from gateway.middleware.pacs.calling import client_context
from gateway.middleware.pacs.errors import PacsAway, PacsRefused
from gateway.middleware.pacs.parts import admit_part
from gateway.middleware.pacs.peer import Wanted
from gateway.middleware.pacs.query import RETURNED, UNIQUE, Level, Query, Stored, is_named, value, wide_name
from gateway.middleware.refusal import HeaderError

_T = TypeVar("_T")
_JSON_LIMIT_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
_CONNECT_S = 10.0
_DICOM = "application/dicom"


class DicomWeb:
    """One PACS. Each call makes a connection of its own, in the calling thread."""

    def __init__(self, settings: Pacs, root: Path, admission: Admission) -> None:
        """Token and password lie in ``root``. Raises OSError or ssl.SSLError where files cannot be used."""
        self._settings = settings
        self._root = root
        self._admission = admission
        self._tls: ssl.SSLContext | bool = client_context(settings.tls, root) if settings.tls else True
        self._headers()

    def _headers(self) -> dict[str, str]:
        """Read each time: a token is renewed by whoever owns the file."""
        settings = self._settings
        if settings.token_file:
            return {hdrs.AUTHORIZATION: f"Bearer {(self._root / settings.token_file).read_text().strip()}"}
        if settings.user:
            password = (self._root / settings.password_file).read_text().strip()
            return {hdrs.AUTHORIZATION: aiohttp.BasicAuth(settings.user, password, "utf-8").encode()}
        return {}

    def _run(self, act: Callable[[aiohttp.ClientSession], Awaitable[_T]]) -> _T:
        async def within() -> _T:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_S, sock_read=self._settings.timeout_s, connect=_CONNECT_S
            )
            # No redirects: the credentials are for this server.
            connector = aiohttp.TCPConnector(ssl=self._tls)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers()) as session:
                return await act(session)

        try:
            return asyncio.run(within())
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            raise PacsAway("the TLS handshake failed: do both trust each other's certificate?") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError, OSError):
            raise PacsAway("it cannot be reached, was cut off, or was silent for too long") from None

    def _url(self, *path: str) -> str:
        return "/".join((self._settings.dicomweb.rstrip("/"), *path))

    # ── QIDO-RS ───────────────────────────────────────────────────────────────────────────────────────────────────

    def echo(self) -> None:
        """A search that finds one study at most."""
        self._run(lambda session: self._search(session, ["studies"], [("limit", "1")]))

    def find(self, query: Query) -> Iterator[dict[str, Any]]:
        """See ``Way.find``. Patients are what their studies say of them: DICOMweb has no search for patients."""
        level: Level = "STUDY" if query.level == "PATIENT" else query.level
        filters = dict(query.filters)
        path = ["studies"]
        if level in ("SERIES", "IMAGE"):
            path += [filters.pop("StudyInstanceUID"), "series"]
        if level == "IMAGE":
            path += [filters.pop("SeriesInstanceUID"), "instances"]
        if "PatientName" in filters:
            filters["PatientName"] = wide_name(filters["PatientName"])
        asked = [(keyword, text.replace("\\", ",")) for keyword, text in filters.items() if text]
        asked += [("includefield", keyword) for keyword in (query.returned if query.also else RETURNED[level])]
        asked.append(("limit", str(query.most + 1)))
        seen: set[str] = set()
        for answer in self._run(lambda session: self._search(session, path, asked)):
            hit = identifiers.trimmed(query, answer)
            key = value(hit, identifiers.tag_name(UNIQUE[query.level]))
            if key and key not in seen and is_named(query.filters.get("PatientName", ""), hit):
                seen.add(key)
                yield hit

    async def _search(
        self, session: aiohttp.ClientSession, path: list[str], asked: list[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        headers = {hdrs.ACCEPT: "application/dicom+json"}
        async with session.get(self._url(*path), params=asked, headers=headers, allow_redirects=False) as answer:
            if answer.status in (204, 404):
                return []
            _check(answer)
            body = bytearray()
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                body += piece
                if len(body) > _JSON_LIMIT_BYTES:
                    raise PacsRefused("it answers a search with more than 64 MiB: search for less")
        try:
            found = json.loads(body or b"[]")
        except (ValueError, RecursionError):
            raise PacsRefused("it answers a search with something that is no JSON: is the URL right?") from None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    # ── WADO-RS ───────────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, StudyInstanceUID: str, wanted: Wanted, on_instance: Callable[[], None]) -> None:
        """See ``Way.fetch``. Several instances of a series are one request each: WADO-RS has no list."""
        path = ["studies", StudyInstanceUID]
        if wanted.SeriesInstanceUID:
            path += ["series", wanted.SeriesInstanceUID]
        paths = [[*path, "instances", one] for one in wanted.instances] or [path]

        async def all_of_them(session: aiohttp.ClientSession) -> None:
            cache = AttributeCache()
            for one in paths:
                await self._receive(session, one, cache, on_instance)

        self._run(all_of_them)

    async def _receive(
        self,
        session: aiohttp.ClientSession,
        path: list[str],
        cache: AttributeCache,
        on_instance: Callable[[], None],
    ) -> None:
        headers = {hdrs.ACCEPT: f'multipart/related; type="{_DICOM}"; transfer-syntax=*'}
        async with session.get(self._url(*path), headers=headers, allow_redirects=False) as answer:
            if answer.status in (404, 406, 410):
                return  # that it is missing is found out by looking
            _check(answer)
            if answer.content_type == _DICOM:
                await admit_part(self._admission, self._source, answer.content.iter_chunked(_PIECE_BYTES), cache)
                on_instance()
                return
            if not answer.content_type.startswith("multipart/"):
                raise PacsRefused("it answers WADO-RS with something that is not multipart: is the URL right?")
            try:
                async for part in MultipartReader(answer.headers, answer.content):
                    if isinstance(part, BodyPartReader):
                        await admit_part(self._admission, self._source, _pieces(part), cache)
                        on_instance()
            except (ValueError, AssertionError):
                raise PacsAway("it cut a multipart answer off, or made it wrongly") from None

    @property
    def _source(self) -> str:
        return f"pacs-{self._settings.name}"

    # ── STOW-RS ───────────────────────────────────────────────────────────────────────────────────────────────────

    def store(self, path: Path) -> Stored:
        """STOW-RS of one file, streamed from the disk."""
        try:
            header = read_header(path)
        except HeaderError as error:
            return Stored(False, 0, f"it is no DICOM file that could be sent: {error.detail}")
        uids = {"SOPClassUID": header.SOPClassUID, "SOPInstanceUID": header.SOPInstanceUID}

        boundary = secrets.token_hex(24)  # longer than what a file holds by chance

        async def send(session: aiohttp.ClientSession) -> tuple[int, bytes]:
            headers = {
                hdrs.CONTENT_TYPE: f'multipart/related; type="{_DICOM}"; boundary={boundary}',
                hdrs.ACCEPT: "application/dicom+json",
            }
            url = self._url("studies")
            async with session.post(
                url, data=_message(path, boundary), headers=headers, allow_redirects=False
            ) as answer:
                if answer.status != 409:  # of a conflict the body says why
                    _check(answer)
                return answer.status, await answer.content.read(_PIECE_BYTES)

        http, body = self._run(send)
        return _stored(http, body, uids)

    def commit(self, transaction: str, instances: Sequence[tuple[str, str]]) -> None:
        """DICOMweb has none that PACS speak: whoever asks looks whether the instances are there."""
        raise PacsRefused("storage commitment is asked for by DIMSE: search for the instances instead")


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(_PIECE_BYTES):
        yield piece


async def _message(path: Path, boundary: str) -> AsyncIterator[bytes]:
    """A multipart message of one part (PS3.18 section 8.6.1.2)."""
    size = path.stat().st_size  # noqa: ASYNC240  # the loop is this request's own
    yield f"--{boundary}\r\nContent-Type: {_DICOM}\r\nContent-Length: {size}\r\n\r\n".encode()
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece
    yield f"\r\n--{boundary}--\r\n".encode()


def _stored(http: int, body: bytes, uids: dict[str, str]) -> Stored:
    try:
        answer = json.loads(body or b"{}")
        failed = answer.get("00081198", {}).get("Value") or []
        number = int(failed[0].get("00081197", {}).get("Value", [0x0110])[0]) if failed else 0
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        failed, number = [], 0
    if failed or http == 409:
        return Stored(
            False, number or 0x0110, f"it does not take it (status 0x{number:04X}, PS3.18 table I.2-2)", **uids
        )
    return Stored(True, number, "", **uids)


def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status in (401, 403):
        raise PacsRefused(
            f"it refuses our credentials (HTTP {answer.status}): see token_file, or user and password_file"
        )
    if answer.status in (408, 425, 429, 500, 502, 503, 504):
        raise PacsAway(f"it cannot serve now (HTTP {answer.status})")
    if answer.status >= 300:
        raise PacsRefused(f"it answers with HTTP {answer.status}: is the URL right?")
