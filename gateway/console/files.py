"""The web application's built files: a table made once, compressed once, so that a request touches no path."""

import asyncio
import gzip
import hashlib
import importlib.util
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

_log = logging.getLogger(__name__)

INDEX = "index.html"
_MOST_FILES = 2000
_MOST_FILE_BYTES = 32 * 1024 * 1024
_SLICE_BYTES = 64 * 1024
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_SHRINK = {".css", ".html", ".ico", ".js", ".json", ".mjs", ".svg", ".txt", ".wasm", ".webmanifest"}
_WORTH = 0.9
# The builder names a file by its contents: name-8CHARACTERS.ext below assets/.
_HASHED = re.compile(r"assets/.*[.-][A-Za-z0-9_-]{8,}\.[a-z0-9]+")
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file; ``packed`` is it by gzip, where that is smaller, and ``brotli`` the builder's file."""

    path: Path
    size_bytes: int
    type: str
    tag: str
    cache: str
    packed: bytes | None
    brotli: Path | None


def installed_folder() -> Path | None:
    """Where the web application lies in this installation; None if it was not built.

    The package that holds it is only located: the gateway imports nothing of the device's.
    """
    spec = importlib.util.find_spec("device_client")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (folder := Path(place) / "web" / "dist").is_dir():
            return folder
    return None


def read_asset(folder: Path, path: Path) -> Asset:
    """Look at one file; OSError if it cannot be read."""
    name = path.relative_to(folder).as_posix()
    data = path.read_bytes()
    packed: bytes | None = gzip.compress(data, 9, mtime=0) if path.suffix in _SHRINK else None
    if packed is not None and len(packed) > len(data) * _WORTH:
        packed = None
    brotli = path.with_name(path.name + ".br")
    return Asset(
        path=path,
        size_bytes=len(data),
        type=_TYPES.get(path.suffix, "application/octet-stream"),
        tag=hashlib.sha256(data).hexdigest()[:32],
        cache=_FOR_EVER if _HASHED.fullmatch(name) else _ASK_AGAIN,
        packed=packed,
        brotli=brotli if brotli.is_file() else None,
    )


class WebFiles:
    """Serves the files of one folder, as they were at the last ``follow``."""

    def __init__(self, folder: Path | None) -> None:
        """``folder`` is the configured one; None: the installed one. Nothing is read before ``follow``."""
        self._configured = folder
        self._mark: tuple[str, int, int] | None = None
        self._assets: Mapping[str, Asset] = {}

    @property
    def is_there(self) -> bool:
        """Whether there is an application to serve."""
        return bool(self._assets)

    def follow(self) -> None:
        """Read the folder again if it was built anew. Blocks; OSError if it cannot be read."""
        folder = self._configured or installed_folder()
        index = folder / INDEX if folder is not None else None
        if folder is None or index is None or not index.is_file() or index.is_symlink():
            self._assets, self._mark = {}, None
            return
        status = index.stat()
        mark = (str(folder), status.st_mtime_ns, status.st_ino)
        if mark == self._mark:
            return
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
        names = {str(path) for path in files}
        assets: dict[str, Asset] = {}
        for path in files[:_MOST_FILES]:
            is_twin = path.suffix in {".br", ".gz"} and str(path.with_suffix("")) in names
            if is_twin or path.suffix == ".map" or path.stat().st_size > _MOST_FILE_BYTES:
                continue
            assets["/" + path.relative_to(folder).as_posix()] = read_asset(folder, path)
        assets["/"] = assets["/" + INDEX]
        self._assets, self._mark = assets, mark
        _log.info("the web application's files are served: %d", len(assets) - 1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a file, or say that there is none."""
        asset = self._assets.get(request.path)
        if asset is None:
            if request.path == "/" and not self.is_there:
                raise web.HTTPServiceUnavailable(
                    text="The web application is not installed. Build it with scripts/setup, or name its folder as"
                    " https.web in gateway.yaml.\n"
                )
            raise web.HTTPNotFound(text="there is nothing here\n")
        return await _send(request, asset)


def _accepted(header: str) -> set[str]:
    """The encodings that a client takes (RFC 9110 section 12.5.3); a weight counts only where it is zero."""
    parts = (part.replace(" ", "").lower().partition(";q=") for part in header.split(","))
    return {name for name, _, weight in parts if weight.strip("0.") or not weight}


async def _send(request: web.Request, asset: Asset) -> web.StreamResponse:
    accepted = _accepted(request.headers.get("Accept-Encoding", ""))
    encoding = "br" if asset.brotli and "br" in accepted else "gzip" if asset.packed and "gzip" in accepted else ""
    # Two encodings are two representations (RFC 9110 section 8.8.3.3).
    tag = f'"{asset.tag}{encoding and f"-{encoding}"}"'
    headers: dict[str, str] = {hdrs.CACHE_CONTROL: asset.cache, hdrs.ETAG: tag, hdrs.VARY: "Accept-Encoding"}
    if tag in {part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")}:
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = asset.type
    if encoding:
        headers[hdrs.CONTENT_ENCODING] = encoding
    source: bytes | Path = asset.path
    if encoding == "br" and asset.brotli is not None:
        source = asset.brotli
    elif encoding == "gzip" and asset.packed is not None:
        source = asset.packed
    return await _stream(request, source, headers)


async def _stream(request: web.Request, source: bytes | Path, headers: dict[str, str]) -> web.StreamResponse:
    """In slices: a slow reader keeps one of them in this process, not the file."""
    response = web.StreamResponse(headers=headers)
    if isinstance(source, bytes):
        response.content_length = len(source)
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            view = memoryview(source)
            for start in range(0, len(source), _SLICE_BYTES):
                await response.write(bytes(view[start : start + _SLICE_BYTES]))
    else:
        file = await asyncio.to_thread(source.open, "rb")
        try:
            response.content_length = (await asyncio.to_thread(source.stat)).st_size
            await response.prepare(request)
            while request.method != hdrs.METH_HEAD and (data := await asyncio.to_thread(file.read, _SLICE_BYTES)):
                await response.write(data)
        finally:
            file.close()
    await response.write_eof()
    return response
