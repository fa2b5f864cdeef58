"""The messages: what they hold, typed and bounded. How they are signed and sealed stands in wire.envelope.

Times are milliseconds since 1970-01-01 UTC. References and object ids are their 16 raw bytes.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from wire import cbor, limits
from wire.asks import Asked, Told
from wire.errors import Malformed
from wire.fields import Digest as Digest
from wire.fields import Epoch as Epoch
from wire.fields import Key as Key
from wire.fields import Kind as Kind
from wire.fields import Label as Label
from wire.fields import Layer as Layer
from wire.fields import Pages, Ranges
from wire.fields import Point as Point
from wire.fields import Ref as Ref
from wire.fields import Sequence as Sequence
from wire.fields import Time as Time
from wire.fields import Uid as Uid
from wire.fields import Uint as Uint

S = TypeVar("S", bound=Struct)

_PLACE = re.compile(r" - at `(\$[a-z_.\[\]]*)`\Z")


def encode(value: Struct) -> bytes:
    """The message as CBOR; Malformed if a field is out of its bounds, which its constructor does not look at."""
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    convert(plain, type(value))
    return cbor.encode(plain)


def decode(data: bytes, kind: type[S], max_bytes: int = limits.MAX_MESSAGE_BYTES) -> S:
    """A message of ``kind``; Malformed if a field is missing, unknown or out of its bounds."""
    return convert(cbor.decode(data, max_bytes), kind)


def convert(value: Any, kind: type[S]) -> S:
    """Typed from plain values. The reason that a caller sees names the place, never the value."""
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except (msgspec.ValidationError, OverflowError) as error:
        # An unknown field's name is the sender's own text: only a path of our own names may be quoted.
        place = _PLACE.search(str(error))
        raise Malformed(f"not a legal {kind.__name__} at {place[1] if place else '$'}") from None


# ── what is current ───────────────────────────────────────────────────────────────────────────────────────────────


class HeadEntry(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One current study: its reference, the sequence of its announcement, and SHA-256 of the announcement's bytes."""

    study: Ref
    sequence: Sequence
    digest: Digest


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """All that is current for a recipient; what is not in it is gone."""

    sequence: Sequence
    issued: Time
    next_due: Time
    studies: Annotated[list[HeadEntry], Meta(max_length=limits.MAX_STUDIES)]


class DeviceKey(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The epoch key, sealed by HPKE to one device."""

    device: Ref
    sealed: Annotated[bytes, Meta(min_length=113, max_length=113)]


class Keys(Struct, frozen=True, forbid_unknown_fields=True):
    """The epoch key of a recipient for each of its devices; signed, its contents sealed one by one."""

    suite: Annotated[int, Meta(ge=1, le=255)]
    epoch: Epoch
    issued: Time
    devices: Annotated[list[DeviceKey], Meta(max_length=1024)]


class ObjectEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What a device must know to fetch and open an object. ``size`` is the plaintext's; ``manifest`` see wire.manifest.

    ``series`` are indices into the announcement's series; ``batch`` orders the objects of one layer and series.
    """

    object: Ref
    layer: Layer
    series: Annotated[list[Annotated[int, Meta(ge=0, lt=65536)]], Meta(min_length=1, max_length=limits.MAX_SERIES)]
    batch: Annotated[int, Meta(ge=0, lt=2**31)]
    frames: Annotated[int, Meta(ge=0, le=limits.MAX_PARTS)]
    key: Key
    size: Annotated[int, Meta(ge=1, le=limits.MAX_OBJECT_BYTES)]
    manifest: Digest


class Announcement(Struct, frozen=True, forbid_unknown_fields=True):
    """A study as one recipient may see it.

    ``attributes`` is raw deflate (RFC 1951) of the UTF-8 of ``{"study": {…}, "series": [{…}, …]}`` in the DICOM JSON
    model (PS3.18 F); identity stands here and nowhere else.
    """

    study: Ref
    sequence: Sequence
    issued: Time
    settled: bool
    attributes: Annotated[bytes, Meta(max_length=limits.MAX_ANNOUNCEMENT_BYTES)]
    objects: Annotated[list[ObjectEntry], Meta(max_length=256)]


# ── requests and answers ──────────────────────────────────────────────────────────────────────────────────────────


class Known(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The head sequence and the (study, sequence) pairs that a device has of one recipient."""

    kind: Kind
    recipient: Ref
    head: Uint
    studies: Annotated[list[tuple[Ref, Sequence]], Meta(max_length=limits.MAX_STUDIES)]


class Sync(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="sync"):
    """What the device has; the gateway publishes what is newer and answers Synced, which renews the lease."""

    known: Annotated[list[Known], Meta(max_length=64)]


class Want(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="want"):
    """Publish these manifest pages and segments of an object; all of them may be in flight to the device at once.

    ``again`` says that the device has asked for some of them before and did not get them.
    """

    kind: Kind
    recipient: Ref
    object: Ref
    pages: Pages
    ranges: Ranges
    credit: Annotated[int, Meta(ge=1, le=limits.MAX_CREDIT)]
    again: bool

    def __post_init__(self) -> None:
        """Ranges ascend, do not touch, and hold no more segments than the credit."""
        last, total = -2, 0
        for first, end in self.ranges:
            if first <= last + 1 or end < first:
                raise ValueError("ranges overlap, touch or run backwards")
            last, total = end, total + end - first + 1
        if total > self.credit:
            raise ValueError("more segments than credit")


class Receipt(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="receipt"):
    """A study was received completely in a layer, or opened; signed as every request is."""

    kind: Kind
    recipient: Ref
    study: Ref
    sequence: Sequence
    layer: Layer
    event: Literal["received", "opened"]
    at: Time


class Order(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="order"):
    """Make a layer of an announced study that is not offered, or no longer; what is made is announced.

    ``series`` are SeriesInstanceUIDs; none of them means all of the study's.
    """

    kind: Kind
    recipient: Ref
    study: Ref
    layer: Layer
    series: Annotated[list[Uid], Meta(max_length=limits.MAX_SERIES)]


class Wiped(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="wiped"):
    """The device has erased what it received, as Wipe told it to; the keys that sign this go next."""


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One request. ``boot`` is random for each connection, ``counter`` grows within it: together they are unique."""

    boot: Ref
    counter: Uint
    issued: Time
    body: Sync | Want | Receipt | Order | Wiped | Asked


class Lease(Struct, frozen=True, forbid_unknown_fields=True):
    """Without ``secret`` the device's store cannot be opened; it erases the secret when ``expires`` has come."""

    secret: Key
    expires: Time


class Synced(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="synced"):
    """What is current has been published, study by study.

    ``heads`` are signed heads as published, as many as the answer holds; each stands on its own topic too.
    """

    heads: Annotated[list[Annotated[bytes, Meta(max_length=limits.MAX_MESSAGE_BYTES)]], Meta(max_length=64)]
    lease: Lease


class Done(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="done"):
    """The request was carried out; an Order was written down and will be."""


class Wipe(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="wipe"):
    """Whatever was asked: erase all that was received, say Wiped, then erase the device's keys."""


class Gone(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="gone"):
    """The object is not here, or not for this recipient: the same answer to both. A new one may be announced."""

    object: Ref


class Refused(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="refused"):
    """The request was understood and not carried out."""

    reason: Literal["malformed", "stale", "forbidden", "busy", "unsupported", "gone"]


AnswerBody = Synced | Done | Gone | Refused | Wipe | Told


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to the request that ``boot`` and ``counter`` name.

    No answer stands for a Want that is served; Progress stands before others.
    """

    boot: Ref
    counter: Uint
    issued: Time
    body: AnswerBody


# ── presence ──────────────────────────────────────────────────────────────────────────────────────────────────────

ONLINE = b"online"
OFFLINE = b"offline"
"""Payloads of ``status`` topics, of gateways and devices; the second is also the will."""
