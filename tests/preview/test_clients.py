"""What mail programs leave out is told by what stands in the letter, and by nothing else."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from merge.preview.anatomy import anatomy
from merge.preview.clients import as_of, left_out


def told(html):
    return left_out(html, anatomy(html))


@pytest.mark.parametrize(
    ("html", "program", "word"),
    [
        ('<p style="border-radius: 4px">x</p>', "Outlook on Windows", "border-radius"),
        ("<p style='color:red;box-shadow:0 0 1px'>x</p>", "Outlook on Windows", "box-shadow"),
        ("<style>p { display : flex }</style><p>x</p>", "Outlook on Windows", "display:flex"),
        (
            "<style>@media (prefers-color-scheme: dark) { p { color: red } }</style>",
            "Gmail",
            "@media (prefers-color-scheme)",
        ),
        ("<style>a:hover { color: red }</style>", "Outlook on Windows", ":hover"),
        ("<style>@font-face { font-family: x }</style>", "Gmail", "@font-face"),
        ("<p style='width: var(--w)'>x</p>", "Gmail", "var()"),
        ("<video src='x'></video>", "Gmail", "<video>"),
    ],
)
def test_each_way_to_tell(html, program, word):
    assert word in told(html)[program]


@pytest.mark.parametrize(
    "html",
    [
        "<p>border-radius: 4px, display: flex, @font-face, var(--x)</p>",
        "<style>/* box-shadow: 0 */ p { color: red }</style><p>x</p>",
        "<style>.border-radius { color: red }</style><p class='border-radius'>x</p>",
        '<p title="display:flex">x</p>',
        '<div style="display:none;max-height:0;overflow:hidden;opacity:0;mso-hide:all">Preheader</div>',
        "",
    ],
)
def test_words_in_the_letter_are_not_its_style(html):
    assert told(html) == {}


def test_the_facts_name_their_source_day_and_licence():
    data = json.loads(resources.files("merge.preview").joinpath("clients.json").read_text("utf-8"))
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", as_of())
    assert data["source"] == "caniemail.com"
    assert "Copyright (c) 2019 HTeuMeuLeu" in data["licence"]
    assert all(without for _, _, without in data["features"])
    assert len(data["features"]) > 80
