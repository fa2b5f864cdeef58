"""The web application through a link of 20 Mbit/s and 50 ms: how long a user waits, beside the same over loopback."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.harness import Gateway, free_ports, send, wait_for
from benchmarks.slow_link import SlowLink
from benchmarks.studies import HONG, LEE, demo_studies

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LINK_BYTES_PER_S, LINK_ROUND_TRIP_S = 20e6 / 8, 0.05
_NO_LINK_BYTES_PER_S = 10e9
_LISTED = "() => document.querySelector('.row-link .row-title') && performance.now()"
_CONTROLLED = "() => navigator.serviceWorker.controller !== null"
_TAP = "at => { window.tapped = performance.now(); document.querySelectorAll('.row-link')[at].click(); }"
_SHOWN = """() => document.querySelector('[data-testid=slice]') && !document.querySelector('.placeholder')
  && performance.now() - window.tapped"""
_QUIET = "() => !document.querySelector('.row-progress') && document.querySelectorAll('.thumb img').length > 0"
_DROPPED = "Fetched again when opened"


def web_entries(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Rows: scan to first picture, list on a warm shell, tap to first picture; none where there is no Chromium."""
    try:
        from playwright.sync_api import sync_playwright

        from benchmarks.browser import chromium_path, trusting_browser

        chromium_path()
    except (ImportError, AssertionError):
        return []
    (folder / "studies").mkdir(parents=True)
    made = [*demo_studies(folder / "studies")]
    with sync_playwright() as driver:
        found = {}
        for name, rate, round_trip_s in (
            ("link", LINK_BYTES_PER_S, LINK_ROUND_TRIP_S),
            ("loopback", _NO_LINK_BYTES_PER_S, 0.0),
        ):
            [port] = free_ports(1)
            gateway = Gateway(folder / name)
            path = gateway.state / "gateway.yaml"
            settings = yaml.safe_load(path.read_text())
            settings["https"]["origin"] = f"https://127.0.0.1:{port}"
            settings.setdefault("access", {})["release"] = "automatic"  # the patient's own studies are looked at
            path.write_text(yaml.safe_dump(settings))
            with gateway, SlowLink(settings["https"]["port"], rate, round_trip_s, port):
                gateway.cli("profile", "add", "doctor", "WEB", "--attends", "*")
                for patient in (HONG, LEE):
                    gateway.cli("profile", "add", "patient", patient.identifier)
                for study in made:
                    send(gateway.dicom_port, study.files)
                wait_for(lambda gateway=gateway: _all_made(gateway, len(made)), 120, "all pictures")  # type: ignore[misc]
                with trusting_browser(driver, gateway.state / "tls" / "authority.pem") as browser:
                    found[name] = _measure(browser, gateway, 1 if quick else 5)
    rows = zip(
        ("scan_to_picture", "list_on_a_warm_shell", "tap_to_picture"), found["link"], found["loopback"], strict=True
    )
    return [
        {"name": f"web_{name}", "value": link, "unit": "s", "peer": "the same over loopback", "peer_value": loopback}
        for name, link, loopback in rows
    ]


def _all_made(gateway: Gateway, studies: int) -> bool | None:
    found = gateway.json("studies")
    made = [one for one in found if one["settled"] and "display" in one["layers"] and "pending" not in one["instances"]]
    return len(made) == studies or None


def _measure(browser: "Browser", gateway: Gateway, rounds: int) -> tuple[float, float, float]:
    """Seconds, medians over ``rounds``: from the scan to a picture, to the list again, from a tap to a picture."""
    scans, lists, taps = [], [], []
    for _ in range(rounds):
        context = browser.new_context(
            viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, locale="en-GB"
        )
        page = context.new_page()
        page.goto(gateway.invite(f"patient:{HONG.identifier}"))
        page.locator("form button[type=submit]").click()
        page.wait_for_function(_LISTED, polling="raf")
        _shown_after_tap(page, 0)
        # The page's clock began with the navigation, which is what a scan does.
        scans.append(float(page.evaluate("() => performance.now()")) / 1000)
        page.goto(page.url.split("#")[0] + "#settings")
        # What is tapped next is to come over the link, not from the store.
        page.get_by_label("When opened", exact=True).check()
        page.get_by_text("Remove all images", exact=True).click()
        page.locator("dialog .primary").click()
        page.wait_for_function(_CONTROLLED)
        page.goto(page.url.split("#")[0])
        page.reload()
        lists.append(float(page.wait_for_function(_LISTED, polling="raf").json_value()) / 1000)
        page.get_by_text(_DROPPED, exact=True).nth(2).wait_for()
        page.wait_for_function(_QUIET)
        page.locator(".connection.online").wait_for()
        taps.append(_shown_after_tap(page, 2))
        context.close()
    return median(scans), median(lists), median(taps)


def _shown_after_tap(page: "Page", at: int) -> float:
    page.evaluate(_TAP, at)
    return float(page.wait_for_function(_SHOWN, polling="raf").json_value()) / 1000
