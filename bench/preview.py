"""How soon does the preview of a long list show a letter, and does the list scroll smoothly?

From the moment the command is typed: until it prints its address, until the page shows rows and the first
letter, until all rows are there, until all of them are checked. And the gaps between two frames while the
list scrolls from end to end, during the check and after it. In a real browser (chromium with chromedriver);
without one nothing is measured.

Run: python bench/preview.py [--rows 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "preview"))

from browser_kit import BINARY, DRIVER, Browser, started
from preview_kit import campaign, many, previewing

STEPS = (
    ("first rows", "document.querySelectorAll('.row').length > 5"),
    ("first letter", "document.body.dataset.row === '2'"),
    ("all rows", "document.getElementById('found').textContent === '{rows:,}'"),
    ("all checked", "document.body.dataset.finished === 'yes'"),
)
FRAMES = """
const done = arguments[0], box = document.getElementById("rows"), gaps = [];
let before = performance.now(), turn = 0;
function frame(now) {
  gaps.push(now - before); before = now;
  box.scrollTop = box.scrollHeight * ++turn / 120;
  if (turn < 120) requestAnimationFrame(frame);
  else done(gaps.slice(5).sort((a, b) => a - b));
}
requestAnimationFrame(frame);
"""


def measured(folder: Path, rows: int, browser: Browser) -> dict[str, float]:
    """One preview, from its start to its end; seconds, and milliseconds of frames."""
    browser.get("about:blank")
    began = time.perf_counter()
    found = {}
    with previewing(folder) as preview:
        found["address"] = time.perf_counter() - began
        browser.get(preview.address)
        for name, condition in STEPS[:2]:
            browser.until(condition, 60)
            found[name] = time.perf_counter() - began
        gaps = browser.execute_async_script(FRAMES)
        found["frame, busy"], found["worst frame, busy"] = gaps[len(gaps) // 2], gaps[-1]
        for name, condition in STEPS[2:]:
            browser.until(condition.format(rows=rows), 600)
            found[name] = time.perf_counter() - began
        gaps = browser.execute_async_script(FRAMES)
        found["frame"], found["worst frame"] = gaps[len(gaps) // 2], gaps[-1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if not BINARY or not DRIVER:
        print("not measured: chromium and chromedriver are not installed")
        return
    with tempfile.TemporaryDirectory() as place:
        folder = campaign(Path(place) / "spring", people=many(asked.rows))
        browser = started(Path(place) / "profile")
        browser.size(1440, 900)
        rounds = [measured(folder, asked.rows, browser) for _ in range(asked.rounds)]
        browser.quit()
    print(f"preview of {asked.rows:,} rows; median and worst of {asked.rounds} rounds")
    for name in rounds[0]:
        values = sorted(one[name] for one in rounds)
        unit = "ms between two frames" if "frame" in name else "s after the command"
        print(f"  {name:18} {values[len(values) // 2]:7.2f} {values[-1]:7.2f}  {unit}")


if __name__ == "__main__":
    main()
