"""The web application as a patient meets it: a real gateway, its broker, a real browser, real pictures."""

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.studies import HONG, Made, demo_report, demo_studies
from tests.support.browsers import PHONE, TABLET, Screen, new_page
from tests.support.gateways import RunningGateway

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def ct(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A CT of 24 slices and its report, at the gateway, for the patient HONG."""
    folder = tmp_path_factory.mktemp("ct")
    made = demo_studies(folder)[0]
    gateway.cli("profile", "add", "patient", HONG.identifier)
    gateway.store([*made.files, *demo_report(folder, made, HONG).files])
    gateway.wait_studies(1)
    return made


def _enrol(page: Page, gateway: RunningGateway) -> None:
    page.goto(gateway.cli("invite", f"patient:{HONG.identifier}", json=True)["uri"])
    page.locator("form button[type=submit]").click()


@pytest.mark.parametrize("screen", [PHONE, TABLET], ids=["phone", "tablet"])
def test_a_patient_enrols_looks_and_reads(browser: Browser, gateway: RunningGateway, ct: Made, screen: Screen) -> None:
    page = new_page(browser, screen)
    _enrol(page, gateway)
    row = page.locator(".row-link")
    expect(row).to_have_count(1)
    assert "enrol" not in page.url, "the code left the address bar"
    expect(page.locator(".patient h2")).to_contain_text("홍길동")
    row.click()
    expect(page.get_by_test_id("slice")).to_have_text("1 / 24")
    expect(page.locator(".warning")).to_have_text("일차 판독용 아님")
    expect(page.locator(".placeholder")).to_have_count(0)
    expect(page.locator(".letter.left")).not_to_be_empty()
    page.keyboard.press("End")
    expect(page.get_by_test_id("slice")).to_have_text("24 / 24")
    expect(page.locator(".placeholder")).to_have_count(0)
    page.locator(".report-button").click()
    report = page.frame_locator(".report-frame")
    expect(report.locator("h1")).not_to_be_empty()
    page.context.close()
