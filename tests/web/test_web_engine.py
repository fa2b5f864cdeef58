"""The web client's engine in a real browser, before a real gateway; without screens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from benchmarks.studies import Made, long_ct
from tests.support import web_build
from tests.support.browsers import new_page
from tests.support.gateways import RunningGateway
from tests.support.web_engine import (
    COMPLETE,
    LEFT,
    PIN,
    READ_ALL,
    STARTED,
    call,
    enrol,
    open_page,
    phase,
    running_gateway,
)

pytestmark = pytest.mark.peer("chromium")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's page, built once."""
    return web_build.engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A CT of some segments, written once."""
    return long_ct(tmp_path_factory.mktemp("ct"), 60)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, web: Path, ct: Made) -> Iterator[RunningGateway]:
    """A gateway that has one study; its console serves the engine's page."""
    with running_gateway(tmp_path_factory.mktemp("gateway") / "state", web) as one:
        one.store(ct.files)
        one.wait_studies(1)
        yield one


@pytest.fixture
def doctor(browser: Browser, gateway: RunningGateway) -> Iterator[Page]:
    """A page of its own storage, enrolled for the doctor, with all that is announced."""
    page = open_page(new_page(browser), gateway)
    enrol(page, gateway, "doctor:D1", PIN)
    page.wait_for_function(COMPLETE)
    yield page
    page.context.close()


@pytest.fixture
def ward(browser: Browser, gateway: RunningGateway) -> Iterator[Page]:
    """The same for the ward, which needs no PIN."""
    page = open_page(new_page(browser), gateway)
    enrol(page, gateway, "ward:W1")
    page.wait_for_function(COMPLETE)
    yield page
    page.context.close()


def test_frames_arrive_and_nothing_readable_is_kept(doctor: Page, ct: Made) -> None:
    """Every frame decodes; on the disk there is no name, no picture, and no key that could be taken out."""
    study = doctor.evaluate("() => api.studies.value[0]")
    assert study["current"] and study["isNew"] and study["uid"] == ct.StudyInstanceUID
    assert doctor.evaluate("() => api.recipients.value.map(r => [r.label, r.current])") == [["Kim^Minsu", True]]
    sizes = doctor.evaluate(READ_ALL, 60)
    assert len(sizes) == 60 and all(size == [512, 512] for size in sizes)
    kept = doctor.evaluate(LEFT)
    name = study["attributes"]["00100010"]["Value"][0]["Alphabetic"]
    for word in (name, "Kim^Minsu", "JFIF", "EXTRACTABLE", ct.StudyInstanceUID):
        assert not any(word in text for text in kept), "something readable lies in the store"
    doctor.evaluate("(ref) => api.markOpened(ref)", study["ref"])
    doctor.wait_for_function("() => !api.studies.value[0].isNew")


def test_a_small_picture_for_each_series(ward: Page) -> None:
    """Thumbnails are there at once; what is no series has none."""
    width = ward.evaluate(
        "async () => { const s = api.studies.value[0];"
        " return (await createImageBitmap(await api.thumbnail(s.ref, s.series[0].uid))).width }"
    )
    assert width > 32
    assert call(ward, "() => api.thumbnail(api.studies.value[0].ref, '1.2.3')") is None
    assert call(ward, "() => api.thumbnail('nothing', '1.2.3')") == "gone"


def test_a_link_is_used_once_and_only_before_it_ends(browser: Browser, gateway: RunningGateway) -> None:
    """What is wrong with a link has a code of its own; a second enrolment must forget the first."""
    page = open_page(new_page(browser), gateway)
    assert call(page, "(uri) => api.enrol(uri, 'Phone')", "https://x/#enrol=abc") == "link-invalid"
    uri = gateway.cli("invite", "ward:W1", json=True)["uri"]
    assert call(page, "(uri) => api.enrol(uri, 'Phone')", uri[:-4]) == "link-invalid"
    assert call(page, "(uri) => api.enrol(uri, 'Phone')", uri) is None
    assert call(page, "(uri) => api.enrol(uri, 'Phone')", uri) == "already-enrolled"
    assert call(page, "() => api.forget()") is None
    assert phase(page) == "not-enrolled"
    assert not any("ward-7" in text for text in page.evaluate(LEFT))
    page.context.close()


@pytest.mark.long
def test_a_used_link_is_refused(browser: Browser, gateway: RunningGateway) -> None:
    """The broker ends the login of a code that was used; what looks like waiting for a confirmation is over then."""
    uri = gateway.cli("invite", "ward:W1", json=True)["uri"]
    first, second = (open_page(new_page(browser), gateway) for _ in range(2))
    assert call(first, "(uri) => api.enrol(uri, 'Phone')", uri) is None
    assert call(second, "(uri) => api.enrol(uri, 'Phone')", uri) == "link-refused"
    assert phase(second) == "not-enrolled"
    first.context.close()
    second.context.close()


def test_the_pin_shuts_the_store(doctor: Page) -> None:
    """Weak ones are refused, wrong ones counted; a new one opens what the old one did."""
    assert call(doctor, "() => api.removePin('482916')") == "refused"  # a doctor needs one
    for weak in ("1234", "111111", "123456"):
        assert call(doctor, "(pin) => api.setPin(pin, '482916')", weak) == "pin-weak"
    assert call(doctor, "() => api.setPin('730251', '000000')") == "pin-wrong"
    assert call(doctor, "() => api.setPin('730251', '482916')") is None
    doctor.reload()
    doctor.wait_for_function(STARTED)
    assert phase(doctor) == "locked"
    assert doctor.evaluate("() => api.studies.value") == []
    assert call(doctor, "() => api.unlock('482916')") == "pin-wrong"
    assert doctor.evaluate("() => api.phase.value.attemptsLeft") == 9
    assert call(doctor, "() => api.unlock('730251')") is None
    assert len(doctor.evaluate(READ_ALL, 2)) == 2
    assert call(doctor, "() => api.lock()") is None
    assert phase(doctor) == "locked"


def test_ten_wrong_pins_erase_everything(doctor: Page) -> None:
    """A found device does not let anybody try for ever."""
    call(doctor, "() => api.lock()")
    tried = [call(doctor, "(pin) => api.unlock(pin)", f"99{number:04}") for number in range(10)]
    assert tried == ["pin-wrong"] * 9 + ["pin-locked"]
    assert phase(doctor) == "not-enrolled"
    assert not any("ward-7" in text for text in doctor.evaluate(LEFT))


def test_a_ward_may_have_a_pin_and_be_without_again(ward: Page) -> None:
    """The store is sealed anew under a secret that was never kept in the open."""
    assert call(ward, "() => api.setPin('482916')") is None
    ward.reload()
    ward.wait_for_function(STARTED)
    assert phase(ward) == "locked"
    assert call(ward, "() => api.unlock('482916')") is None
    assert call(ward, "() => api.removePin('482916')") is None
    ward.reload()
    ward.wait_for_function("() => globalThis.api && api.phase.value.name === 'open'")
    assert len(ward.evaluate(READ_ALL, 2)) == 2


def test_tabs_share_one_engine_and_outlive_it(ward: Page, gateway: RunningGateway) -> None:
    """A second tab sees what the first one sees; when the leading tab goes the other one leads on."""
    second = open_page(ward.context.new_page(), gateway)
    second.wait_for_function("() => api.phase.value.name === 'open' && api.studies.value.length === 1")
    held = "() => navigator.locks.query().then(found => found.held.filter(l => l.name === 'mpacs-leader').length)"
    assert second.evaluate(held) == 1
    second.evaluate("() => { const s = api.studies.value[0]; open(s.ref, s.series[0].uid); }")
    assert second.evaluate("() => series.frame(0).then(f => f.info.index)") == 0
    ward.close()
    assert second.evaluate("() => series.frame(1).then(f => f.info.index)") == 1
    second.wait_for_function("() => api.connection.value.synced")
    assert second.evaluate(held) == 1


def test_what_was_dropped_comes_again_when_it_is_opened(ward: Page) -> None:
    """Pictures go, the study and its thumbnail stay; opening fetches; a pinned study is not cleared."""
    ward.evaluate("() => api.evict(api.studies.value[0].ref)")
    ward.wait_for_function("() => api.studies.value[0].evicted")
    layers = ward.evaluate("() => Object.fromEntries(api.studies.value[0].layers.map(l => [l.layer, l.receivedBytes]))")
    assert layers["display"] == 0 and layers["thumbnail"] > 0
    assert len(ward.evaluate(READ_ALL, 60)) == 60
    ward.wait_for_function(COMPLETE)
    # The same while it is open, or opened while it goes: what is shown as complete can be read.
    uid = ward.evaluate("() => api.studies.value[0].series.find(s => s.frames > 0).uid")
    for when in ("open(ref, uid); await api.evict(ref)", "const gone = api.evict(ref); open(ref, uid); await gone"):
        ward.evaluate(f"async (uid) => {{ const {{ ref }} = api.studies.value[0]; {when}; }}", uid)
        assert ward.evaluate("() => series.frame(59, { timeoutMs: 10000 }).then(f => f.info.index)") == 59, when
        ward.wait_for_function(COMPLETE)
        ward.evaluate("() => series.close()")
        assert len(ward.evaluate(READ_ALL, 60)) == 60, when
    ward.evaluate("() => api.setPinned(api.studies.value[0].ref, true)")
    ward.evaluate("() => api.clearStore()")
    assert ward.evaluate("() => api.studies.value[0].evicted") is False
    assert len(ward.evaluate(READ_ALL, 2)) == 2
