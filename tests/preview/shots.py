"""Take pictures of the preview at three widths, light and dark: python tests/preview/shots.py DIR.

The wide, light one is the picture of the README: --readme writes it to docs/preview.png.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser_kit import started
from preview_kit import previewing

HERE = Path(__file__).parent
SIZES = {"wide": (1440, 900), "middle": (1000, 800), "phone": (360, 780)}


def main() -> None:
    """Take the pictures."""
    readme = "--readme" in sys.argv
    target = HERE.parents[1] / "docs" if readme else Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp())
    target.mkdir(parents=True, exist_ok=True)
    wanted = [("wide", False)] if readme else [(name, dark) for name in SIZES for dark in (False, True)]
    with tempfile.TemporaryDirectory() as profile, previewing(HERE / "reading-room") as preview:
        browser = started(Path(profile))
        for name, dark in wanted:
            width, height = SIZES[name]
            browser.size(width, height, dark=dark)
            browser.get(preview.address)
            browser.settled()
            if readme:
                browser.keys("n")
                browser.settled()
            path = target / ("preview.png" if readme else f"{name}-{'dark' if dark else 'light'}.png")
            browser.save_screenshot(str(path))
            sys.stdout.write(f"{path} {path.stat().st_size:,} bytes\n")
        browser.quit()


if __name__ == "__main__":
    main()
