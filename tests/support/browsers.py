"""Debian's Chromium, driven by Playwright, that trusts one gateway's authority as a user's device would.

with sync_playwright() as driver, trusting_browser(driver, gateway.authority) as browser:
    page = new_page(browser, PHONE, locale="ko-KR")
    page.goto(gateway.origin)

Nothing is ignored: the certificate is checked, so name constraints and service workers behave as on a phone.
"""

from dataclasses import dataclass
from typing import Literal

from playwright.sync_api import Browser, Page

from benchmarks.browser import chromium_path as chromium_path
from benchmarks.browser import trust as trust
from benchmarks.browser import trusting_browser as trusting_browser

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
