"""Who is connected, who subscribed to what, what is retained: routing without sockets."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from broker.access import Users
from broker.config import Limits
from broker.errors import PacketRefused
from broker.filters import FilterIndex
from broker.outbox import Outbox
from broker.packets import encode_publish
from broker.retained import RetainedStore
from broker.rights import Rights

log = logging.getLogger(__name__)

MAX_QOS = 1
REFUSED = 0x80
"""SUBACK return code, MQTT 3.1.1 section 3.9.3."""

# Fixed header, length of the topic and packet identifier, MQTT 3.1.1 section 3.3.
PUBLISH_OVERHEAD_BYTES = 9


@dataclass(frozen=True, slots=True)
class Will:
    """What is published when a client vanishes without DISCONNECT."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(eq=False, slots=True)
class Member:
    """One connected client, as routing sees it."""

    name: str
    digest: bytes
    rights: Rights
    outbox: Outbox
    will: Will | None = None
    subscriptions: set[str] = field(default_factory=set)
    state: Literal["live", "condemned", "gone"] = "live"
    reason: str = ""

    def condemn(self, reason: str) -> None:
        """Mark for disconnection; whoever holds the socket ends it."""
        if self.state == "live":
            self.state, self.reason = "condemned", reason


class Hub:
    """Routes between members. Everything here runs to its end without waiting, so no client sees a half-done change."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._index: FilterIndex[Member] = FilterIndex()
        self.members: dict[str, Member] = {}
        self.retained = RetainedStore({"gateway": limits.retained_gateway, "device": limits.retained_device})

    def join(self, member: Member) -> Member | None:
        """Add an authenticated client; an older connection of the same user leaves first, its will published.

        Returns the older one, whose connection must end.
        """
        older = self.members.get(member.name)
        if older is not None:
            older.condemn("a newer connection of the same user came")
            self.leave(older)
        self.members[member.name] = member
        return older

    def leave(self, member: Member, *, keep_will: bool = True) -> None:
        """Remove a client and, unless it said goodbye, publish its will; harmless when repeated."""
        if member.state == "gone":
            return
        member.state = "gone"
        for topic_filter in member.subscriptions:
            self._index.discard(topic_filter, member)
        member.subscriptions.clear()
        member.outbox.discard()
        if self.members.get(member.name) is member:
            del self.members[member.name]
        will, member.will = member.will, None
        if will is not None and keep_will and member.rights.may_publish(will.topic):
            self.publish(will.topic, will.payload, will.qos, will.retain, member.rights)

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, rights: Rights) -> None:
        """Deliver to every subscriber that may receive it, and retain where asked; the caller judged ``rights``."""
        if retain and not self.retained.put(topic, payload, qos, rights.principal):
            log.error("%s %s: a message does not fit and is not retained", rights.principal.role, rights.principal.name)
        shared: bytes | None = None
        for member, granted in self._index.match(topic).items():
            if member.state != "live" or not member.rights.may_receive(topic):
                continue
            if min(qos, granted) == 0:
                # One encoding for all of them; QoS 1 carries an identifier that is each client's own.
                shared = shared or encode_publish(topic, payload, qos=0, packet_id=None, retain=False)
                member.outbox.offer_qos0(shared)
            else:
                self._offer_qos1(member, topic, payload, False)

    def subscribe(self, member: Member, topic_filter: str, qos: int) -> int:
        """Return the granted QoS, or 0x80 if the filter is not one of the member's own, or one too many."""
        known = topic_filter in member.subscriptions
        if not known and len(member.subscriptions) >= self._limits.subscriptions:
            return REFUSED
        if not member.rights.may_subscribe(topic_filter):
            return REFUSED
        granted = min(qos, MAX_QOS)
        member.subscriptions.add(topic_filter)
        self._index.add(topic_filter, member, granted)
        return granted

    def unsubscribe(self, member: Member, topic_filter: str) -> None:
        """Remove one subscription; an unknown one is no error [MQTT-3.10.4-5]."""
        if topic_filter in member.subscriptions:
            member.subscriptions.discard(topic_filter)
            self._index.discard(topic_filter, member)

    def offer_retained(self, member: Member, topics: deque[str], granted: int) -> None:
        """Send what is retained on ``topics`` while it fits; what remains in ``topics`` is for later.

        Each is looked up when its turn comes, so what was replaced meanwhile never arrives after its successor.
        """
        while topics and member.state == "live":
            topic = topics[0]
            kept = self.retained.get(topic)
            if kept is not None and member.rights.may_receive(topic):
                qos = min(kept.qos, granted)
                if not member.outbox.fits(len(kept.payload) + len(topic) * 3 + PUBLISH_OVERHEAD_BYTES, qos):
                    return
                if qos == 0:
                    member.outbox.offer_qos0(encode_publish(topic, kept.payload, qos=0, packet_id=None, retain=True))
                else:
                    self._offer_qos1(member, topic, kept.payload, True)
            topics.popleft()

    def apply(self, users: Users) -> Iterator[Member]:
        """Judge everyone again by a new access file; yields those whose connection must end."""
        for member in list(self.members.values()):
            digest, principal = users.get(member.name, (b"", None))
            old = member.rights.principal
            if principal is None or digest != member.digest or principal.role != old.role:
                member.condemn("its access was withdrawn")
                if principal is None:
                    # Nothing is said any more in the name of one who is no longer known.
                    member.will = None
                yield member
            elif principal != old:
                member.rights = Rights(principal)
                for topic_filter in [one for one in member.subscriptions if not member.rights.may_subscribe(one)]:
                    self.unsubscribe(member, topic_filter)
                    log.info("%s: a subscription ended with the right to it", member.name)

    def _offer_qos1(self, member: Member, topic: str, payload: bytes, retain: bool) -> None:
        try:
            member.outbox.offer_qos1(topic, payload, retain)
        except PacketRefused as error:
            member.condemn(str(error))
