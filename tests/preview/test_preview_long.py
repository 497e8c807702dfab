"""A list of 100,000 rows opens at once and scrolls smoothly; letters are made when they are asked for."""

from __future__ import annotations

import time

import pytest
from preview_kit import campaign, many, previewing

ROWS = 100_000

FRAMES = """
const done = arguments[0], box = document.getElementById("rows"), gaps = [];
let before = performance.now(), turn = 0;
function frame(now) {
  gaps.push(now - before); before = now;
  box.scrollTop += 4000 + 37 * turn;
  if (++turn < 90) requestAnimationFrame(frame);
  else done([gaps.slice(5).sort((a, b) => a - b), document.querySelectorAll(".row").length, box.scrollTop]);
}
requestAnimationFrame(frame);
"""


@pytest.fixture(scope="module")
def long(tmp_path_factory, chromium):
    """A running preview, begun when the browser waits for it."""
    chromium.size(1440, 900)
    folder = campaign(tmp_path_factory.mktemp("long") / "spring", people=many(ROWS))
    began = time.perf_counter()
    with previewing(folder) as running:
        running.began, running.started_after = began, time.perf_counter() - began
        yield running


def test_the_page_opens_within_two_seconds(chromium, long, record_property):
    began = time.perf_counter()
    chromium.get(long.address)
    chromium.until("document.body.dataset.row === '2' && document.querySelectorAll('.row').length > 5")
    now = time.perf_counter()
    record_property(
        "seconds after the command, after the address", f"{now - long.began:.2f} {now - began:.2f}"
    )
    assert now - began < 2
    chromium.until(f"document.getElementById('found').textContent === '{ROWS:,}'")


def test_scrolling_keeps_up_while_the_rows_are_checked(chromium, long):
    gaps, rows, top = chromium.execute_async_script(FRAMES)
    assert rows < 60
    assert top > 300_000
    assert gaps[len(gaps) // 2] < 34


def test_the_end_of_the_list_is_reached_and_its_letter_shown(chromium, long):
    chromium.js("document.getElementById('rows').focus()")
    began = time.perf_counter()
    chromium.keys("END")
    chromium.until(f"document.body.dataset.row === '{ROWS + 1}'")
    assert time.perf_counter() - began < 2
    assert chromium.text("#name") == f"Person {ROWS - 1}"
    assert chromium.one(f"#row-{ROWS + 1}").is_displayed()


def test_search_and_filters_stay_quick(chromium, long):
    began = time.perf_counter()
    chromium.keys("/", *"p4242@")
    chromium.until("document.getElementById('found').textContent.startsWith('1 of')")
    assert time.perf_counter() - began < 5
    chromium.keys("ESCAPE")
    chromium.until("document.getElementById('found').textContent === '100,000'")
