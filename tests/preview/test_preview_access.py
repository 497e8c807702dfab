"""Nobody is kept out: axe-core finds nothing on the page or in the exported file."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from preview_kit import COMMAND, LETTER, PEOPLE, campaign, previewing

BROKEN = PEOPLE.replace("bob@example.org", "bob at example.org") + "ada@example.org,Twice,free,Rome\n"


@pytest.fixture(scope="module")
def axe():
    spec = find_spec("axe_playwright_python")
    if spec is None:
        pytest.skip("the page was not judged by axe-core: axe-playwright-python is not installed")
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    with previewing(campaign(tmp_path_factory.mktemp("flawed") / "spring", people=BROKEN)) as running:
        running.until(lambda state: state.get("finished"))
        running.folder = running.process.args[-1]
        yield running


def violations(browser, axe):
    browser.js(f"if (!window.axe) {{ {axe} }}")
    found = browser.execute_async_script(
        """
        const done = arguments[0];
        const what = {iframes: false, resultTypes: ["violations"]};
        axe.run(document, what).then(
          (result) => done(result.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])),
          (error) => done([["axe", [String(error)]]]));
        """
    )
    assert browser.js("return axe.version >= '4.10'")
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000, 1440])
def test_axe_finds_nothing_on_the_page(chromium, flawed, axe, width, dark):
    chromium.size(width, 900, dark=dark)
    chromium.get(flawed.address)
    chromium.settled()
    chromium.keys("j")
    chromium.until("document.body.dataset.row === '3'")
    assert violations(chromium, axe) == []
    for key in "234":
        chromium.keys(key)
        assert violations(chromium, axe) == []
    if width == 360:
        chromium.click("#toggle")
        assert violations(chromium, axe) == []


def test_axe_finds_nothing_in_the_help_or_beside_an_error(chromium, axe, tmp_path):
    folder = campaign(tmp_path / "spring")
    chromium.size(1440, 900)
    with previewing(folder) as running:
        chromium.get(running.address)
        chromium.settled()
        chromium.keys("?")
        assert violations(chromium, axe) == []
        chromium.keys("ESCAPE")
        (folder / "letter.md").write_text(LETTER.replace("{% endif %}", "{% endif"), "utf-8")
        chromium.until("!document.getElementById('trouble').hidden")
        # The old letter is greyed on purpose: WCAG leaves out what is inactive, axe-core cannot know.
        assert [found for found in violations(chromium, axe) if found[0] != "color-contrast"] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_in_the_exported_page(chromium, flawed, axe, tmp_path, dark):
    out = tmp_path / "look.html"
    subprocess.run(
        [*COMMAND, "preview", "--out", str(out), str(flawed.folder)], check=True, capture_output=True
    )
    chromium.size(1000, 900, dark=dark)
    chromium.get(out.as_uri())
    assert violations(chromium, axe) == []


def test_the_place_is_announced_and_frames_have_titles(chromium, flawed):
    chromium.size(1440, 900)
    chromium.get(flawed.address)
    chromium.settled()
    assert chromium.one("#place").get_attribute("aria-live") == "polite"
    assert chromium.one("#sheet iframe").get_attribute("title").startswith("Letter of row 2: ")
    option = chromium.one("#row-2")
    assert (option.get_attribute("aria-posinset"), option.get_attribute("aria-setsize")) == ("1", "6")


def test_motion_only_for_those_who_like_it(chromium, flawed):
    chromium.size(1440, 900, motion="reduce")
    chromium.get(flawed.address)
    chromium.settled()
    moving = (
        "return [...document.querySelectorAll('*')]"
        ".some((e) => getComputedStyle(e).transitionDuration !== '0s')"
    )
    assert not chromium.js(moving)
