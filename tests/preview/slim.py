"""Make merge/preview/clients.json of caniemail's data: python tests/preview/slim.py caniemail.json.

The data comes with the npm package `caniemail`, as data/caniemail.json. Kept are the features that one of
the big mail programs leaves out, and that can be told from a letter's HTML.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parents[2] / "merge" / "preview" / "clients.json"
LICENCE = """\
MIT License. Copyright (c) 2019 HTeuMeuLeu. Permission is hereby granted, free of charge, to any person
obtaining a copy of this software and associated documentation files (the "Software"), to deal in the
Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions: The above copyright notice and this
permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE
IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE
USE OR OTHER DEALINGS IN THE SOFTWARE."""
CLIENTS = {
    "Gmail": ("gmail", ("desktop-webmail", "ios", "android")),
    "Outlook on Windows": ("outlook", ("windows",)),
    "Outlook.com": ("outlook", ("outlook-com",)),
    "Apple Mail": ("apple-mail", ("macos", "ios")),
    "Yahoo": ("yahoo", ("desktop-webmail",)),
}
ELEMENTS = {"audio", "button", "dialog", "form", "meter", "object", "picture", "progress", "select", "svg"}
ELEMENTS |= {"textarea", "video", "marquee", "popover"}
FUNCTIONS = {"css-variables": "var("} | {
    f"css-{name}-gradient": f"{name}-gradient(" for name in ("linear", "radial", "conic")
}
DISPLAY = {"css-display-flex": "display:flex", "css-display-grid": "display:grid"}
MEDIA = {"css-at-media-prefers-color-scheme": "prefers-color-scheme"}
FAMILIES = (
    ("css-function-", "value", "{}("),
    ("css-pseudo-class-", "pseudo", "{}"),
    ("css-at-", "rule", "{}"),
    ("html-", "element", "{}"),
    ("css-", "property", "{}"),
)
PASSED_OVER = re.compile(
    "css-(?:comments|important|nesting|display|font|rgba?)|css-(?:unit|selector|pseudo-element|modern|intrinsic|sytem).*"
    "|css-at-(?!font-face|import|keyframes|supports).*|.*(?:inline-block|-logical|layout-properties|-inline-size).*"
)


def where(slug: str) -> tuple[str, str] | None:
    """Say how a feature is told from a letter: by what, and by which word."""
    for kind, known in (("value", FUNCTIONS), ("declaration", DISPLAY), ("media", MEDIA)):
        if slug in known:
            return kind, known[slug]
    if PASSED_OVER.fullmatch(slug):
        return None
    for prefix, kind, form in FAMILIES:
        name = slug.removeprefix(prefix)
        if name != slug:
            return None if kind == "element" and name not in ELEMENTS else (kind, form.format(name))
    return None


def main() -> None:
    """Write the slim file."""
    data = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    features = []
    for feature in data["data"]:
        place = where(feature["slug"])
        if place is None:
            continue
        without = []
        for place_of_client, (family, platforms) in enumerate(CLIENTS.values()):
            stats = feature["stats"].get(family, {})
            newest = [list(stats[platform].values())[-1] for platform in platforms if stats.get(platform)]
            if newest and any(verdict.startswith("n") for verdict in newest):
                without.append(place_of_client)
        if without:
            features.append([*place, without])
    made = {
        "source": "caniemail.com",
        "date": data["last_update_date"][:10],
        "licence": " ".join(LICENCE.split()),
        "clients": list(CLIENTS),
        "features": sorted(features),
    }
    lines = json.dumps(made, ensure_ascii=False, separators=(",", ":")).replace("],[", "],\n[")
    TARGET.write_text(lines + "\n", "utf-8")


if __name__ == "__main__":
    main()
