"""The table of faults in docs/smtp.md and the tests that it names: neither without the other."""

from __future__ import annotations

import re
from pathlib import Path

from script import everything

HERE = Path(__file__).parent
TEXT = (HERE.parents[1] / "docs" / "smtp.md").read_text("utf-8")
NAMED = set(re.findall(r"`([a-z0-9_-]+)`", TEXT))
TRANSCRIPTS = {script.name.split()[0] for script in everything()}
FUNCTIONS = {
    name
    for path in HERE.glob("test_faults_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


def test_every_test_that_the_table_names_exists():
    functions = {name for name in NAMED if name.startswith("test_")}
    transcripts = {
        name for name in NAMED if name in TRANSCRIPTS or re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", name)
    }
    assert functions <= FUNCTIONS
    assert transcripts - {"smtp-sink", "smtp-source"} <= TRANSCRIPTS


def test_the_rooms_of_the_table_are_those_of_the_folder():
    rooms = {path.stem for path in (HERE.parents[1] / "merge" / "smtp").glob("[a-z]*.py")}
    listed = TEXT.partition("## The rooms")[2].partition("##")[0]
    assert rooms == set(re.findall(r"`([a-z]+)`(?=[,| ])", listed.replace("`socket`", "")))
