"""Dark and light, as the letter itself defines them, whatever the browser prefers."""

from __future__ import annotations

import time

import pytest

from merge.preview.sheet import toned

ALWAYS, NEVER = "(min-width: 0)", "(max-width: 0)"


@pytest.mark.parametrize(
    ("html", "dark", "light"),
    [
        (
            "<style>@media (prefers-color-scheme: dark) { p { color: #fff } }</style>",
            f"<style>@media {ALWAYS} {{ p {{ color: #fff }} }}</style>",
            f"<style>@media {NEVER} {{ p {{ color: #fff }} }}</style>",
        ),
        (
            "<style>@MEDIA screen and ( Prefers-Color-Scheme:LIGHT ){}</style>",
            f"<style>@MEDIA screen and {NEVER}{{}}</style>",
            f"<style>@MEDIA screen and {ALWAYS}{{}}</style>",
        ),
        (
            "<source media='(prefers-color-scheme: dark)' srcset=x>",
            f"<source media='{ALWAYS}' srcset=x>",
            f"<source media='{NEVER}' srcset=x>",
        ),
        (
            "<style>:root { color-scheme: light dark; }</style>",
            "<style>:root { color-scheme: dark; }</style>",
            "<style>:root { color-scheme: light; }</style>",
        ),
        (
            '<meta name="color-scheme" content="light dark">',
            '<meta name="color-scheme" content="dark">',
            '<meta name="color-scheme" content="light">',
        ),
        (
            '<meta name="color-scheme" content="light only">',
            '<meta name="color-scheme" content="light only">',
            '<meta name="color-scheme" content="light">',
        ),
    ],
)
def test_what_is_said_for_one_is_said_for_all_or_for_none(html, dark, light):
    assert toned(html, dark=True) == dark
    assert toned(html, dark=False) == light


@pytest.mark.parametrize(
    "html",
    [
        "<p>Write @media, then (prefers-color-scheme: dark).</p>",
        "<p>prefers-color-scheme: dark, color: dark</p>",
        '<p style="color: #123">Hi</p>',
        "",
    ],
)
def test_a_letter_that_says_nothing_of_it_stays_as_it_is(html):
    assert toned(html, dark=True) == toned(html, dark=False) == html


@pytest.mark.parametrize(
    "cell", ["@media ", "color-scheme: ", "color-scheme:light ", " media = ", "prefers-color-scheme"]
)
def test_a_cell_cannot_make_it_slow(cell):
    began = time.perf_counter()
    toned(f"<p>{cell * 20_000}</p>", dark=True)
    assert time.perf_counter() - began < 1
