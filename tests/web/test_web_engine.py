"""The web client's engine in a real browser, before a real gateway; without screens."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.studies import Made, demo_studies, long_ct
from tests.support import web_build
from tests.support.browsers import chromium_path, new_page, trust, trusting_browser
from tests.support.gateways import RunningGateway

pytestmark = pytest.mark.peer("chromium")

PIN = "482916"
STARTED = "() => globalThis.api && api.phase.value.name !== 'starting'"
COMPLETE = (
    "() => api.studies.value.length > 0 && "
    "api.studies.value.every(s => s.settled && s.layers.length > 1 && s.layers.every(l => l.complete))"
)
READ_ALL = """async (first) => {
  const { ref, series } = api.studies.value[0];
  const sizes = [];
  for (const one of series.filter(s => s.frames > 0)) {
    open(ref, one.uid);
    const { frames } = one;
    for (let index = 0; index < Math.min(frames, first); index++) {
      const { blob } = await globalThis.series.frame(index, { timeoutMs: 10000 });
      const bitmap = await createImageBitmap(blob);
      sizes.push([bitmap.width, bitmap.height]);
    }
    globalThis.series.close();
  }
  return sizes;
}"""
LEFT = """async () => {
  const text = [];
  const walk = async (folder) => {
    for await (const handle of folder.values()) {
      if (handle.kind === 'directory') await walk(handle);
      else text.push(new TextDecoder('latin1').decode(await (await handle.getFile()).arrayBuffer()));
    }
  };
  await walk(await navigator.storage.getDirectory());
  const db = await new Promise((resolve, reject) => {
    const request = indexedDB.open('mpacs');
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const show = (value) => {
    if (value instanceof Uint8Array) return new TextDecoder('latin1').decode(value);
    if (value instanceof CryptoKey) return value.extractable ? 'EXTRACTABLE' : '';
    if (value && typeof value === 'object') return Object.entries(value).map(([k, v]) => k + show(v)).join();
    return String(value);
  };
  for (const table of db.objectStoreNames) {
    const store = db.transaction(table).objectStore(table);
    for (const name of ['getAll', 'getAllKeys']) {
      const found = await new Promise(resolve => {
        const request = store[name]();
        request.onsuccess = () => resolve(request.result);
      });
      text.push(...found.map(show));
    }
  }
  db.close();
  return text;
}"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's page, built once."""
    return web_build.engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A CT of some segments, written once."""
    return long_ct(tmp_path_factory.mktemp("ct"), 60)


@contextmanager
def _gateway(folder: Path, web: Path, **delivery: float) -> Iterator[RunningGateway]:
    settings = {"delivery": {"settle_s": 0.5, **delivery}, "https": {"web": str(web)}}
    with RunningGateway(folder, settings=settings) as one:
        one.cli("profile", "add", "doctor", "D1", "--name", "Kim^Minsu", "--attends", "*")
        one.cli("profile", "add", "ward", "W1", "--attends", "*")
        yield one


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, web: Path, ct: Made) -> Iterator[RunningGateway]:
    """A gateway that has one study; its console serves the engine's page."""
    with _gateway(tmp_path_factory.mktemp("gateway") / "state", web) as one:
        one.store(ct.files)
        one.wait_studies(1)
        yield one


def _open(page: Page, gateway: RunningGateway) -> Page:
    page.goto(gateway.origin)
    page.wait_for_function(STARTED)
    return page


def _phase(page: Page) -> str:
    return str(page.evaluate("() => api.phase.value.name"))


def _call(page: Page, expression: str, *given: Any) -> Any:
    """The value of a promise, or the code of its ApiError."""
    return page.evaluate(f"(given) => Promise.resolve(({expression})(...given)).catch(e => e.code ?? String(e))", given)


def _enrol(page: Page, gateway: RunningGateway, recipient: str, pin: str = "") -> None:
    uri = gateway.cli("invite", recipient, json=True)["uri"]
    assert _call(page, "(uri) => api.enrol(uri, 'Phone')", uri) is None
    if pin:
        assert _phase(page) == "pin-needed"
        assert _call(page, "(pin) => api.setPin(pin)", pin) is None
    assert _phase(page) == "open"


@pytest.fixture
def doctor(browser: Browser, gateway: RunningGateway) -> Iterator[Page]:
    """A page of its own storage, enrolled for the doctor, with all that is announced."""
    page = _open(new_page(browser), gateway)
    _enrol(page, gateway, "doctor:D1", PIN)
    page.wait_for_function(COMPLETE)
    yield page
    page.context.close()


@pytest.fixture
def ward(browser: Browser, gateway: RunningGateway) -> Iterator[Page]:
    """The same for the ward, which needs no PIN."""
    page = _open(new_page(browser), gateway)
    _enrol(page, gateway, "ward:W1")
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
    assert _call(ward, "() => api.thumbnail(api.studies.value[0].ref, '1.2.3')") is None
    assert _call(ward, "() => api.thumbnail('nothing', '1.2.3')") == "gone"


def test_a_link_is_used_once_and_only_before_it_ends(browser: Browser, gateway: RunningGateway) -> None:
    """What is wrong with a link has a code of its own; a second enrolment must forget the first."""
    page = _open(new_page(browser), gateway)
    assert _call(page, "(uri) => api.enrol(uri, 'Phone')", "https://x/#enrol=abc") == "link-invalid"
    uri = gateway.cli("invite", "ward:W1", json=True)["uri"]
    assert _call(page, "(uri) => api.enrol(uri, 'Phone')", uri[:-4]) == "link-invalid"
    assert _call(page, "(uri) => api.enrol(uri, 'Phone')", uri) is None
    assert _call(page, "(uri) => api.enrol(uri, 'Phone')", uri) == "already-enrolled"
    other = _open(new_page(browser), gateway)
    assert _call(other, "(uri) => api.enrol(uri, 'Phone')", uri) == "link-refused"
    assert _phase(other) == "not-enrolled"
    assert _call(page, "() => api.forget()") is None
    assert _phase(page) == "not-enrolled"
    assert not any("ward-7" in text for text in page.evaluate(LEFT))
    other.context.close()
    page.context.close()


def test_the_pin_shuts_the_store(doctor: Page) -> None:
    """Weak ones are refused, wrong ones counted; a new one opens what the old one did."""
    assert _call(doctor, "() => api.removePin('482916')") == "refused"  # a doctor needs one
    for weak in ("1234", "111111", "123456"):
        assert _call(doctor, "(pin) => api.setPin(pin, '482916')", weak) == "pin-weak"
    assert _call(doctor, "() => api.setPin('730251', '000000')") == "pin-wrong"
    assert _call(doctor, "() => api.setPin('730251', '482916')") is None
    doctor.reload()
    doctor.wait_for_function(STARTED)
    assert _phase(doctor) == "locked"
    assert doctor.evaluate("() => api.studies.value") == []
    assert _call(doctor, "() => api.unlock('482916')") == "pin-wrong"
    assert doctor.evaluate("() => api.phase.value.attemptsLeft") == 9
    assert _call(doctor, "() => api.unlock('730251')") is None
    assert len(doctor.evaluate(READ_ALL, 2)) == 2
    assert _call(doctor, "() => api.lock()") is None
    assert _phase(doctor) == "locked"


def test_ten_wrong_pins_erase_everything(doctor: Page) -> None:
    """A found device does not let anybody try for ever."""
    _call(doctor, "() => api.lock()")
    tried = [_call(doctor, "(pin) => api.unlock(pin)", f"99{number:04}") for number in range(10)]
    assert tried == ["pin-wrong"] * 9 + ["pin-locked"]
    assert _phase(doctor) == "not-enrolled"
    assert not any("ward-7" in text for text in doctor.evaluate(LEFT))


def test_a_ward_may_have_a_pin_and_be_without_again(ward: Page) -> None:
    """The store is sealed anew under a secret that was never kept in the open."""
    assert _call(ward, "() => api.setPin('482916')") is None
    ward.reload()
    ward.wait_for_function(STARTED)
    assert _phase(ward) == "locked"
    assert _call(ward, "() => api.unlock('482916')") is None
    assert _call(ward, "() => api.removePin('482916')") is None
    ward.reload()
    ward.wait_for_function("() => globalThis.api && api.phase.value.name === 'open'")
    assert len(ward.evaluate(READ_ALL, 2)) == 2


def test_tabs_share_one_engine_and_outlive_it(ward: Page, gateway: RunningGateway) -> None:
    """A second tab sees what the first one sees; when the leading tab goes the other one leads on."""
    second = _open(ward.context.new_page(), gateway)
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
    ward.evaluate("() => api.setPinned(api.studies.value[0].ref, true)")
    ward.evaluate("() => api.clearStore()")
    assert ward.evaluate("() => api.studies.value[0].evicted") is False
    assert len(ward.evaluate(READ_ALL, 2)) == 2


def test_a_full_store_drops_what_was_unused_for_longest(browser: Browser, tmp_path: Path, web: Path, ct: Made) -> None:
    """Below the limit that the user sets, the newest studies stay."""
    (tmp_path / "demo").mkdir()
    with _gateway(tmp_path / "state", web) as gateway, trusting_browser(gateway.authority) as own:
        page = _open(new_page(own), gateway)
        _enrol(page, gateway, "ward:W1")
        gateway.store(ct.files)
        page.wait_for_function(COMPLETE)
        used = page.evaluate("() => api.studies.value[0].storedBytes")
        page.evaluate("(limit) => api.saveSettings({ storeLimitBytes: limit })", used + 200_000)
        other = demo_studies(tmp_path / "demo")[0]
        gateway.store(other.files)
        page.wait_for_function("() => api.studies.value.length === 2 && api.studies.value[1].evicted")
        page.wait_for_function(
            "() => api.studies.value[0].settled && api.studies.value[0].layers.every(l => l.complete)"
        )
        assert page.evaluate("() => api.storage.value.usedBytes") <= used + 200_000


def test_without_the_gateway_what_is_here_is_shown_as_not_current(tmp_path: Path, web: Path, ct: Made) -> None:
    """The head falls overdue; frames open without a network; then the gateway comes back."""
    with (
        _gateway(tmp_path / "state", web, head_ward_s=2) as gateway,
        trusting_browser(gateway.authority) as own,
    ):
        gateway.store(ct.files)
        page = _open(new_page(own), gateway)
        _enrol(page, gateway, "ward:W1")
        page.wait_for_function(COMPLETE)
        assert page.evaluate("() => api.studies.value[0].current") is True
        gateway.stop()
        page.wait_for_function("() => !api.studies.value[0].current && !api.recipients.value[0].current")
        assert page.evaluate("() => api.connection.value.state") != "online"
        assert len(page.evaluate(READ_ALL, 60)) == 60
        gateway.start()
        page.evaluate("() => api.refresh()")
        page.wait_for_function("() => api.connection.value.synced && api.studies.value[0].current")


def test_the_store_shuts_with_the_lease_and_opens_with_the_next(tmp_path: Path, web: Path, ct: Made) -> None:
    """Without the gateway the secret is erased when its time has come, and the store stays shut until it is back."""
    with (
        _gateway(tmp_path / "state", web, lease_h=12 / 3600) as gateway,
        trusting_browser(gateway.authority) as own,
    ):
        gateway.store(ct.files)
        page = _open(new_page(own), gateway)
        _enrol(page, gateway, "ward:W1")
        page.wait_for_function(COMPLETE)
        gateway.stop()
        page.wait_for_function("() => api.phase.value.name === 'lease-ended'", timeout=30_000)
        assert page.evaluate("() => api.studies.value") == []
        assert _call(page, "() => api.thumbnail('x', 'y')") == "lease-ended"
        gateway.start()
        page.evaluate("() => api.refresh()")
        page.wait_for_function(
            "() => api.phase.value.name === 'open' && api.studies.value.length === 1", timeout=30_000
        )
        assert len(page.evaluate(READ_ALL, 2)) == 2


def test_a_device_that_was_shut_out_says_so(tmp_path: Path, web: Path, ct: Made) -> None:
    """Its login ends, and what it may not have any more is not asked for."""
    with _gateway(tmp_path / "state", web) as gateway, trusting_browser(gateway.authority) as own:
        gateway.store(ct.files)
        page = _open(new_page(own), gateway)
        _enrol(page, gateway, "ward:W1")
        page.wait_for_function(COMPLETE)
        (device,) = gateway.cli("devices", json=True)
        gateway.cli("revoke", device["device"])
        page.wait_for_function(
            "() => api.phase.value.name === 'revoked' || api.connection.value.error === 'refused'", timeout=30_000
        )


@contextmanager
def _profile(folder: Path) -> Iterator[tuple[Page, int]]:
    """Chromium on a profile that stays, and its process id."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=chromium_path(),
            env={**os.environ, "HOME": str(folder)},
            args=["--remote-debugging-port=0"],
        )
        owner = next(
            int(path.name)
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and _is_browser(path, folder / "profile")
        )
        try:
            yield context.pages[0], owner
        finally:
            context.close()


def _is_browser(path: Path, profile: Path) -> bool:
    try:
        command = (path / "cmdline").read_text().split("\0")
    except OSError:
        return False
    return f"--user-data-dir={profile}" in command and not any(word.startswith("--type=") for word in command)


def test_a_kill_in_the_middle_loses_and_invents_nothing(tmp_path: Path, web: Path) -> None:
    """SIGKILL while segments come: what is claimed afterwards opens, and the rest is fetched."""
    (tmp_path / "ct").mkdir()
    home = tmp_path / "home"
    home.mkdir()
    made = long_ct(tmp_path / "ct", 160)
    with _gateway(tmp_path / "state", web) as gateway:
        gateway.store(made.files)
        gateway.wait_studies(1)
        trust(home, gateway.authority)
        with _profile(home) as (page, pid):
            _open(page, gateway)
            page.evaluate("() => api.saveSettings({ display: 'on-demand' })")
            _enrol(page, gateway, "ward:W1")
            page.wait_for_function("() => api.studies.value.some(s => s.settled)")
            page.evaluate("() => void api.download(api.studies.value[0].ref)")
            page.wait_for_function(
                "() => api.studies.value[0].layers.some(l => l.layer === 'display' && l.receivedBytes > 500000)",
                polling=5,
            )
            os.kill(pid, signal.SIGKILL)
            page.wait_for_event("close", timeout=10_000) if not page.is_closed() else None
        with _profile(home) as (page, _):
            _open(page, gateway)
            assert _phase(page) == "open"
            received = "() => api.studies.value[0]?.layers.find(l => l.layer === 'display').receivedBytes ?? 0"
            assert page.evaluate(received) > 0
            sizes = page.evaluate(READ_ALL, 160)
            assert len(sizes) == 160 and all(size == [512, 512] for size in sizes)
