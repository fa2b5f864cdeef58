"""What users expect of an application: links into it, search, keys, updates, storage, large text, many studies."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pydicom import Dataset

from benchmarks.studies import HONG, demo_studies, long_ct
from tests.support import web_build
from tests.support.browsers import new_page
from tests.support.gateways import RunningGateway
from tests.support.web_walk import faults, quiet, sticks_out

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180), pytest.mark.long]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway where an operator confirms devices, with a CT and an echocardiogram of HONG."""
    folder = tmp_path_factory.mktemp("habits")
    shutil.copytree(web_build.application(), folder / "web")
    (folder / "studies").mkdir()
    with RunningGateway(
        folder / "state",
        settings={
            "rendering": {"diagnostic": False},
            "enrolment": {"confirm": "operator"},
            "https": {"web": str(folder / "web")},
        },
    ) as one:
        one.cli("profile", "add", "patient", HONG.identifier)
        made = demo_studies(folder / "studies")
        for number, study in enumerate([made[0], made[2]], 1):
            one.store(study.files)
            one.wait_studies(number)
        yield one


@pytest.fixture
def page(browser: Browser, gateway: RunningGateway) -> Iterator[Page]:
    """A phone of HONG, enrolled; the operator reads the number from its screen."""
    one = new_page(browser, locale="en-GB")
    one.goto(gateway.cli("invite", f"patient:{HONG.identifier}", json=True)["uri"])
    one.locator("form button[type=submit]").click()
    shown = one.locator(".fingerprint.shown")
    expect(shown).to_have_text(re.compile("^[0-9a-f]{4}( [0-9a-f]{4}){3}$"))
    assert not faults(one) and not sticks_out(one)
    gateway.cli("devices", "confirm", shown.inner_text())
    for what in ("CT 컴퓨터단층", "Echo"):
        expect(one.locator(".row-link", has_text=what)).to_be_visible()
    expect(one.locator(".row-progress")).to_have_count(0)
    quiet(one)
    yield one
    one.context.close()


def test_a_link_leads_to_a_study_and_what_is_not_here_says_so(page: Page, gateway: RunningGateway) -> None:
    page.locator(".row-link", has_text="CT").click()
    expect(page.get_by_test_id("slice")).to_have_text("1 / 24")
    link = page.url
    assert re.search(r"#study=[a-z2-7]{26}$", link), "an opaque reference, nothing else"
    other = page.context.new_page()
    other.goto(link)
    expect(other.get_by_test_id("slice")).to_have_text("1 / 24")
    other.locator(".study-head button").first.click()
    expect(other.locator(".row-link")).to_have_count(2)
    other.goto(f"{gateway.origin}/#study=aaaaaaaaaaaaaaaaaaaaaaaaaa")
    expect(other.locator("h1")).to_have_text("This study is not on this device.")
    assert not faults(other)


def test_search_and_filters_find_what_is_here(page: Page) -> None:
    page.locator("input[type=search]").fill("홍길동 ultrasound")
    expect(page.locator(".row-link")).to_have_count(1)
    page.locator("input[type=search]").fill("")
    page.locator("select").first.select_option("CT")
    expect(page.locator(".row-link")).to_have_count(1)
    expect(page.locator(".found")).to_contain_text("1 study")
    page.locator(".row-link").click()
    page.go_back()
    expect(page.locator(".row-link")).to_have_count(1)  # as it was left
    page.locator("select").first.select_option("")
    page.get_by_text("New only").click()
    expect(page.locator(".row-link")).to_have_count(1)  # the CT was looked at


def test_keys_alone_lead_through_a_study(page: Page) -> None:
    page.locator(".row-link", has_text="CT").focus()
    page.keyboard.press("Enter")
    slice_ = page.get_by_test_id("slice")
    expect(slice_).to_have_text("1 / 24")
    for key, shown in (("ArrowDown", "2 / 24"), ("End", "24 / 24"), ("ArrowUp", "23 / 24"), ("Home", "1 / 24")):
        page.keyboard.press(key)
        expect(slice_).to_have_text(shown)
    page.keyboard.press("Space")
    expect(slice_).not_to_have_text("1 / 24")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(page.locator(".row-link")).to_have_count(2)


def test_fingers_scroll_zoom_and_reset(page: Page) -> None:
    page.locator(".row-link", has_text="CT").click()
    expect(page.locator(".placeholder")).to_have_count(0)
    box = page.get_by_test_id("picture").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b, "id": i}
                   for i, (a, b) in enumerate(points)]})  # fmt: skip

    send("touchStart", (x, y))
    for step in range(1, 11):
        send("touchMove", (x, y + 20 * step))
    send("touchEnd")
    expect(page.get_by_test_id("slice")).not_to_have_text("1 / 24")
    before = page.locator("canvas").screenshot()
    send("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 6):
        send("touchMove", (x - 20 - 15 * step, y), (x + 20 + 15 * step, y))
    send("touchEnd")
    expect(page.get_by_test_id("picture")).to_be_visible()
    zoomed = page.locator("canvas").screenshot()
    assert zoomed != before
    page.keyboard.press("0")
    page.wait_for_function("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.locator("canvas").screenshot() == before


def test_what_is_kept_stays_and_the_rest_is_removed(page: Page, gateway: RunningGateway) -> None:
    page.locator(".row-link", has_text="CT").click()
    page.get_by_role("button", name="More about this study").click()
    page.get_by_role("menuitem", name="Keep on this device").click()
    page.go_back()
    expect(page.locator(".row", has_text="CT").locator(".marks, .row-marks")).to_contain_text("Kept")
    page.goto(f"{gateway.origin}/#settings")
    expect(page.locator(".bar").first).to_be_visible()
    page.get_by_text("Remove all images", exact=True).click()
    page.locator("dialog .primary").click()
    expect(page.locator(".note", has_text="Images removed")).to_be_visible()
    page.goto(f"{gateway.origin}/#")
    expect(page.locator(".row", has_text="CT").locator(".row-state")).to_contain_text("On this device")
    expect(page.locator(".row", has_text="Echo").locator(".row-state")).to_have_text("Fetched again when opened")


def test_large_text_and_a_phone_on_its_side(browser: Browser, page: Page, gateway: RunningGateway) -> None:
    page.goto(f"{gateway.origin}/#settings")
    page.get_by_label("Very large").check()
    page.goto(f"{gateway.origin}/#")
    for width, height in ((360, 740), (740, 360)):
        page.set_viewport_size({"width": width, "height": height})
        for stop in ("#", "#settings"):
            page.goto(f"{gateway.origin}/{stop}")
            expect(page.locator("h1")).to_be_visible()
            assert not sticks_out(page), (width, stop)
        page.goto(f"{gateway.origin}/#")
        page.locator(".row-link", has_text="CT").click()
        expect(page.locator(".placeholder")).to_have_count(0)
        assert not sticks_out(page) and not faults(page), width
        picture, warning = page.get_by_test_id("picture").bounding_box(), page.locator(".warning").bounding_box()
        assert picture and picture["height"] > height / 3, "room for the picture"
        assert warning and warning["y"] + warning["height"] <= height and warning["x"] + warning["width"] <= width


def _make_urgent(dataset: Dataset) -> None:
    dataset.RequestedProcedurePriority = "STAT"


def test_text_that_was_guessed_is_marked(page: Page, gateway: RunningGateway, tmp_path: Path) -> None:
    """A header in UTF-8 that declares no character set: the name is read, and said to be guessed. Urgency too."""
    file = long_ct(tmp_path, 1, HONG, "guessed", change=_make_urgent).files[0]
    data = file.read_bytes()
    at = data.index(b"\x08\x00\x05\x00CS")
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    file.write_bytes(data[: at + 8] + b" " * length + data[at + 8 + length :])
    gateway.store([file])
    expect(page.locator(".row-link")).to_have_count(3)
    expect(page.locator(".row", has_text="CT of many slices").locator(".mark.critical")).to_have_text("CRITICAL")
    expect(page.locator(".mark.guessed").first).to_have_text("Text guessed")
    page.locator(".row-link", has_text="CT of many slices").click()
    expect(page.locator(".study-head .mark.guessed")).to_be_visible()
    assert not faults(page) and not sticks_out(page)


def test_a_new_version_is_offered_and_taken(page: Page, gateway: RunningGateway) -> None:
    """The shell stays as it is until the reader agrees; then the new one runs, and the store is as it was."""
    page.wait_for_function("() => navigator.serviceWorker.ready.then(() => true)")
    script = gateway.folder.parent / "web" / "sw.js"
    script.write_text(re.sub(r'"version":"[0-9a-f]+"', '"version":"0123456789abcdef"', script.read_text()))
    gateway.restart()
    page.reload()
    offer = page.locator(".banner.info")
    expect(offer).to_contain_text("A new version is ready.", timeout=30_000)
    assert not faults(page)
    with page.expect_navigation():
        offer.locator("button").click()
    expect(page.locator(".row-link").first).to_be_visible()
    kept = page.evaluate("() => caches.keys()")
    assert kept == ["mpacs-shell-0123456789abcdef"]


FRAMES = """async () => {
  const times = [];
  let last = performance.now();
  const end = document.documentElement.scrollHeight - innerHeight;
  for (let at = 0; at < end; at += 120) {
    window.scrollTo(0, at);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  window.scrollTo(0, end);
  return times.sort((a, b) => a - b);
}"""


def test_a_hundred_studies_scroll(page: Page, gateway: RunningGateway, tmp_path: Path) -> None:
    """Every row is there, and no step of the scrolling lays out more than what comes into sight."""
    before = page.locator(".row-link").count()
    made = [long_ct(tmp_path, 1, HONG, f"many-{number}", f"Abdomen no{number}x") for number in range(100)]
    gateway.store([path for study in made for path in study.files])
    gateway.wait_studies(100 + before, timeout_s=170)
    expect(page.locator(".row-link")).to_have_count(100 + before, timeout=60_000)
    expect(page.locator(".row-progress")).to_have_count(0, timeout=60_000)
    quiet(page)
    times = page.evaluate(FRAMES)
    assert len(times) > 50
    print(f"{len(times)} frames: median {times[len(times) // 2]:.0f} ms, 95 % {times[len(times) * 19 // 20]:.0f} ms, "
          f"longest {times[-1]:.0f} ms")  # fmt: skip
    expect(page.locator(".row .thumb img").last).to_be_visible()
    page.evaluate("() => window.scrollTo(0, 0)")
    page.locator("input[type=search]").fill("no77x")
    expect(page.locator(".row-link")).to_have_count(1)
    assert not faults(page)
