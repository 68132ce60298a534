"""The live console in a real browser, before a real worker and broker."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from streamapp.broker import LocalBroker
from tests.api.process import ApiProcess
from tests.engine.deployment import Deployment

#: Where screenshots are kept; without it they go with the test.
SCREENSHOTS = "STREAMAPP_TEST_SCREENSHOTS"
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
DESKTOP, PHONE = (1360, 860), (390, 844)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "Chromium is not installed: run deploy/install-test-servers.sh"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


class Looking:
    """A page of the console, and what went wrong in it."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int], scheme: str) -> None:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.first = self.page.locator("#anomalies button").first
        expect(self.first).to_be_visible(timeout=PATIENCE_MS)

    def shoot(self, directory: Path, name: str) -> None:
        """A picture; nothing stands out of the window's sides."""
        page = self.page
        expect(page.locator("#rate")).to_have_text(re.compile(r"\d"))
        wider = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not wider, f"{name} is wider than its window"
        page.screenshot(path=directory / f"{name}.png")

    def open_first(self) -> None:
        """Click the newest anomaly and wait for its verdict."""
        self.first.click()
        expect(self.page.locator("#detail .reason").first).to_be_visible()
        expect(self.page.locator("#detail circle.this")).to_have_count(1)


@pytest.mark.integration
def test_console(deployment: Deployment, browser: Browser, tmp_path: Path) -> None:
    """Numbers move, filters narrow, a verdict opens; reload and a worker's absence pass."""
    directory = Path(os.environ.get(SCREENSHOTS) or tmp_path)
    worker = deployment.worker()
    worker.await_ready()
    with _console(deployment) as process, deployment.load(100):
        url = _address(process)
        looking = Looking(browser, url, DESKTOP, "light")
        page = looking.page
        assert "key" not in page.url
        _moves(page)
        _filters(page)
        looking.shoot(directory, "desktop-light")
        looking.open_first()
        width = page.locator(".reason .fill").first.evaluate("bar => bar.offsetWidth")
        assert width > 100
        page.keyboard.press("Escape")
        expect(page.locator("#detail")).to_be_hidden()
        page.reload()
        expect(looking.first).to_be_visible()
        assert 0 == worker.terminate()[0]
        expect(page.locator("#banner")).to_contain_text("No worker is running")
        deployment.worker().await_ready()
        expect(page.locator("#banner")).to_be_hidden(timeout=PATIENCE_MS)
        _moves(page)
        found = list(looking.errors)
        for size, scheme, name in (
            (DESKTOP, "dark", "desktop-dark"),
            (PHONE, "light", "phone-light"),
            (PHONE, "dark", "phone-dark"),
        ):
            other = Looking(browser, url, size, scheme)
            if name == "phone-light":
                other.shoot(directory, name)
            else:
                other.open_first()
                other.shoot(directory, name)
            found += other.errors
        assert [] == found
        assert 0 == process.stop()


@pytest.mark.integration
def test_console_asks_for_a_key(
    noida_broker: LocalBroker, browser: Browser, tmp_path: Path, topic_prefix: str
) -> None:
    """Without a key, or with a wrong one, there is a form and no data."""
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": noida_broker.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": topic_prefix,
        "STREAMAPP_API__KEYS_FILE": str(tmp_path / "keys.json"),
    }
    with ApiProcess(settings, tmp_path / "api.log") as process:
        page = browser.new_page()
        page.goto(f"{process.url}/console")
        expect(page.locator("#key-form")).to_be_visible()
        page.fill("#key", "wrong")
        page.click("#key-form button")
        expect(page.locator("#key-form")).to_be_visible()
        page.fill("#key", process.key("read"))
        page.click("#key-form button")
        expect(page.locator("#letters")).to_contain_text("refused")


def _console(deployment: Deployment) -> ApiProcess:
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": deployment.kafka.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": deployment.topics.prefix,
        "STREAMAPP_WORKER__GROUP": deployment.group,
        "STREAMAPP_API__KEYS_FILE": str(deployment.directory / "keys.json"),
    }
    return ApiProcess(settings, deployment.directory / "console.log", ("console",))


def _address(process: ApiProcess) -> str:
    lines = process.log.read_text().splitlines()
    return next(line for line in lines if line.startswith("http://"))


def _moves(page: Page) -> None:
    """The graph of the last seconds becomes another one, and not a flat one."""
    before = page.locator("#history .top").get_attribute("d") or ""
    expect(page.locator("#history .top")).not_to_have_attribute("d", before)
    expect(page.locator("#rate")).not_to_have_text("0")


def _filters(page: Page) -> None:
    """By severity, by user: all that is shown fits, also what comes later."""
    rows = page.locator("#anomalies li .badge")
    page.get_by_text("High", exact=True).click()
    expect(page.locator("#anomalies li").first).to_contain_text("HIGH")
    _moves(page)
    assert {"HIGH"} == {one.get_attribute("data-severity") for one in rows.all()}
    page.get_by_text("All", exact=True).click()
    who = page.locator("#anomalies .who").first.inner_text()
    user = who.split(" · ")[0].removeprefix("user ")
    page.fill("input[name=user_id]", user)
    expect(page.locator("#shown")).to_contain_text("shown")
    for one in page.locator("#anomalies .who").all():
        assert one.inner_text().startswith(f"user {user} ")
    page.fill("input[name=user_id]", "")
