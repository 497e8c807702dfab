"""Who never said yes gets no mail, where the list has a column for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from merge import Campaign, State
from merge.consent import NO, consents
from merge.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def written(folder: Path, column: str, *cells: str, settings: str = "") -> Campaign:
    people = "".join(f'p{number}@x.example,"{cell}"\n' for number, cell in enumerate(cells))
    (folder / "people.csv").write_text(f"email,{column}\n{people}", "utf-8")
    (folder / "letter.txt").write_text("Subject: News\n\nHello\n")
    head = 'list = "people.csv"\nletter = "letter.txt"\nfrom = "Ada <a@ada.example>"\n'
    (folder / "campaign.toml").write_text(f"{head}{settings}\n")
    return Campaign.load(folder)


@pytest.mark.parametrize(
    "text", ["yes", "1", "x", "✓", "TRUE", "ja", "oui", "2024-05-01", "by phone", "☑", "on"]
)
def test_anything_but_a_plain_no_is_a_yes(text: str) -> None:
    assert consents(text)
    assert consents(f"  {text} ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "No.",
        "NEIN",
        "Non!",
        "ＮＯ",
        "\u00a0-\u00a0",
        "Hayır",
        "HAYIR",
        "YANLIŞ",
        "ΨΕΥΔΈΣ",
        *sorted(NO),
    ],
)
def test_a_plain_no_is_one_in_any_writing(text: str) -> None:
    assert not consents(text)
    assert not consents(f" {text.upper()} ")


@pytest.mark.parametrize("column", ["consent", "Consent", " CONSENT "])
def test_a_column_of_that_name_is_obeyed_unasked_and_it_is_told(tmp_path: Path, column: str) -> None:
    campaign = written(tmp_path, column, "yes", "", "no", "since 2020")
    summary = campaign.send(sandbox=True, confirm=2)
    assert (summary.states[State.SENT], summary.states[State.SKIPPED]) == (2, 2)
    assert summary.proposal.findings.skipped == (("no consent", 2),)
    assert [str(message["To"]) for message in campaign.messages()] == ["p0@x.example", "p3@x.example"]


def test_another_column_can_be_named(tmp_path: Path) -> None:
    campaign = written(tmp_path, "Newsletter?", "ja", "nein", settings='[columns]\nconsent = "Newsletter?"')
    assert campaign.send(sandbox=True).states[State.SENT] == 1
    by_its_short_name = written(
        tmp_path, "Newsletter?", "ja", "nein", settings='[columns]\nconsent = "newsletter"'
    )
    assert by_its_short_name.findings().skipped == (("no consent", 1),)


def test_a_list_without_such_a_column_needs_none(tmp_path: Path) -> None:
    assert written(tmp_path, "Newsletter", "no").findings().skipped == ()


def test_a_column_that_is_not_there_or_there_twice_is_refused(tmp_path: Path) -> None:
    campaign = written(tmp_path, "Newsletter", "ja", settings='[columns]\nconsent = "Newsleter"')
    with pytest.raises(ConfigError, match="no column Newsleter") as refusal:
        campaign.findings()
    assert "did you mean Newsletter?" in refusal.value.hint
    people = "email,consent,Consent\na@x.example,yes,no\n"
    campaign = written(tmp_path, "x", "ja")
    (tmp_path / "people.csv").write_text(people)
    with pytest.raises(ConfigError, match="2 columns"):
        campaign.findings()


@pytest.mark.parametrize(
    ("first", "second", "row", "words"),
    [
        ("no", "yes", 3, "mailed, although row 2 has the same address without consent"),
        ("yes", "no", 3, "no consent here, but row 2 has the same address, and consent"),
    ],
)
def test_an_address_that_says_yes_and_no_is_pointed_out(
    tmp_path: Path, first: str, second: str, row: int, words: str
) -> None:
    written(tmp_path, "consent", first)
    rows = f"Ann@X.example,{first}\nann@x.example,{second}\nb@x.example,yes\n"
    (tmp_path / "people.csv").write_text(f"email,consent\n{rows}")
    (problem,) = Campaign.load(tmp_path).check()
    assert (problem.severity, problem.kind, problem.row, problem.message) == (
        "warning",
        "consent",
        row,
        words,
    )


def test_rows_of_one_address_that_agree_on_consent_are_not_pointed_out(tmp_path: Path) -> None:
    written(tmp_path, "consent", "yes")
    rows = "a@x.example,no\na@x.example,\nb@x.example,no\nc@x.example,yes\n"
    (tmp_path / "people.csv").write_text(f"email,consent\n{rows}")
    assert Campaign.load(tmp_path).check() == []


def test_an_id_each_does_not_hide_that_an_address_says_no(tmp_path: Path) -> None:
    written(tmp_path, "consent", "yes", settings='[columns]\nid = "number"')
    (tmp_path / "people.csv").write_text("email,consent,number\na@x.example,no,1\na@x.example,yes,2\n")
    assert "consent" in {problem.kind for problem in Campaign.load(tmp_path).check()}
