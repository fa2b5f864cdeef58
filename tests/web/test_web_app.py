"""The web application as a patient meets it: a real gateway, its broker, a real browser, real pictures."""

from itertools import pairwise
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.studies import HONG, LEE, Made, demo_report, demo_studies, real_file
from tests.support import videos
from tests.support.browsers import PHONE, TABLET, Screen, new_page
from tests.support.gateways import RunningGateway
from tests.support.web_walk import faults, sticks_out

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]


_IS_NAME_ON_TOP = """() => {
  const name = document.querySelector('.study-who h1').getBoundingClientRect();
  const shown = document.elementFromPoint(name.left + 4, name.top + name.height / 2);
  return Boolean(shown?.closest('.study-who'));
}"""

_NOTES_ARE_ABOVE = """() => {
  const top = document.querySelector('.warning').getBoundingClientRect().top;
  return document.querySelector('.notes').getBoundingClientRect().bottom <= top;
}"""
_OFFER = """() => {
  const event = new Event('beforeinstallprompt', { cancelable: true });
  event.prompt = async () => { window.prompted = true; };
  return !window.dispatchEvent(event);
}"""
_WATCH = """slice => {
  window.seen = [];
  const look = () => window.seen.push(parseInt(slice.textContent));
  new MutationObserver(look).observe(slice, { childList: true, characterData: true, subtree: true });
}"""
_TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


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
    # A study that has just come is said, and what must be read at all times stays free.
    said = page.locator(".note").first.bounding_box()
    warning = page.locator(".warning").bounding_box()
    assert said and warning and said["y"] + said["height"] <= warning["y"]
    page.keyboard.press("End")
    expect(page.get_by_test_id("slice")).to_have_text("24 / 24")
    expect(page.locator(".placeholder")).to_have_count(0)
    page.locator(".report-button").click()
    report = page.frame_locator(".report-frame")
    expect(report.locator("h1")).not_to_be_empty()
    assert page.evaluate(_IS_NAME_ON_TOP), "whose report it is stays in sight"
    # Escape closes it from within its frame too, and leads back to what opened it.
    report.locator("h1").click()
    page.keyboard.press("Escape")
    expect(page.locator(".report-panel")).to_have_count(0)
    expect(page.locator(".report-button")).to_be_focused()
    page.keyboard.press("Enter")
    # A link leads to the image that it names, and leaves its UID nowhere; one that was not sent says so.
    report.locator(_link_to(ct)).first.click()
    expect(page.get_by_test_id("slice")).to_have_text("1 / 24")
    assert "instance" not in page.url
    expect(page.locator(".report-panel")).to_have_count(0 if screen is PHONE else 1)
    if screen is PHONE:
        page.go_back()
    report.locator('a[href$="#instance=9.8.7.6"]').first.click()
    expect(page.locator(".note", has_text="이 기기로 보내지지 않았습니다")).to_be_visible()
    expect(page.locator(".report-panel")).to_be_visible()
    expect(page.get_by_test_id("slice")).to_have_text("1 / 24")
    if screen is PHONE:
        _images_that_are_not_here_yet(page, gateway, ct)
    else:
        _a_film_beside_its_report(page)
        _a_place_on_the_home_screen(page, gateway)
    page.context.close()


def _link_to(ct: Made) -> str:
    named = str(pydicom.dcmread(ct.files[0], stop_before_pixels=True).SOPInstanceUID)
    return f'a[href$="#instance={named}"]'


def _a_film_beside_its_report(page: Page) -> None:
    """The stack plays round and round while the report stays, and stands still at once when told to."""
    slice_ = page.get_by_test_id("slice")
    page.locator(".speed").select_option("2")
    slice_.evaluate(_WATCH)
    page.get_by_role("button", name="재생").click()
    page.wait_for_function("() => window.seen.length > 26")
    seen = page.evaluate("() => window.seen")
    assert all(after == before % 24 + 1 for before, after in pairwise(seen)), "in order, none left out"
    expect(page.locator(".placeholder")).to_have_count(0)
    expect(page.locator(".report-panel")).to_be_visible()
    page.get_by_role("button", name="일시정지").click()
    expect(page.get_by_role("button", name="재생")).to_be_visible()
    before = slice_.inner_text()
    page.evaluate(_TWO_FRAMES)
    assert slice_.inner_text() == before


def _a_place_on_the_home_screen(page: Page, gateway: RunningGateway) -> None:
    """The browser finds nothing wrong with the manifest, and its offer is kept until somebody asks for it."""
    browser = page.context.new_cdp_session(page)
    manifest = browser.send("Page.getAppManifest")
    assert manifest["url"] == f"{gateway.origin}/manifest.webmanifest" and manifest["errors"] == []
    wrong = browser.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # Each test is somebody else: in a context of its own, which the browser takes for a private window.
    assert [one["errorId"] for one in wrong if one["errorId"] != "in-incognito"] == []
    assert page.evaluate(_OFFER), "taken, not shown by the browser at its own time"
    page.goto(f"{gateway.origin}/#settings")
    page.get_by_role("button", name="홈 화면에 추가").click()
    page.wait_for_function("() => window.prompted")
    expect(page.get_by_role("button", name="홈 화면에 추가")).to_have_count(0)


def _images_that_are_not_here_yet(page: Page, gateway: RunningGateway, ct: Made) -> None:
    """Without a network the report stays and says so; with one the image is fetched and shown."""
    page.goto(f"{gateway.origin}/#settings")
    page.get_by_label("열 때 받기", exact=True).check()
    page.get_by_text("영상 모두 지우기", exact=True).click()
    page.locator("dialog .primary").click()
    page.goto(f"{gateway.origin}/#")
    expect(page.locator(".row-state")).to_have_text("열 때 다시 받음")
    page.context.set_offline(True)
    expect(page.locator(".connection.online")).to_have_count(0)
    page.locator(".row-link").click()
    page.locator(".report-button").click()
    link = page.frame_locator(".report-frame").locator(_link_to(ct)).first
    link.click()
    expect(page.locator(".note", has_text="아직 받지 못했습니다")).to_be_visible()
    expect(page.locator(".report-panel")).to_be_visible()
    page.context.set_offline(False)
    link.click()
    expect(page.locator(".report-panel")).to_have_count(0)
    expect(page.locator(".placeholder")).to_have_count(0)


PLAYED = "() => new Promise(done => document.querySelector('video').play().then(() => done(true), e => done(`${e}`)))"


def test_a_video_plays_where_the_browser_can(browser: Browser, gateway: RunningGateway, tmp_path: Path) -> None:
    """From the sealed object, without a call elsewhere; a kind that no browser plays is named."""
    gateway.cli("profile", "add", "patient", LEE.identifier)
    for number, kind in enumerate(("mp4", "mpeg-2"), 1):
        made = videos.dataset(videos.stream(kind), videos.STREAMS[kind][2])
        made.PatientID, made.PatientName, made.PatientBirthDate = LEE.identifier, LEE.name, LEE.birth_date
        made.StudyInstanceUID += ".5"
        made.SeriesInstanceUID += f".{number}"
        made.SOPInstanceUID += f".{number}"
        made.SeriesNumber = number
        gateway.store([videos.save(made, tmp_path / f"{number}.dcm")])
    # A picture of the same series as the first one.
    picture = pydicom.dcmread(real_file("examples_rgb_color.dcm"))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "Modality"):
        setattr(picture, keyword, made.get(keyword))
    picture.SeriesInstanceUID, picture.SeriesNumber = made.SeriesInstanceUID.removesuffix("2") + "1", 1
    picture.SOPInstanceUID = picture.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID + ".9"
    gateway.store([videos.save(picture, tmp_path / "picture.dcm")])
    page = new_page(browser, locale="en-GB")
    page.goto(gateway.cli("invite", f"patient:{LEE.identifier}", json=True)["uri"])
    page.locator("form button[type=submit]").click()
    row = page.locator(".row-link", has_text="2 videos")
    expect(row.locator(".row-state")).to_have_text("Fetched when opened")
    row.click()
    expect(page.get_by_test_id("slice")).to_have_text("1 / 1")
    expect(page.locator(".placeholder")).to_have_count(0)
    expect(page.locator(".series")).to_have_count(3)
    page.locator(".series").nth(1).click()
    film = page.get_by_test_id("film")
    expect(film).to_be_visible()
    expect(page.locator(".warning")).to_have_text("Not for primary diagnosis")
    assert page.evaluate(PLAYED) is True
    assert film.evaluate("film => [film.videoWidth, film.videoHeight]") == [videos.COLUMNS, videos.ROWS]
    assert page.evaluate(_NOTES_ARE_ABOVE)
    assert not faults(page) and not sticks_out(page)
    page.locator(".series").nth(2).click()
    expect(page.locator(".placeholder")).to_contain_text("cannot play this video (MPEG-2)")
    expect(page.locator(".series").nth(1).locator(".bar")).to_have_count(0)
    assert not faults(page) and not sticks_out(page)
    page.context.close()
