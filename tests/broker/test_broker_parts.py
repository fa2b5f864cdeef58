"""The parts alone: filters against the rule, rights against the principal, bounds against their counts."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config import Limits, RetainedLimits
from broker.filters import FilterIndex
from broker.listener import Admission
from broker.logs import MAX_A_WINDOW, WINDOW_S, Sparse
from broker.pace import Pace
from broker.retained import RetainedStore
from broker.rights import Rights
from tests.broker.cast import ATTACKERS_DOCTOR, VICTIMS_DOCTOR
from tests.support.brokers import SITE, login
from wire import topics

LEVELS = st.sampled_from(["", "a", "b", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(topics.is_topic)
FILTERS = (
    st.tuples(st.lists(st.sampled_from(["", "a", "b", "$x", "+"]), max_size=4), st.sampled_from(["", "/#"]))
    .map(lambda pair: "/".join(pair[0]) + pair[1] if pair[0] else "#")
    .filter(topics.is_filter)
)


@given(st.lists(st.tuples(FILTERS, st.integers(0, 3), st.integers(0, 1)), max_size=20), TOPICS)
def test_the_index_finds_what_the_rule_matches(entries: list[tuple[str, int, int]], topic: str) -> None:
    index: FilterIndex[int] = FilterIndex()
    current: dict[tuple[str, int], int] = {}
    for topic_filter, subscriber, qos in entries:
        index.add(topic_filter, subscriber, qos)
        current[topic_filter, subscriber] = qos
    expected: dict[int, int] = {}
    for (topic_filter, subscriber), qos in current.items():
        if topics.matches(topic_filter, topic):
            expected[subscriber] = max(qos, expected.get(subscriber, 0))
    assert index.match(topic) == expected


@given(st.lists(st.tuples(FILTERS, st.integers(0, 3)), max_size=20))
def test_an_index_that_was_emptied_keeps_nothing(entries: list[tuple[str, int]]) -> None:
    index: FilterIndex[int] = FilterIndex()
    for topic_filter, subscriber in entries:
        index.add(topic_filter, subscriber, 0)
    for topic_filter, subscriber in entries:
        index.discard(topic_filter, subscriber)
        index.discard(topic_filter, subscriber)
    assert not index._exact and not index._root.children


_ROOTS = [
    topics.recipient_root(SITE, "doctor", VICTIMS_DOCTOR),
    topics.recipient_root(SITE, "doctor", ATTACKERS_DOCTOR),
    topics.site_root(SITE),
    topics.device_root(SITE, VICTIMS_DOCTOR),
    f"{topics.site_root(SITE)}/gateway",
    f"{topics.site_root(SITE)}/gateway/{VICTIMS_DOCTOR}",
    f"{topics.site_root(SITE)}/enrol/{VICTIMS_DOCTOR}",
    "$SYS",
    "",
]
_RESTS = ["", "/head", "/keys", "/status", "/request", "/response", "/object/x/0", "/object/x/m1", "/object/x/+"]
_RESTS += ["/object/0", "/\x00", "/a\uffff", "/#", "/+", "/é", "/" + "a" * 600]


@pytest.mark.parametrize("role", ["gateway", "device", "enrol"])
def test_kept_verdicts_are_the_principals(role: topics.Role) -> None:
    principal = topics.Principal(SITE, role, VICTIMS_DOCTOR, (("doctor", VICTIMS_DOCTOR),))
    rights = Rights(principal)
    for topic in [root + rest for root in _ROOTS for rest in _RESTS] * 2:
        assert rights.may_publish(topic) == principal.may_publish(topic), topic
        if topics.is_topic(topic):
            assert rights.may_receive(topic) == principal.may_receive(topic), topic


def test_kept_verdicts_are_bounded() -> None:
    rights = Rights(login("gateway").principal)
    for index in range(10_000):
        assert rights.may_publish(f"{topics.site_root(SITE)}/doctor/{index}/head")
    assert len(rights._publish_below) <= 4096


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=40), st.booleans()), max_size=60))
def test_retained_counts_are_what_is_kept(steps: list[tuple[int, bytes, bool]]) -> None:
    limits = RetainedLimits(messages=4, total_bytes=1024, message_bytes=1024)
    store = RetainedStore({"gateway": limits, "device": limits})
    gateway, device = login("gateway").principal, login("device").principal
    for number, payload, from_device in steps:
        fits = store.put(f"t/{number}", payload, 0, device if from_device else gateway)
        kept = store.get(f"t/{number}")
        assert (kept.payload if kept else b"") == (payload if fits else b"")
    for role in ("gateway", "device"):
        mine = [one for topic in store.topics_matching("#") if (one := store.get(topic)) and one.role == role]
        assert store._count[role] == len(mine) <= 4
        assert store._bytes[role] == sum(len(one.payload) for one in mine) <= 1024
    store.forget(device.name)
    assert store._count["device"] == store._bytes["device"] == 0


@given(FILTERS, st.lists(TOPICS, max_size=10, unique=True))
def test_retained_topics_are_found_by_the_rule(topic_filter: str, names: list[str]) -> None:
    limits = RetainedLimits(messages=100, total_bytes=10_000, message_bytes=1024)
    store = RetainedStore({"gateway": limits})
    for name in names:
        store.put(name, b"x", 0, login("gateway").principal)
    expected = [name for name in names if topics.matches(topic_filter, name)]
    assert sorted(store.topics_matching(topic_filter)) == sorted(expected)


def test_an_enrolment_retains_nothing() -> None:
    limits = RetainedLimits(messages=100, total_bytes=10_000, message_bytes=1024)
    store = RetainedStore({"gateway": limits})
    assert not store.put("t", b"x", 0, login("enrol").principal)
    assert not Rights(login("enrol").principal).may_retain("t")


def test_a_pace_delays_what_exceeds_it() -> None:
    pace = Pace(rate_per_s=10, burst=20, now_s=0)
    assert [pace.delay_s(0) for _ in range(20)] == [0.0] * 20
    assert pace.delay_s(0, 5) == pytest.approx(0.5)
    assert pace.delay_s(1.0) == 0
    assert pace.delay_s(1000.0, 21) == pytest.approx(0.1)


def test_admission_counts_by_address_and_in_all() -> None:
    admission = Admission(Limits(connections=4, connections_per_address=2))
    far = [admission.enter("192.0.2.1", pytest.fail) for _ in range(3)]
    assert far[0] and far[1] and far[2] is None
    near = [admission.enter(address, pytest.fail) for address in ("127.0.0.1", "::1", "127.0.0.1")]
    assert near[0] and near[1] and near[2] is None
    far[0].leave()
    assert admission.enter("192.0.2.1", pytest.fail) is not None
    assert admission.enter("192.0.2.2", pytest.fail) is None


def test_admission_evicts_the_oldest_that_is_not_authenticated() -> None:
    admission = Admission(Limits(unauthenticated_connections=2))
    evicted: list[str] = []
    first = admission.enter("192.0.2.1", lambda: evicted.append("first"))
    second = admission.enter("192.0.2.1", lambda: evicted.append("second"))
    assert first and second
    first.authenticated()
    assert admission.enter("192.0.2.1", lambda: evicted.append("third")) and evicted == []
    assert admission.enter("192.0.2.1", lambda: evicted.append("fourth")) and evicted == ["second"]
    second.leave()
    assert admission.enter("192.0.2.1", lambda: evicted.append("fifth")) and evicted == ["second", "third"]


def test_the_log_cannot_be_flooded() -> None:
    now_s = 0.0
    sparse = Sparse(lambda: now_s)

    def write() -> tuple[bool, str]:
        record = logging.LogRecord("broker", logging.WARNING, "", 0, "refused %s", ("x",), None)
        return sparse.filter(record), record.getMessage()

    assert sum(write()[0] for _ in range(1000)) == MAX_A_WINDOW
    now_s = WINDOW_S
    assert write() == (True, f"refused x ({1000 - MAX_A_WINDOW} more were not written)")
