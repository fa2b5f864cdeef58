"""The console: one HTTPS origin and port, in the core's event loop."""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web

from gateway.config import Config
from gateway.console import metrics
from gateway.console.bridge import Bridge
from gateway.console.door import Door
from gateway.console.files import WebFiles
from gateway.console.headers import security_headers
from gateway.console.install import Install
from gateway.console.limits import Limits
from gateway.management.certificates import ServerCertificate

_log = logging.getLogger(__name__)

Status = Callable[[], Mapping[str, Any]]
Handler = Callable[[web.Request], Any]

_STEP_S = 1.0
_LINE_BYTES, _HEADERS = 4096, 64
_END_S = 2.0
_FORWARDED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via")


class Console:
    """Serves until ``stop``; what goes wrong meanwhile is raised by ``step``."""

    def __init__(self, config: Config, tls_folder: Path, status: Status, limits: Limits | None = None) -> None:
        """``status`` is the core's, for ``/healthz`` and ``/metrics``."""
        self._config = config
        self._status = status
        self._limits = limits or Limits()
        self._certificate = ServerCertificate(tls_folder, config)
        self._files = WebFiles(Path(config.https.web) if config.https.web else None)
        origins = frozenset({config.origin, config.own_origin})
        self._bridge = Bridge(config.local_host, config.local_port, origins, self._limits)
        self._headers = security_headers(self._certificate.is_own, config.origin)
        install = Install(tls_folder, self._certificate.is_own)
        self._runner = self._set_up(install)
        self._door: Door | None = None
        self.tried = asyncio.Event()
        """Set once it listens or could not, for the first time."""

    def _set_up(self, install: Install) -> web.AppRunner:
        application = web.Application(middlewares=[self._guard], client_max_size=0, logger=_log)
        application.on_response_prepare.append(self._dress)
        router = application.router
        router.add_get("/mqtt", self._bridge.handle, allow_head=False)
        router.add_get("/healthz", self._healthz)
        router.add_get("/metrics", self._metrics)
        install.add_to(router)
        router.add_get("/{path:.*}", self._files.handle)
        return web.AppRunner(
            application,
            access_log=None,  # addresses of people at home; the metrics count
            logger=_log,
            handle_signals=False,
            keepalive_timeout=self._limits.header_s,
            lingering_time=0,
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_HEADERS,
            shutdown_timeout=_END_S,
        )

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def step(self) -> None:
        """Open the door if it is not open; follow certificate and files. To be called over and over.

        OSError says why it cannot serve, or serves with the certificate and files of before.
        """
        try:
            await asyncio.to_thread(self._certificate.follow)
            if self._door is None or not self._door.is_open:
                await self._open()
            # Last: without the application's files devices still reach the broker.
            await asyncio.to_thread(self._files.follow)
        finally:
            self.tried.set()
        await asyncio.sleep(_STEP_S)

    async def _open(self) -> None:
        if self._runner.server is None:
            await self._runner.setup()
        assert self._runner.server is not None
        door = Door(self._config.https.connections, self._limits, self._runner.server)
        try:
            door.open(self._config.console_host, self._config.https.port, lambda: self._certificate.context)
        except OSError as error:
            where = f"https.port {self._config.https.port} on {self._config.console_host} cannot be used"
            raise OSError(error.errno, f"{where} ({error.strerror})") from None
        self._door = door
        _log.info("the console listens")

    async def stop(self) -> None:
        """End all connections; devices come again by themselves."""
        if self._door is not None:
            await self._door.close()
        await self._runner.cleanup()

    def status(self) -> dict[str, Any]:
        """For ``mpacs-gateway status`` and the metrics."""
        traffic, expires = self._bridge.traffic, self._certificate.expires
        return {
            "listening": self._door is not None and self._door.is_open,
            "web": self._files.is_there,
            "connections": self._door.connections if self._door is not None else 0,
            "refused": self._door.refused if self._door is not None else 0,
            "bridges": traffic.open,
            "to_devices_bytes": traffic.to_devices_bytes,
            "from_devices_bytes": traffic.from_devices_bytes,
            "certificate_ends": int(expires.timestamp()) if expires is not None else None,
        }

    # ── every answer ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _dress(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers)
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """No error's text reaches a stranger or the log: it may quote what was sent."""
        try:
            response: web.StreamResponse = await handler(request)
        except (web.HTTPException, ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            _log.error("a request to the console failed: %s", type(error).__name__)
            raise web.HTTPInternalServerError(text="this did not work; try again\n") from None
        return response

    # ── health and metrics ────────────────────────────────────────────────────────────────────────────────────────

    async def _healthz(self, _: web.Request) -> web.Response:
        status = self._status()
        well = bool(status.get("broker")) and not status.get("troubles")
        return web.json_response({"status": "ok" if well else "trouble"}, status=200 if well else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        if not (_is_from_here(request) or self._has_token(request)):
            raise web.HTTPForbidden(text="metrics are for this machine, or need the token\n")
        text = metrics.exposition(self._status())
        return web.Response(body=text.encode(), headers={hdrs.CONTENT_TYPE: metrics.TYPE})

    def _has_token(self, request: web.Request) -> bool:
        token = self._config.https.metrics_token
        given = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")
        return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def _is_from_here(request: web.Request) -> bool:
    """Whether it was made on this machine, and not by a proxy on it for somebody else."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False
