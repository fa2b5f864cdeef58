"""Which subscribers a topic reaches, at a cost that does not grow with the number of filters."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Subscriber = TypeVar("Subscriber", bound=Hashable)


class _Node(Generic[Subscriber]):
    __slots__ = ("children", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Subscriber]] = {}
        self.subscribers: dict[Subscriber, int] = {}


class FilterIndex(Generic[Subscriber]):
    """Topic filters (MQTT 3.1.1 section 4.7) with the QoS that each subscriber was granted.

    Filters without wildcards stand in a dictionary, the others in a tree with a node a level. A topic's levels never
    are ``+`` or ``#``, so these stand among the children under their own names.
    """

    def __init__(self) -> None:
        self._exact: dict[str, dict[Subscriber, int]] = {}
        self._root: _Node[Subscriber] = _Node()

    def add(self, topic_filter: str, subscriber: Subscriber, qos: int) -> None:
        """Add or replace one subscription [MQTT-3.8.4-3]."""
        if not _has_wildcard(topic_filter):
            self._exact.setdefault(topic_filter, {})[subscriber] = qos
            return
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        node.subscribers[subscriber] = qos

    def discard(self, topic_filter: str, subscriber: Subscriber) -> None:
        """Remove one subscription, and what it alone kept in memory."""
        if not _has_wildcard(topic_filter):
            subscribers = self._exact.get(topic_filter, {})
            subscribers.pop(subscriber, None)
            if not subscribers:
                self._exact.pop(topic_filter, None)
            return
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return
            path.append(child)
        path[-1].subscribers.pop(subscriber, None)
        for parent, level, child in zip(reversed(path[:-1]), reversed(levels), reversed(path[1:]), strict=True):
            if child.subscribers or child.children:
                return
            del parent.children[level]

    def match(self, topic: str) -> dict[Subscriber, int]:
        """Each subscriber once, with the highest QoS of its filters that match."""
        found = dict(self._exact.get(topic, {}))
        if self._root.children:
            for node in self._reached(topic):
                for subscriber, qos in node.subscribers.items():
                    found[subscriber] = max(qos, found.get(subscriber, 0))
        return found

    def _reached(self, topic: str) -> Iterator[_Node[Subscriber]]:
        frontier = [self._root]
        for position, level in enumerate(topic.split("/")):
            # MQTT-4.7.2-1: wildcards at the start do not reach topics that begin with "$".
            wild = position > 0 or not level.startswith("$")
            following: list[_Node[Subscriber]] = []
            for node in frontier:
                children = node.children
                if (child := children.get(level)) is not None:
                    following.append(child)
                if wild:
                    if (child := children.get("+")) is not None:
                        following.append(child)
                    if (child := children.get("#")) is not None:
                        yield child
            if not following:
                return
            frontier = following
        for node in frontier:
            yield node
            # "a/#" matches "a" itself [MQTT 3.1.1 section 4.7.1.2].
            if (rest := node.children.get("#")) is not None:
                yield rest


def _has_wildcard(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter
