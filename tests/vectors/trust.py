"""Vectors of what trust begins with: the key set and enrolment."""

import hashlib
from typing import Any

import cbor2

from tests.vectors.cases import Test, finished, like, valid
from tests.vectors.encoding import BASES
from tests.vectors.fixed import NOW, SITE, digest, point, public, raw, ref, scalar, signer
from wire import enrolment, keyset, messages, seal, sign, topics


def key_set() -> dict[str, Any]:
    """keyset.json."""
    topic = topics.gateway_keys(SITE)
    links = [keyset.link(signer(before), SITE, public(root))
             for before, root in (("root 1", "root 1"), ("root 1", "root 2"), ("root 2", "root 3"))]  # fmt: skip
    online = [keyset.OnlineKey(raw("gateway"), public("gateway"), NOW + 1000),
              keyset.OnlineKey(raw("old"), public("old"), NOW)]  # fmt: skip
    contents = keyset.KeySet(4, NOW, 1, point("gateways"), online)
    data = keyset.pack(signer("root 3"), topic, links, contents)
    own = {"site": SITE, "now": NOW, "data_hex": data.hex()}
    pins = {root: keyset.root_digest(public(f"root {root}")).hex() for root in (1, 2, 3, 4)}
    base = valid("from the first of three roots", "unpack_key_set", **own, pinned_hex=pins[1])
    forked = keyset.link(signer("thief"), SITE, public("thief root"))
    chain = 1 + 3 * 96
    not_a_point = keyset.KeySet(4, NOW, 1, b"\4" + bytes(63) + b"\1", online)
    tests = [
        base,
        like(base, "valid", "from the second of three roots", pinned_hex=pins[2]),
        like(base, "valid", "from the last of three roots", pinned_hex=pins[3]),
        valid("from the only root", "unpack_key_set", site=SITE, now=NOW, pinned_hex=pins[1],
              data_hex=keyset.pack(signer("root 1"), topic, links[:1], contents).hex()),
        like(base, "valid", "when both online keys are over", now=NOW + 1000),
        like(base, "untrusted", "from a root that is not in the chain", pinned_hex=pins[4]),
        like(base, "untrusted", "a chain that was cut before the pinned root", pinned_hex=pins[3],
             data_hex=keyset.pack(signer("root 2"), topic, links[:2], contents).hex()),
        like(base, "malformed", "no bytes", {"data_hex": [["cut", 0]]}),
        like(base, "too-large", "a key set of 256 KiB and a byte", {"data_hex": [["pad", 262_145]]}),
        like(base, "malformed", "no roots", {"data_hex": [["put", 0, "00"]]}),
        like(base, "malformed", "65 roots", {"data_hex": [["put", 0, "41"]]}),
        like(base, "malformed", "a chain without a key set", {"data_hex": [["cut", chain]]}),
        like(base, "signature-invalid", "the first root's signature of itself changed", {"data_hex": [["flip", 40]]}),
        like(base, "signature-invalid", "the second root's signature changed", {"data_hex": [["flip", 1 + 96 + 32]]}),
        like(base, "signature-invalid", "the second root changed", {"data_hex": [["flip", 1 + 96]]}),
        like(base, "signature-invalid", "a root that a thief put in",
             {"data_hex": [["put", 1 + 2 * 96, forked.hex()]]}),
        like(base, "signature-invalid", "a key set that a root before the last signed",
             data_hex=(data[:chain] + sign.sign(signer("root 2"), "key-set", topic, messages.encode(contents))).hex()),
        like(base, "signature-invalid", "a key set of another site", site="elsewhere"),
        like(base, "signature-invalid", "a key set with a byte changed", {"data_hex": [["flip", len(data) - 1]]}),
        like(base, "malformed", "a key set of a suite that is not known",
             data_hex=(data[:chain] + sign.sign(signer("root 3"), "key-set", topic, cbor2.dumps(
                 BASES["KeySet"][1] | {"suite": 2}))).hex()),
        like(base, "malformed", "a key set whose exchange key is no point",
             data_hex=keyset.pack(signer("root 3"), topic, links, not_a_point).hex()),
    ]  # fmt: skip
    return finished("The key set, from a pinned root. trusted_now: the online keys that have not expired.", tests)


def _link() -> enrolment.Link:
    return enrolment.Link(
        version=1, site=SITE, broker="mqtts://edge.example:8883", certificate=digest("certificate"),
        root=keyset.root_digest(public("root 1")), enrolment=raw("enrolment"), code=digest("code")[:16], expires=NOW,
    )  # fmt: skip


def _links() -> list[Test]:
    link = _link()
    uri = enrolment.format_link("https://edge.example", link)
    base = valid("a link", "parse_link", uri=uri)

    def with_(**changes: Any) -> str:
        fields = {name: changes.get(name, getattr(link, name)) for name in link.__struct_fields__}
        return enrolment.format_link("https://edge.example", enrolment.Link(**fields))

    wrong = {
        "a link without a fragment": "https://edge.example/",
        "a link with another fragment": "https://edge.example/#x=" + uri.partition("=")[2],
        "a link that was cut": uri[:-1],
        "a link with padding": uri + "=",
        "a link in the other alphabet": "https://edge.example/#enrol=+/+/",
        "a link with a blank": uri[:60] + " " + uri[61:],
        "a link of more than 2048 characters": "https://edge.example/" + "a" * 2048 + uri,
        "a link to a broker without a port": with_(broker="mqtts://edge.example"),
        "a link to a broker with port 65536": with_(broker="mqtts://edge.example:65536"),
        "a link to a broker with a path": with_(broker="mqtts://edge.example:8883/x"),
        "a link to a broker with a user": with_(broker="mqtts://a@edge.example:8883"),
        "a link to a broker by another scheme": with_(broker="wss://edge.example:8883"),
        "a link without TLS to another machine": with_(broker="mqtt://192.168.1.5:1883"),
        "a link without TLS to a name that begins like this machine": with_(broker="mqtt://127.0.0.1.example:1883"),
        "a link with a certificate digest of 31 bytes": with_(certificate=bytes(31)),
    }
    good = {
        "a link on this machine without TLS": with_(broker="mqtt://127.0.0.1:1883", certificate=b""),
        "a link to an IPv6 address": with_(broker="mqtts://[fd00::5]:8883"),
        "a link whose broker's certificate the system vouches for": with_(certificate=b""),
    }
    return [
        base,
        *(like(base, "valid", reason, uri=text) for reason, text in good.items()),
        *(like(base, "malformed", reason, uri=text) for reason, text in wrong.items()),
        like(base, "name-invalid", "a link to a site that is none", uri=with_(site="A")),
    ]


def enrolment_() -> dict[str, Any]:
    """enrolment.json."""
    where = ref("enrolment")
    code = enrolment.CodeKeys.derive(digest("code")[:16], where)
    sent = enrolment.pack_request(code, SITE, where, signer("device"), point("device"), "Ward tablet 3")
    opened = valid("a request to enrol", "open_enrolment_request", request_key_hex=code.request_key.hex(), site=SITE,
                   enrolment=where, data_hex=sent.hex())  # fmt: skip
    topic = topics.enrol_request(SITE, where)

    def forged(proof_by: str, exchange_key: bytes) -> str:
        proof = signer(proof_by).sign(sign.message("enrol-proof", topic, sign.key_id(public("device")), exchange_key))
        made = enrolment.EnrolRequest(public("device"), exchange_key, "x", proof)
        return seal.seal(code.request_key, seal.context("enrolment", topic.encode()), messages.encode(made)).hex()

    tests = [
        *_links(),
        valid("what follows from the code", "derive_code_keys", code_hex=digest("code")[:16].hex(), enrolment=where),
        opened,
        like(opened, "seal-broken", "a request by another code", request_key_hex=digest("x").hex()),
        like(opened, "seal-broken", "a request of another enrolment", enrolment=ref("other")),
        like(opened, "seal-broken", "a request to enrol with a byte changed", {"data_hex": [["flip", 90]]}),
        like(opened, "seal-broken", "a request to enrol that is empty", {"data_hex": [["cut", 0]]}),
        like(opened, "signature-invalid", "a request with a key that its sender does not hold",
             data_hex=forged("thief", point("device"))),
        like(opened, "malformed", "a request with a point that is none",
             data_hex=forged("device", b"\4" + bytes(63) + b"\1")),
    ]  # fmt: skip
    return finished("Enrolment: the link, what is derived from its code, request and answer.", tests + _answers(sent))


def _answers(sent: bytes) -> list[Test]:
    where, link = ref("enrolment"), _link()
    root = keyset.link(signer("root 1"), SITE, public("root 1"))
    online = [keyset.OnlineKey(raw("gateway"), public("gateway"), NOW + 1000)]
    keys_ = keyset.pack(
        signer("root 1"), topics.gateway_keys(SITE), [root], keyset.KeySet(4, NOW, 1, point("gateways"), online)
    )
    fields = BASES["Enrolled"][1] | {"request": hashlib.sha256(sent).digest()}
    enrolled = messages.convert(fields, enrolment.Enrolled)
    data = enrolment.pack_answer(signer("gateway"), keys_, point("device"), SITE, where, enrolled)
    base = valid(
        "an answer", "open_enrolment_answer", link=enrolment.format_link("https://edge.example", link), enrolment=where,
        private_hex=scalar("device").to_bytes(32, "big").hex(), request_hex=sent.hex(), now=NOW, data_hex=data.hex(),
    )  # fmt: skip
    thief_root = keyset.link(signer("thief"), SITE, public("thief"))
    thief_keys = keyset.pack(
        signer("thief"), topics.gateway_keys(SITE), [thief_root], keyset.KeySet(4, NOW, 1, point("thief"), online)
    )
    thief = enrolment.pack_answer(signer("gateway"), thief_keys, point("device"), SITE, where, enrolled)
    unknown = enrolment.pack_answer(signer("other"), keys_, point("device"), SITE, where, enrolled)
    return [
        base,
        like(base, "malformed", "an answer shorter than its length", {"data_hex": [["cut", 3]]}),
        like(base, "malformed", "an answer whose key set is longer than it", {"data_hex": [["put", 0, "ffffffff"]]}),
        like(base, "too-large", "an enrolment's answer of 256 KiB and a byte", {"data_hex": [["pad", 262_145]]}),
        like(base, "untrusted", "an answer with the key set of another root", data_hex=thief.hex()),
        like(base, "signature-invalid", "an answer by a key that is not in the set", data_hex=unknown.hex()),
        like(base, "signature-invalid", "an answer after the online key's end", now=NOW + 1000),
        like(base, "signature-invalid", "an answer with its last byte changed",
             {"data_hex": [["flip", len(data) - 1]]}),
        like(base, "seal-broken", "an answer for another device", private_hex=scalar("x").to_bytes(32, "big").hex()),
        like(base, "malformed", "an answer to another request", request_hex="00"),
    ]  # fmt: skip
