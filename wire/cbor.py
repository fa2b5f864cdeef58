"""CBOR (RFC 8949), strict: no floats, tags, indefinite lengths, duplicate keys or trailing bytes.

Heads have their shortest form, map keys are text in any order, integers lie between 0 and 2^53-1, depth and length
are bounded. So a value has one encoding for each order of its keys, and what was decoded re-encodes to its bytes.
The library decodes; what it would let pass is refused before, by one walk over the heads.
"""

from typing import Any

import cbor2

from wire.errors import Malformed, TooLarge
from wire.limits import MAX_DEPTH, MAX_MESSAGE_BYTES

_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 2, 3, 4, 5, 7
_FALSE, _TRUE, _NULL = 20, 21, 22
_LIMIT = 2**53


def encode(value: Any) -> bytes:
    """Bytes of ``value``, which is made of dict, list, tuple, str, bytes, bool, None and int only.

    Malformed where ``decode`` would refuse them, so that nothing leaves that the other end must throw away.
    """
    try:
        data = cbor2.dumps(value)
    except (cbor2.CBORError, ValueError, RecursionError) as error:
        raise Malformed(f"not a value of the contract: {type(error).__name__}") from None
    _check_heads(data)
    return data


def decode(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Any:
    """The value of ``data``; TooLarge or Malformed if it is not the one legal encoding of one."""
    if len(data) > max_bytes:
        raise TooLarge(f"a message of {len(data)} bytes, where {max_bytes} are allowed")
    _check_heads(data)
    try:
        return cbor2.loads(data, max_depth=MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError, RecursionError) as error:
        # The library's text may quote the input, which may hold an identity: only its kind is passed on.
        raise Malformed(f"not legal CBOR: {type(error).__name__}") from None


def _check_heads(data: bytes) -> None:
    """Walk over every head of ``data``; raise Malformed at the first that the contract does not allow."""
    position = 0
    # One entry for each open container: items still to come, and whether keys and values alternate.
    open_items: list[int] = [1]
    is_map: list[bool] = [False]
    while open_items:
        if open_items[-1] == 0:
            open_items.pop()
            is_map.pop()
            continue
        wants_key = is_map[-1] and open_items[-1] % 2 == 0
        open_items[-1] -= 1
        major, argument, position = _head(data, position)
        if wants_key and major != _TEXT:
            raise Malformed("a map key is not text")
        if major in (_BYTES, _TEXT):
            position += argument
            if position > len(data):
                raise Malformed("cut short in a string")
        elif major in (_ARRAY, _MAP):
            items = argument * (2 if major == _MAP else 1)
            # Each item takes a byte at least: a declared length beyond the input is refused before it is believed.
            if items > len(data) - position:
                raise Malformed("cut short in an array or map")
            if len(open_items) > MAX_DEPTH:
                raise Malformed("nested too deeply")
            open_items.append(items)
            is_map.append(major == _MAP)
    if position != len(data):
        raise Malformed("bytes after the end")


def _head(data: bytes, position: int) -> tuple[int, int, int]:
    """``(major type, argument, next position)`` of the head at ``position``."""
    if position >= len(data):
        raise Malformed("cut short")
    initial = data[position]
    major, low = initial >> 5, initial & 0x1F
    position += 1
    if major == _SIMPLE:
        if low not in (_FALSE, _TRUE, _NULL):
            raise Malformed("a float or a simple value that is not used here")
        return major, low, position
    if major not in (_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP):
        raise Malformed("a tag or a negative integer")
    if low < 24:
        return major, low, position
    if low > 27:
        raise Malformed("an indefinite or reserved length")
    width = 1 << (low - 24)
    if position + width > len(data):
        raise Malformed("cut short in a head")
    argument = int.from_bytes(data[position : position + width], "big")
    smallest = 24 if width == 1 else 1 << (4 * width)
    if argument < smallest:
        raise Malformed("a head that is longer than it needs to be")
    if argument >= _LIMIT:
        raise Malformed("an integer of 2^53 or more")
    return major, argument, position + width
