"""The page in a real browser: what it shows, by keyboard, on a phone and in the dark, and that it asks nobody else.

Debian's chromium, without a window, is led by Playwright.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from playwright.sync_api import Page as Shown

from tests.web.conftest import audit, watch
from tests.web.stage import IMEI, Page, Stage, dpe

pytestmark = pytest.mark.timeout(120)

LARGEST = 100_000
"""Bytes that the overview takes at first: the page, its style, scripts and icon."""


@pytest.fixture
def go(shown: Shown, web: Page) -> Callable[[str], Shown]:
    """Go to a page by its path."""

    def go(path: str) -> Shown:
        shown.goto(web.address + path)
        return shown

    return go


def register(stage: Stage, folder: Path, imei: str) -> str:
    """Register another device; return its Client ID."""
    credential = folder / "another.json"
    credential.write_text(dpe("provision", stage.state, imei), encoding="utf-8")
    return str(json.loads(dpe("register", credential, "--json"))["client_id"])


def test_a_login_link_works_once(browser: Browser, web: Page) -> None:
    link = web.another_link()
    with browser.new_context() as first, browser.new_context() as second:
        page = first.new_page()
        page.goto(link)
        page.wait_for_url(f"{web.address}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        other = second.new_page()
        other.goto(link)
        expect(other.get_by_role("heading", level=1)).to_contain_text("This login link is not valid")
        other.goto(web.address)
        expect(other.get_by_role("heading", level=1)).to_contain_text("You are not logged in")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("You are not logged in")


def test_a_page_says_so_when_nothing_comes_any_more(browser: Browser, web: Page, stage: Stage) -> None:
    with browser.new_context() as context:
        overview, device, audit_log = context.new_page(), context.new_page(), context.new_page()
        overview.goto(web.another_link())
        overview.wait_for_url(f"{web.address}/")
        device.goto(f"{web.address}/devices/{stage.client_id}")
        audit_log.goto(f"{web.address}/audit")
        expect(audit_log.get_by_role("status")).to_have_text("The newest first, as it grows")
        another = context.new_page()
        another.goto(f"{web.address}/find")
        another.get_by_role("button", name="Log out").click()
        expect(overview.locator("#why")).to_contain_text("Not connected")
        expect(audit_log.get_by_role("status")).to_contain_text("Not connected")
        dpe("session", "report", stage.credential, "battery=85")  # a stream ends when it would tell something
        expect(device.locator("#history")).to_contain_text("Not connected any more")
        dpe("session", "report", stage.credential, "battery=86")


def test_a_link_in_a_page_of_another_site_lets_in_too(browser: Browser, web: Page) -> None:
    """As in a chat in the browser: the cookie is strict, and not sent along with what another site leads to."""
    with browser.new_context() as context:
        page = context.new_page()
        body = f'<a href="{web.another_link()}">come in</a>'
        page.route("http://chat.example/", lambda route: route.fulfill(body=body, content_type="text/html"))
        page.goto("http://chat.example/")
        page.get_by_role("link").click()
        page.wait_for_url(f"{web.address}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_no_other_site_can_act_for_a_visitor(visit: BrowserContext, web: Page, stage: Stage) -> None:
    before = len(audit(stage))
    page = visit.new_page()
    form = f'<form method="post" action="{web.address}/devices/{stage.client_id}/end"><button>x</button></form>'
    page.route("http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
    page.goto("http://evil.example/")
    page.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("another site")
    page.close()
    assert len(audit(stage)) == before


def test_the_overview_shows_registrations_as_they_happen(go: Callable[[str], Shown], stage: Stage) -> None:
    page = go("/")
    made = page.locator('[data-figure="made"]')
    expect(made).to_have_text(re.compile("[0-9]"))
    expect(page.locator("#rates canvas")).to_be_visible()
    expect(page.locator("#why")).to_be_hidden()
    load = [sys.executable, "-m", "dpe_tools", "load", str(stage.state), "--devices", "20", "--closed", "1"]
    with subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        expect(made).to_have_text(re.compile("[1-9]"))
        expect(page.locator('[data-figure="p50"]')).to_have_text(re.compile("[1-9]"))
        assert process.wait(timeout=60) == 0
    expect(page.get_by_text("Nothing that was found.")).to_be_visible()


def test_sessions_are_searched(go: Callable[[str], Shown], stage: Stage) -> None:
    page = go("/sessions")
    expect(page.get_by_role("row")).to_have_count(51)  # and the head
    page.get_by_role("link", name="More").click()
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    page.get_by_label("Client ID begins with").fill(stage.client_id[:6])
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=stage.client_id).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(stage.client_id)


def test_a_device_is_shown_as_it_changes(go: Callable[[str], Shown], stage: Stage) -> None:
    page = go(f"/devices/{stage.client_id}")
    properties = page.locator("#properties")
    expect(properties).to_contain_text("86 %")
    diagram = page.locator("svg.sequence")
    for name in ("REQUEST", "RESPONSE", "SUCCESS", "CONFIRM", "first contact"):
        expect(diagram.get_by_text(name, exact=True)).to_be_visible()
    expect(diagram).to_contain_text("72 of DPE-1")
    assert IMEI not in page.content()
    dpe("session", "report", stage.credential, "battery=80", "24=22")
    expect(page.locator("#history")).to_contain_text("battery: 86 % → 80 %")
    expect(properties).to_contain_text("80 %")
    dpe("session", "report", stage.credential, "battery=86", "24=21.5")
    expect(page.locator("#history")).to_contain_text("battery: 80 % → 86 %")


def test_the_policy_says_what_it_would_answer(go: Callable[[str], Shown]) -> None:
    page = go("/policy")
    page.get_by_label("DPE version").fill("1.0")
    page.get_by_label("Model (TAC)").fill("49015420")
    page.get_by_label("Firmware").fill("4.9")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".matched")).to_contain_text("meters")
    expect(page.locator(".matched")).to_contain_text("battery (%): when it changes by 5 or more")


def test_the_audit_log_grows_before_ones_eyes(go: Callable[[str], Shown], stage: Stage, tmp_path: Path) -> None:
    page = go("/audit")
    expect(page.get_by_role("status")).to_have_text("The newest first, as it grows")
    client_id = register(stage, tmp_path, "350000000000006")
    expect(page.locator("#log tbody tr").first).to_contain_text(client_id)
    page.get_by_label("Event").fill("response")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#log tbody tr").first).to_contain_text("response")
    assert set(page.locator("#log tbody tr .strong").all_text_contents()) == {"response"}


def test_an_act_is_confirmed_by_keyboard_alone_and_is_in_the_audit_log(
    go: Callable[[str], Shown], stage: Stage, tmp_path: Path, web: Page
) -> None:
    client_id = register(stage, tmp_path, "350000000000014")
    page = go("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()

    def tab_to(role: str, name: str) -> None:
        """Press Tab until something has the focus, which can be seen."""
        for _ in range(200):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "[document.activeElement.tagName, document.activeElement.textContent.trim(),"
                " document.activeElement.name || '', getComputedStyle(document.activeElement).outlineStyle]"
            )
            if name in (found[1], found[2]) and found[0] == role:
                assert found[3] != "none"
                return
        raise AssertionError(f"no way to {name} by Tab")

    tab_to("A", "Sessions")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sessions")
    tab_to("INPUT", "id")
    page.keyboard.type(client_id)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sessions?id={client_id}**")
    tab_to("A", client_id)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/devices/{client_id}")
    tab_to("A", "End the session")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/devices/{client_id}/end")
    expect(page.get_by_role("heading", level=1)).to_have_text("End the session?")
    tab_to("BUTTON", "End the session")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("A device without a session")
    (line,) = [one for one in audit(stage) if one["event"] == "session-ended" and one["why"] == "operator"]
    assert line["by"].startswith("page-")
    assert client_id not in {one["client_id"] for one in json.loads(dpe("sessions", stage.state, "--json"))}


def test_an_imei_is_shown_only_with_a_reason(go: Callable[[str], Shown], stage: Stage) -> None:
    page = go(f"/devices/{stage.client_id}")
    page.get_by_role("link", name="Show the IMEI").click()
    page.get_by_role("button", name="Show the IMEI").click()
    assert page.url.endswith("/imei")  # the form wants a reason
    page.get_by_label("Reason").fill("a test of the page")
    page.get_by_role("button", name="Show the IMEI").click()
    expect(page.locator("#imei")).to_have_text(IMEI)
    assert audit(stage)[-1]["event"] == "imei-shown"
    assert audit(stage)[-1]["reason"] == "a test of the page"


PAGES = (
    "/",
    "/sessions",
    "/sessions?rule=nothing",
    "/devices/{client_id}",
    "/devices/{client_id}/override",
    "/find",
    "/policy?version=1.0&tac=35209900",
    "/audit",
    "/health",
)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_in_the_dark_and_in_the_light(go: Callable[[str], Shown], stage: Stage, path: str) -> None:
    page = go("/health")
    page.set_viewport_size({"width": 360, "height": 740})
    backs = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        go(path.format(client_id=stage.client_id))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        backs.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(CONTRAST) == []
    assert backs[0] != backs[1]


CONTRAST = """
() => {
  // Text whose contrast with what is behind it is below 4.5 (WCAG 2.2, 1.4.3).
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !element.checkVisibility() || element.matches(".u-legend *")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.add(`${element.tagName} ${element.className} ${contrast.toFixed(2)}`);
  }
  return [...found];
}
"""


def test_the_overview_is_small_and_asks_nobody_else(browser: Browser, web: Page) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        faults = watch(page, web.address)
        page.goto(web.another_link())
        page.wait_for_url(f"{web.address}/")
        expect(page.locator("#rates canvas")).to_be_visible()
        measured = page.evaluate(
            "({paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " all: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            ".map((one) => [one.name, one.transferSize, one.encodedBodySize])})"
        )
        size = sum(max(transferred, encoded) for _, transferred, encoded in measured["all"])
        names = {name.partition("?")[0].rpartition("/")[2] for name, _, _ in measured["all"]}
        print(f"first paint {measured['paint']:.0f} ms, {size} bytes in {len(measured['all'])} requests")
        assert {"style.css", "overview.js", "uPlot.iife.min.js", "uPlot.min.css"} <= names
        assert 50_000 < size < LARGEST
        assert all(name.startswith(web.address) for name, _, _ in measured["all"])
        assert faults == []


def test_it_is_whole_without_scripts(browser: Browser, web: Page, stage: Stage) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(web.another_link())
        page.wait_for_url(f"{web.address}/")
        for path, text in (("/audit", "established"), (f"/devices/{stage.client_id}", "86 %"), ("/sessions", "meters")):
            page.goto(web.address + path)
            expect(page.locator("main")).to_contain_text(text)


def test_the_check_of_a_page_sees_faults(browser: Browser, web: Page) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        faults = watch(page, web.address)
        page.route("http://elsewhere.example/**", lambda route: route.fulfill(body="x"))
        page.set_content('<p style="color:#ccc">faint</p><img src="http://elsewhere.example/x.png">')
        page.evaluate("console.error('wrong')")
        assert page.evaluate(CONTRAST) == ["P  1.61"]
        assert any("elsewhere.example" in fault for fault in faults)
        assert "wrong" in faults
