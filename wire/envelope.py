"""How each message is signed and sealed: the one place where labels, topics and contexts are put together."""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wire import hpke, limits, messages, seal, sign, topics
from wire.errors import EpochUnknown, Malformed, TooLarge
from wire.messages import Announcement, Answer, DeviceKey, Head, Keys, Layer, Request
from wire.names import Kind, decode_reference, encode_reference

FindKey = Callable[[bytes], bytes | None]
_EPOCH_BYTES = 4


def object_context(site: str, object_id: bytes, layer: Layer) -> bytes:
    """What an object's ciphertext is bound to."""
    return seal.context("object", site.encode(), object_id, layer.encode())


def _check_size(data: bytes, most: int = limits.MAX_MESSAGE_BYTES) -> bytes:
    """``data``, which is packed or came: a bound is checked before anything else costs time, and before it is sent."""
    if len(data) > most:
        raise TooLarge(f"a message of {len(data)} bytes, where {most} are allowed")
    return data


# ── under the epoch key: head and announcement ────────────────────────────────────────────────────────────────────


def _epoch_context(label: str, topic: str, epoch: int) -> bytes:
    return seal.context(label, topic.encode(), epoch.to_bytes(_EPOCH_BYTES, "big"))


def _seal_for_epoch(
    signer: Ed25519PrivateKey, label: sign.Label, topic: str, epoch: int, epoch_key: bytes, plaintext: bytes
) -> bytes:
    sealed = seal.seal(epoch_key, _epoch_context(label, topic, epoch), plaintext)
    return sign.sign(signer, label, topic, epoch.to_bytes(_EPOCH_BYTES, "big") + sealed)


def _open_for_epoch(
    find_key: FindKey, label: sign.Label, topic: str, epoch_keys: dict[int, bytes], data: bytes
) -> bytes:
    body = sign.open_signed(find_key, label, topic, data)
    if len(body) < _EPOCH_BYTES:
        raise Malformed("cut short in the epoch")
    epoch = int.from_bytes(body[:_EPOCH_BYTES], "big")
    if epoch not in epoch_keys:
        raise EpochUnknown("sealed for an epoch whose key is not here")
    return seal.open_whole(epoch_keys[epoch], _epoch_context(label, topic, epoch), body[_EPOCH_BYTES:])


def pack_head(
    signer: Ed25519PrivateKey, site: str, kind: Kind, recipient: str, epoch: int, epoch_key: bytes, head: Head
) -> bytes:
    """The payload of a recipient's ``head``."""
    topic = topics.head(site, kind, recipient)
    return _check_size(_seal_for_epoch(signer, "head", topic, epoch, epoch_key, messages.encode(head)))


def open_head(
    find_key: FindKey, site: str, kind: Kind, recipient: str, epoch_keys: dict[int, bytes], data: bytes
) -> Head:
    """The head, once signature and seal have been checked."""
    _check_size(data)
    topic = topics.head(site, kind, recipient)
    return messages.decode(_open_for_epoch(find_key, "head", topic, epoch_keys, data), Head)


def pack_announcement(
    signer: Ed25519PrivateKey,
    site: str,
    kind: Kind,
    recipient: str,
    epoch: int,
    epoch_key: bytes,
    announcement: Announcement,
) -> bytes:
    """The payload of a recipient's ``study/{study}``; TooLarge above 16 KiB."""
    topic = topics.study(site, kind, recipient, encode_reference(announcement.study))
    data = _seal_for_epoch(signer, "announcement", topic, epoch, epoch_key, messages.encode(announcement))
    return _check_size(data, limits.MAX_ANNOUNCEMENT_BYTES)


def open_announcement(
    find_key: FindKey, site: str, kind: Kind, recipient: str, study: str, epoch_keys: dict[int, bytes], data: bytes
) -> Announcement:
    """The announcement, once signature and seal have been checked and it names the study of its topic."""
    _check_size(data, limits.MAX_ANNOUNCEMENT_BYTES)
    topic = topics.study(site, kind, recipient, study)
    plaintext = _open_for_epoch(find_key, "announcement", topic, epoch_keys, data)
    announcement = messages.decode(plaintext, Announcement)
    if announcement.study != decode_reference(study):
        raise Malformed("an announcement of another study than its topic's")
    return announcement


# ── epoch keys ────────────────────────────────────────────────────────────────────────────────────────────────────


def _epoch_info(site: str, kind: Kind, recipient: str, device: str, epoch: int) -> bytes:
    parts = (site.encode(), kind.encode(), decode_reference(recipient), decode_reference(device))
    return hpke.info("epoch", *parts, epoch.to_bytes(_EPOCH_BYTES, "big"))


def seal_epoch_key(
    site: str, kind: Kind, recipient: str, device: str, exchange: bytes, epoch: int, epoch_key: bytes
) -> DeviceKey:
    """The epoch key for the device whose HPKE public key is ``exchange``."""
    sealed = hpke.seal(exchange, _epoch_info(site, kind, recipient, device, epoch), epoch_key)
    return DeviceKey(device=decode_reference(device), sealed=sealed)


def pack_keys(signer: Ed25519PrivateKey, site: str, kind: Kind, recipient: str, keys: Keys) -> bytes:
    """The payload of a recipient's ``keys``."""
    return _check_size(sign.sign(signer, "keys", topics.keys(site, kind, recipient), messages.encode(keys)))


def open_keys(
    find_key: FindKey,
    site: str,
    kind: Kind,
    recipient: str,
    device: str,
    private_key: EllipticCurvePrivateKey,
    data: bytes,
) -> tuple[int, bytes | None]:
    """``(epoch, key)``; the key is None if the message holds none for this device, which is then no longer served."""
    _check_size(data)
    keys = messages.decode(sign.open_signed(find_key, "keys", topics.keys(site, kind, recipient), data), Keys)
    if keys.suite != hpke.SUITE:
        raise Malformed("a suite that this version does not know")
    own = decode_reference(device)
    for entry in keys.devices:
        if entry.device == own:
            context = _epoch_info(site, kind, recipient, device, keys.epoch)
            return keys.epoch, hpke.open_sealed(private_key, context, entry.sealed)
    return keys.epoch, None


# ── requests and answers ──────────────────────────────────────────────────────────────────────────────────────────


def _device_info(purpose: hpke.Purpose, site: str, device: str) -> bytes:
    return hpke.info(purpose, site.encode(), decode_reference(device))


def pack_request(signer: Ed25519PrivateKey, exchange: bytes, site: str, device: str, request: Request) -> bytes:
    """The payload of a device's ``request``, sealed to the gateways' shared key."""
    sealed = hpke.seal(exchange, _device_info("request", site, device), messages.encode(request))
    return _check_size(sign.sign(signer, "request", topics.device_request(site, device), sealed))


def open_request(
    device_key: bytes, private_key: EllipticCurvePrivateKey, site: str, device: str, data: bytes
) -> Request:
    """The request, once the device's signature has been checked."""
    _check_size(data)
    topic = topics.device_request(site, device)
    sealed = sign.open_signed(sign.only(device_key), "request", topic, data)
    plaintext = hpke.open_sealed(private_key, _device_info("request", site, device), sealed)
    return messages.decode(plaintext, Request)


def pack_answer(signer: Ed25519PrivateKey, exchange: bytes, site: str, device: str, answer: Answer) -> bytes:
    """The payload of a device's ``response``, sealed to the device."""
    sealed = hpke.seal(exchange, _device_info("answer", site, device), messages.encode(answer))
    return _check_size(sign.sign(signer, "answer", topics.device_response(site, device), sealed))


def open_answer(find_key: FindKey, private_key: EllipticCurvePrivateKey, site: str, device: str, data: bytes) -> Answer:
    """The answer, once the gateway's signature has been checked."""
    _check_size(data)
    sealed = sign.open_signed(find_key, "answer", topics.device_response(site, device), data)
    return messages.decode(hpke.open_sealed(private_key, _device_info("answer", site, device), sealed), Answer)
