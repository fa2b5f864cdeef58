"""``/install``: how a phone or a computer comes to trust the gateway's own authority, in Korean and English."""

from importlib import resources
from pathlib import Path

from aiohttp import web

from gateway.management import authority

CERTIFICATE_TYPE = "application/x-x509-ca-cert"
_PAGES = resources.files("gateway.console") / "pages"


class Install:
    """The page and the certificate. Where the hospital vouches for the console, there is nothing to install."""

    def __init__(self, tls_folder: Path, is_own: bool) -> None:
        """``tls_folder`` is the authority's; its certificate is read at each request, because it can be renewed."""
        self._tls_folder = tls_folder
        self._is_own = is_own

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register all addresses."""
        router.add_get("/install", self._page)
        router.add_get("/install/style.css", self._style)
        router.add_get("/install/mpacs-authority.crt", self._certificate)

    async def _page(self, _: web.Request) -> web.Response:
        name = "install.html" if self._is_own else "nothing.html"
        text = (_PAGES / name).read_text("utf-8")
        if self._is_own:
            # It breaks between pairs, so that people can compare it.
            text = text.replace("{fingerprint}", authority.fingerprint(self._tls_folder).replace(":", ":<wbr>"))
        return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-cache"})

    async def _style(self, _: web.Request) -> web.Response:
        text = (_PAGES / "install.css").read_text("utf-8")
        return web.Response(text=text, content_type="text/css", headers={"Cache-Control": "no-cache"})

    async def _certificate(self, _: web.Request) -> web.Response:
        if not self._is_own:
            raise web.HTTPNotFound(text="there is nothing to install\n")
        headers = {"Content-Disposition": 'attachment; filename="mpacs-authority.crt"', "Cache-Control": "no-cache"}
        return web.Response(
            body=authority.authority_der(self._tls_folder), content_type=CERTIFICATE_TYPE, headers=headers
        )
