"""Debian's Chromium, driven by Playwright, that trusts one gateway's authority as a user's device would."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Playwright


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
