"""Sealed objects through a hostile middle: exact plaintext or a declared error, never a wrong byte."""

import hashlib
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import envelope, limits, manifest, seal
from wire.bits import Bitmap
from wire.errors import DigestMismatch, Malformed, TooLarge, WireError
from wire.pace import Pace
from wire.receiver import Receiver

CHUNK = limits.CHUNK_BYTES


@dataclass(frozen=True)
class Sealed:
    """An object as a gateway keeps it."""

    key: bytes
    context: bytes
    plaintext: bytes
    segments: list[bytes]
    pages: manifest.Manifest

    @classmethod
    def make(cls, name: str, size: int) -> "Sealed":
        key = hashlib.sha256(name.encode()).digest()
        context = envelope.object_context("site", key[:16], "display")
        plaintext = Random(name).randbytes(size)
        segments = list(seal.seal_stream(key, context, [plaintext]))
        return cls(
            key, context, plaintext, segments, manifest.Manifest(b"".join(map(manifest.segment_digest, segments)))
        )

    def receiver(self, have: Bitmap | None = None) -> Receiver:
        return Receiver(len(self.segments), self.pages.digest(), Pace(), have)


# 7 segments, the last with one short chunk; and a sibling of the same size under another key.
OBJECT, SIBLING = Sealed.make("object", 6 * 4 * CHUNK + 5), Sealed.make("sibling", 6 * 4 * CHUNK + 5)


@given(st.data())
def test_segments_in_any_order_lost_doubled_swapped_and_corrupted(data: st.DataObject) -> None:
    """Whatever the middle does, what is kept is what was announced, and a repair completes it."""
    receiver, kept = OBJECT.receiver(), {}
    count = len(OBJECT.segments)
    actions = st.sampled_from(
        ["right", "right", "right", "page", "corrupt", "swap", "sibling", "bad page", "nowhere", "short"]
    )
    now = 0.0
    for action, index in data.draw(st.lists(st.tuples(actions, st.integers(0, count - 1)), max_size=40)):
        now += 0.01
        payload = OBJECT.segments[index]
        got = []
        try:
            match action:
                case "right":
                    got = receiver.segment(now, index, payload)
                case "page":
                    got = receiver.page(now, 0, OBJECT.pages.page_message(0))
                case "corrupt":
                    got = receiver.segment(now, index, bytes([payload[0] ^ 1]) + payload[1:])
                case "swap":
                    got = receiver.segment(now, (index + 1) % count, payload)
                case "sibling":
                    got = receiver.segment(now, index, SIBLING.segments[index])
                case "bad page":
                    got = receiver.page(now, 0, SIBLING.pages.page_message(0))
                case "nowhere":
                    got = receiver.segment(now, count + index, payload)
                case "short":
                    got = receiver.segment(now, index, payload[:-1])
        except (DigestMismatch, Malformed):
            assert action not in ("right", "page")
        kept.update({item.index: item.ciphertext for item in got})
    _repair(receiver, kept, now)
    assert seal.open_whole(OBJECT.key, OBJECT.context, b"".join(kept[i] for i in range(count))) == OBJECT.plaintext


def _repair(receiver: Receiver, kept: dict[int, bytes], now: float) -> None:
    """Serve what is asked for, honestly, until all is there; few rounds suffice."""
    for _ in range(10):
        now = max(now, receiver.next_deadline() or now)
        while ask := receiver.plan(now, 16):
            for page in ask.pages:
                kept.update({k.index: k.ciphertext for k in receiver.page(now, page, OBJECT.pages.page_message(page))})
            for index in ask.segments:
                kept.update({k.index: k.ciphertext for k in receiver.segment(now, index, OBJECT.segments[index])})
        if receiver.complete:
            return
    raise AssertionError("what was asked for and came did not complete the object")


@given(st.integers(0, 200_000), st.lists(st.integers(1, 70_000), max_size=12))
def test_sealing_does_not_depend_on_the_pieces(size: int, cuts: list[int]) -> None:
    """The same plaintext in any pieces gives the same segments, at the offsets that the sizes promise."""
    plaintext = Random(size).randbytes(size)
    pieces, rest = [], plaintext
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    segments = list(seal.seal_stream(bytes(32), b"c", [*pieces, rest], bytes(24)))
    sealed = b"".join(segments)
    assert segments == list(seal.seal_stream(bytes(32), b"c", [plaintext], bytes(24)))
    assert len(segments) == seal.segment_count(size)
    assert len(sealed) == seal.sealed_size(size)
    for index, segment in enumerate(segments):
        start, length = seal.segment_span(index, size)
        assert sealed[start : start + length] == segment
        assert len(segment) <= limits.MAX_SEGMENT_BYTES
    assert seal.open_whole(bytes(32), b"c", sealed) == plaintext


@given(st.integers(0, 400_000), st.integers(0, 400_000))
def test_the_segments_of_a_range_are_those_that_hold_it(start: int, length: int) -> None:
    """By opening nothing: 64 KiB of plaintext stand in each."""
    found = seal.segments_of(start, start + length)
    assert set(found) >= {position // 65536 for position in range(start, start + length, 4096)}
    assert found[0] == start // 65536
    if length:
        assert found[-1] == (start + length - 1) // 65536


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 4 * CHUNK - 1, 4 * CHUNK, 4 * CHUNK + 1])
def test_a_sealed_message_cut_at_its_seams(size: int) -> None:
    """The last chunk is always shorter than the others, so a cut between chunks shows."""
    sealed = seal.seal(bytes(32), b"c", bytes(size))
    seams = {0, 24, 56, *range(56, len(sealed), limits.SEALED_CHUNK_BYTES), len(sealed) - 1, len(sealed) - 16}
    for cut in sorted(seam for seam in seams if 0 <= seam < len(sealed)):
        with pytest.raises(WireError):
            seal.open_whole(bytes(32), b"c", sealed[:cut])


def test_the_largest_object_fits_the_segments_and_one_byte_more_does_not() -> None:
    """The empty chunk after a last full one must not become a segment that nobody can ask for."""
    assert seal.segment_count(limits.MAX_OBJECT_BYTES) == limits.MAX_SEGMENTS
    assert seal.segment_count(limits.MAX_OBJECT_BYTES + 1) == limits.MAX_SEGMENTS + 1
    piece = bytes(2**26)
    stream = seal._chunks(piece for _ in range(limits.MAX_OBJECT_BYTES // len(piece) + 1))
    with pytest.raises(TooLarge):
        for _ in stream:
            pass


def test_what_waits_for_a_page_is_bounded() -> None:
    """A flood before the first page takes no more than 8 MiB, and none of it is believed."""
    obj = Sealed.make("object", 6 * 4 * CHUNK + 5)
    receiver = Receiver(4000, obj.pages.digest(), Pace())
    for index in range(4000):
        assert receiver.segment(0.0, index, bytes(limits.MAX_SEGMENT_BYTES)) == []
    assert receiver._held_count <= 2 * limits.MAX_CREDIT
    receiver = obj.receiver()
    receiver.segment(0.0, 0, bytes(limits.MAX_SEGMENT_BYTES + 1))
    assert receiver._held_count == 0
