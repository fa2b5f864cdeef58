"""A real gateway with its console, and a real browser that trusts it.

Mark every test that uses ``browser`` or a page with ``pytest.mark.peer("chromium")``: it is skipped by name, and
counted, where Chromium is absent.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.support import web_build
from tests.support.browsers import PHONE, TABLET, new_page, trusting_browser
from tests.support.gateways import RunningGateway
from tests.support.known import known_pictures  # noqa: F401  # for each module here
from tests.web.attempts import SCRIPT

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>console test</title>
<script src="/assets/page-0123abcd.js"></script></head>
<body><p id="said">nothing</p></body></html>
"""


@pytest.fixture(scope="module")
def small_web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small web application, so that the console's tests need no build."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text(PAGE)
    (folder / "sw.js").write_text("self.addEventListener('fetch', () => {});\n")
    (folder / "manifest.webmanifest").write_text('{"name": "test"}\n')
    script = "addEventListener('load', () => { document.getElementById('said').textContent = 'hello'; });\n"
    script += SCRIPT + "\n"
    (folder / "assets" / "page-0123abcd.js").write_text(script + "// the same line again\n" * 2000)
    return folder


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, small_web: Path) -> Iterator[RunningGateway]:
    """A gateway whose console serves ``small_web``; a doctor D1 attends everybody, P1 is a patient, W1 a ward."""
    with RunningGateway(
        tmp_path_factory.mktemp("console") / "state", settings={"https": {"web": str(small_web)}}
    ) as one:
        _people(one)
        yield one


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose console serves the web application; the same people as ``console``."""
    web_build.application()
    with RunningGateway(tmp_path_factory.mktemp("gateway") / "state", settings={"delivery": {"settle_s": 0.5}}) as one:
        _people(one)
        yield one


def _people(gateway: RunningGateway) -> None:
    gateway.cli("profile", "add", "doctor", "D1", "--name", "Kim^Minsu", "--attends", "*")
    gateway.cli("profile", "add", "patient", "P1")
    gateway.cli("profile", "add", "ward", "W1", "--attends", "*")


@pytest.fixture(scope="module")
def playwright_driver() -> Iterator[Playwright]:
    """Playwright itself. No longer than a module: while it runs, no test of this process can run another event loop."""
    with sync_playwright() as one:
        yield one


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, playwright_driver: Playwright) -> Iterator[Browser]:
    """Chromium that trusts the gateway of this module: ``console`` where a module uses it, else ``gateway``."""
    name = "console" if getattr(request.module, "CONSOLE_ONLY", False) else "gateway"
    running: RunningGateway = request.getfixturevalue(name)
    with trusting_browser(playwright_driver, running.authority) as one:
        yield one


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A page on a phone, in Korean, with storage of its own."""
    page = new_page(browser, PHONE)
    yield page
    page.context.close()


@pytest.fixture
def tablet(browser: Browser) -> Iterator[Page]:
    """A page on a tablet, in Korean, with storage of its own."""
    page = new_page(browser, TABLET)
    yield page
    page.context.close()
