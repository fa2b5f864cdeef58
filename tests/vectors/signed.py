"""Vectors of the messages as they travel: signed and sealed, each with what must be refused."""

from typing import Any

from tests.vectors import asking
from tests.vectors.cases import Test, finished, like, valid
from tests.vectors.encoding import BASES
from tests.vectors.fixed import NOW, SITE, digest, point, public, raw, ref, scalar, signer
from tests.vectors.runner import MESSAGES
from wire import envelope, hpke, messages, names, objects, seal, sign, topics

_KIND: names.Kind = "ward"
_WARD, _DEVICE, _STUDY = ref("ward"), ref("device"), ref("study")
_EPOCHS = {2: digest("epoch", "2")}
_ONLINE = {
    "site": SITE, "kind": _KIND, "recipient": _WARD, "trusted_hex": [public("gateway").hex()],
    "epoch_keys_hex": {str(epoch): key.hex() for epoch, key in _EPOCHS.items()},
}  # fmt: skip
_BODY = 73


def _message(name: str) -> Any:
    kind, value = BASES[name]
    return messages.convert(value, MESSAGES[kind])


def _resigned(label: sign.Label, topic: str, plaintext: bytes, epoch: int = 2) -> str:
    """A signed message that no packer would make."""
    bound_to = seal.context(label, topic.encode(), epoch.to_bytes(4, "big"))
    sealed = seal.seal(_EPOCHS[2], bound_to, plaintext)
    return sign.sign(signer("gateway"), label, topic, epoch.to_bytes(4, "big") + sealed).hex()


def _refusals(base: Test, data_bytes: int, what: str) -> list[Test]:
    """What holds for everything that is signed and sealed under an epoch key."""
    other = [public("other").hex()]
    return [
        like(base, "malformed", f"{what} cut in its signature", {"data_hex": [["cut", 70]]}),
        like(base, "malformed", f"{what} of another version", {"data_hex": [["flip", 0]]}),
        like(base, "signature-invalid", f"{what} with its epoch changed", {"data_hex": [["flip", _BODY + 3]]}),
        like(base, "signature-invalid", f"{what} with a byte of ciphertext changed",
             {"data_hex": [["flip", data_bytes - 1]]}),
        like(base, "signature-invalid", f"{what} of a key that is not trusted", trusted_hex=other),
        like(base, "signature-invalid", f"{what} at another ward", recipient=ref("other")),
        like(base, "signature-invalid", f"{what} at a doctor", kind="doctor"),
        like(base, "signature-invalid", f"{what} at another site", site="elsewhere"),
        like(base, "seal-broken", f"{what} of an epoch whose key is not here",
             epoch_keys_hex={"1": digest("epoch", "1").hex()}),
        like(base, "seal-broken", f"{what} with a wrong key for its epoch", epoch_keys_hex={"2": digest("x").hex()}),
    ]  # fmt: skip


def head() -> dict[str, Any]:
    """head.json."""
    topic = topics.head(SITE, _KIND, _WARD)
    data = envelope.pack_head(signer("gateway"), SITE, _KIND, _WARD, 2, _EPOCHS[2], _message("Head"))
    base = valid("a head", "open_head", **_ONLINE, data_hex=data.hex())
    odd = {
        "a head that is no CBOR": b"\xff",
        "a head with a trailing byte": messages.encode(_message("Head")) + b"\0",
        "a head that holds an announcement": messages.encode(_message("Announcement")),
    }
    tests = [base, *_refusals(base, len(data), "a head")]
    for reason, plaintext in odd.items():
        tests.append(like(base, "malformed", reason, data_hex=_resigned("head", topic, plaintext)))
    short = sign.sign(signer("gateway"), "head", topic, b"\0\0\0").hex()
    tests += [
        like(base, "malformed", "a head cut in its epoch", data_hex=short),
        like(base, "too-large", "a head of 256 KiB and a byte", {"data_hex": [["pad", 262_145]]}),
        like(base, "signature-invalid", "a head signed as a key message",
             data_hex=sign.sign(signer("gateway"), "keys", topic, data[_BODY:]).hex()),
    ]  # fmt: skip
    return finished("The head of a recipient.", tests)


def announcement() -> dict[str, Any]:
    """announcement.json."""
    topic = topics.study(SITE, _KIND, _WARD, _STUDY)
    text = objects.deflate_json({"study": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}, "series": [{}]})
    whole = _message("Announcement")
    whole = messages.Announcement(whole.study, 3, NOW, True, text, whole.objects)
    data = envelope.pack_announcement(signer("gateway"), SITE, _KIND, _WARD, 2, _EPOCHS[2], whole)
    base = valid("an announcement", "open_announcement", **_ONLINE, study=_STUDY, data_hex=data.hex())
    large = sign.sign(signer("gateway"), "announcement", topic, bytes(16384 - _BODY + 1)).hex()
    elsewhere = topics.study(SITE, _KIND, _WARD, ref("other"))
    tests = [
        base,
        *_refusals(base, len(data), "an announcement"),
        like(base, "signature-invalid", "an announcement at another study", study=ref("other")),
        like(base, "malformed", "an announcement that names another study than its topic", study=ref("other"),
             data_hex=_resigned("announcement", elsewhere, messages.encode(whole))),
        like(base, "malformed", "an announcement that holds a head",
             data_hex=_resigned("announcement", topic, messages.encode(_message("Head")))),
        like(base, "too-large", "an announcement of 16 KiB and a byte", data_hex=large),
    ]  # fmt: skip
    return finished("The announcement of a study to a recipient.", tests)


def keys() -> dict[str, Any]:
    """keys.json."""
    topic = topics.keys(SITE, _KIND, _WARD)
    entries = [envelope.seal_epoch_key(SITE, _KIND, _WARD, ref(name), point(name), 2, _EPOCHS[2])
               for name in ("sibling", "device")]  # fmt: skip
    message = messages.Keys(1, 2, NOW, entries)
    data = envelope.pack_keys(signer("gateway"), SITE, _KIND, _WARD, message)
    own = {"site": SITE, "kind": _KIND, "recipient": _WARD, "trusted_hex": [public("gateway").hex()]}
    private = scalar("device").to_bytes(32, "big").hex()
    base = valid("the epoch key", "open_keys", **own, device=_DEVICE, private_hex=private, data_hex=data.hex())

    def signed(value: messages.Keys) -> str:
        return envelope.pack_keys(signer("gateway"), SITE, _KIND, _WARD, value).hex()

    swapped = [messages.DeviceKey(entries[0].device, entries[1].sealed),
               messages.DeviceKey(entries[1].device, entries[0].sealed)]  # fmt: skip
    tests = [
        base,
        like(base, "valid", "no entry for a device that is no longer served", device=ref("revoked")),
        like(base, "seal-broken", "another private key than the device's",
             private_hex=scalar("sibling").to_bytes(32, "big").hex()),
        like(base, "seal-broken", "the entry of a sibling under the device's name",
             data_hex=signed(messages.Keys(1, 2, NOW, swapped))),
        like(base, "seal-broken", "an entry of epoch 2 in epoch 3", data_hex=signed(messages.Keys(1, 3, NOW, entries))),
        like(base, "malformed", "keys of a suite that is not known",
             data_hex=signed(messages.Keys(2, 2, NOW, entries))),
        like(base, "malformed", "keys that are no CBOR",
             data_hex=sign.sign(signer("gateway"), "keys", topic, b"\xff").hex()),
        like(base, "signature-invalid", "keys of another ward", recipient=ref("other")),
        like(base, "signature-invalid", "keys of a key that is not trusted", trusted_hex=[public("other").hex()]),
        like(base, "signature-invalid", "keys with a byte changed", {"data_hex": [["flip", len(data) - 1]]}),
        like(base, "malformed", "keys cut in their signature", {"data_hex": [["cut", 72]]}),
        like(base, "too-large", "keys of 256 KiB and a byte", {"data_hex": [["pad", 262_145]]}),
    ]  # fmt: skip
    return finished("The epoch key for each device of a recipient; the output is that of one device.", tests)


def request() -> dict[str, Any]:
    """request.json."""
    own = {"device_key_hex": public("device").hex(), "site": SITE, "device": _DEVICE,
           "private_hex": scalar("gateways").to_bytes(32, "big").hex()}  # fmt: skip
    topic, info = topics.device_request(SITE, _DEVICE), hpke.info("request", SITE.encode(), raw("device"))
    packed = {name: envelope.pack_request(signer("device"), point("gateways"), SITE, _DEVICE, _message(name))
              for name in ("sync", "want", "receipt", "order", "wiped", *asking.REQUESTS)}  # fmt: skip
    tests = [valid(f"a request to {name}", "open_request", **own, data_hex=data.hex()) for name, data in packed.items()]
    base, data = tests[1], packed["want"]
    stolen = sign.sign(signer("thief"), "request", topics.device_request(SITE, ref("thief")), data[_BODY:]).hex()

    def signed(plaintext: bytes) -> str:
        return sign.sign(signer("device"), "request", topic, hpke.seal(point("gateways"), info, plaintext)).hex()

    tests += [
        like(base, "signature-invalid", "a request of another device's key", device_key_hex=public("other").hex()),
        like(base, "signature-invalid", "a request on another device's topic", device=ref("other")),
        like(base, "signature-invalid", "a request at another site", site="elsewhere"),
        like(base, "signature-invalid", "a request with a byte changed", {"data_hex": [["flip", _BODY]]}),
        like(base, "signature-invalid", "a request cut by a byte", {"data_hex": [["cut", len(data) - 1]]}),
        like(base, "malformed", "a request cut in its signature", {"data_hex": [["cut", 72]]}),
        like(base, "seal-broken", "a request to other gateways", private_hex=scalar("other").to_bytes(32, "big").hex()),
        like(base, "seal-broken", "a request that a thief signed as its own", data_hex=stolen,
             device=ref("thief"), device_key_hex=public("thief").hex()),
        like(base, "malformed", "a request without a sealed key",
             data_hex=sign.sign(signer("device"), "request", topic, b"x").hex()),
        like(base, "malformed", "a request that holds an answer", data_hex=signed(messages.encode(_message("done")))),
        like(base, "malformed", "a request that holds a wipe", data_hex=signed(messages.encode(_message("wipe")))),
        like(base, "malformed", "a request with trailing bytes",
             data_hex=signed(messages.encode(_message("want")) + b"\0")),
        like(base, "too-large", "a request of 256 KiB and a byte", {"data_hex": [["pad", 262_145]]}),
        like(base, "malformed", "a request that is empty", data_hex=signed(b"")),
    ]  # fmt: skip
    return finished("Requests of a device.", tests)


def answer() -> dict[str, Any]:
    """answer.json."""
    own = {"trusted_hex": [public("gateway").hex()], "site": SITE, "device": _DEVICE,
           "private_hex": scalar("device").to_bytes(32, "big").hex()}  # fmt: skip
    topic, info = topics.device_response(SITE, _DEVICE), hpke.info("answer", SITE.encode(), raw("device"))
    packed = {name: envelope.pack_answer(signer("gateway"), point("device"), SITE, _DEVICE, _message(name))
              for name in ("synced", "done", "gone", "refused", *asking.ANSWERS, "wipe")}  # fmt: skip
    tests = [valid(f"the answer {name}", "open_answer", **own, data_hex=data.hex()) for name, data in packed.items()]
    base, data = tests[0], packed["synced"]
    as_request = hpke.seal(point("device"), hpke.info("request", SITE.encode(), raw("device")),
                           messages.encode(_message("done")))  # fmt: skip

    def signed(sealed: bytes) -> str:
        return sign.sign(signer("gateway"), "answer", topic, sealed).hex()

    tests += [
        like(base, "signature-invalid", "an answer of a key that is not trusted", trusted_hex=[public("device").hex()]),
        like(base, "signature-invalid", "an answer to another device", device=ref("other")),
        like(base, "signature-invalid", "an answer with a byte changed", {"data_hex": [["flip", len(data) - 1]]}),
        like(base, "signature-invalid", "an answer signed as a request",
             data_hex=sign.sign(signer("gateway"), "request", topic, data[_BODY:]).hex()),
        like(base, "malformed", "an answer cut in its signature", {"data_hex": [["cut", 9]]}),
        like(base, "too-large", "an answer of 256 KiB and a byte", {"data_hex": [["pad", 262_145]]}),
        like(base, "seal-broken", "an answer for another key", private_hex=scalar("other").to_bytes(32, "big").hex()),
        like(base, "seal-broken", "an answer sealed as a request", data_hex=signed(as_request)),
        like(base, "malformed", "an answer that holds a request",
             data_hex=signed(hpke.seal(point("device"), info, messages.encode(_message("sync"))))),
        like(tests[-1], "signature-invalid", "a wipe to another device", device=ref("other")),
        like(tests[-1], "signature-invalid", "a wipe of a key that is not trusted",
             trusted_hex=[public("device").hex()]),
        like(tests[-1], "malformed", "an answer that holds a wiped",
             data_hex=signed(hpke.seal(point("device"), info, messages.encode(_message("wiped"))))),
    ]  # fmt: skip
    return finished("Answers to a device.", tests)
