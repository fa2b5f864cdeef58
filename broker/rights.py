"""A principal's rights, cheap enough to be judged at every delivery.

The rule itself has one home, ``wire.topics.Principal``; here its verdicts are kept.
"""

from wire.topics import MAX_TOPIC_BYTES, Principal, device_status, includes, is_topic

MAX_KEPT = 4096


class Rights:
    """One principal's verdicts. A change of the principal makes a new object, so nothing stale is kept.

    Segments of one object differ in their last level only. Where the rule includes ``parent/+`` it includes every one
    of them, so one verdict for the parent serves all. Everything else is judged in full.
    """

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self._publishable = tuple(principal.publishable())
        self._subscribable = tuple(principal.subscribable())
        self._publish_below: dict[str, bool] = {}
        self._receive_below: dict[str, bool] = {}
        self._own_status = device_status(principal.site, principal.name) if principal.role == "device" else None

    def may_subscribe(self, topic_filter: str) -> bool:
        """Judged by filter inclusion."""
        return self.principal.may_subscribe(topic_filter)

    def may_publish(self, topic: str) -> bool:
        """Judged for every PUBLISH and for a will."""
        return _below(topic, self._publish_below, self._publishable) or self.principal.may_publish(topic)

    def may_receive(self, topic: str) -> bool:
        """Judged at every delivery, retained or live."""
        return _below(topic, self._receive_below, self._subscribable) or self.principal.may_receive(topic)

    def may_retain(self, topic: str) -> bool:
        """A gateway may retain what it may publish, a device its own status, an enrolment nothing."""
        return self.principal.role == "gateway" or topic == self._own_status


def _below(topic: str, verdicts: dict[str, bool], allowed: tuple[str, ...]) -> bool:
    parent, _, last = topic.rpartition("/")
    # Only a last level that cannot hold a wildcard, a control or any other odd character takes the short way.
    if not (last.isascii() and last.isalnum()) or len(topic) > MAX_TOPIC_BYTES:
        return False
    verdict = verdicts.get(parent)
    if verdict is None:
        if len(verdicts) >= MAX_KEPT:
            verdicts.clear()
        verdict = is_topic(f"{parent}/0") and any(includes(one, f"{parent}/+") for one in allowed)
        verdicts[parent] = verdict
    return verdict
