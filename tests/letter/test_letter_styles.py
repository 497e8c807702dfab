"""Where the stylesheet of a letter goes is the person's choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from merge import Campaign
from merge.errors import ConfigError

SHEET = "<style>p { color: red } @media (max-width: 9px) { p { color: blue } }</style>"


def campaign(folder: Path, setting: str) -> Campaign:
    (folder / "people.csv").write_text("email\na@x.example\n")
    (folder / "letter.html").write_text(
        f"Subject: News\n\n<html><head>{SHEET}</head><body><p>Hi</p></body></html>\n"
    )
    (folder / "campaign.toml").write_text(
        f'list = "people.csv"\nletter = "letter.html"\nfrom = "a@ada.example"\n{setting}\n'
    )
    return Campaign.load(folder)


@pytest.mark.parametrize(
    ("setting", "inlined"), [("", True), ("inline_css = true", True), ("inline_css = false", False)]
)
def test_a_stylesheet_is_written_into_the_elements_unless_told_otherwise(
    tmp_path: Path, setting: str, *, inlined: bool
) -> None:
    (message,) = campaign(tmp_path, setting).messages()
    html = message.get_body(("html",)).get_content()
    assert ('style="color: red' in html) is inlined
    assert "@media (max-width: 9px)" in html


def test_anything_but_true_and_false_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inline_css"):
        campaign(tmp_path, 'inline_css = "no"').check()
