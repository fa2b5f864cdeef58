"""Runs one vector: an operation and its inputs, as they stand in the files, to its output or a WireError."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key

from wire import (
    bits,
    cbor,
    enrolment,
    envelope,
    hpke,
    keyset,
    limits,
    manifest,
    messages,
    names,
    objects,
    seal,
    sign,
    topics,
)

Operation = Callable[[dict[str, Any]], Any]


def tagged(value: Any) -> Any:
    """As JSON: structures are objects (or arrays, where the wire has arrays).

    Bytes are ``{"hex": …}``, and ``{"sha256": …, "size": …}`` where there are more than 1,024 of them.
    """
    match value:
        case bytes() if len(value) > 1024:
            return {"sha256": hashlib.sha256(value).hexdigest(), "size": len(value)}
        case bytes():
            return {"hex": value.hex()}
        case msgspec.Struct():
            return tagged(msgspec.to_builtins(value, builtin_types=(bytes,)))
        case dict():
            return {key: tagged(item) for key, item in value.items()}
        case list() | tuple() | range():
            return [tagged(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return tagged({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return value


def untagged(value: Any) -> Any:
    """The inverse of ``tagged`` for plain values."""
    match value:
        case {"hex": str(text)} if len(value) == 1:
            return bytes.fromhex(text)
        case dict():
            return {key: untagged(item) for key, item in value.items()}
        case list():
            return [untagged(item) for item in value]
    return value


def _hex(given: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(given[f"{name}_hex"])


def _private(given: dict[str, Any]) -> EllipticCurvePrivateKey:
    return derive_private_key(int.from_bytes(_hex(given, "private"), "big"), SECP256R1())


def _trusted(given: dict[str, Any]) -> Callable[[bytes], bytes | None]:
    keys = [bytes.fromhex(key) for key in given["trusted_hex"]]
    return {sign.key_id(key): key for key in keys}.get


def _epoch_keys(given: dict[str, Any]) -> dict[int, bytes]:
    return {int(epoch): bytes.fromhex(key) for epoch, key in given["epoch_keys_hex"].items()}


def _whose(given: dict[str, Any]) -> tuple[str, names.Kind, str]:
    return given["site"], names.check_kind(given["kind"]), given["recipient"]


def _principal(given: dict[str, Any]) -> topics.Principal:
    recipients = tuple((names.check_kind(kind), recipient) for kind, recipient in given["recipients"])
    return topics.Principal(given["site"], given["role"], given["name"], recipients)


def _open_keys(given: dict[str, Any]) -> Any:
    epoch, key = envelope.open_keys(
        _trusted(given), *_whose(given), given["device"], _private(given), _hex(given, "data")
    )
    return {"epoch": epoch, "key": key}


def _unpack_key_set(given: dict[str, Any]) -> Any:
    topic = topics.gateway_keys(given["site"])
    root, key_set = keyset.unpack(_hex(given, "pinned"), given["site"], topic, _hex(given, "data"))
    trusted = [key.public for key in key_set.online if key_set.find_key(given["now"])(sign.key_id(key.public))]
    return {"root": root, "key_set": key_set, "trusted_now": trusted}


def _open_enrolled(given: dict[str, Any]) -> Any:
    link = enrolment.parse_link(given["link"])
    welcome = enrolment.open_answer(
        link, given["enrolment"], _private(given), _hex(given, "request"), given["now"], _hex(given, "data")
    )
    return {"root": welcome.root, "key_set": welcome.key_set, "enrolled": welcome.enrolled}


def _code_keys(given: dict[str, Any]) -> Any:
    return enrolment.CodeKeys.derive(_hex(given, "code"), given["enrolment"])


def _seal(given: dict[str, Any]) -> bytes:
    return seal.seal(_hex(given, "key"), _hex(given, "context"), _hex(given, "plaintext"), _hex(given, "salt"))


def _open_segment(given: dict[str, Any]) -> bytes:
    """The plaintext of one segment, opened alone: its chunks, with the indices that its place gives them."""
    cipher = seal.ChunkCipher.from_header(_hex(given, "key"), _hex(given, "header"), _hex(given, "context"))
    body = _hex(given, "segment")[limits.SEAL_HEADER_BYTES if given["index"] == 0 else 0 :]
    step = limits.SEALED_CHUNK_BYTES
    first = given["index"] * limits.CHUNKS_PER_SEGMENT
    return b"".join(
        cipher.decrypt_chunk(first + position, body[position * step : (position + 1) * step])
        for position in range(-(-len(body) // step))
    )


def _sizes(given: dict[str, Any]) -> Any:
    size = given["size"]
    return {
        "chunks": seal.chunk_count(size),
        "sealed": seal.sealed_size(size),
        "segments": seal.segment_count(size),
        "last_segment": seal.segment_span(seal.segment_count(size) - 1, size),
    }


def _parse_header(given: dict[str, Any]) -> Any:
    data = _hex(given, "data")
    header = objects.parse_header(data, given["layer"], given["size"])
    return {"header": header, "spans": objects.part_spans(header, objects.header_end(data))}


def _load_public(given: dict[str, Any]) -> bytes:
    if "private_hex" in given:
        return hpke.raw_public(_private(given))
    hpke.load_public(_hex(given, "public"))
    return _hex(given, "public")


def _bitmap(given: dict[str, Any]) -> Any:
    bitmap = bits.Bitmap(given["size"], _hex(given, "bits"))
    return {"count": bitmap.count, "missing": bits.to_ranges(bitmap.missing()), "complete": bitmap.complete}


def _decode(given: dict[str, Any]) -> Any:
    return messages.decode(_hex(given, "data"), MESSAGES[given["message"]])


MESSAGES: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (messages.Head, messages.Keys, messages.Announcement, messages.Request, messages.Answer)
}
MESSAGES |= {kind.__name__: kind for kind in (keyset.KeySet, enrolment.Link, enrolment.EnrolRequest)}
MESSAGES |= {"Enrolled": enrolment.Enrolled, "Header": objects.Header}

OPERATIONS: dict[str, Operation] = {
    "check_site": lambda g: names.check_site(g["text"]),
    "check_kind": lambda g: names.check_kind(g["text"]),
    "encode_reference": lambda g: names.encode_reference(_hex(g, "raw")),
    "decode_reference": lambda g: names.decode_reference(g["text"]),
    "parse_decimal": lambda g: names.parse_decimal(g["text"]),
    "recipient_reference": lambda g: names.recipient_reference(_hex(g, "key"), g["kind"], g["identifier"], g["issuer"]),
    "build_topic": lambda g: getattr(topics, g["name"])(*g["arguments"]),
    "parse_object_topic": lambda g: topics.parse_object_topic(g["root"], g["topic"]),
    "parse_device_topic": lambda g: topics.parse_device_topic(g["site"], g["topic"]),
    "is_topic": lambda g: topics.is_topic(g["text"]),
    "is_filter": lambda g: topics.is_filter(g["text"]),
    "includes": lambda g: topics.includes(g["allowed"], g["requested"]),
    "matches": lambda g: topics.matches(g["filter"], g["topic"]),
    "may_subscribe": lambda g: _principal(g).may_subscribe(g["filter"]),
    "may_publish": lambda g: _principal(g).may_publish(g["topic"]),
    "may_receive": lambda g: _principal(g).may_receive(g["topic"]),
    "cbor_decode": lambda g: cbor.decode(_hex(g, "data"), g.get("max_bytes", 262_144)),
    "cbor_encode": lambda g: cbor.encode(untagged(g["value"])),
    "decode_message": _decode,
    "open_signed": lambda g: sign.open_signed(_trusted(g), g["label"], g["topic"], _hex(g, "data")),
    "seal": _seal,
    "open_whole": lambda g: seal.open_whole(_hex(g, "key"), _hex(g, "context"), _hex(g, "sealed")),
    "open_segment": _open_segment,
    "sizes": _sizes,
    "segment_span": lambda g: seal.segment_span(g["index"], g["size"]),
    "segments_of": lambda g: seal.segments_of(g["start"], g["end"]),
    "hpke_open": lambda g: hpke.open_sealed(_private(g), _hex(g, "info"), _hex(g, "sealed")),
    "hpke_public": _load_public,
    "manifest_digest": lambda g: manifest.Manifest(_hex(g, "digests")).digest(),
    "manifest_page": lambda g: manifest.Manifest(_hex(g, "digests")).page_message(g["page"]),
    "check_page": lambda g: manifest.check_page(_hex(g, "announced"), g["page"], g["segments"], _hex(g, "payload")),
    "open_head": lambda g: envelope.open_head(_trusted(g), *_whose(g), _epoch_keys(g), _hex(g, "data")),
    "open_announcement": lambda g: envelope.open_announcement(
        _trusted(g), *_whose(g), g["study"], _epoch_keys(g), _hex(g, "data")
    ),
    "open_keys": _open_keys,
    "open_request": lambda g: envelope.open_request(
        _hex(g, "device_key"), _private(g), g["site"], g["device"], _hex(g, "data")
    ),
    "open_answer": lambda g: envelope.open_answer(_trusted(g), _private(g), g["site"], g["device"], _hex(g, "data")),
    "unpack_key_set": _unpack_key_set,
    "parse_link": lambda g: enrolment.parse_link(g["uri"]),
    "derive_code_keys": _code_keys,
    "open_enrolment_request": lambda g: enrolment.open_request(
        _hex(g, "request_key"), g["site"], g["enrolment"], _hex(g, "data")
    ),
    "open_enrolment_answer": _open_enrolled,
    "parse_header": _parse_header,
    "header_end": lambda g: objects.header_end(_hex(g, "data")),
    "inflate_json": lambda g: objects.inflate_json(_hex(g, "data")),
    "bitmap": _bitmap,
    "to_ranges": lambda g: bits.to_ranges(g["indices"]),
}


def edited(data: bytes, edits: list[list[Any]]) -> bytes:
    """``data`` after the edits, in their order. What each does stands in the folder's README."""
    changed = bytearray(data)
    for edit in edits:
        match edit:
            case ["flip", int(offset)]:
                changed[offset] ^= 1
            case ["cut", int(length)]:
                del changed[length:]
            case ["pad", int(length)]:
                changed += bytes(length - len(changed))
            case ["append", str(text)]:
                changed += bytes.fromhex(text)
            case ["put", int(offset), str(text)]:
                replacement = bytes.fromhex(text)
                changed[offset : offset + len(replacement)] = replacement
            case ["move", int(source), int(target), int(length)]:
                changed[target : target + length] = changed[source : source + length]
            case _:
                raise ValueError("no such edit")
    return bytes(changed)


def inputs(tests: list[dict[str, Any]], test: dict[str, Any]) -> dict[str, Any]:
    """The inputs of ``test``: its own, over those of the test it names in ``like``, with ``edits`` made."""
    if "like" not in test:
        return dict(test["in"])
    base = next(other for other in tests if other["reason"] == test["like"])
    given: dict[str, Any] = inputs(tests, base) | test.get("in", {})
    for name, edits in test.get("edits", {}).items():
        given[name] = edited(bytes.fromhex(given[name]), edits).hex()
    return given


def run(tests: list[dict[str, Any]], test: dict[str, Any]) -> Any:
    """The output, as it stands in the file; raises the WireError."""
    return tagged(OPERATIONS[test["op"]](inputs(tests, test)))
