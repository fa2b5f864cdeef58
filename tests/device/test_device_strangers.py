"""Bytes and topics from strangers: refused with a code, never with a crash."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_client.inbox import Inbox, Routes
from device_client.store.state import State
from wire import topics
from wire.errors import WireError
from wire.names import encode_reference

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def state(enrolled):
    one = State(enrolled.folder)
    yield one
    one.close()


@QUICK
@given(tail=st.one_of(st.text(max_size=80), st.from_regex(r"(object|study)/[a-z2-7]{26}(/m?[0-9]{1,12})?")))
def test_any_topic_has_a_route_or_none(state, tail):
    routes = Routes(state)
    identity = state.identity
    reader = identity.recipients[0]
    for root in (
        "",
        topics.site_root(identity.site),
        topics.recipient_root(identity.site, reader.kind, reader.recipient),
        f"{topics.site_root(identity.site)}/gateway",
    ):
        route = routes.find(f"{root}/{tail}")
        assert route is None or route.purpose in ("head", "keys", "study", "object", "key-set", "status")


def test_every_subscribed_topic_has_its_route(state):
    routes = Routes(state)
    for topic_filter in [*routes.own(), *routes.shared()]:
        topic = topic_filter.replace("+", encode_reference(bytes(16)))
        assert routes.find(topic) is not None
    # Epoch keys are asked for before the heads that they open.
    order = [routes.find(topic).purpose for topic in routes.shared() if "+" not in topic]
    assert order == ["keys", "head"]


@QUICK
@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda one: b"\x01" + one)))
def test_any_bytes_are_refused_with_a_code(state, data):
    store = state.unlock()
    inbox = Inbox(state)
    recipient = state.identity.recipients[0].recipient
    calls = [
        lambda: inbox.answer(data),
        lambda: inbox.epoch(store, recipient, data),
        lambda: inbox.head(store, recipient, data),
        lambda: inbox.announcement(store, recipient, encode_reference(bytes(16)), data),
        lambda: state.take_key_set(data),
    ]
    for call in calls:
        with pytest.raises(WireError) as caught:
            call()
        inbox.refuse(caught.value, "test")
    assert sum(inbox.refused.values()) == 5
