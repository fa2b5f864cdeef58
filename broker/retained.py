"""Retained messages, bounded in number and bytes for each role.

Retention is a shortcut for a device that connects, never the only copy: the gateway publishes all of it again whenever
it connects. So what does not fit is not kept, and the older value under that topic goes too: none is better than stale.
"""

from dataclasses import dataclass

from broker.config import RetainedLimits
from wire.topics import Principal, Role, matches


@dataclass(frozen=True, slots=True)
class Retained:
    """One retained message."""

    payload: bytes
    qos: int
    publisher: str
    role: Role


class RetainedStore:
    """Topic to retained message."""

    def __init__(self, limits: dict[Role, RetainedLimits]) -> None:
        self._limits = limits
        self._messages: dict[str, Retained] = {}
        self._count: dict[Role, int] = dict.fromkeys(limits, 0)
        self._bytes: dict[Role, int] = dict.fromkeys(limits, 0)

    def __len__(self) -> int:
        return len(self._messages)

    def get(self, topic: str) -> Retained | None:
        """The message retained on exactly this topic."""
        return self._messages.get(topic)

    def put(self, topic: str, payload: bytes, qos: int, publisher: Principal) -> bool:
        """Keep, replace or, with an empty payload, clear [MQTT-3.3.1-10]; False if it does not fit and is not kept."""
        self._remove(topic)
        if not payload:
            return True
        role, limits = publisher.role, self._limits.get(publisher.role)
        if (
            limits is None
            or len(payload) > limits.message_bytes
            or self._count[role] >= limits.messages
            or self._bytes[role] + len(payload) > limits.total_bytes
        ):
            return False
        self._messages[topic] = Retained(payload, qos, publisher.name, role)
        self._count[role] += 1
        self._bytes[role] += len(payload)
        return True

    def topics_matching(self, topic_filter: str) -> list[str]:
        """Topics with a retained message that the filter matches."""
        wild = min((topic_filter.find(sign) for sign in "+#" if sign in topic_filter), default=-1)
        if wild < 0:
            return [topic_filter] if topic_filter in self._messages else []
        # The literal start rules out nearly all topics at the cost of one comparison each; "a/#" also matches "a".
        start = topic_filter[:wild].removesuffix("/")
        return [topic for topic in self._messages if topic.startswith(start) and matches(topic_filter, topic)]

    def forget(self, publisher: str) -> None:
        """Remove what this publisher left."""
        for topic in [topic for topic, kept in self._messages.items() if kept.publisher == publisher]:
            self._remove(topic)

    def _remove(self, topic: str) -> None:
        kept = self._messages.pop(topic, None)
        if kept is not None:
            self._count[kept.role] -= 1
            self._bytes[kept.role] -= len(kept.payload)
