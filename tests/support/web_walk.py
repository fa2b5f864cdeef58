"""A walk through every page of the web application, for what must hold on all of them.

for stop in walk(page, gateway, "doctor:D1"):
    assert not faults(page), stop
"""

import re
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.gateways import RunningGateway
from tests.support.web_build import WEB

PIN = "482916"
LOCK = re.compile("지금 잠그기|Lock now")
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
FAULTS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  const said = (node) => `${node.target.join(' ')}: ${node.failureSummary}`;
  return violations.map(({ id, impact, nodes }) => [impact, id, nodes.map(said)]);
}"""
STICKS_OUT = """() => {
  const width = document.documentElement.clientWidth;
  const out = [...document.querySelectorAll('body *')].filter((element) => {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.height === 0) return false;
    const scrolls = element.closest('[data-scrolls], .strip, .series-strip, .filter-row');
    return !scrolls && (box.right > width + 1 || box.left < -1) && getComputedStyle(element).position !== 'fixed';
  });
  return [document.documentElement.scrollWidth - width, ...out.map(e => e.tagName + '.' + e.className)];
}"""

LARGE = "() => { document.documentElement.style.fontSize = '200%'; }"
NORMAL = "() => { document.documentElement.style.fontSize = ''; }"
BROKEN = """() => {
  const lines = (node, from, to) => {
    const range = document.createRange();
    range.setStart(node, from);
    range.setEnd(node, to);
    return [...range.getClientRects()].filter(box => box.width > 1);
  };
  const out = [];
  for (const element of document.querySelectorAll('body *')) {
    if (!element.checkVisibility() || element.closest('.only-spoken, .skip, .fingerprint')) continue;
    if (element.matches('button, .button, select') && element.scrollWidth > element.clientWidth + 1) {
      out.push(`${element.className} is cut off`);
    }
    for (const node of [...element.childNodes].filter(one => one.nodeType === Node.TEXT_NODE)) {
      for (const word of node.data.matchAll(/[^\\s-]+-?/g)) {
        const found = lines(node, word.index, word.index + word[0].length);
        const fits = found.reduce((sum, box) => sum + box.width, 0) < innerWidth * 0.75;
        if (fits && new Set(found.map(box => Math.round(box.top))).size > 1) out.push(`${word[0]} is broken`);
      }
    }
  }
  return out;
}"""


def faults(page: Page) -> list[Any]:
    """What axe-core calls serious or critical on the page as it is now: ``[impact, rule, places]`` each."""
    if not page.evaluate("() => 'axe' in globalThis"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    return [fault for fault in page.evaluate(FAULTS) if fault[0] in ("serious", "critical")]


def sticks_out(page: Page) -> list[str]:
    """Elements that reach over the sides of the page, with nothing that scrolls around them."""
    over, *out = page.evaluate(STICKS_OUT)
    return [f"the page is {over} px too wide", *out] if over > 0 else out


def breaks_when_large(page: Page) -> list[str]:
    """At twice the size of text: words that fit into a line and are broken, labels that are cut, what sticks out."""
    page.evaluate(LARGE)
    found = [*page.evaluate(BROKEN), *sticks_out(page)]
    page.evaluate(NORMAL)
    return found


def walk(page: Page, gateway: RunningGateway, recipient: str, studies: int) -> Iterator[str]:
    """Go from page to page as a doctor would, who has so many studies; the name of each, once it stands still."""
    page.goto(gateway.origin)
    expect(page.locator("form textarea")).to_be_visible()
    yield "enrol"
    page.locator("form textarea").fill("https://x/#enrol=no")
    page.locator("form button[type=submit]").click()
    expect(page.locator(".form-error")).to_be_visible()
    yield "enrol-wrong"
    # As a scan does: the page is opened by the link itself.
    page.goto("about:blank")
    page.goto(gateway.cli("invite", recipient, json=True)["uri"])
    expect(page.locator("form button[type=submit]")).to_be_enabled()
    yield "enrol-link"
    page.locator("form button[type=submit]").click()
    expect(page.locator("input[type=password]").first).to_be_visible()
    yield "pin"
    for field in page.locator("form input[type=password]").all():
        field.fill(PIN)
    page.locator("form button[type=submit]").click()
    expect(page.locator(".row-link")).to_have_count(studies)
    expect(page.locator(".row-progress")).to_have_count(0)
    expect(page.locator(".thumb img")).to_have_count(studies)
    quiet(page)
    yield "list"
    page.locator("input[type=search]").fill("zzz")
    expect(page.locator(".empty")).to_be_visible()
    yield "nothing-found"
    page.locator(".empty button").click()
    page.locator(".row-link", has_text="CT").first.click()
    expect(page.get_by_test_id("slice")).to_contain_text("1 / 24")
    expect(page.locator(".placeholder")).to_have_count(0)
    quiet(page)
    yield "study"
    page.locator(".report-button").click()
    expect(page.frame_locator(".report-frame").locator("h1")).not_to_be_empty()
    yield "report"
    page.goto(f"{gateway.origin}/#settings")
    expect(page.locator(".setting-group").first).to_be_visible()
    yield "settings"
    page.locator(".setting-group .button.danger").click()
    expect(page.locator("dialog")).to_be_visible()
    yield "dialog"
    page.locator("dialog button").first.click()
    page.get_by_role("button", name=LOCK).click()
    expect(page.locator("input[type=password]")).to_be_visible()
    yield "locked"


def quiet(page: Page) -> None:
    """Close the notes at the foot of the screen."""
    page.evaluate("() => document.querySelectorAll('.note button').forEach(button => button.click())")
    expect(page.locator(".note")).to_have_count(0)
