"""The document's numbers and bytes are the code's."""

import re
from pathlib import Path

import pytest

from tests.vectors import generate
from wire import limits, seal
from wire.errors import WireError

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
VECTORS = "".join(path.read_text() for path in sorted(generate.FOLDER.glob("*.json")))


def _hex_of_blocks() -> list[str]:
    """Runs of hex in code blocks, joined over lines that continue them."""
    found: list[str] = []
    for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL):
        for line in block.splitlines():
            words = re.findall(r"\b[0-9a-f]{32,64}\b", line)
            continues = line.startswith("        ") and found
            tail = re.fullmatch(r" {8}([0-9a-f]+)", line)
            if continues and tail:
                found[-1] += tail[1]
            else:
                found += words
    return found


@pytest.mark.parametrize("text", _hex_of_blocks())
def test_bytes_stand_in_the_vectors(text: str) -> None:
    """An example that is no vector would drift. The opened head is its CBOR, which stands among the messages."""
    assert text in VECTORS


def test_there_are_examples() -> None:
    """So that the test above does not pass by finding nothing."""
    assert len(_hex_of_blocks()) > 15


def test_sizes_are_those_of_the_code() -> None:
    """Each row of the table of sizes."""
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+), ([\d,]+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 6
    for row in rows:
        size, chunks, sealed, segments, offset, length = (int(number.replace(",", "")) for number in row)
        assert (chunks, sealed) == (seal.chunk_count(size), seal.sealed_size(size))
        assert segments == seal.segment_count(size)
        assert (offset, length) == seal.segment_span(segments - 1, size)
    assert limits.MAX_OBJECT_BYTES == 2**34 - 1


def test_every_error_is_listed() -> None:
    """And no other."""
    table = TEXT.partition("## 15. Errors")[2].partition("##")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == {e.code for e in WireError.__subclasses__()}


@pytest.mark.parametrize(
    "text",
    [
        f"MQTT packet | {limits.MAX_PACKET_BYTES // 1024} KiB",
        f"announcement | {limits.MAX_ANNOUNCEMENT_BYTES // 1024} KiB",
        f"enrolment | {limits.MAX_MESSAGE_BYTES // 1024} KiB",
        f"object header | {limits.MAX_OBJECT_HEADER_BYTES // 2**20} MiB",
        f"attributes, inflated | {limits.MAX_ATTRIBUTES_BYTES // 2**20} MiB",
        f"nesting of CBOR | {limits.MAX_DEPTH} ",
        f"segments of an object | {limits.MAX_SEGMENTS:,}",
        f"digests in a page | {limits.PAGE_DIGESTS:,}",
        f"ranges in a `want` | {limits.MAX_RANGES}",
        f"credit | {limits.MAX_CREDIT} ",
        f"series of an object or an `order` | {limits.MAX_SERIES} ",
        f"studies or people in an answer | {limits.MAX_HITS} ",
        f"events in an `account` | {limits.MAX_READ} ",
        f"current studies of a recipient | {limits.MAX_STUDIES:,}",
    ],
)
def test_limits_are_those_of_the_code(text: str) -> None:
    """The table of limits."""
    assert text in TEXT
