"""Each option does what it says, and no more."""

from __future__ import annotations

import re
import time

import pytest
from whole_kit import LETTER, begin, campaign, ended, people, results, serving, states
from whole_kit import here as run


def fingerprint(folder) -> str:
    return run("check", "--format", "json", cwd=folder).json["fingerprint"]


def test_a_dry_run_connects_to_nothing_and_leaves_nothing(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        before = sorted(path.name for path in folder.iterdir())
        said = run("send", "--dry-run", cwd=folder)
        assert said.code == 0, said
        assert said.out.startswith("Would send 3 of 3 letters")
        assert "No connection was made" in said.out
        assert not re.search(r"\bsent\b", said.out + said.err)
        assert "News for 山田 太郎 1" in said.err
        assert not server.lines
        assert sorted(path.name for path in folder.iterdir()) == before


def test_a_dry_run_after_a_run_counts_what_was_sent_and_changes_nothing(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        run("send", "--limit", "2", "--confirm", "2", cwd=folder)
        said = run("send", "--dry-run", cwd=folder)
        assert said.out.startswith("Would send 1 of 1 letter")
        assert "2 sent before" in said.err
        assert states(folder) == {"sent": 2, "waiting": 1}
        assert len(server.mails) == 2


def test_limit_takes_the_next_ones_of_the_list(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(5), server=server)
        said = run("send", "--limit", "2", "--confirm", "2", cwd=folder)
        assert said.code == 3, "three still wait"
        assert list(server.counts) == ["p0001@x.example", "p0002@x.example"]
        assert run("send", "--limit", "9", "--confirm", "3", cwd=folder).code == 0
        assert list(server.counts) == [row["email"] for row in people(5)]


@pytest.mark.parametrize(
    ("rows", "numbers"), [("3-4", (2, 3)), ("5", (4,)), ("4-", (3, 4, 5)), ("2-2", (1,)), ("5-99", (4, 5))]
)
def test_rows_are_those_of_the_spreadsheet(tmp_path, rows, numbers):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(5), server=server)
        said = run("send", "--rows", rows, "--confirm", str(len(numbers)), cwd=folder)
        assert said.code == 3, said
        assert list(server.counts) == [f"p{n:04d}@x.example" for n in numbers]


def test_rows_where_nothing_is_say_so(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        said = run("send", "--rows", "90-95", "--confirm", "0", cwd=folder)
        assert said.code == 3
        assert "Nothing to send in the chosen rows" in said.err
        assert "3 waiting" in said.err
        assert not server.lines


def test_skip_invalid_leaves_out_what_is_wrong_and_tells(tmp_path):
    rows = people(4)
    rows[1]["email"] = "nobody at all"
    with serving() as server:
        folder = campaign(tmp_path / "c", rows, server=server)
        refused = run("send", "--confirm", "3", cwd=folder)
        assert refused.code == 1
        assert not server.lines
        said = run("send", "--skip-invalid", "--confirm", "3", cwd=folder)
        assert said.code == 0, said
        assert "1 invalid" in said.err
        assert states(folder) == {"sent": 3, "invalid": 1}
        row = results(folder)[1]
        assert (row["row"], row["state"], row["attempts"]) == ("3", "invalid", "0")
        assert row["reply"]


def test_the_sandbox_keeps_apart_from_the_real_thing(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        first = run("send", "--sandbox", cwd=folder)
        assert first.code == 0, first
        letters = sorted((folder / "sandbox").glob("*.eml"))
        assert len(letters) == 3
        assert b"your number is 00007919" in letters[0].read_bytes()
        assert "nothing left this machine" in first.err
        assert not server.lines
        assert not (folder / "journal.db").exists()
        second = run("send", "--sandbox", cwd=folder)
        assert second.code == 0
        assert sorted((folder / "sandbox").glob("*.eml")) == letters, "nobody twice in the sandbox either"
        assert states(folder) == {"waiting": 3}
        text = (folder / "letter.txt").read_text("utf-8")
        (folder / "letter.txt").write_text(text.replace("Hi", "Hello"), "utf-8")
        assert run("send", "--sandbox", cwd=folder).code == 0
        fresh = sorted((folder / "sandbox").glob("*.eml"))
        assert len(fresh) == 3
        assert b"Hello" in fresh[0].read_bytes()
        assert run("send", "--confirm", "3", cwd=folder).code == 0
        assert len(server.mails) == 3


def test_the_sandbox_needs_no_account(tmp_path):
    folder = campaign(tmp_path / "c")
    assert run("send", "--sandbox", cwd=folder).code == 0
    assert len(list((folder / "sandbox").glob("*.eml"))) == 3


def test_another_edition_goes_to_everyone_anew(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server, toml='edition = "may"')
        assert run("send", "--confirm", "3", cwd=folder).code == 0
        assert run("send", cwd=folder).code == 0
        assert len(server.mails) == 3
        toml = folder / "campaign.toml"
        toml.write_text(toml.read_text().replace("may", "june"))
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 0, said
        assert set(server.counts.values()) == {2}
        assert len({mail.message["Message-ID"] for mail in server.mails}) == 6
        toml.write_text(toml.read_text().replace("june", "may"))
        assert states(folder) == {"sent": 3}


def test_a_letter_that_changed_after_sending_is_told_and_not_sent_again(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(4), server=server)
        run("send", "--limit", "2", "--confirm", "2", cwd=folder)
        (folder / "letter.txt").write_text(LETTER.replace("Hi", "Hello"), "utf-8")
        said = run("send", "--confirm", "2", cwd=folder)
        assert said.code == 0, said
        assert "2 rows changed after being sent: not sent again" in said.err
        assert "2 rows changed since the last run, not sent yet" in said.err
        assert set(server.counts.values()) == {1}
        assert ["Hello" in mail.text for mail in server.mails] == [False, False, True, True]


def test_new_people_get_it_and_the_old_do_not(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(3), server=server)
        run("send", "--confirm", "3", cwd=folder)
        campaign(folder, list(reversed(people(5))), server=server)
        said = run("send", "--confirm", "2", cwd=folder)
        assert said.code == 0, said
        assert "2 rows new since the last run" in said.err
        assert set(server.counts.values()) == {1}
        assert states(folder) == {"sent": 5}


def test_expect_ties_what_is_sent_to_what_was_approved(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        approved = fingerprint(folder)
        (folder / "letter.txt").write_text(LETTER + "P.S. One more thing.\n", "utf-8")
        said = run("send", "--confirm", "3", "--expect", approved, cwd=folder)
        assert said.code == 1
        assert approved in said.err
        assert not server.lines
        (folder / "letter.txt").write_text(LETTER, "utf-8")
        assert run("send", "--confirm", "3", "--expect", approved, cwd=folder).code == 0


def test_a_list_and_a_letter_need_no_folder(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        (folder / "campaign.toml").unlink()
        (folder / "letter.txt").write_text(f"From: Ada <ada@ada.example>\n{LETTER}", "utf-8")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        pair = ("../c/people.csv", "../c/letter.txt")
        assert run("check", *pair, cwd=elsewhere).code == 0
        where = {
            "MERGEPOST_HOST": "127.0.0.1",
            "MERGEPOST_PORT": str(server.port),
            "MERGEPOST_SECURITY": "none",
        }
        said = run("send", *pair, "--confirm", "3", cwd=elsewhere, env=where)
        assert said.code == 0, said
        assert run("send", *pair, cwd=elsewhere, env=where).code == 0
        assert set(server.counts.values()) == {1}
        assert {mail.sender for mail in server.mails} == {"ada@ada.example"}
        assert run("status", *pair, "--json", cwd=elsewhere).json["states"]["sent"] == 3


def test_the_pace_holds(tmp_path):
    arrivals = []
    with serving() as server:
        folder = campaign(tmp_path / "c", people(9), server=server, account="[pace]\nper_second = 4\n")
        process = begin("send", "--confirm", "9", cwd=folder)
        for number in range(1, 10):
            server.wait_for(number)
            arrivals.append(time.monotonic())
        assert ended(process).code == 0
    for first, fifth in zip(arrivals, arrivals[4:], strict=False):
        assert fifth - first > 0.9, "never more than four in any second"


def test_the_day_is_over_when_its_number_is_reached(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(5), server=server, account="[pace]\nper_day = 2\n")
        said = run("send", "--confirm", "2", cwd=folder)
        assert said.code == 3, said
        assert len(server.mails) == 2
        assert states(folder) == {"sent": 2, "waiting": 3}
        assert re.search(r"days +the last of 5 on \w+ \d+ \w+ \d\d:\d\d, with a run each day", said.err)
        assert re.search(r"Next +mergepost send after .*the pace allows no more", said.err)
        again = run("send", "--confirm", "0", cwd=folder)
        assert again.code == 3
        assert re.search(r"Nothing more can be sent before \w+ \d+ \w+ \d\d:\d\d: .*3 waiting", again.err)
        assert "mergepost send after" in again.err, "it says when going on makes sense"
        assert len(server.mails) == 2


def test_a_letter_that_changed_after_all_was_sent_is_told(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        assert run("send", "--confirm", "3", cwd=folder).code == 0
        letter = next(folder.glob("letter.*"))
        letter.write_text(letter.read_text("utf-8") + "\nOne more thing.\n", "utf-8")
        for words in (["send"], ["send", "--dry-run"]):
            said = run(*words, cwd=folder)
            assert said.code == 0, said
            assert "3 rows changed after being sent: not sent again" in said.err
        assert len(server.mails) == 3


def test_quiet_says_nothing_when_all_is_well(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        said = run("send", "--confirm", "3", "--quiet", cwd=folder)
        assert (said.code, said.out, said.err) == (0, "", "")


def test_where_chooses_rows(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server, toml="where = \"number != '00015838'\"")
        said = run("send", "--confirm", "2", cwd=folder)
        assert said.code == 0, said
        assert list(server.counts) == ["p0001@x.example", "p0003@x.example"]
        assert states(folder) == {"sent": 2, "skipped": 1}
        broken = campaign(tmp_path / "broken", server=server, toml='where = "nmber == 3"')
        said = run("send", "--confirm", "3", cwd=broken)
        assert said.code in (1, 2)
        assert "nmber" in said.err
        assert "number" in said.err
        assert "where" in said.err


def test_help_is_there_for_every_command(tmp_path):
    for words in ([], ["--help"], *([c, "--help"] for c in ("init", "check", "preview", "send", "status"))):
        said = run(*words, cwd=tmp_path)
        assert said.code == 0
        assert "mergepost" in said.out
        assert not said.err


def test_commands_that_are_proposed_name_the_campaign_as_the_person_did(tmp_path):
    folder = campaign(tmp_path / "my club")
    assert "Next     mergepost send 'my club'\n" in run("status", "my club", cwd=tmp_path).out
    assert "Next     mergepost send\n" in run("status", cwd=folder).out
    assert "Next     mergepost send\n" in run("status", ".", cwd=folder).out
    assert run("status", "my club", "--json", cwd=tmp_path).json["next"] == "mergepost send"
    pair = ("my club/people.csv", "my club/letter.txt")
    said = run("send", *pair, "--dry-run", cwd=tmp_path, env={"MERGEPOST_HOST": "127.0.0.1"})
    assert "mergepost test ADDRESS 'my club/people.csv' 'my club/letter.txt'" in said.err
    (folder / "people.csv").write_text("name,email,number\nAda,nobody,1\nBob,bob@x.example,2\n", "utf-8")
    assert "mergepost send 'my club' --skip-invalid" in run("check", "my club", cwd=tmp_path).out


def test_a_test_without_an_address_says_what_is_missing(tmp_path):
    campaign(tmp_path / "c")
    said = run("test", "c", cwd=tmp_path)
    assert said.code == 2
    assert "c is not one address" in said.err
    assert run("test", "a@x.example,b@x.example", "c", cwd=tmp_path).code == 2
    assert "mergepost test you@example.org c" in said.err


def test_forgetting_where_nobody_is_known_makes_nothing(tmp_path):
    folder = campaign(tmp_path / "c")
    before = sorted(folder.iterdir())
    said = run("status", "--forget", cwd=folder)
    assert (said.code, "nobody to forget" in said.err) == (0, True)
    assert sorted(folder.iterdir()) == before


def test_the_version_is_told(tmp_path):
    said = run("--version", cwd=tmp_path)
    assert said.code == 0
    assert re.fullmatch(r"mergepost \d+\.\d+\S*\n", said.out)


def test_list_and_letter_the_wrong_way_round_are_noticed(tmp_path):
    campaign(tmp_path / "c")
    said = run("check", "c/letter.txt", "c/people.csv", cwd=tmp_path)
    assert said.code == 2
    assert "the list comes first" in said.err


def test_rows_that_the_list_does_not_have_make_no_empty_page(tmp_path):
    folder = campaign(tmp_path / "c")
    said = run("preview", "--out", "look.html", "--rows", "70-90", cwd=folder)
    assert said.code == 2
    assert "its last row is 4" in said.err
    assert not (folder / "look.html").exists()


def test_a_new_campaign_is_not_made_of_a_file(tmp_path):
    (tmp_path / "club").touch()
    said = run("init", "club", cwd=tmp_path)
    assert said.code == 2
    assert "club is a file" in said.err
