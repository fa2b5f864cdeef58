"""Fixtures of the broker's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.cast import Cast, make_cast
from tests.support.brokers import EmbeddedBroker, Mosquitto, StockAmqtt


@pytest.fixture
def embedded_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """The embedded broker on a free port; its access file is empty: ``allow`` adds logins."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture(scope="session")
def cast() -> Cast:
    """The same people for every broker: amqtt's passwords are hashed once."""
    return make_cast()


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory, cast: Cast) -> Iterator[EmbeddedBroker]:
    """The embedded broker, shared: what one test does to it must not matter to another."""
    with EmbeddedBroker(tmp_path_factory.mktemp("ours"), cast.logins()) as broker:
        yield broker


@pytest.fixture
def stock(tmp_path: Path, cast: Cast) -> Iterator[StockAmqtt]:
    """amqtt as it ships; a new one for every test, because the tests break it."""
    with StockAmqtt(tmp_path / "stock", cast.logins()) as broker:
        yield broker


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory, cast: Cast) -> Iterator[Mosquitto]:
    """Debian's Mosquitto; skips without it."""
    if not Mosquitto.installed():
        pytest.skip("mosquitto is not installed")
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), cast.logins()) as broker:
        yield broker
