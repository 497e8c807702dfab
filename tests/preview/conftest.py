from __future__ import annotations

import pytest
from preview_kit import campaign, previewing


@pytest.fixture(scope="module")
def preview(tmp_path_factory):
    """A running preview of five people."""
    with previewing(campaign(tmp_path_factory.mktemp("look") / "spring")) as running:
        running.until(lambda state: state.get("finished"))
        yield running


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One browser for all tests."""
    kit = pytest.importorskip("browser_kit", reason="the page was not tested: selenium is not installed")
    if not kit.BINARY or not kit.DRIVER:
        pytest.skip("the page was not tested: chromium and chromedriver are not installed")
    browser = kit.started(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()
