"""Vectors of the encoding and of each message's fields: cbor.json and messages.json."""

import copy
from typing import Any

import cbor2

from tests.vectors import asking
from tests.vectors.asking import DROP
from tests.vectors.cases import Test, fails, finished, valid
from tests.vectors.fixed import NOW, digest, point, raw

BAD_CBOR = {
    "nothing": "",
    "an integer with a head of 2 bytes that fits 1": "1817",
    "an integer with a head of 3 bytes that fits 2": "1900ff",
    "an integer with a head of 5 bytes that fits 3": "1a0000ffff",
    "an integer with a head of 9 bytes that fits 5": "1b00000000ffffffff",
    "an integer of 2 to the 53": "1b0020000000000000",
    "a negative integer": "20",
    "a half float": "f93c00",
    "a single float": "fa3f800000",
    "a double float": "fb3ff0000000000000",
    "undefined": "f7",
    "a simple value": "e0",
    "a simple value of 2 bytes": "f8ff",
    "a tag": "c100",
    "a big integer": "c24101",
    "a self-description": "d9d9f700",
    "an indefinite array": "9fff",
    "an indefinite map": "bfff",
    "an indefinite byte string": "5f4100ff",
    "an indefinite text": "7f6161ff",
    "a break": "ff",
    "a reserved length": "1c",
    "a byte string that is cut": "4200",
    "a text that is cut": "6261",
    "a head that is cut": "19ff",
    "an array that is cut": "8201",
    "an array that declares 2 to the 32 items": "9affffffff",
    "a map that declares 2 to the 52 items": "bb0010000000000000",
    "a map without its last value": "a16161",
    "a byte string whose length has a long head": "580161",
    "bytes after the end": "0000",
    "a text that is not UTF-8": "61ff",
    "a text in an overlong form": "62c080",
    "a text with half of a surrogate pair": "63eda080",
    "a map with an integer as key": "a10000",
    "a map with a byte string as key": "a1416100",
    "a map with a key twice": "a2616100616101",
    "arrays nested nine deep": "81" * 9 + "00",
    "maps nested nine deep": "a16161" * 9 + "00",
}
GOOD_CBOR = {
    "zero": "00",
    "23, the last of one byte": "17",
    "24, the first of two bytes": "1818",
    "256": "190100",
    "65536": "1a00010000",
    "2 to the 32": "1b0000000100000000",
    "2 to the 53 less 1": "1b001fffffffffffff",
    "false": "f4",
    "true": "f5",
    "null": "f6",
    "an empty byte string": "40",
    "an empty text": "60",
    "a text with a byte order mark, which stays": "64efbbbf61",
    "a text with a character outside the basic plane": "64f09f8fa5",
    "an empty array": "80",
    "an empty map": "a0",
    "a map with keys in any order": "a2616200616101",
    "arrays nested eight deep": "81" * 8 + "00",
}


def cbor() -> dict[str, Any]:
    """cbor.json."""
    tests: list[Test] = [valid(reason, "cbor_decode", data_hex=data) for reason, data in GOOD_CBOR.items()]
    tests += [fails("malformed", reason, "cbor_decode", data_hex=data) for reason, data in BAD_CBOR.items()]
    tests.append(fails("too-large", "a byte more than allowed", "cbor_decode", data_hex="4100", max_bytes=1))
    tests.append(valid("a value, encoded", "cbor_encode", value={"a": [1, {"hex": "ff"}, None, True, "é"]}))
    tests.append(fails("malformed", "a negative integer, encoded", "cbor_encode", value=[-1]))
    tests.append(fails("malformed", "a float, encoded", "cbor_encode", value=1.5))
    tests.append(fails("malformed", "2 to the 53, encoded", "cbor_encode", value={"a": 2**53}))
    return finished("The encoding. Outputs: byte strings are {hex}, maps are objects.", tests)


# ── fields ────────────────────────────────────────────────────────────────────────────────────────────────────────

_OBJECT = {
    "object": raw("object"), "layer": "display", "series": [0], "batch": 0, "frames": 30, "key": digest("object key"),
    "size": 1_000_000, "manifest": digest("manifest"),
}  # fmt: skip
_WANT = {
    "op": "want", "kind": "ward", "recipient": raw("ward"), "object": raw("object"), "pages": [0],
    "ranges": [[0, 9], [20, 20]], "credit": 32, "again": False,
}  # fmt: skip
_SYNC = {"op": "sync", "known": [["ward", raw("ward"), 7, [[raw("study"), 3]]]]}
_RECEIPT = {
    "op": "receipt", "kind": "patient", "recipient": raw("patient"), "study": raw("study"), "sequence": 3,
    "layer": "diagnostic", "event": "opened", "at": NOW,
}  # fmt: skip

_ORDER = {
    "op": "order", "kind": "doctor", "recipient": raw("doctor"), "study": raw("study"), "layer": "original",
    "series": ["1.2.3", "1.2.4"],
}  # fmt: skip


def _request(body: Any) -> dict[str, Any]:
    return {"boot": raw("boot"), "counter": 5, "issued": NOW, "body": body}


BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Head": ("Head", {"sequence": 8, "issued": NOW, "next_due": NOW + 15_000,
                      "studies": [[raw("study"), 3, digest("announcement")]]}),
    "Keys": ("Keys", {"suite": 1, "epoch": 2, "issued": NOW, "devices": [[raw("device"), bytes(113)]]}),
    "Announcement": ("Announcement", {"study": raw("study"), "sequence": 3, "issued": NOW, "settled": True,
                                      "attributes": bytes(4), "objects": [_OBJECT]}),
    "sync": ("Request", _request(_SYNC)),
    "want": ("Request", _request(_WANT)),
    "receipt": ("Request", _request(_RECEIPT)),
    "order": ("Request", _request(_ORDER)),
    "order of all series": ("Request", _request(_ORDER | {"series": []})),
    "wiped": ("Request", _request({"op": "wiped"})),
    **{name: ("Request", _request(body)) for name, body in asking.REQUESTS.items()},
    **{name: ("Answer", _request(body)) for name, body in asking.ANSWERS.items()},
    "synced": ("Answer", _request({"op": "synced", "heads": [bytes(5)],
                                   "lease": {"secret": digest("lease"), "expires": NOW + 1}})),
    "done": ("Answer", _request({"op": "done"})),
    "gone": ("Answer", _request({"op": "gone", "object": raw("object")})),
    "refused": ("Answer", _request({"op": "refused", "reason": "busy"})),
    "refusal of what is gone": ("Answer", _request({"op": "refused", "reason": "gone"})),
    "wipe": ("Answer", _request({"op": "wipe"})),
    "KeySet": ("KeySet", {"sequence": 4, "issued": NOW, "suite": 1, "exchange": point("gateways"),
                          "online": [[raw("gateway"), digest("online"), NOW + 1]]}),
    "Enrolled": ("Enrolled", {"device": raw("device"), "password": digest("password"), "recipients": [
        {"kind": "ward", "recipient": raw("ward"), "label": "3 West", "head": 8}], "lease": {
        "secret": digest("lease"), "expires": NOW + 1}, "authority": b"", "issued": NOW, "request": digest("r")}),
    "Header": ("Header", {"version": 1, "layer": "display", "series": ["1.2.3"], "instances": [["1.2.3.4", 0]],
                          "parts": [[0, 0, 0, 100, "image/jpeg", True, 1200]], "attributes": b""}),
}  # fmt: skip

# Base, path, value put there (DROP removes it), reason.
_FIELDS: list[tuple[str, tuple[str | int, ...], Any, str]] = [
    ("Head", ("sequence",), 0, "a head with sequence 0"),
    ("Head", ("sequence",), True, "a head whose sequence is true"),
    ("Head", ("sequence",), "8", "a head whose sequence is text"),
    ("Head", ("issued",), DROP, "a head without its time"),
    ("Head", ("studies",), None, "a head whose studies are null"),
    ("Head", ("extra",), 1, "a head with an unknown field"),
    ("Head", ("studies", 0), [raw("study"), 3], "an entry without a digest"),
    ("Head", ("studies", 0), [raw("study"), 3, digest("a"), 0], "an entry with a fourth item"),
    ("Head", ("studies", 0), {"study": raw("study"), "sequence": 3, "digest": digest("a")}, "an entry as a map"),
    ("Head", ("studies", 0, 0), raw("study")[:15], "an entry whose reference has 15 bytes"),
    ("Head", ("studies", 0, 2), digest("a") + b"\0", "an entry whose digest has 33 bytes"),
    ("Keys", ("epoch",), 0, "epoch 0"),
    ("Keys", ("epoch",), 2**32, "epoch 2 to the 32"),
    ("Keys", ("suite",), 0, "suite 0"),
    ("Keys", ("devices", 0, 1), bytes(112), "a sealed epoch key of 112 bytes"),
    ("Announcement", ("settled",), 1, "settled as an integer"),
    ("Announcement", ("attributes",), "text", "attributes as text"),
    ("Announcement", ("objects", 0, "layer"), "preview", "a layer that is none"),
    ("Announcement", ("objects", 0, "series"), [], "an object of no series"),
    ("Announcement", ("objects", 0, "series"), [65536], "a series index of 65536"),
    ("Announcement", ("objects", 0, "size"), 0, "an object of size 0"),
    ("Announcement", ("objects", 0, "size"), 2**34, "an object of 16 GiB"),
    ("Announcement", ("objects", 0, "key"), bytes(31), "an object key of 31 bytes"),
    ("Announcement", ("objects", 0, "frames"), 8193, "8193 frames"),
    ("Announcement", ("objects",), [_OBJECT] * 257, "257 objects"),
    ("sync", ("body", "known", 0, 0), "nurse", "a sync of a kind that is none"),
    ("sync", ("body", "known", 0, 3, 0), [raw("study")], "a known study without a sequence"),
    ("sync", ("body", "op"), "want", "a sync that calls itself a want"),
    ("sync", ("body", "op"), "print", "an operation that is none"),
    ("sync", ("body", "op"), DROP, "a body without an operation"),
    ("sync", ("body",), DROP, "a request without a body"),
    ("sync", ("boot",), bytes(8), "a boot id of 8 bytes"),
    ("want", ("body", "ranges"), [[3, 1]], "a range that runs backwards"),
    ("want", ("body", "ranges"), [[0, 3], [3, 5]], "ranges that overlap"),
    ("want", ("body", "ranges"), [[0, 3], [4, 5]], "ranges that touch"),
    ("want", ("body", "ranges"), [[9, 9], [0, 0]], "ranges that descend"),
    ("want", ("body", "ranges"), [[0, 32]], "a segment more than the credit"),
    ("want", ("body", "ranges"), [[262144, 262144]], "a segment of 2 to the 18"),
    ("want", ("body", "ranges"), [[0]], "a range of one number"),
    ("want", ("body", "pages"), [256], "page 256"),
    ("want", ("body", "pages"), list(range(17)), "17 pages"),
    ("want", ("body", "credit"), 0, "credit 0"),
    ("want", ("body", "credit"), 65, "credit 65"),
    ("want", ("body", "again"), 0, "again as an integer"),
    ("receipt", ("body", "event"), "printed", "an event that is none"),
    ("receipt", ("body", "at"), DROP, "a receipt without a time"),
    ("order", ("body", "kind"), "nurse", "an order of a kind that is none"),
    ("order", ("body", "recipient"), DROP, "an order without a recipient"),
    ("order", ("body", "study"), raw("study")[:15], "an order of a study whose reference has 15 bytes"),
    ("order", ("body", "layer"), "preview", "an order of a layer that is none"),
    ("order", ("body", "layer"), None, "an order of null"),
    ("order", ("body", "series"), DROP, "an order without its series"),
    ("order", ("body", "series"), None, "an order whose series are null"),
    ("order", ("body", "series"), [0], "an order whose series are numbers"),
    ("order", ("body", "series"), ["1.2."], "an order of a UID that ends with a dot"),
    ("order", ("body", "series"), ["1.2.3 "], "an order of a UID with a space"),
    ("order", ("body", "series"), ["1" * 65], "an order of a UID of 65 characters"),
    ("order", ("body", "series"), ["1.2.3"] * 257, "an order of 257 series"),
    ("order", ("body", "sequence"), 3, "an order with an unknown field"),
    ("order", ("body", "op"), "want", "an order that calls itself a want"),
    ("order", ("body", "op"), "wipe", "an answer's operation in a request"),
    ("wiped", ("body", "at"), NOW, "a wiped with a time"),
    ("wipe", ("body", "reason"), "lost", "a wipe with a reason"),
    ("wipe", ("body", "op"), "wiped", "a request's operation in an answer"),
    ("synced", ("body", "lease"), DROP, "a synced without a lease"),
    ("synced", ("body", "lease", "secret"), bytes(33), "a lease secret of 33 bytes"),
    ("synced", ("body", "heads"), [b""] * 65, "65 heads"),
    ("done", ("body", "object"), raw("object"), "a done with an object"),
    ("gone", ("body", "object"), DROP, "a gone without an object"),
    ("refused", ("body", "reason"), "tired", "a refusal for a reason that is none"),
    ("refused", ("counter",), 2**53 - 1, ""),
    ("KeySet", ("online",), [], "a key set without online keys"),
    ("KeySet", ("exchange",), bytes(64), "a point of 64 bytes"),
    ("KeySet", ("online", 0, 2), DROP, "an online key without an end"),
    ("Enrolled", ("recipients",), [], "an enrolment for no recipient"),
    ("Enrolled", ("password",), bytes(31), "a password of 31 bytes"),
    ("Enrolled", ("authority",), bytes(16385), "an authority of 16385 bytes"),
    ("Header", ("version",), 2, "a header of version 2"),
    ("Header", ("series", 0), "1..2", "a UID with an empty component"),
    ("Header", ("series", 0), "1.2\n", "a UID with a line feed at its end"),
    ("Header", ("series", 0), "1." * 32 + "1", "a UID of 65 characters"),
    ("Header", ("series", 0), "", "an empty UID"),
    ("Header", ("parts", 0, 4), "image/gif", "a media type that is none"),
    ("Header", ("parts", 0, 5), 1, "lossy as an integer"),
    ("Header", ("PatientName",), "x", "a header with a patient's name"),
    *asking.FIELDS,
]


def _put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if new is DROP:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return changed


def messages() -> dict[str, Any]:
    """messages.json."""
    tests: list[Test] = []
    for name, (kind, value) in BASES.items():
        tests.append(valid(f"a legal {name}", "decode_message", message=kind, data_hex=cbor2.dumps(value).hex()))
    for name, path, new, reason in _FIELDS:
        kind, value = BASES[name]
        data = cbor2.dumps(_put(value, path, new)).hex()
        if reason:
            tests.append(fails("malformed", reason, "decode_message", message=kind, data_hex=data))
        else:
            tests.append(valid("the largest counter", "decode_message", message=kind, data_hex=data))
    tests.append(
        fails("malformed", "an array in the place of a message", "decode_message", message="Head", data_hex="80")
    )
    tests.append(
        fails("malformed", "a request in the place of an answer", "decode_message", message="Answer",
              data_hex=cbor2.dumps(BASES["sync"][1]).hex())
    )  # fmt: skip
    return finished("Each message's fields, as CBOR alone, without signature and seal.", tests)
