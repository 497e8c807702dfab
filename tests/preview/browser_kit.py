"""A real browser, without a network beyond this machine, and what the tests do with it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *(
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ),
)
BINARY, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Browser(webdriver.Chrome):
    """Chromium, driven by the keyboard, the mouse and JavaScript."""

    def settled(self, seconds: float = 15.0) -> None:
        """Wait until the page shows a letter and the check of all rows is done."""
        self.until(
            "document.body.dataset.finished === 'yes' && document.body.dataset.row !== undefined", seconds
        )
        frame = "document.querySelector('#sheet iframe')"
        self.until(f"!{frame} || {frame}.clientWidth > 0", seconds)
        self.until("!document.querySelector('.coming')", seconds)
        time.sleep(0.25)

    def until(self, condition: str, seconds: float = 10.0) -> float:
        """Wait until a condition in JavaScript holds, and return how long that took."""
        began = time.perf_counter()
        while not self.js(f"return Boolean({condition})"):
            assert time.perf_counter() - began < seconds, condition
            time.sleep(0.02)
        return time.perf_counter() - began

    def js(self, code: str, *arguments: object):
        """Run JavaScript in the page."""
        return self.execute_script(code, *arguments)

    def keys(self, *keys: str) -> None:
        """Press keys where the focus is: a character, or a name such as TAB or ARROW_DOWN."""
        for key in keys:
            ActionChains(self).send_keys(key if len(key) == 1 else getattr(Keys, key)).perform()

    def one(self, selector: str):
        """Return an element."""
        return self.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click with the mouse."""
        ActionChains(self).move_to_element(self.one(selector)).click().perform()

    def text(self, selector: str) -> str:
        """Return the text that an element shows."""
        return self.one(selector).text

    def size(self, width: int, height: int = 900, *, dark: bool = False, motion: str = "reduce") -> None:
        """Set the size of the window in CSS pixels, and the colours that the person prefers."""
        self.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {
                "features": [
                    {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": motion},
                ]
            },
        )


def started(profile: Path) -> Browser:
    """Start a browser with a fresh profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BINARY)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Browser(options=options, service=Service(str(DRIVER)))
    browser.set_script_timeout(60)
    return browser
