"""Debian's Chromium, driven by Playwright, that trusts one gateway's authority as a user's device would.

with sync_playwright() as driver, trusting_browser(driver, gateway.authority) as browser:
    page = new_page(browser, PHONE, locale="ko-KR")
    page.goto(gateway.origin)

Nothing is ignored: the certificate is checked, so name constraints and service workers behave as on a phone.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, Playwright

TIMEOUT_MS = 15_000


@dataclass(frozen=True)
class Screen:
    """What a page is shown on."""

    width: int
    height: int
    scale: float
    is_touch: bool = True


PHONE = Screen(390, 844, 2)
SMALL_PHONE = Screen(360, 640, 2)
TABLET = Screen(1024, 1366, 1)
DESKTOP = Screen(1280, 800, 1, is_touch=False)


def chromium_path() -> str:
    """Debian's; AssertionError where it is not installed, so mark tests with ``peer("chromium")``."""
    path = shutil.which("chromium")
    assert path is not None, "chromium is not installed"
    return path


def trust(home: Path, authority: Path | None) -> None:
    """Make a certificate database below ``home``, as NSS keeps one for a user, with ``authority`` (PEM) in it."""
    folder = home / ".pki" / "nssdb"
    folder.mkdir(parents=True)
    where = ("-d", f"sql:{folder}")
    subprocess.run(["certutil", *where, "-N", "--empty-password"], check=True, capture_output=True)
    if authority is not None:
        added = ["certutil", *where, "-A", "-n", "mpacs", "-t", "C,,", "-i", str(authority)]
        subprocess.run(added, check=True, capture_output=True)


@contextmanager
def trusting_browser(driver: Playwright, authority: Path | None) -> Iterator[Browser]:
    """A headless Chromium of its own, with a home of its own, that trusts ``authority`` and no other.

    ``driver`` is shared: Playwright starts once in a thread.
    """
    with tempfile.TemporaryDirectory(prefix="mpacs-browser-") as home:
        trust(Path(home), authority)
        environment: dict[str, Any] = {**os.environ, "HOME": home}
        browser = driver.chromium.launch(executable_path=chromium_path(), env=environment)
        try:
            yield browser
        finally:
            browser.close()


def new_page(
    browser: Browser,
    screen: Screen = PHONE,
    locale: str = "ko-KR",
    color_scheme: Literal["light", "dark"] = "light",
    reduced_motion: Literal["reduce", "no-preference"] = "no-preference",
) -> Page:
    """A page in a context of its own, with storage of its own; closing the context forgets everything."""
    context = browser.new_context(
        viewport={"width": screen.width, "height": screen.height},
        device_scale_factor=screen.scale,
        is_mobile=screen.is_touch,
        has_touch=screen.is_touch,
        locale=locale,
        color_scheme=color_scheme,
        reduced_motion=reduced_motion,
        accept_downloads=True,
    )
    context.set_default_timeout(TIMEOUT_MS)
    return context.new_page()
