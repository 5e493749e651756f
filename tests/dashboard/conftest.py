"""Fixtures: a node with its admin surface, and a real browser that looks at it."""

import contextlib
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from node import Node
from nodes import starting

LIMIT_S = 30
CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def until(look, what: str):
    """Looks until there is something; it, or a failure. What the page has replaced while it was looked at is looked for again."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(StaleElementReferenceException):
            if found := look():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not within {LIMIT_S} s: {what}")


class Surface(Node):
    """A node with its admin surface on a port of its own."""

    def __init__(self, directory: Path, configuration: Path | None = None, **settings: str):
        super().__init__(directory, configuration, **{"admin__listen": "127.0.0.1:0", "storage__min_free": "0 B"} | settings)

    @property
    def operator(self) -> dict[str, str]:
        """The headers of an operator: the token that the node has made for itself."""
        token = self.root / ".tidegate" / "admin.token"
        until(token.exists, "the node makes a token")
        return {"Authorization": f"Bearer {token.read_text().strip()}", "Content_Type": "application/json"}

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
        """Status, headers and body of an answer, whatever it is."""
        request = urllib.request.Request(self.url + path, method=method, data=body)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read()


start_node = starting(Surface)


@pytest.fixture
def node(start_node) -> Surface:
    return start_node()


@pytest.fixture
def browse(tmp_path: Path):
    """Opens pages in a browser of a given size and scheme. What its console said against a page fails the test."""
    browsers = []

    def browse(url: str, *, token: str = "", width: int = 1366, height: int = 860, dark: bool = False):
        options = Options()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS, f"--user-data-dir={tmp_path}/browser{len(browsers)}", f"--window-size={width},{height}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        browsers.append(browser)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(url)
        if token:
            browser.execute_script("sessionStorage.setItem('token', arguments[0])", token)
            browser.refresh()
        return browser

    yield browse
    said = []
    for browser in browsers:
        said += [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        browser.quit()
    # What a test provokes on purpose: an answer that refuses, or a node that is gone.
    provoked = ("401", "403", "404", "503", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET")
    assert not [entry for entry in said if not any(word in entry["message"] for word in provoked)], said
