"""How long a newcomer waits: from ``scripts/demo`` to its link, and from the scan of that link to a picture on a phone.

    python -m benchmarks.scan [--checkout DIR] [--json]

Of a fresh clone the first figure holds the making of .venv. Playwright and Chromium are needed here, not there.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from benchmarks.browser import trusting_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_S = 60.0
"""What a scan may take."""
_PIN = "482916"
_LINK = re.compile(r"https://\S+#enrol=\S+")
_WAIT_MS = 60_000


def main() -> int:
    """0 if the picture came within ``MOST_S`` of the scan."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parent.parent, help="whose scripts/demo is run")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    root: Path = arguments.checkout.resolve()
    started = time.monotonic()
    command = [root / "scripts" / "demo"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True) as demo:
        try:
            link = _link(demo)
            ready_s = time.monotonic() - started
            with (
                sync_playwright() as driver,
                trusting_browser(driver, root / ".demo" / "gateway" / "tls" / "authority.pem") as browser,
            ):
                picture_s = _scan(browser, link)
        finally:
            os.killpg(demo.pid, signal.SIGTERM)
    if arguments.json:
        print(json.dumps({"to_link_s": round(ready_s, 1), "scan_to_picture_s": round(picture_s, 2)}))
    else:
        print(f"scripts/demo to its link: {ready_s:.1f} s; from the scan to a picture: {picture_s:.2f} s")
    return 0 if picture_s <= MOST_S else 1


def _link(demo: "subprocess.Popen[str]") -> str:
    assert demo.stdout is not None
    for line in demo.stdout:
        if found := _LINK.search(line):
            return found[0]
    raise SystemExit("scripts/demo ended without a link")


def _scan(browser: "Browser", link: str) -> float:
    """Seconds, with all that a person has to tap and type; a person is slower."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, locale="ko-KR"
    )
    context.set_default_timeout(_WAIT_MS)
    page = context.new_page()
    started = time.monotonic()
    page.goto(link)
    page.locator("form button[type=submit]").click()
    page.locator("input[type=password]").first.wait_for()
    for field in page.locator("form input[type=password]").all():
        field.fill(_PIN)
    page.locator("form button[type=submit]").click()
    page.locator(".row-link").first.click()
    page.get_by_test_id("slice").wait_for()
    page.wait_for_function("() => !document.querySelector('.placeholder')", polling="raf")
    picture_s = time.monotonic() - started
    context.close()
    return picture_s


if __name__ == "__main__":
    sys.exit(main())
