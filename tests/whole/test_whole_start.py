"""From nothing to a letter that could go out: three commands, no edit."""

from __future__ import annotations

import re

import pytest
from whole_kit import here as run

STARTERS = ["announcement", "invitation", "newsletter", "plain"]


@pytest.mark.parametrize("starter", STARTERS)
def test_every_starter_is_sound_and_can_be_tried_at_once(tmp_path, starter):
    made = run("init", "club", "--letter", starter, cwd=tmp_path)
    assert made.code == 0, made
    assert "mergepost check club" in made.err
    checked = run("check", "club", cwd=tmp_path)
    assert checked.code == 0, checked
    assert "0 errors, 0 warnings" in checked.out
    tried = run("send", "club", "--sandbox", cwd=tmp_path)
    assert tried.code == 0, tried
    letters = list((tmp_path / "club" / "sandbox").glob("*.eml"))
    assert f"{len(letters)} sent" in tried.err
    assert len(letters) >= 3
    assert "from is still the example" in tried.err
    assert run("send", "club", "--dry-run", cwd=tmp_path).code == 0
    refused = run("send", "club", "--confirm", str(len(letters)), cwd=tmp_path)
    assert refused.code == 2
    assert "[account]" in refused.err


def test_init_keeps_what_is_there(tmp_path):
    (tmp_path / "people.csv").write_text("email\nada@x.example\n")
    assert run("init", cwd=tmp_path).code == 0
    assert (tmp_path / "people.csv").read_text() == "email\nada@x.example\n"
    again = run("init", cwd=tmp_path)
    assert again.code == 2
    assert "campaign.toml already" in again.err
    assert "journal.db" in (tmp_path / ".gitignore").read_text()


def test_init_tells_which_starters_there_are(tmp_path):
    close = run("init", "--letter", "newslettr", cwd=tmp_path)
    assert (close.code, "did you mean newsletter?" in close.err) == (2, True)
    far = run("init", "--letter", "xyz", cwd=tmp_path)
    assert all(starter in far.err for starter in STARTERS)
    assert not list(tmp_path.glob("*.toml"))


def test_a_bare_command_tells_how_to_begin_or_where_it_stands(tmp_path):
    told = run(cwd=tmp_path)
    assert (told.code, "mergepost init" in told.out) == (0, True)
    assert run("init", "club", cwd=tmp_path).code == 0
    here = run(cwd=tmp_path / "club")
    assert here.code == 0
    assert re.search(r"\d+ rows: 0 sent, \d+ waiting\nNext +mergepost send\n$", here.out)


def test_a_place_where_nothing_can_be_made_is_named(tmp_path):
    (tmp_path / "club").touch()
    said = run("init", "club", cwd=tmp_path)
    assert said.code in (2, 4)
    assert "club" in said.err
