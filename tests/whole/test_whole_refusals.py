"""Whatever is wrong: one clear message with what, where and what to do, the right exit code, nothing sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from whole_kit import LETTER, PASSWORD, campaign, people, serving, states
from whole_kit import here as run

Change = Callable[[Path], None]


def put(name: str, text: str | bytes) -> Change:
    """Write a file of the campaign."""
    content = text.encode() if isinstance(text, str) else text

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def swap(name: str, old: str, new: str) -> Change:
    """Replace a text in a file of the campaign."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), "utf-8")

    return change


def drop(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def both(first: Change, second: Change) -> Change:
    def change(folder: Path) -> None:
        first(folder)
        second(folder)

    return change


SOMEWHERE = '[account]\nhost = "mail.nowhere.invalid"\nport = 465\n'
HEADER = "name,email,number\n"
GOOD = "Ada,ada@x.example,1\n"

CONTENT: dict[str, tuple[Change, list[str]]] = {
    "a bad address": (
        put("people.csv", HEADER + GOOD + "Bob,bob at x.example,2\n"),
        ["1 of 2 rows", "3 | bob at x.example", "bob@x.example", "--skip-invalid"],
    ),
    "no address": (put("people.csv", HEADER + GOOD + "Bob,,2\n"), ["3 | (empty)", "people.csv"]),
    "two addresses in one cell": (
        put("people.csv", HEADER + GOOD + "Bob,a@x.example; b@x.example,2\n"),
        ["3 | a@x.example; b@x.example", "two addresses"],
    ),
    "a list of nothing but names": (put("people.csv", HEADER), ["people.csv", "no rows", "add"]),
    "a list of nothing at all": (put("people.csv", ""), ["people.csv", "empty"]),
    "no column of addresses": (
        put("people.csv", "name,town,number\nAda,Wien,1\n"),
        ["people.csv", "name | town | number", "[columns] email"],
    ),
    "an encoding that is not what it says": (
        swap("campaign.toml", 'list = "people.csv"', 'list = "people.csv"\nencoding = "ascii"'),
        ["people.csv:2", "ASCII"],
    ),
    "an unclosed quote": (put("people.csv", HEADER + GOOD + 'Bob,"b@x.example,2\n'), ["people.csv", "quote"]),
    "a workbook that is none": (
        both(put("people.xlsx", "PK not really"), swap("campaign.toml", "people.csv", "people.xlsx")),
        ["people.xlsx"],
    ),
    "a name that no column has": (
        swap("letter.txt", "{{ number }}", "{{ nmber }}"),
        ["letter.txt:5:19", "your number is {{ nmber }}.", "^^^^^", "did you mean number", "people.csv"],
    ),
    "two names that no column has": (
        swap("letter.txt", "Hi {{ name }},\n\nyour number is {{ number }}", "{{ nome }} {{ nmber }}"),
        ["letter.txt:3:4", "nome", "letter.txt:3:15", "nmber"],
    ),
    "an unclosed block": (
        swap("letter.txt", "your number", "{% if number %}your number"),
        ["letter.txt:", "{% if number %}", "endif"],
    ),
    "a broken expression": (
        swap("letter.txt", "{{ number }}", "{{ number | }}"),
        ["letter.txt:5", "{{ number | }}", "^"],
    ),
    "an unknown filter": (
        swap("letter.txt", "{{ number }}", "{{ number|uper }}"),
        ["letter.txt:5", "uper"],
    ),
    "a value missing in one row": (
        swap("letter.txt", "{{ number }}", "{{ {'00015838': 'a'}[number] }}"),
        ["2 of 3 rows", "2 | ", "00007919", "= letter.txt:5   your number"],
    ),
    "no subject": (
        put("letter.txt", "To: {{ email }}\n\nHi {{ name }}, {{ number }}.\n"),
        ["letter.txt", "Subject"],
    ),
    "an empty letter": (put("letter.txt", ""), ["empty"]),
    "a letter in another encoding": (
        put("letter.txt", "Subject: Grüße\n\nÄ\n".encode("latin-1")),
        ["letter.txt", "UTF-8"],
    ),
    "a missing attachment": (
        swap("letter.txt", "Subject:", "Attach: files/{{ number }}.pdf\nSubject:"),
        ["3 of 3 rows", "2 | there is no file files/00007919.pdf", "= letter.txt:1   Attach:"],
    ),
    "an id column that is not there": (
        swap("campaign.toml", "[account]", '[columns]\nid = "Numer"\n[account]'),
        ["Numer", "number"],
    ),
    "a cell that would add a header": (
        put("people.csv", HEADER + GOOD + '"X\nBcc: evil@x.example",bob@x.example,2\n'),
        ["1 of 2 rows", r"3 | X\x0aBcc: evil@x.example", "a line break", "Subject"],
    ),
}

USAGE: dict[str, tuple[Change, list[str]]] = {
    "a missing list": (drop("people.csv"), ["campaign.toml:1:1", "people.csv", "not there"]),
    "a list with another name": (
        both(put("peeple.csv", HEADER + GOOD), drop("people.csv")),
        ["campaign.toml:1:1", "people.csv", "did you mean peeple.csv"],
    ),
    "a missing letter": (drop("letter.txt"), ["campaign.toml:2:1", "letter.txt", "not there"]),
    "an unknown key": (
        swap("campaign.toml", "from =", "form ="),
        ["campaign.toml:3:1", "form =", "^^^^", "did you mean from"],
    ),
    "an unknown key in a table": (
        swap("campaign.toml", "[account]", "[pace]\nper_minut = 3\n[account]"),
        ["campaign.toml:", "per_minut", "did you mean per_minute"],
    ),
    "a number that is a text": (
        swap("campaign.toml", "[account]", '[pace]\nper_minute = "3"\n[account]'),
        ["campaign.toml:", "per_minute", "a number"],
    ),
    "a pace of nothing": (
        swap("campaign.toml", "[account]", "[pace]\nper_minute = 0\n[account]"),
        ["campaign.toml:", "per_minute", "more than 0"],
    ),
    "a text without quotes": (
        swap("campaign.toml", '"people.csv"', "people.csv"),
        ["campaign.toml:1", "quotes", "list = people.csv"],
    ),
    "a bad duration": (
        swap("campaign.toml", "[account]", '[retry]\nfirst = "5 parsecs"\n[account]'),
        ["campaign.toml:", "5 parsecs", "5m"],
    ),
    "an unknown account": (
        swap("campaign.toml", "[account]", 'account = "work"\n[other]'),
        ["campaign.toml:", "unknown key other"],
    ),
    "a from that is no address": (
        swap("campaign.toml", "<news@ada.example>", "<news at ada.example>"),
        ["campaign.toml:3:1", "from", "news@ada.example"],
    ),
    "no from at all": (
        swap("campaign.toml", 'from = "Ada Club <news@ada.example>"\n', ""),
        ["from", "campaign.toml"],
    ),
    "no campaign here": (drop("campaign.toml"), ["campaign.toml", "this folder", "mergepost init"]),
    "a password in the open": (
        swap("campaign.toml", "[account]", f'[account]\npassword = "{PASSWORD}"'),
        ["campaign.toml:", "password", "env"],
    ),
    "a password in the open, badly quoted": (
        swap("campaign.toml", "[account]", f'[account]\npassword = "{PASSWORD}'),
        ["campaign.toml:"],
    ),
    "an account of no server": (
        swap("campaign.toml", "host =", "user ="),
        ["campaign.toml:", "host"],
    ),
    "an unknown provider": (
        swap("campaign.toml", 'host = "127.0.0.1"', 'provider = "gmial"'),
        ["campaign.toml:", "gmial", "did you mean", "gmail"],
    ),
    "a port that is none": (swap("campaign.toml", "port = ", "port = 9"), ["campaign.toml:", "port"]),
}


def refused(folder: Path, change: Change, code: int, words: list[str]) -> None:
    with serving() as server:
        campaign(folder, server=server)
        change(folder)
        said = run("send", "--confirm", "3", cwd=folder)
        for word in words:
            assert word in said.err, f"{word!r} is not in:\n{said.err}"
        assert said.code == code, said.err
        assert not said.out
        assert not server.lines, "no connection is made for what cannot be sent"
    assert not (folder / "results.csv").exists()


@pytest.mark.parametrize("case", CONTENT)
def test_what_is_wrong_with_list_or_letter_is_refused(tmp_path, case):
    refused(tmp_path / "c", *CONTENT[case][:1], 1, CONTENT[case][1])


@pytest.mark.parametrize("case", USAGE)
def test_what_is_wrong_with_campaign_toml_is_refused(tmp_path, case):
    refused(tmp_path / "c", *USAGE[case][:1], 2, USAGE[case][1])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, ["--confirm 3", "the number in the plan"]),
        (["--no-input"], 2, ["--confirm 3"]),
        (["--confirm", "4"], 1, ["would send 3", "confirmed 4", "--confirm 3"]),
        (["--confirm", "3", "--expect", "0000-00"], 1, ["fingerprint is", "0000-00"]),
        (["--confirm", "three"], 2, ["--confirm", "integer"]),
        (["--rows", "9-2", "--confirm", "1"], 2, ["--rows 9-2", "10-20"]),
        (["--limit", "-1"], 2, ["--limit", "0"]),
        (["--sendbox"], 2, ["--sendbox", "--sandbox"]),
        (["nowhere"], 2, ["no folder nowhere", "mergepost init nowhere"]),
        (["people.csv"], 2, ["people.csv", "list and a letter"]),
        (["people.csv", "leter.txt"], 2, ["no file leter.txt", "letter.txt"]),
        (["people.csv", "letter.txt", "more.txt"], 2, ["a list and a letter"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_command_line_gets_wrong_is_refused(tmp_path, words, code, told):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        said = run("send", *words, cwd=folder)
        assert said.code == code, said
        for word in told:
            assert word in said.err, f"{word!r} is not in:\n{said.err}"
        assert not server.lines
    assert not (folder / "results.csv").exists()
    assert states(folder) == {"waiting": 3}


def test_without_an_account_the_message_says_how_to_have_one(tmp_path):
    folder = campaign(tmp_path / "c")
    said = run("send", "--confirm", "3", cwd=folder)
    assert said.code == 2
    assert "[account]" in said.err
    assert "--sandbox" in said.err


def test_an_account_that_nobody_described_is_asked_for(tmp_path):
    folder = campaign(tmp_path / "c", toml='account = "work"')
    said = run("send", "--confirm", "3", cwd=folder)
    assert said.code == 2
    assert "accounts.toml" in said.err
    assert "[work]" in said.err
    home = tmp_path / "home" / "mergepost"
    home.mkdir(parents=True)
    (home / "accounts.toml").write_text('[wrok]\nhost = "mail.x.example"\n')
    said = run("send", "--confirm", "3", cwd=folder)
    assert said.code == 2
    assert "did you mean" in said.err
    assert "wrok" in said.err


@pytest.mark.parametrize("command", ["check", "preview", "status", "send"])
def test_every_command_refuses_a_broken_campaign_alike(tmp_path, command):
    folder = campaign(tmp_path / "c")
    swap("campaign.toml", "from =", "form =")(folder)
    said = run(command, *(["--out", "x.html"] if command == "preview" else []), cwd=folder)
    assert said.code == 2
    assert "did you mean from" in said.err
    assert not said.out


def test_a_host_that_does_not_exist_stops_the_run_and_names_it(tmp_path):
    folder = campaign(tmp_path / "c", account=SOMEWHERE)
    said = run("send", "--confirm", "3", cwd=folder)
    assert said.code == 4, said
    assert "mail.nowhere.invalid" in said.err
    assert states(folder) == {"waiting": 3}


def test_a_wrong_password_stops_the_run_at_once_and_is_not_shown(tmp_path):
    with serving(logins={"ada": "another"}) as server:
        login = 'user = "ada"\npassword = {env = "ADA_PASSWORD"}\n'
        folder = campaign(tmp_path / "c", server=server, account=login)
        said = run("send", "--confirm", "3", cwd=folder, env={"ADA_PASSWORD": PASSWORD})
        assert said.code == 4, said
        assert "535" in said.err
        assert "ada" in said.err
        assert re.search("password", said.err)
        assert server.lines == 1, "a wrong password is not tried again and again: accounts get locked"
        unset = run("send", "--confirm", "3", cwd=folder)
        assert unset.code == 2
        assert "ADA_PASSWORD" in unset.err
    assert states(folder) == {"waiting": 3}
    for path in folder.iterdir():
        assert PASSWORD.encode() not in path.read_bytes()


def test_a_password_that_nobody_knows_is_no_reason_to_wait(tmp_path):
    with serving(logins={"ada": PASSWORD}) as server:
        folder = campaign(tmp_path / "c", server=server, account='user = "ada"\n')
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 2
        assert "password of ada" in said.err
        assert "MERGEPOST_PASSWORD" in said.err


def test_check_lists_every_problem_at_once_for_people_and_programs(tmp_path):
    rows = HEADER + GOOD + "Bob,bob at x.example,2\nCleo,,3\nAda 2,ADA@x.example,4\n"
    folder = campaign(tmp_path / "c", rows)
    said = run("check", cwd=folder)
    assert said.code == 1
    assert "2 of 4 rows can't be sent" in said.out
    assert "3 | bob at x.example" in said.out
    assert "4 | (empty)" in said.out
    assert re.search(r"5 \| ADA@x\.example +same address as row 2", said.out)
    facts = run("check", "--format", "json", cwd=folder).json
    assert (facts["rows"], facts["invalid"], facts["errors"]) == (4, 2, 2)
    assert {(problem["row"], problem["kind"]) for problem in facts["problems"]} >= {
        (3, "address"),
        (5, "duplicate"),
    }
    lines = run("check", "--format", "github", cwd=folder).out.splitlines()
    assert any(line.startswith("::error file=people.csv,line=3") for line in lines)
    assert run("check", cwd=campaign(tmp_path / "fine")).code == 0


def test_a_check_that_an_error_ends_tells_programs_and_forges_of_it_too(tmp_path):
    folder = campaign(tmp_path / "c", HEADER + '"Ada,ada@x.example,1\n')
    said = run("check", "--format", "json", cwd=folder)
    assert said.code == 1
    [problem] = said.json["problems"]
    assert (said.json["rows"], said.json["errors"], said.json["fingerprint"]) == (0, 1, "")
    assert (problem["file"], problem["line"], problem["kind"]) == ("people.csv", 2, "quote")
    assert "never closed" in said.err

    (folder / "people.csv").write_text("name,town\nAda,Rome\n")
    said = run("check", "c", "--format", "github", cwd=tmp_path)
    assert said.code == 1
    assert said.out.startswith(
        "::error file=c/people.csv,title=list::no column of people.csv is called email"
    )

    (folder / "campaign.toml").write_text("list = 3\n")
    said = run("check", "c", "--format", "github", cwd=tmp_path)
    assert said.code == 2
    assert said.out.startswith("::error file=c/campaign.toml,line=1,")
    assert said.out.count("\n") == 1


def test_an_annotation_names_the_file_as_the_workflow_sees_it_and_a_line_of_that_file(tmp_path):
    letter = LETTER + "\n{{ name }} {{ number }}\n"
    campaign(tmp_path / "c", HEADER + "Ada,ada@x.example,\nBob,bob at x.example,2\n", letter)
    lines = run("check", "c", "--format", "github", cwd=tmp_path).out.splitlines()
    assert any(line.startswith("::error file=c/people.csv,line=3,title=address::row 3: ") for line in lines)
    assert any(line.startswith("::warning file=c/letter.txt,title=blank::row 2: ") for line in lines)
    lines = run("check", "../c/people.csv", "letter.txt", "--format", "github", cwd=tmp_path / "c").out
    assert "::error file=people.csv,line=3," in lines


def test_an_annotation_stands_on_the_line_of_a_row_below_cells_of_several_lines(tmp_path):
    rows = 'sep=,\r\nname,email,number\r\n"Ada\r\nLove",ada@x.example,1\r\nBob,bob at x.example,2\r\n'
    folder = campaign(tmp_path / "c", rows, "Subject: Hi\n\nHi {{ name }}\n")
    lines = run("check", "--format", "github", cwd=folder).out
    assert "::error file=people.csv,line=5,title=address::row 3: " in lines
    [problem] = run("check", "--format", "json", cwd=folder).json["problems"]
    assert (problem["row"], problem["line"]) == (3, 5)


def test_a_letter_is_refused_once_however_many_rows_there_are(tmp_path):
    folder = campaign(
        tmp_path / "c", people(200), LETTER.replace("{{ number }}", "{{ nmber }}"), account=SOMEWHERE
    )
    said = run("send", "--confirm", "200", cwd=folder)
    assert said.code == 1
    assert said.err.count("nmber") <= 3
