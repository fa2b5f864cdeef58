"""Topics, and who may publish or subscribe to which: the one home of the access rule.

Standard library only, so that a broker can import it without being able to decrypt anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from wire.errors import NameInvalid, TopicInvalid
from wire.names import Kind, check_kind, check_reference, check_site, parse_decimal

ROOT = "mpacs/1"
MAX_TOPIC_BYTES = 512

# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────


def site_root(site: str) -> str:
    """``mpacs/1/{site}``: everything of one site."""
    return f"{ROOT}/{check_site(site)}"


def recipient_root(site: str, kind: Kind, recipient: str) -> str:
    """The tree of one recipient."""
    return f"{site_root(site)}/{check_kind(kind)}/{check_reference(recipient)}"


def head(site: str, kind: Kind, recipient: str) -> str:
    """What is current for the recipient; retained."""
    return f"{recipient_root(site, kind, recipient)}/head"


def keys(site: str, kind: Kind, recipient: str) -> str:
    """The epoch key for each device of the recipient; retained."""
    return f"{recipient_root(site, kind, recipient)}/keys"


def study(site: str, kind: Kind, recipient: str, study_ref: str) -> str:
    """The announcement of one study."""
    return f"{recipient_root(site, kind, recipient)}/study/{check_reference(study_ref)}"


def object_root(site: str, kind: Kind, recipient: str, object_id: str) -> str:
    """The tree of one object, under which its segments and manifest pages appear."""
    return f"{recipient_root(site, kind, recipient)}/object/{check_reference(object_id)}"


def segment(site: str, kind: Kind, recipient: str, object_id: str, index: int) -> str:
    """One segment's ciphertext."""
    return f"{object_root(site, kind, recipient, object_id)}/{index:d}"


def page(site: str, kind: Kind, recipient: str, object_id: str, index: int) -> str:
    """One page of an object's manifest."""
    return f"{object_root(site, kind, recipient, object_id)}/m{index:d}"


def device_root(site: str, device: str) -> str:
    """The tree of one device."""
    return f"{site_root(site)}/device/{check_reference(device)}"


def device_request(site: str, device: str) -> str:
    """Sealed requests of a device."""
    return f"{device_root(site, device)}/request"


def device_response(site: str, device: str) -> str:
    """Sealed answers to a device."""
    return f"{device_root(site, device)}/response"


def object_root_of_device(site: str, device: str, object_id: str) -> str:
    """The tree of an object that a device sends up."""
    return f"{device_root(site, device)}/object/{check_reference(object_id)}"


def device_status(site: str, device: str) -> str:
    """Presence of a device, with a will."""
    return f"{device_root(site, device)}/status"


def gateway_status(site: str, gateway: str) -> str:
    """Presence of a gateway, with a will."""
    return f"{site_root(site)}/gateway/{check_reference(gateway)}/status"


def gateway_keys(site: str) -> str:
    """The key set; retained."""
    return f"{site_root(site)}/gateway/keys"


def enrol_request(site: str, enrolment: str) -> str:
    """The one-time bootstrap, towards the gateway."""
    return f"{site_root(site)}/enrol/{check_reference(enrolment)}/request"


def enrol_response(site: str, enrolment: str) -> str:
    """The one-time bootstrap, towards the device."""
    return f"{site_root(site)}/enrol/{check_reference(enrolment)}/response"


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ObjectTopic:
    """What a topic below ``object/`` names: a segment, or a page of the manifest."""

    object_id: str
    part: Literal["segment", "page"]
    index: int


def parse_object_topic(root: str, topic: str) -> ObjectTopic:
    """Read ``topic`` below ``root`` (a recipient's or a device's tree); TopicInvalid if it is no object topic."""
    prefix = f"{root}/object/"
    if not topic.startswith(prefix):
        raise TopicInvalid("not an object of this tree")
    levels = topic[len(prefix) :].split("/")
    if len(levels) != 2:
        raise TopicInvalid("an object topic ends in object and part")
    object_id, last = levels
    try:
        check_reference(object_id)
        if last.startswith("m"):
            return ObjectTopic(object_id, "page", parse_decimal(last[1:]))
        return ObjectTopic(object_id, "segment", parse_decimal(last))
    except NameInvalid as error:
        raise TopicInvalid(str(error)) from None


def parse_device_topic(site: str, topic: str) -> tuple[str, str]:
    """``(device, rest)`` of a topic of any device of the site, such as ``("…", "request")``."""
    prefix = f"{site_root(site)}/device/"
    device, slash, rest = topic.removeprefix(prefix).partition("/")
    if not topic.startswith(prefix) or not slash or not rest:
        raise TopicInvalid("not a device's topic")
    try:
        return check_reference(device), rest
    except NameInvalid as error:
        raise TopicInvalid(str(error)) from None


# ── matching (MQTT 3.1.1 section 4.7) ─────────────────────────────────────────────────────────────────────────────


def _has_illegal_character(text: str) -> bool:
    # MQTT 3.1.1 section 1.5.3: NUL must not appear; control and non-characters should not, and here do not.
    codes = map(ord, text)
    return any(
        c < 0x20 or 0x7F <= c <= 0x9F or 0xD800 <= c <= 0xDFFF or 0xFDD0 <= c <= 0xFDEF or c & 0xFFFE == 0xFFFE
        for c in codes
    )


def is_topic(topic: str) -> bool:
    """Whether ``topic`` may stand in a PUBLISH."""
    return is_filter(topic) and "+" not in topic and "#" not in topic


def is_filter(text: str) -> bool:
    """Whether ``text`` is a legal topic filter: ``+`` and ``#`` stand alone in their level, ``#`` last."""
    if not text or len(text) > MAX_TOPIC_BYTES or _has_illegal_character(text):
        return False
    if len(text.encode()) > MAX_TOPIC_BYTES:
        return False
    levels = text.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position != len(levels) - 1):
            return False
        if "+" in level and level != "+":
            return False
    return True


def includes(allowed: str, requested: str) -> bool:
    """Whether every topic that matches the filter ``requested`` also matches the filter ``allowed``.

    ``ward/+`` does not include ``ward/#``: a filter is judged by all that it could ever match.
    """
    wanted = requested.split("/")
    # "+/#" matches what "#" matches: every topic has a first level. Below the first, "#" reaches the parent too.
    granted = ["#"] if allowed == "+/#" else allowed.split("/")
    for position, level in enumerate(granted):
        if level == "#":
            # MQTT-4.7.2-1: wildcards at the start do not reach topics that begin with "$".
            return position > 0 or not wanted[0].startswith("$")
        if position >= len(wanted) or wanted[position] == "#":
            return False
        if level == "+":
            if position == 0 and wanted[0].startswith("$"):
                return False
        elif wanted[position] != level:
            return False
    return len(granted) == len(wanted)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether the filter matches the topic; a topic is a filter without wildcards."""
    return includes(topic_filter, topic)


# ── the access rule ───────────────────────────────────────────────────────────────────────────────────────────────

Role = Literal["gateway", "device", "enrol"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever is logged in at the broker.

    ``name`` is user name and client id at once: the gateway's, device's or enrolment's reference.
    ``recipients`` are the ``(kind, reference)`` pairs whose trees a device may read.
    """

    site: str
    role: Role
    name: str
    recipients: tuple[tuple[Kind, str], ...] = field(default=())

    def subscribable(self) -> Iterator[str]:
        """Filters whose subsets this principal may subscribe to."""
        match self.role:
            case "gateway":
                yield f"{site_root(self.site)}/#"
            case "device":
                for kind, recipient in self.recipients:
                    yield f"{recipient_root(self.site, kind, recipient)}/#"
                yield device_response(self.site, self.name)
                yield f"{site_root(self.site)}/gateway/+/status"
                yield gateway_keys(self.site)
            case "enrol":
                yield enrol_response(self.site, self.name)

    def publishable(self) -> Iterator[str]:
        """Filters whose topics this principal may publish to."""
        match self.role:
            case "gateway":
                yield f"{site_root(self.site)}/#"
            case "device":
                yield device_request(self.site, self.name)
                yield device_status(self.site, self.name)
                yield f"{device_root(self.site, self.name)}/object/+/+"
            case "enrol":
                yield enrol_request(self.site, self.name)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Judged by filter inclusion, at the time of the subscription."""
        return is_filter(topic_filter) and any(includes(allowed, topic_filter) for allowed in self.subscribable())

    def may_publish(self, topic: str) -> bool:
        """Judged for every PUBLISH and for a will."""
        return is_topic(topic) and any(includes(allowed, topic) for allowed in self.publishable())

    def may_receive(self, topic: str) -> bool:
        """Judged at every delivery, retained or live."""
        return self.may_subscribe(topic)
