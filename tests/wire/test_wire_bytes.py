"""Bytes from strangers: cut at every length, changed at every byte, made up. Out comes a value or a declared error."""

import contextlib
import json
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.vectors import generate, runner
from wire import bits, cbor, enrolment, keyset, manifest, messages, names, objects, seal, sign, topics
from wire.errors import Malformed, NameInvalid, TopicInvalid, WireError

LOADED = {name: json.loads((generate.FOLDER / f"{name}.json").read_text())["tests"] for name in generate.FILES}

# The inputs of each operation that are shown to be whole before anything of them is believed.
PROTECTED = {
    "open_signed": "data_hex", "open_head": "data_hex", "open_announcement": "data_hex", "open_keys": "data_hex",
    "open_request": "data_hex", "open_answer": "data_hex", "unpack_key_set": "data_hex", "hpke_open": "sealed_hex",
    "open_enrolment_request": "data_hex", "open_enrolment_answer": "data_hex", "check_page": "payload_hex",
    "open_whole": "sealed_hex",
}  # fmt: skip
READ = {"decode_message": "data_hex", "cbor_decode": "data_hex", "parse_header": "data_hex", "inflate_json": "data_hex"}


def _valid(operations: dict[str, str], most_bytes: int) -> list[Any]:
    """Each valid vector of these operations that is small enough to be tried at every byte."""
    return [
        pytest.param(test["op"], runner.inputs(tests, test), operations[test["op"]], id=f"{name}: {test['reason']}")
        for name, tests in LOADED.items()
        for test in tests
        if test["op"] in operations and test["result"] == "valid"
        if len(runner.inputs(tests, test)[operations[test["op"]]]) <= 2 * most_bytes
    ]


def _outcome(operation: str, given_: dict[str, Any], name: str, data: bytes) -> Any:
    """The output, or None after a declared error; anything else is the test's failure."""
    try:
        return runner.OPERATIONS[operation]({**given_, name: data.hex()})
    except WireError:
        return None


@pytest.mark.parametrize(("operation", "given_", "name"), _valid(PROTECTED, 3000))
def test_protected_bytes_cut_or_changed_anywhere_are_refused(operation: str, given_: dict[str, Any], name: str) -> None:
    """Every length, every byte, and one byte more."""
    data = bytes.fromhex(given_[name])
    assert runner.OPERATIONS[operation](given_) is not None
    for length in range(len(data)):
        assert _outcome(operation, given_, name, data[:length]) is None, f"cut to {length}"
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        assert _outcome(operation, given_, name, bytes(changed)) is None, f"changed at {offset}"
    assert _outcome(operation, given_, name, data + b"\0") is None


@pytest.mark.parametrize(("operation", "given_", "name"), _valid(READ, 600))
def test_bytes_that_are_read_give_a_value_or_a_declared_error(
    operation: str, given_: dict[str, Any], name: str
) -> None:
    """What the signature did not stop (a key that was stolen, a fault at the sender) still ends in a declared error."""
    data = bytes.fromhex(given_[name])
    for length in range(len(data)):
        cut = _outcome(operation, given_, name, data[:length])
        # A header may stand before the start of its parts: they are not read.
        assert cut is None or (operation == "parse_header" and length >= objects.header_end(data))
    for offset in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[offset] ^= 1 << bit
            _outcome(operation, given_, name, bytes(changed))


# ── CBOR ──────────────────────────────────────────────────────────────────────────────────────────────────────────

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**53 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max((_depth(item) for item in inner), default=0)


@given(VALUES)
def test_cbor_values_come_back(value: Any) -> None:
    """Of every value within the bounds."""
    if _depth(value) > 8:
        with pytest.raises(Malformed):
            cbor.encode(value)
    else:
        assert cbor.decode(cbor.encode(value)) == value


def _is_of_the_contract(value: Any) -> bool:
    match value:
        case bool() | None | bytes() | str():
            return True
        case int():
            return 0 <= value < 2**53
        case list():
            return all(map(_is_of_the_contract, value))
        case dict():
            return all(isinstance(key, str) and _is_of_the_contract(item) for key, item in value.items())
    return False


@given(st.binary(max_size=64))
@example(b"\xa2\x61a\x00\x61a\x01")
@example(b"\x9f\xff")
def test_cbor_of_any_bytes_is_a_value_or_malformed(data: bytes) -> None:
    """What is accepted has one encoding: it gives its bytes back."""
    try:
        value = cbor.decode(data)
    except Malformed:
        return
    assert _is_of_the_contract(value)
    assert cbor.encode(value) == data


@given(VALUES.filter(lambda value: _depth(value) <= 8), st.data())
def test_cbor_with_one_byte_changed(value: Any, data: st.DataObject) -> None:
    """Near misses are closer to the edge than noise."""
    changed = bytearray(cbor.encode(value))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        other = cbor.decode(bytes(changed))
    except Malformed:
        return
    assert cbor.encode(other) == bytes(changed)


@given(st.one_of(st.floats(), st.integers(max_value=-1), st.integers(min_value=2**53)))
def test_cbor_encodes_nothing_that_it_would_refuse(value: Any) -> None:
    """The other end must never get what it must throw away."""
    with pytest.raises(Malformed):
        cbor.encode([value])


@pytest.mark.parametrize("name", sorted(runner.MESSAGES))
@given(value=VALUES)
def test_any_value_as_a_message(name: str, value: Any) -> None:
    """Typed, or Malformed, with a reason that quotes nothing of it."""
    try:
        messages.convert(value, runner.MESSAGES[name])
    except Malformed as error:
        place = str(error).rpartition(" at ")[2]
        assert place.startswith("$")
        assert set(place) <= set("$.[]_abcdefghijklmnopqrstuvwxyz")


def test_a_reason_never_quotes_an_unknown_field() -> None:
    """Its name is the sender's own text, and could be a patient's."""
    with pytest.raises(Malformed) as caught:
        messages.decode(cbor2.dumps({"HONG^GILDONG": 1}), messages.Head)
    assert "HONG" not in str(caught.value)


def test_a_message_out_of_bounds_is_not_packed() -> None:
    """Constructors check nothing; packing does."""
    with pytest.raises(Malformed):
        messages.encode(messages.Head(sequence=0, issued=1, next_due=2, studies=[]))


# ── everything else that is read ──────────────────────────────────────────────────────────────────────────────────

TOPICS = st.text(alphabet="abm0179/+#$\0", max_size=40)


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_any_bytes_everywhere(data: bytes, key: bytes) -> None:
    """Each reader of bytes ends in a value or a declared error."""
    readers = (
        lambda: sign.open_signed(sign.only(key), "head", "a", data),
        lambda: seal.open_whole(key, b"", data),
        lambda: seal.ChunkCipher.from_header(key, data, b""),
        lambda: keyset.unpack(key, "a", "a", data),
        lambda: manifest.check_page(key, 0, len(data) // 32, data),
        lambda: objects.parse_header(data, "display", len(data)),
        lambda: objects.inflate_json(data),
        lambda: bits.Bitmap(len(data) * 8, data),
    )
    for reader in readers:
        try:
            reader()
        except WireError as error:
            assert error.code != "wire"


@given(st.text(max_size=60) | TOPICS)
def test_any_text_everywhere(text: str) -> None:
    """Names, topics and links."""
    root = topics.recipient_root("a", "ward", "a" * 26)
    for reader, error in (
        (names.check_site, NameInvalid), (names.check_kind, NameInvalid), (names.decode_reference, NameInvalid),
        (names.parse_decimal, NameInvalid), (lambda t: topics.parse_object_topic(root, t), TopicInvalid),
        (lambda t: topics.parse_object_topic(root, f"{root}/object/{t}"), TopicInvalid),
        (lambda t: topics.parse_device_topic("a", f"mpacs/1/a/device/{t}"), TopicInvalid),
        (enrolment.parse_link, Malformed), (lambda t: enrolment.parse_link(f"https://a/#enrol={t}"), WireError),
    ):  # fmt: skip
        with contextlib.suppress(error):
            reader(text)
    assert topics.is_topic(text) <= topics.is_filter(text)


@given(st.binary(min_size=16, max_size=16))
def test_references_come_back(raw: bytes) -> None:
    """16 bytes, 26 characters, one spelling."""
    text = names.encode_reference(raw)
    assert names.decode_reference(text) == raw
    assert topics.is_topic(text)


@given(st.integers(0, 200), st.data())
def test_bitmaps_and_ranges_come_back(size: int, data: st.DataObject) -> None:
    """What is kept, what is missing, and both as bytes and ranges, while bits are added between."""
    chosen = data.draw(st.lists(st.integers(0, size - 1), unique=True)) if size else []
    bitmap = bits.Bitmap(size)
    for position, index in enumerate(chosen):
        bitmap.add(index)
        bitmap.add(index)
        if position % 3 == 0:
            assert list(bitmap.missing()) == sorted(set(range(size)) - set(chosen[: position + 1]))
    missing = sorted(set(range(size)) - set(chosen))
    assert list(bitmap.missing()) == missing
    assert bitmap.count == len(chosen)
    assert bitmap.complete == (not missing)
    assert list(bits.from_ranges(bits.to_ranges(missing))) == missing
    again = bits.Bitmap(size, bitmap.to_bytes())
    assert list(again.missing()) == missing
    for index in (-1, size):
        assert index not in bitmap
        with pytest.raises(Malformed):
            bitmap.add(index)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_attributes_come_back(value: Any) -> None:
    """DICOM JSON, deflated."""
    assert objects.inflate_json(objects.deflate_json(value)) == value


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, {1: object()}, "\ud83e", b"x"])
def test_attributes_that_have_no_json(value: Any) -> None:
    """NaN is no JSON, half a surrogate pair no UTF-8."""
    with pytest.raises(Malformed):
        objects.deflate_json(value)
