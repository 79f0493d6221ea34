"""A real browser before a real page of a real server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request, expect, sync_playwright
from playwright.sync_api import Page as Shown

from tests.web.stage import Page, Stage, staged

DEVICES = 60
SECONDS = 30
"""How long to wait for something on a page, on a machine that has more to do."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), devices=DEVICES) as made:
        yield made


@pytest.fixture(scope="module")
def web(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(stage.state, tmp_path_factory.mktemp("web") / "log", "--pcap", str(stage.capture)) as page:
        yield page


@pytest.fixture(scope="module")  # while it is there, nothing else in this process can run an event loop
def browser(require_tool: Callable[[str], str]) -> Iterator[Browser]:
    chromium = require_tool("chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=options) as launched,
    ):
        expect.set_options(timeout=1_000 * SECONDS)
        yield launched


def watch(page: Shown, address: str) -> list[str]:
    """Return what will be wrong with a page: what its console says, and whom else it asks for something."""
    faults: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            faults.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith(f"{address}/"):
            faults.append(f"asked for {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", asked)
    return faults


@pytest.fixture(scope="module")
def visit(browser: Browser, web: Page) -> Iterator[BrowserContext]:
    """A browser that has come in by a login link."""
    context = browser.new_context(viewport={"width": 1180, "height": 800}, locale="en-GB")
    page = context.new_page()
    page.goto(web.another_link())
    page.wait_for_url(f"{web.address}/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def shown(visit: BrowserContext, web: Page) -> Iterator[Shown]:
    """A page of that browser. No error is in its console in the end, and it has asked nobody else for anything."""
    page = visit.new_page()
    faults = watch(page, web.address)
    yield page
    page.close()
    assert faults == []


def audit(stage: Stage) -> list[dict[str, Any]]:
    """Return the lines of the audit log."""
    return [json.loads(line) for line in Path(stage.state / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
