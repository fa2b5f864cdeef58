"""What amqtt 0.12.1 does as it ships (file authentication, topic ACL), and what the embedded broker does instead.

Each attack returns whether it succeeded. It must succeed on amqtt, or the attack itself is broken, and fail on ours.
"""

import socket
import time
from collections.abc import Callable

import pytest

from tests.broker.cast import ATTACKERS_DOCTOR, VICTIMS_DOCTOR, VICTIMS_HEAD, Cast
from tests.broker.raw import ACCEPTED, PUBACK, Message, Raw, publish_packet
from tests.support.brokers import SITE, EmbeddedBroker, RunningBroker, StockAmqtt
from wire import topics

SECRET = b"for the victim alone"
Attack = Callable[[RunningBroker, Cast], bool]

# amqtt delivers in the background, so an attack on it is given time to succeed.
STOCK_TIMEOUT_S = 5.0


def leaked(client: Raw, broker: RunningBroker, wanted: Callable[[Message], bool] = lambda one: True) -> bool:
    """Whether a message of this kind reaches the client."""
    if broker.ordered:
        # What was acknowledged to its publisher before now stands before the answer to this.
        client.barrier()
        return any(wanted(one) for one in client.messages)
    deadline = time.monotonic() + STOCK_TIMEOUT_S
    while (one := client.message(max(0.001, deadline - time.monotonic()))) is not None:
        if wanted(one):
            return True
    return False


def gateway_of(broker: RunningBroker, cast: Cast) -> Raw:
    client = Raw(broker)
    assert client.log_in(cast.gateway) == ACCEPTED
    return client


def subscribed_victim(broker: RunningBroker, cast: Cast, qos: int = 1, clean: bool = True) -> Raw:
    client = Raw(broker)
    assert client.log_in(cast.victim, clean=clean) == ACCEPTED
    assert client.subscribe(VICTIMS_HEAD, qos=qos) == [qos]
    return client


def retained_reaches_one_who_never_subscribed(broker: RunningBroker, cast: Cast) -> bool:
    with subscribed_victim(broker, cast), gateway_of(broker, cast) as gateway, Raw(broker) as attacker:
        gateway.publish(VICTIMS_HEAD, SECRET, retain=True)
        assert attacker.log_in(cast.attacker) == ACCEPTED
        return leaked(attacker, broker)


def wrong_password_drops_the_victim(broker: RunningBroker, cast: Cast) -> bool:
    with subscribed_victim(broker, cast) as victim, gateway_of(broker, cast) as gateway, Raw(broker) as attacker:
        assert attacker.connect(cast.victim.name, cast.victim.name, "wrong", clean=False) != ACCEPTED
        gateway.publish(VICTIMS_HEAD, SECRET)
        return victim.message(2 if not broker.ordered else 10) is None


def stranger_wipes_the_victims_subscriptions(broker: RunningBroker, cast: Cast) -> bool:
    with subscribed_victim(broker, cast) as victim, gateway_of(broker, cast) as gateway, Raw(broker) as attacker:
        assert attacker.connect(cast.victim.name, None, None, clean=True) != ACCEPTED
        gateway.publish(VICTIMS_HEAD, SECRET)
        return victim.message(2 if not broker.ordered else 10) is None


def own_login_takes_the_victims_session(broker: RunningBroker, cast: Cast) -> bool:
    with gateway_of(broker, cast) as gateway, Raw(broker) as attacker:
        subscribed_victim(broker, cast, clean=False).disconnect()
        gateway.publish(VICTIMS_HEAD, SECRET)
        code = attacker.connect(cast.victim.name, cast.attacker.name, cast.attacker.password, clean=False)
        return code == ACCEPTED and leaked(attacker, broker, lambda one: one.payload == SECRET)


def will_reaches_a_forbidden_topic(broker: RunningBroker, cast: Cast) -> bool:
    with subscribed_victim(broker, cast) as victim, Raw(broker) as attacker:
        attacker.log_in(cast.attacker, will=(VICTIMS_HEAD, b"forged", 0, True))
        attacker.close()
        return leaked(victim, broker, lambda one: one.payload == b"forged")


def huge_packet_is_accepted(broker: RunningBroker, cast: Cast) -> bool:
    size = 24 * 1024 * 1024
    with gateway_of(broker, cast) as gateway:
        try:
            gateway.send(publish_packet(VICTIMS_HEAD, bytes(size), qos=1))
            gateway.expect(PUBACK, 30)
        except ConnectionError:
            return False
        return True


def silent_client_outlives_its_keepalive(broker: RunningBroker, cast: Cast) -> bool:
    with Raw(broker) as attacker:
        assert attacker.log_in(cast.attacker, keepalive=1) == ACCEPTED
        return not attacker.closed(2.5)


def topics_with_nul_are_delivered(broker: RunningBroker, cast: Cast) -> bool:
    root = topics.recipient_root(SITE, "doctor", VICTIMS_DOCTOR)
    with Raw(broker) as victim:
        assert victim.log_in(cast.victim) == ACCEPTED
        assert victim.subscribe(f"{root}/#") != [0x80]
        refused = []
        for odd in ("\x00", "\uffff", "\x1b[31m"):
            with gateway_of(broker, cast) as gateway:
                gateway.send(publish_packet(f"{root}/study/{odd}", b"odd"))
                refused.append(gateway.closed(0.5 if not broker.ordered else 10))
        return leaked(victim, broker, lambda one: one.payload == b"odd") or not all(refused)


def offline_queue_grows(broker: RunningBroker, cast: Cast) -> bool:
    count = 3000
    subscribed_victim(broker, cast, clean=False).close()
    with gateway_of(broker, cast) as gateway, Raw(broker) as victim:
        for index in range(count):
            gateway.send(publish_packet(VICTIMS_HEAD, b"%d" % index, qos=1, packet_id=index + 1))
        for _ in range(count):
            gateway.expect(PUBACK)
        assert victim.log_in(cast.victim, clean=False) == ACCEPTED
        received = 0
        while received < count and leaked(victim, broker):
            victim.messages.clear()
            received += 1
        return received > 1000


def qos1_after_a_dollar_topic_is_acknowledged_and_lost(broker: RunningBroker, cast: Cast) -> bool:
    with subscribed_victim(broker, cast) as victim, gateway_of(broker, cast) as gateway:
        gateway.send(publish_packet("$SYS/anything", b"", qos=1, packet_id=1))
        try:
            gateway.expect(PUBACK)
            gateway.send(publish_packet(VICTIMS_HEAD, SECRET, qos=1, packet_id=2))
            gateway.expect(PUBACK)
        except ConnectionError:
            return False
        return victim.message(2) is None


def http_upgrade_is_answered(broker: RunningBroker, cast: Cast) -> bool:
    """Whether there is a WebSocket listener that compresses what is ciphertext."""
    port = broker.ws_port if isinstance(broker, StockAmqtt) else broker.port
    with socket.create_connection((broker.host, port), 5) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        return b"permessage-deflate" in connection.recv(4096)


ATTACKS: list[Attack] = [
    retained_reaches_one_who_never_subscribed,
    wrong_password_drops_the_victim,
    stranger_wipes_the_victims_subscriptions,
    own_login_takes_the_victims_session,
    will_reaches_a_forbidden_topic,
    huge_packet_is_accepted,
    silent_client_outlives_its_keepalive,
    topics_with_nul_are_delivered,
    offline_queue_grows,
    qos1_after_a_dollar_topic_is_acknowledged_and_lost,
    http_upgrade_is_answered,
]


@pytest.mark.long
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
def test_attack_succeeds_on_amqtt(attack: Attack, stock: StockAmqtt, cast: Cast) -> None:
    assert attack(stock, cast)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
def test_attack_fails_on_ours(attack: Attack, ours: EmbeddedBroker, cast: Cast) -> None:
    assert not attack(ours, cast)
    assert ours.process.is_running()
    with gateway_of(ours, cast) as gateway:
        gateway.publish(VICTIMS_HEAD, b"", retain=True)


@pytest.mark.long
def test_amqtt_grants_more_than_a_right_that_ends_in_plus(stock: StockAmqtt, cast: Cast) -> None:
    root = f"{topics.site_root(SITE)}/doctor"
    stock.stop()
    stock.also_readable = {cast.attacker.name: [f"{root}/+"]}
    stock.start()
    with Raw(stock) as attacker, gateway_of(stock, cast) as gateway:
        assert attacker.log_in(cast.attacker) == ACCEPTED
        assert attacker.subscribe(f"{root}/#") == [0]
        gateway.publish(VICTIMS_HEAD, SECRET)
        assert leaked(attacker, stock, lambda one: one.payload == SECRET)


WIDER = [
    "#",
    "+/#",
    "mpacs/1/#",
    f"{topics.site_root(SITE)}/#",
    f"{topics.site_root(SITE)}/doctor/+/head",
    f"{topics.site_root(SITE)}/+/{VICTIMS_DOCTOR}/head",
    f"{topics.site_root(SITE)}/+/{ATTACKERS_DOCTOR}/#",
    f"{topics.site_root(SITE)}/gateway/#",
    f"{topics.site_root(SITE)}/gateway/+/#",
    f"{topics.site_root(SITE)}/device/+/response",
    "$SYS/#",
    VICTIMS_HEAD,
]


@pytest.mark.parametrize("wider", WIDER)
def test_ours_judges_by_inclusion(wider: str, ours: EmbeddedBroker, cast: Cast) -> None:
    own = topics.recipient_root(SITE, "doctor", ATTACKERS_DOCTOR)
    with Raw(ours) as attacker:
        assert attacker.log_in(cast.attacker) == ACCEPTED
        assert attacker.subscribe(wider, f"{own}/#") == [0x80, 0]
