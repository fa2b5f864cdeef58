"""What arrives: to which recipient and purpose a topic belongs, and what its bytes say once they are verified.

Nothing here waits, writes or sends. Every refusal is counted by its code and logged by it alone.
"""

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from device_client.ledger import Held
from device_client.store.state import State, Store
from wire import envelope, topics
from wire.errors import NameInvalid, Stale, TopicInvalid, WireError
from wire.messages import Answer, Head
from wire.names import check_reference
from wire.topics import ObjectTopic

log = logging.getLogger("mpacs.device")

Purpose = Literal["head", "keys", "study", "object", "response", "key-set", "status"]


@dataclass(frozen=True, slots=True)
class Route:
    """What a topic is for. ``reference`` is the study's or the gateway's, ``part`` is set for objects."""

    purpose: Purpose
    recipient: str = ""
    reference: str = ""
    part: ObjectTopic | None = None


class Routes:
    """The topics of one device; anything else is none of its business."""

    def __init__(self, state: State) -> None:
        """From the identity's recipients."""
        identity = state.identity
        self._site = identity.site
        self._exact = {
            topics.device_response(identity.site, identity.device): Route("response"),
            topics.gateway_keys(identity.site): Route("key-set"),
        }
        self._trees: list[tuple[str, str]] = []
        for reader in identity.recipients:
            place = (identity.site, reader.kind, reader.recipient)
            self._exact[topics.head(*place)] = Route("head", reader.recipient)
            self._exact[topics.keys(*place)] = Route("keys", reader.recipient)
            self._trees.append((topics.recipient_root(*place), reader.recipient))
        self._status = f"{topics.site_root(identity.site)}/gateway/"

    def own(self) -> list[str]:
        """Subscribed first: what is signed to the device, and what verifies the rest."""
        return [topic for topic, route in self._exact.items() if route.purpose in ("response", "key-set")]

    def shared(self) -> list[str]:
        """The recipients' trees without their objects: retained topics exactly, announcements by wildcard."""
        exact = [topic for topic, route in self._exact.items() if route.purpose in ("keys", "head")]
        # Epoch keys before heads: brokers deliver what is retained in the order of the subscriptions.
        exact.sort(key=lambda topic: self._exact[topic].purpose != "keys")
        return [*exact, *(f"{root}/study/+" for root, _ in self._trees), f"{self._status}+/status"]

    def find(self, topic: str) -> Route | None:
        """The route of ``topic``, or None."""
        route = self._exact.get(topic)
        if route is not None:
            return route
        try:
            for root, recipient in self._trees:
                if topic.startswith(f"{root}/object/"):
                    return Route("object", recipient, part=topics.parse_object_topic(root, topic))
                if topic.startswith(f"{root}/study/"):
                    return Route("study", recipient, check_reference(topic[len(root) + len("/study/") :]))
            if topic.startswith(self._status) and topic.endswith("/status"):
                return Route("status", reference=check_reference(topic[len(self._status) : -len("/status")]))
        except (NameInvalid, TopicInvalid):
            return None
        return None


class Inbox:
    """Verifies. Every method raises a WireError for what is not as the contract wants it."""

    def __init__(self, state: State) -> None:
        """``refused`` counts by code what did not pass."""
        self._state = state
        self.refused: Counter[str] = Counter()

    def refuse(self, error: WireError, purpose: str) -> None:
        """Count and log by code; texts and bytes stay out of the log."""
        self.refused[error.code] += 1
        level = logging.DEBUG if isinstance(error, Stale) else logging.WARNING
        log.log(level, "%s refused: %s", purpose, error.code)

    def _find_key(self, signer: bytes) -> bytes | None:
        return self._state.key_set.find_key(self._state.clock.now_ms())(signer)

    def answer(self, data: bytes) -> Answer:
        """An answer to this device."""
        identity = self._state.identity
        answer = envelope.open_answer(self._find_key, self._state.keys.exchange, identity.site, identity.device, data)
        self._state.clock.saw(answer.issued)
        return answer

    def epoch(self, store: Store, recipient: str, data: bytes) -> tuple[int, bytes | None] | None:
        """``(epoch, key)`` if the message says something new; Stale for an older epoch."""
        identity = self._state.identity
        kind = store.ledger.shelves[recipient].kind
        epoch, key = envelope.open_keys(
            self._find_key, identity.site, kind, recipient, identity.device, self._state.keys.exchange, data
        )
        known = store.epoch(recipient)
        if known is not None and epoch < known.epoch:
            raise Stale("an epoch before the latest")
        # A message of the same epoch from before the enrolment may be a replay: it takes no key away.
        if known is not None and epoch == known.epoch and (key is None or known.key == key):
            return None
        return epoch, key

    def head(self, store: Store, recipient: str, data: bytes) -> Head:
        """A head that is newer than every head before."""
        shelf = store.ledger.shelves[recipient]
        head = envelope.open_head(self._find_key, store.site, shelf.kind, recipient, store.epoch_keys(recipient), data)
        shelf.check_head(head)
        self._state.clock.saw(head.issued)
        return head

    def announcement(self, store: Store, recipient: str, study: str, data: bytes) -> Held:
        """An announcement that is newer than the one that is here."""
        shelf = store.ledger.shelves[recipient]
        announcement = envelope.open_announcement(
            self._find_key, store.site, shelf.kind, recipient, study, store.epoch_keys(recipient), data
        )
        held = Held(shelf.kind, recipient, study, announcement, hashlib.sha256(data).digest())
        shelf.check_announcement(held)
        self._state.clock.saw(announcement.issued)
        return held
