"""Every page on every screen, in both languages, light and dark: no fault, nothing cut off, as it was looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.studies import HONG, demo_report, demo_studies
from tests.support import web_build
from tests.support.browsers import Screen, new_page
from tests.support.gateways import RunningGateway
from tests.support.pictures import changed
from tests.support.web_walk import breaks_when_large, faults, sticks_out, walk

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(300)]
SCREENS = {
    "phone-360": Screen(360, 740, 2),
    "phone-412": Screen(412, 915, 2),
    "tablet-wide": Screen(1280, 800, 1),
    "tablet-tall": Screen(800, 1280, 1),
}
LOCALES = {"ko": "ko-KR", "en": "en-GB"}
QUICK = [("phone-360", "ko"), ("phone-412", "en"), ("tablet-wide", "en"), ("tablet-tall", "ko")]
"""Both languages on phones and on tablets, compared with pictures; one phone is the quick form."""
PICTURES = ("enrol-link", "list", "study", "report", "settings")
ALL = [
    pytest.param(screen, language, marks=[] if (screen, language) in QUICK[:1] else [pytest.mark.long])
    for screen in SCREENS
    for language in LOCALES
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with five real studies of two patients, one with a report."""
    web_build.application()
    folder = tmp_path_factory.mktemp("pages")
    (folder / "studies").mkdir()
    with RunningGateway(folder / "state", settings={"rendering": {"diagnostic": False}}) as one:
        one.cli("profile", "add", "doctor", "D1", "--name", "Kim^Minsu=金^民秀=김^민수", "--attends", "*")
        made = demo_studies(folder / "studies")
        report = demo_report(folder / "studies", made[0], HONG)
        for number, study in enumerate(made, 1):
            one.store([*study.files, *(report.files if number == 1 else ())])
            one.wait_studies(number)  # one after the other: the list's order is when they came
        yield one


@pytest.mark.parametrize(("screen", "language"), ALL)
def test_every_page(browser: Browser, gateway: RunningGateway, screen: str, language: str, tmp_path: Path) -> None:
    page = new_page(browser, SCREENS[screen], LOCALES[language], reduced_motion="reduce")
    wrong: list[object] = []
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    for stop in walk(page, gateway, "doctor:D1", 5):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
            wrong += [(stop, scheme, *fault) for fault in faults(page)]
            wrong += [(stop, scheme, out) for out in sticks_out(page)]
            if (screen, language) in QUICK and stop in PICTURES:
                what = changed(page, f"{screen}-{language}-{scheme}-{stop}", tmp_path)
                wrong += [what] if what else []
        if screen == "phone-360":
            wrong += [(stop, "large text", broken) for broken in breaks_when_large(page)]
    page.context.close()
    assert not wrong
    own = (f"{gateway.origin}/", "blob:", "data:", "about:")
    assert asked and [url for url in asked if not url.startswith(own)] == [], "a call left the origin"


def test_faults_are_found(browser: Browser, gateway: RunningGateway) -> None:
    """The measure itself: what is wrong on purpose is told."""
    page = new_page(browser, SCREENS["phone-360"])
    page.goto(gateway.origin)
    page.locator("form textarea").wait_for()
    assert not faults(page) and not sticks_out(page)
    page.evaluate("() => { document.querySelector('form button').textContent = ''; }")
    assert any(rule == "button-name" for _, rule, _ in faults(page))
    page.evaluate("() => { document.querySelector('main').style.width = '500px'; }")
    assert sticks_out(page)
    page.evaluate("() => { document.querySelector('form button').parentElement.style.width = '100px'; }")
    page.evaluate("() => { document.querySelector('form button').textContent = 'unbroken'; }")
    assert breaks_when_large(page)
    page.context.close()
