"""A real browser without a window, for pages that must work in one."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900",
)  # fmt: skip
PATIENCE = 30


class Page:
    """What a test asks of the browser."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path: Path, place: str = "overview") -> None:
        """Open a file at a place, and wait until that is shown."""
        self.driver.get("about:blank")
        self.driver.get(f"{path.resolve().as_uri()}#{place}")
        self.wait("return document.documentElement.dataset.ready === arguments[0]", place)

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments) -> None:
        end = time.monotonic() + PATIENCE
        while not self.run(script, *arguments):
            assert time.monotonic() < end, f"not in {PATIENCE} s: {script} {arguments}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def texts(self, selector: str) -> list[str]:
        """The text of every element that a selector finds."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", selector)

    def choose(self, name: str, text: str) -> None:
        """Set the filter of a column in the table that is shown."""
        self.run(
            "const s = [...document.querySelectorAll(`select[data-filter='${arguments[0]}']`)]"
            ".find(s => s.offsetParent);"
            "s.value = [...s.options].find(o => o.text === arguments[1]).value; s.dispatchEvent(new Event('change'))",
            name,
            text,
        )

    def complaints(self) -> list[str]:
        """What the console has been told, and what was fetched."""
        fetched = self.run("return performance.getEntriesByType('resource').map(e => e.name)")
        return [entry["message"] for entry in self.driver.get_log("browser")] + fetched


@contextmanager
def browser(folder: Path):
    """Start a browser with an empty profile; skip, and say so, where there is none."""
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver_binary = shutil.which("chromedriver")
    if not binary or not driver_binary:
        pytest.skip("NOT TESTED in a browser: no chromium and chromedriver here (Debian: chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="NOT TESTED in a browser: selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_binary))
    try:
        yield Page(driver)
    finally:
        driver.quit()
