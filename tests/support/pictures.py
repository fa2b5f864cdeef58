"""Pages compared with pictures of them that were looked at: ``tests/web/pictures``.

``MPACS_NEW_PICTURES=1`` writes them anew: look at each before it is committed. Text is drawn by the machine's fonts, so
they are compared only where those are the ones of ``fonts.txt``.
"""

import io
import os
import subprocess
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Page

FOLDER = Path(__file__).parents[1] / "web" / "pictures"
COLOURS = 32
"""Of a picture that is kept: a screen needs few, and the repository stays small."""
CHANGED_LEVELS = 48
MOST_CHANGED = 0.01
"""Share of the pixels, at half the size, that may differ by more than CHANGED_LEVELS of 256 from what was looked at."""
_PASSES = [".until", ".row-facts", ".study-facts", ".study-who p", ".patient p", ".facts dd"]
"""What tells a time, or an age that changes with it."""


def fonts() -> str:
    """The machine's fonts for both languages."""
    asked = ("sans-serif", "sans-serif:lang=ko")
    return "".join(subprocess.run(["fc-match", one, "family"], capture_output=True, text=True, check=True).stdout
                   for one in asked)  # fmt: skip


def is_comparable() -> bool:
    """Whether this machine writes as the one that made the pictures."""
    kept = FOLDER / "fonts.txt"
    return kept.exists() and kept.read_text() == fonts()


def changed(page: Page, name: str, out: Path) -> str:
    """How the page differs from the picture of that name; empty if it does not. Then it lies in ``out``."""
    hidden = [page.locator(one) for one in _PASSES]
    taken = page.screenshot(scale="css", animations="disabled", mask=hidden, mask_color="#808080")
    now = Image.open(io.BytesIO(taken)).convert("RGB")
    path = FOLDER / f"{name}.png"
    if os.environ.get("MPACS_NEW_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "fonts.txt").write_text(fonts())
        now.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        return ""
    if not is_comparable():
        return ""
    if not path.exists():
        return f"there is no picture {path.name}"
    kept = Image.open(path).convert("RGB")
    if kept.size != now.size:
        return f"{path.name} is {kept.size}, the page {now.size}"
    half = (now.width // 2, now.height // 2)
    difference = ImageChops.difference(kept.convert("L").resize(half), now.convert("L").resize(half))
    share = sum(difference.histogram()[CHANGED_LEVELS:]) / (half[0] * half[1])
    if share <= MOST_CHANGED:
        return ""
    now.save(out / path.name)
    return f"{share:.1%} of {path.name} changed: look at {out / path.name}"
