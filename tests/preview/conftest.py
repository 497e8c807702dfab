from __future__ import annotations

import shutil

import pytest
from preview_kit import campaign, previewing

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
)


@pytest.fixture(scope="module")
def preview(tmp_path_factory):
    """A running preview of five people."""
    with previewing(campaign(tmp_path_factory.mktemp("look") / "spring")) as running:
        running.until(lambda state: state.get("finished"))
        yield running


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser, fresh, without a network beyond this machine."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("the page was not tested: chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(60)
    yield browser
    browser.quit()
