"""What a user sees when the network goes, the lease ends, access is ended or the device is to be erased."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.studies import HONG, Made, demo_studies
from tests.support import web_build
from tests.support.broker_process import wait_until
from tests.support.browsers import new_page
from tests.support.gateways import RunningGateway
from tests.support.web_engine import LEFT
from tests.support.web_walk import faults

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]
LEASE_S = 15
CONTROLLED = "() => navigator.serviceWorker.ready.then(() => navigator.serviceWorker.controller !== null)"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose leases are short, with a CT of the patient HONG."""
    web_build.application()
    folder = tmp_path_factory.mktemp("states")
    settings = {"delivery": {"settle_s": 0.5, "lease_h": LEASE_S / 3600}, "rendering": {"diagnostic": False}}
    with RunningGateway(folder / "state", settings=settings) as one:
        one.cli("profile", "add", "patient", HONG.identifier)
        (folder / "studies").mkdir()
        ct: Made = demo_studies(folder / "studies")[0]
        one.store(ct.files)
        one.wait_studies(1)
        yield one


@pytest.fixture
def page(browser: Browser, gateway: RunningGateway) -> Iterator[Page]:
    """A phone that is enrolled for the patient, and has all of the study."""
    one = new_page(browser)
    enrol(one, gateway)
    expect(one.locator(".row .row-state")).to_have_text("기기에 저장됨")
    yield one
    one.context.close()


def enrol(page: Page, gateway: RunningGateway) -> None:
    page.goto(gateway.cli("invite", f"patient:{HONG.identifier}", json=True)["uri"])
    page.locator("form button[type=submit]").click()
    expect(page.locator(".row-link")).to_have_count(1)


def test_without_a_network_it_opens_until_the_lease_ends(gateway: RunningGateway, page: Page) -> None:
    """Shell, list and pictures open from this device; then it shuts, says so, and opens again with the gateway."""
    page.wait_for_function(CONTROLLED)
    context = page.context
    page.close()
    gateway.stop()
    again = context.new_page()
    again.goto(gateway.origin)
    expect(again.locator(".row-link")).to_have_count(1)
    expect(again.locator(".thumb img")).to_be_visible()
    expect(again.locator(".banner.warn").first).to_contain_text("연결이 끊겼습니다")
    assert not faults(again)
    again.locator(".row-link").click()
    expect(again.get_by_test_id("slice")).to_have_text("1 / 24")
    expect(again.locator(".placeholder")).to_have_count(0)
    again.keyboard.press("End")
    expect(again.get_by_test_id("slice")).to_have_text("24 / 24")
    expect(again.locator(".placeholder")).to_have_count(0)
    expect(again.locator("h1")).to_have_text("병원에 연결되면 다시 열립니다", timeout=(LEASE_S + 10) * 1000)
    expect(again.locator("canvas")).to_have_count(0)
    again.reload()
    expect(again.locator("h1")).to_have_text("병원에 연결되면 다시 열립니다")
    assert not faults(again)
    assert not any("JFIF" in text or HONG.name in text for text in again.evaluate(LEFT))
    gateway.start()
    # By itself, as it keeps trying.
    expect(again.get_by_test_id("slice")).to_have_text("1 / 24", timeout=30_000)
    expect(again.locator(".placeholder")).to_have_count(0)


def test_access_that_ends_while_it_is_open_shuts_it(gateway: RunningGateway, page: Page) -> None:
    """By what its recipients say, or, where its login ends before it hears of that, by the broker that refuses it."""
    page.locator(".row-link").click()
    expect(page.locator(".placeholder")).to_have_count(0)
    gateway.cli("revoke", _device(gateway))
    expect(page.locator("h1")).to_have_text("등록이 해제된 기기입니다", timeout=30_000)
    expect(page.locator("canvas")).to_have_count(0)
    assert not faults(page)


def test_an_order_to_erase_is_followed_and_confirmed(gateway: RunningGateway, page: Page) -> None:
    device = _device(gateway)
    gateway.cli("wipe", device)
    expect(page.locator("h1")).to_have_text("기기 등록", timeout=30_000)
    assert not any(HONG.identifier in text for text in page.evaluate(LEFT))
    wait_until(lambda: _states(gateway)[device] == "wiped", 20, "the gateway knows that it is erased")


def _states(gateway: RunningGateway) -> dict[str, str]:
    return {one["device"]: one["state"] for one in gateway.cli("devices", json=True)}


def _device(gateway: RunningGateway) -> str:
    """The device that was enrolled last."""
    active = [one for one in gateway.cli("devices", json=True) if one["state"] == "active"]
    return str(max(active, key=lambda one: one["enrolled"])["device"])
