"""What a phone loads before it shows anything."""

import gzip

from tests.support import web_build

_MOST_BYTES = 150_000


def test_the_application_is_small() -> None:
    """Compressed, and all of it but the icons: also what is loaded later."""
    files = [
        path for path in web_build.application().rglob("*") if path.is_file() and path.suffix not in {".png", ".svg"}
    ]
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in files}
    assert {"index.html", "sw.js"} <= sizes.keys() and any(
        name.endswith(".js") and name.startswith("worker") for name in sizes
    )
    assert sum(sizes.values()) <= _MOST_BYTES, sizes
