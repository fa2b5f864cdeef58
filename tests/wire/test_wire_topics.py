"""Filter inclusion against brute force over a small alphabet, and what the access rule must never grant."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from wire import topics
from wire.names import encode_reference
from wire.topics import Principal

LEVELS = ("a", "b", "", "$c")
DEPTH = 4
FILTERS = [
    text
    for depth in range(1, 4)
    for levels in itertools.product(("a", "b", "", "+", "#", "$c"), repeat=depth)
    if topics.is_filter(text := "/".join(levels))
]
# One level more than any filter has, and one more name than filters know: enough to tell any two of them apart. The
# empty topic is among them, though nobody can publish it: "/#" is held to reach its parent, like any other.
TOPICS = [
    "/".join(levels) for depth in range(1, DEPTH + 1) for levels in itertools.product((*LEVELS, "z"), repeat=depth)
]


def _matches(topic_filter: str, topic: str) -> bool:
    """MQTT 3.1.1 section 4.7, read again and written the other way round."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, given_ = topic_filter.split("/"), topic.split("/")
    while wanted and given_:
        if wanted[0] == "#":
            return True
        if wanted[0] not in ("+", given_[0]):
            return False
        wanted, given_ = wanted[1:], given_[1:]
    return not given_ and wanted in ([], ["#"])


MATCHED = {text: frozenset(i for i, topic in enumerate(TOPICS) if _matches(text, topic)) for text in FILTERS}


def test_matching_is_that_of_the_standard() -> None:
    """Every filter against every topic."""
    for text, matched in MATCHED.items():
        assert {i for i, topic in enumerate(TOPICS) if topics.matches(text, topic)} == matched, text


def test_inclusion_is_that_of_the_sets() -> None:
    """Every filter against every filter."""
    for allowed, requested in itertools.product(FILTERS, repeat=2):
        assert topics.includes(allowed, requested) == (MATCHED[requested] <= MATCHED[allowed]), (allowed, requested)


OWN, OTHER = encode_reference(bytes(16)), encode_reference(bytes([1]) * 16)
DEVICE = Principal("site", "device", OWN, (("ward", OWN),))
PARTS = st.sampled_from(
    ("mpacs", "1", "site", "other", "ward", "patient", "device", "gateway", "enrol", "object", "study", "head", "keys",
     "request", "response", "status", OWN, OTHER, "0", "m0", "+", "#", "", "$share", "$SYS")
)  # fmt: skip


@given(st.lists(PARTS, min_size=1, max_size=8).map("/".join))
def test_a_device_gets_nothing_that_the_table_does_not_name(text: str) -> None:
    """By the table of the document, read level by level."""
    levels = text.split("/")
    prefix, rest = levels[:3], levels[3:]
    readable = prefix == ["mpacs", "1", "site"] and (
        rest[:2] == ["ward", OWN]
        or rest == ["device", OWN, "response"]
        or rest == ["gateway", "keys"]
        or (len(rest) == 3 and rest[0] == "gateway" and rest[1] != "#" and rest[2] == "status")
    )
    assert DEVICE.may_subscribe(text) == (readable and topics.is_filter(text))
    writable = prefix == ["mpacs", "1", "site"] and (
        rest in (["device", OWN, "request"], ["device", OWN, "status"])
        or (len(rest) == 5 and rest[:3] == ["device", OWN, "object"])
    )
    assert DEVICE.may_publish(text) == (writable and topics.is_topic(text))


@given(st.lists(PARTS, min_size=1, max_size=8).map("/".join))
def test_what_may_be_subscribed_may_be_received(text: str) -> None:
    """A delivery is judged by the same rule as its subscription."""
    if topics.is_topic(text):
        assert DEVICE.may_receive(text) == DEVICE.may_subscribe(text)
