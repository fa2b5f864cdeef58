"""Enrolment: the one-time link, what is derived from its code, and the two messages of the bootstrap.

The device proves that it knows the code by sealing its public keys under a key derived from it; the gateway proves
itself by a key set that leads from the root whose digest stands in the link, and seals its answer to the device.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta, Struct

from wire import hpke, keyset, limits, messages, seal, sign, topics
from wire.errors import Malformed, TooLarge
from wire.keyset import KeySet
from wire.messages import Digest, Key, Kind, Label, Lease, Point, Ref, Time, Uint
from wire.names import check_site, decode_reference

_FRAGMENT = "enrol="
_MAX_LINK_CHARACTERS = 2048
_BROKER = re.compile(r"(?P<scheme>mqtts?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[1-9][0-9]{0,4})")
_LOOPBACK = re.compile(r"localhost|127(\.(0|[1-9][0-9]{0,2})){3}|\[::1\]")


class Link(Struct, frozen=True, forbid_unknown_fields=True):
    """What the link's fragment holds.

    ``broker`` is ``mqtt://host:port`` (loopback only) or ``mqtts://host:port``; ``certificate`` is SHA-256 of the
    broker's certificate (DER) for the first connection, empty where the system's authorities vouch for it and for
    ``mqtt``; ``root`` is the pinned root digest.
    """

    version: Annotated[int, Meta(ge=1, le=1)]
    site: Annotated[str, Meta(min_length=1, max_length=32)]
    broker: Annotated[str, Meta(min_length=1, max_length=256)]
    certificate: Annotated[bytes, Meta(max_length=32)]
    root: Digest
    enrolment: Ref
    code: Annotated[bytes, Meta(min_length=16, max_length=16)]
    expires: Time


def format_link(base: str, link: Link) -> str:
    """The link below ``base`` (an ``https://`` origin). All of it is in the fragment, which no server is sent."""
    text = base64.urlsafe_b64encode(messages.encode(link)).decode().rstrip("=")
    return f"{base}/#{_FRAGMENT}{text}"


def parse_link(uri: str) -> Link:
    """The link's contents; Malformed if it is none."""
    fragment = uri.strip().partition("#")[2] if len(uri) <= _MAX_LINK_CHARACTERS else ""
    if not fragment.startswith(_FRAGMENT):
        raise Malformed("not an enrolment link")
    text = fragment.removeprefix(_FRAGMENT)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("an enrolment link that was cut or changed") from None
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise Malformed("an enrolment link in another alphabet, padded, or with unused bits that are not zero")
    link = messages.decode(data, Link)
    check_site(link.site)
    _check_broker(link)
    return link


def _check_broker(link: Link) -> None:
    match = _BROKER.fullmatch(link.broker)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise Malformed("a broker is mqtt://host:port or mqtts://host:port")
    # The enrolment's broker password would cross the network in the clear.
    if match["scheme"] == "mqtt" and not _LOOPBACK.fullmatch(match["host"]):
        raise Malformed("a broker without TLS that is not on this machine")
    if len(link.certificate) not in (0, 32):
        raise Malformed("a certificate digest has 32 bytes, or none")


def _derive(code: bytes, enrolment: str, purpose: str) -> bytes:
    info = b"mpacs/1 enrolment " + purpose.encode()
    return HKDF(SHA256(), 32, salt=decode_reference(enrolment), info=info).derive(code)


@dataclass(frozen=True, slots=True)
class CodeKeys:
    """What both ends derive from the code: a broker password good for one topic, and a key for the request."""

    password: str
    request_key: bytes

    @classmethod
    def derive(cls, code: bytes, enrolment: str) -> "CodeKeys":
        """HKDF-SHA256, the enrolment id as salt."""
        return cls(_derive(code, enrolment, "password").hex(), _derive(code, enrolment, "request"))


class EnrolRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The device's public keys and the name it goes by; ``proof`` shows that it holds the signing key."""

    sign: Key
    exchange: Point
    name: Label
    proof: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Recipient(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient whose tree the device may read; ``label`` is for people. ``head`` is its sequence now."""

    kind: Kind
    recipient: Ref
    label: str
    head: Uint


class Enrolled(Struct, frozen=True, forbid_unknown_fields=True):
    """All that the device needs from now on."""

    device: Ref
    password: Key
    recipients: Annotated[list[Recipient], Meta(min_length=1, max_length=64)]
    lease: Lease
    authority: Annotated[bytes, Meta(max_length=16384)]
    issued: Time
    request: Digest


def pack_request(
    keys: CodeKeys, site: str, enrolment: str, signer: Ed25519PrivateKey, exchange: bytes, name: str
) -> bytes:
    """The payload of ``enrol/{enrolment}/request``."""
    topic = topics.enrol_request(site, enrolment)
    public = sign.raw_public(signer)
    proof = signer.sign(sign.message("enrol-proof", topic, sign.key_id(public), exchange))
    request = EnrolRequest(sign=public, exchange=exchange, name=name, proof=proof)
    return seal.seal(keys.request_key, seal.context("enrolment", topic.encode()), messages.encode(request))


def open_request(request_key: bytes, site: str, enrolment: str, data: bytes) -> EnrolRequest:
    """The request, once it is shown that its sender knows the code and holds the signing key."""
    if len(data) > limits.MAX_MESSAGE_BYTES:
        raise TooLarge("an enrolment request larger than the contract allows")
    topic = topics.enrol_request(site, enrolment)
    plaintext = seal.open_whole(request_key, seal.context("enrolment", topic.encode()), data)
    request = messages.decode(plaintext, EnrolRequest)
    sign.verify(
        request.sign, request.proof, sign.message("enrol-proof", topic, sign.key_id(request.sign), request.exchange)
    )
    hpke.load_public(request.exchange)
    return request


def _info(site: str, enrolment: str) -> bytes:
    return hpke.info("enrolment", site.encode(), decode_reference(enrolment))


def pack_answer(
    signer: Ed25519PrivateKey, key_set: bytes, exchange: bytes, site: str, enrolment: str, enrolled: Enrolled
) -> bytes:
    """The payload of ``enrol/{enrolment}/response``: length (4) and bytes of the key set, then the signed answer."""
    sealed = hpke.seal(exchange, _info(site, enrolment), messages.encode(enrolled))
    signed = sign.sign(signer, "enrolment", topics.enrol_response(site, enrolment), sealed)
    return len(key_set).to_bytes(4, "big") + key_set + signed


@dataclass(frozen=True, slots=True)
class Welcome:
    """What an enrolment gives: the root to pin, the key set as received and as read, and the device's own facts."""

    root: bytes
    key_set_bytes: bytes
    key_set: KeySet
    enrolled: Enrolled


def open_answer(
    link: Link, enrolment: str, private_key: EllipticCurvePrivateKey, request: bytes, now_ms: int, data: bytes
) -> Welcome:
    """The answer to ``request`` (its bytes as sent), trusted from the link's root digest on."""
    if len(data) > limits.MAX_MESSAGE_BYTES:
        raise TooLarge("an answer to an enrolment larger than the contract allows")
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size:
        raise Malformed("not an answer to an enrolment")
    key_set_bytes, signed = data[4 : 4 + size], data[4 + size :]
    root, key_set = keyset.unpack(link.root, link.site, topics.gateway_keys(link.site), key_set_bytes)
    topic = topics.enrol_response(link.site, enrolment)
    sealed = sign.open_signed(key_set.find_key(now_ms), "enrolment", topic, signed)
    enrolled = messages.decode(hpke.open_sealed(private_key, _info(link.site, enrolment), sealed), Enrolled)
    if enrolled.request != hashlib.sha256(request).digest():
        raise Malformed("an answer to another request")
    return Welcome(root, key_set_bytes, key_set, enrolled)
