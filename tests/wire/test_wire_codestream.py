"""Codestreams of ``diagnostic``: cut anywhere, changed anywhere, of other kinds; an answer or a declared error."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import codestream
from wire.errors import Malformed, Missing, WireError

_FRAME = (np.arange(48)[:, None] * 37 % 101 + np.arange(65) ** 2 % 97).astype(np.uint16)
CODED = bytes(imagecodecs.htj2k_encode(_FRAME, tlm=True, tilepart=1, resolutions=5))
STREAM = codestream.parse(CODED)


def test_ends_grow_and_the_last_is_where_the_end_marker_stands() -> None:
    assert (STREAM.rows, STREAM.columns, STREAM.samples, STREAM.decompositions) == (48, 65, 1, 5)
    assert list(STREAM.ends) == sorted(set(STREAM.ends)) and len(STREAM.ends) == 6
    assert CODED[STREAM.ends[-1] :] == b"\xff\xd9"
    assert [STREAM.size(level) for level in (1, 2, 5)] == [(24, 33), (12, 17), (2, 3)]


def test_cut_at_every_length() -> None:
    for length in range(len(CODED)):
        for level in (0, 2, 5):
            if length >= STREAM.end(level):
                assert codestream.reduced(CODED[:length], level) == codestream.reduced(CODED, level)
            else:
                with pytest.raises((Malformed, Missing)):
                    codestream.reduced(CODED[:length], level)


def test_a_reduced_codestream_says_its_own_size() -> None:
    decoded = imagecodecs.htj2k_decode(codestream.reduced(CODED, 0))
    np.testing.assert_array_equal(decoded, _FRAME)
    assert imagecodecs.htj2k_decode(codestream.reduced(CODED, 3)).shape == (6, 9)


def test_what_is_not_there_is_refused() -> None:
    for level in (-1, 6):
        with pytest.raises(Malformed):
            codestream.reduced(CODED, level)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tlm": True},
        {"tlm": True, "tilepart": 1, "reversible": False},
        {"tlm": True, "tilepart": 1, "tile": (32, 32)},
    ],
    ids=["no lengths", "one tile-part", "lossy", "tiles"],
)
def test_codestreams_of_another_kind_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        codestream.parse(bytes(imagecodecs.htj2k_encode(_FRAME, **options)))


@given(st.integers(0, STREAM.header_bytes + 11), st.integers(1, 255), st.integers(0, 5))
def test_changed_headers_end_in_an_answer_or_a_declared_error(at: int, change: int, level: int) -> None:
    data = bytearray(CODED)
    data[at] ^= change
    try:
        out = codestream.reduced(bytes(data), level)
    except WireError:
        return
    assert len(out) <= len(data)


@given(st.binary(max_size=200))
def test_bytes_of_strangers_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        codestream.parse(b"\xff\x4f" + data)
