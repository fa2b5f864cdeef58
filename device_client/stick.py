"""An enrolment link in a file, on a stick say: a screen without a keyboard enrols by what is plugged in."""

import asyncio
import platform
from collections.abc import Callable
from pathlib import Path

from device_client.enrol import enrol
from device_client.errors import DeviceError, EnrolmentFailed

LOOK_EVERY_S = 2.0
_MOST_BYTES = 16 * 1024
_MARK = "#enrol="


def link_in(path: Path) -> str:
    """The enrolment link in a text file; EnrolmentFailed where there is none, OSError where it cannot be read."""
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    for word in text.replace("\0", "").split():
        if _MARK in word:
            return word.strip("'\"\ufeff")
    raise EnrolmentFailed("the file holds no enrolment link: it is one line that starts with https:// and has #enrol=")


async def enrol_from(folder: Path, path: Path, tell: Callable[[str], None], replace: bool = False) -> None:
    """Wait for a link in ``path`` that enrols this device. ``tell`` hears why one did not; each is tried once."""
    tried = ""
    while True:
        try:
            link = await asyncio.to_thread(link_in, path)
        except (OSError, EnrolmentFailed):
            link = ""
        if link and link != tried:
            tried = link
            try:
                await enrol(folder, link, platform.node() or "display", None, tell, replace)
                return
            except DeviceError as error:
                tell(str(error))
        await asyncio.sleep(LOOK_EVERY_S)
