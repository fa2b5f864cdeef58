"""The web client's engine before links, brokers and browsers that fail: complete, verified, nothing fetched twice."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, Playwright

from benchmarks.slow_link import SlowLink
from benchmarks.studies import Made, demo_studies, long_ct
from tests.support import web_build
from tests.support.broker_process import free_port, wait_until
from tests.support.browsers import chromium_path, new_page, trust, trusting_browser
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway
from tests.support.lossy_console import LossyConsole
from tests.support.web_engine import BITMAPS, COMPLETE, READ_ALL, STARTED, call, enrol, open_page, running_gateway
from wire import seal
from wire.names import encode_reference

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]
SLICES = 180
WARD_STUDIES = 4
"""Of the demo's five: an echocardiogram may have a name in its pixels, and stays off wards."""
BYTES_PER_S = 2_000_000
OPEN = "() => globalThis.api && api.phase.value.name === 'open' && api.studies.value.length > 0"
PROGRESS = (
    "(bytes) => api.studies.value.some(s => s.layers.some(l => l.layer === 'display' && l.receivedBytes > bytes))"
)
RECEIVED = "() => api.studies.value[0]?.layers.find(l => l.layer === 'display')?.receivedBytes ?? 0"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's page, built once."""
    return web_build.engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A CT of some segments, written once."""
    return long_ct(tmp_path_factory.mktemp("ct"), SLICES)


@pytest.fixture
def gateway(tmp_path: Path, web: Path, ct: Made) -> Iterator[RunningGateway]:
    """A gateway of this test alone that holds the CT."""
    with running_gateway(tmp_path / "state", web, head_ward_s=2) as one:
        one.store(ct.files)
        one.wait_studies(1)
        yield one


@pytest.mark.long
def test_what_another_device_asks_for_comes_without_asking(
    tmp_path: Path, web: Path, playwright_driver: Playwright
) -> None:
    """A browser that cannot ask listens to more objects than it would ask for, and takes what the other one gets."""
    port = free_port()
    origin = f"https://127.0.0.1:{port}"
    (tmp_path / "studies").mkdir()
    with running_gateway(tmp_path / "state", web, origin=origin) as gateway:
        made = demo_studies(tmp_path / "studies")
        gateway.store([path for study in made for path in study.files])
        gateway.wait_studies(len(made))
        with (
            LossyConsole(gateway, port, share=0.0) as proxy,
            trusting_browser(playwright_driver, gateway.authority) as own,
        ):
            page = new_page(own)
            page.goto(origin)
            page.wait_for_function(STARTED)
            page.evaluate("() => api.saveSettings({ display: 'on-demand' })")
            enrol(page, gateway, "ward:W1")
            page.wait_for_function("(count) => api.studies.value.length === count", arg=WARD_STUDIES)
            page.wait_for_function(COMPLETE)
            other = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "ward:W1", json=True)["uri"]).connect()
            other.sync()
            other.wait(lambda: other.is_current() and len(other.current()) == WARD_STUDIES, "the studies")
            proxy.is_mute = True
            proxy.subscribed.clear()
            page.evaluate("() => api.saveSettings({ display: 'always' })")
            entries = [entry for one in other.current().values() for entry in one.objects if entry.layer == "display"]
            assert len(entries) > 3, "more than a browser asks for at once"
            filters = {f"{other.root}/object/{encode_reference(entry.object)}/+" for entry in entries}
            wait_until(lambda: filters <= proxy.subscribed, 20, "the browser listens to all of them")
            for entry in entries:
                other.fetch(entry)
            page.wait_for_function(COMPLETE)
            other.stop()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, web: Path, ct: Made) -> Iterator[tuple[RunningGateway, str]]:
    """A gateway that holds the CT, and the origin of a link to it on which that takes some seconds."""
    port = free_port()
    origin = f"https://127.0.0.1:{port}"
    with (
        running_gateway(tmp_path_factory.mktemp("slow") / "state", web, origin, head_ward_s=2) as one,
        SlowLink(one.https_port, BYTES_PER_S, port=port),
    ):
        one.store(ct.files)
        one.wait_studies(1)
        yield one, origin


class Witness:
    """A second device of the ward, which asks for nothing and hears everything that is published to the ward."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._device = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "ward:W1", json=True)["uri"]).connect()
        device, connection = self._device, self._device.mqtt
        assert connection is not None
        device.sync()
        device.wait(lambda: device.is_current() and device.current(), "the study")
        self._entries = {
            encode_reference(entry.object): entry
            for announced in device.current().values()
            for entry in announced.objects
        }
        connection.subscribe(*(f"{device.root}/object/{name}/+" for name in self._entries))

    def heard(self) -> list[tuple[str, int]]:
        """Object and number of each segment that was published, as often as it was."""
        parts = [topic.rsplit("/", 3)[1:] for topic, _ in list(self._device.seen) if "/object/" in topic]
        return [(name, int(index)) for _, name, index in parts if index.isdecimal()]

    def stored(self, page: Page) -> set[tuple[str, int]]:
        """What the page's store claims to have."""
        found = set()
        for name, data in page.evaluate(BITMAPS).items():
            if name in self._entries:
                count = seal.segment_count(self._entries[name].size)
                bits = bytes(data)[: -(-count // 8)]
                found |= {(name, index) for index in range(count) if index // 8 < len(bits) and
                          bits[index // 8] >> (index % 8) & 1}  # fmt: skip
        return found

    def stop(self) -> None:
        self._device.stop()


def begin(page: Page, gateway: RunningGateway, origin: str) -> None:
    """Enrol, and ask for the whole study by hand: after a cut nothing is fetched until that is said again."""
    page.goto(origin)
    page.wait_for_function(STARTED)
    page.evaluate("() => api.saveSettings({ display: 'on-demand' })")
    enrol(page, gateway, "ward:W1")
    order(page)


def order(page: Page) -> None:
    page.wait_for_function("() => api.studies.value.some(s => s.settled)")
    page.evaluate("() => void api.download(api.studies.value[0].ref)")


def check_complete(page: Page) -> None:
    page.wait_for_function(COMPLETE, timeout=60_000)
    sizes = page.evaluate(READ_ALL, SLICES)
    assert len(sizes) == SLICES and all(size == [512, 512] for size in sizes)


def test_a_tenth_of_the_segments_lost_is_asked_for_again_and_nothing_else(
    tmp_path: Path, web: Path, ct: Made, playwright_driver: Playwright
) -> None:
    """Each part is sent once more for each time that it was lost, and never when it is here."""
    port = free_port()
    origin = f"https://127.0.0.1:{port}"
    with running_gateway(tmp_path / "state", web, origin=origin) as gateway:
        gateway.store(ct.files)
        gateway.wait_studies(1)
        with (
            LossyConsole(gateway, port, share=0.1) as proxy,
            trusting_browser(playwright_driver, gateway.authority) as own,
        ):
            page = new_page(own)
            page.goto(origin)
            page.wait_for_function(STARTED)
            enrol(page, gateway, "ward:W1")
            check_complete(page)
            assert sum(proxy.lost.values()) > 4, "the proxy lost too little for a test"
            twice = {topic: count for topic, count in proxy.passed.items() if count > 1}
            assert not twice, f"{len(twice)} of {len(proxy.passed)} parts came twice"


@pytest.mark.long
def test_a_kill_of_the_browser_loses_and_invents_nothing(
    tmp_path: Path, slow: tuple[RunningGateway, str], playwright_driver: Playwright
) -> None:
    """SIGKILL while segments come: what is claimed afterwards opens, the rest is fetched, and nothing else."""
    gateway, origin = slow
    home = tmp_path / "home"
    home.mkdir()
    trust(home, gateway.authority)
    witness = Witness(gateway)
    with _profile(playwright_driver, home) as (page, pid):
        begin(page, gateway, origin)
        page.wait_for_function(PROGRESS, arg=2_500_000, polling=5)
        os.kill(pid, signal.SIGKILL)
        if not page.is_closed():
            page.wait_for_event("close", timeout=10_000)
    with _profile(playwright_driver, home) as (page, _):
        page.goto(origin)
        page.wait_for_function(OPEN)
        kept, before = witness.stored(page), len(witness.heard())
        assert len(kept) > 32, "nothing of what came was kept"
        order(page)
        check_complete(page)
        assert len(witness.stored(page)) > len(kept), "it was killed too late for a test"
    twice = kept.intersection(witness.heard()[before:])
    witness.stop()
    assert not twice, f"{len(twice)} of {len(kept)} segments that were here came again"


@contextmanager
def _profile(driver: Playwright, home: Path) -> Iterator[tuple[Page, int]]:
    """Chromium on a profile that stays, and its process id."""
    context = driver.chromium.launch_persistent_context(
        home / "profile", executable_path=chromium_path(), env={**os.environ, "HOME": str(home)}
    )
    owner = next(int(path.name) for path in Path("/proc").iterdir() if _is_browser(path, home / "profile"))
    try:
        yield context.pages[0], owner
    finally:
        with suppress(Error):  # it may have been killed
            context.close()


def _is_browser(path: Path, profile: Path) -> bool:
    try:
        command = (path / "cmdline").read_text().split("\0")
    except OSError:
        return False
    return f"--user-data-dir={profile}" in command and not any(word.startswith("--type=") for word in command)


def test_reloads_at_random_and_a_broker_that_falls(
    slow: tuple[RunningGateway, str], playwright_driver: Playwright
) -> None:
    """Cut whenever: it is complete in the end, and what was on the disk is not asked for again."""
    gateway, origin = slow
    chance = random.Random(11)  # the same cuts at every run
    witness = Witness(gateway)
    with trusting_browser(playwright_driver, gateway.authority) as own:
        page = new_page(own)
        begin(page, gateway, origin)
        for cut in ("reload", "broker", "reload"):
            seen = page.evaluate(RECEIVED)
            page.wait_for_function(PROGRESS, arg=seen + chance.randrange(400_000, 1_500_000), polling=5)
            if cut == "broker":
                pid = gateway.kill("broker")
                kept, before = witness.stored(page), len(witness.heard())
                gateway.wait_part("broker", not_pid=pid)
            else:
                page.reload()
                page.wait_for_function(OPEN)
                kept, before = witness.stored(page), len(witness.heard())
                order(page)
            assert kept
            page.wait_for_function(PROGRESS, arg=page.evaluate(RECEIVED) + 100_000, polling=5)
            twice = kept.intersection(witness.heard()[before:])
            assert not twice, f"{len(twice)} of {len(kept)} segments that were here came again"
        check_complete(page)
    witness.stop()


@pytest.mark.long
def test_a_full_store_drops_what_was_unused_for_longest(
    tmp_path: Path, gateway: RunningGateway, playwright_driver: Playwright
) -> None:
    """Below the limit that the user sets, the newest studies stay."""
    (tmp_path / "demo").mkdir()
    with trusting_browser(playwright_driver, gateway.authority) as own:
        page = open_page(new_page(own), gateway)
        enrol(page, gateway, "ward:W1")
        page.wait_for_function(COMPLETE)
        used = page.evaluate("() => api.studies.value[0].storedBytes")
        page.evaluate("(limit) => api.saveSettings({ storeLimitBytes: limit })", used + 200_000)
        other = demo_studies(tmp_path / "demo")[0]
        gateway.store(other.files)
        page.wait_for_function("() => api.studies.value.length === 2 && api.studies.value[1].evicted")
        page.wait_for_function(
            "() => api.studies.value[0].settled && api.studies.value[0].layers.every(l => l.complete || !l.wanted)"
        )
        assert page.evaluate("() => api.storage.value.usedBytes") <= used + 200_000


@pytest.mark.long  # test_web_states.py sees the same on the screen
def test_the_store_shuts_with_the_lease_and_opens_with_the_next(
    tmp_path: Path, web: Path, ct: Made, playwright_driver: Playwright
) -> None:
    """Without the gateway the secret is erased when its time has come, and the store stays shut until it is back."""
    with (
        running_gateway(tmp_path / "state", web, lease_h=10 / 3600) as gateway,
        trusting_browser(playwright_driver, gateway.authority) as own,
    ):
        gateway.store(ct.files)
        page = open_page(new_page(own), gateway)
        enrol(page, gateway, "ward:W1")
        page.wait_for_function(COMPLETE)
        gateway.stop()
        page.wait_for_function("() => api.phase.value.name === 'lease-ended'", timeout=30_000)
        assert page.evaluate("() => api.studies.value") == []
        assert call(page, "() => api.thumbnail('x', 'y')") == "lease-ended"
        gateway.start()
        page.evaluate("() => api.refresh()")
        page.wait_for_function(
            "() => api.phase.value.name === 'open' && api.studies.value.length === 1", timeout=30_000
        )
        assert len(page.evaluate(READ_ALL, 2)) == 2
