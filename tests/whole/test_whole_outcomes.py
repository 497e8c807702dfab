"""What a server says of one row is that row's fate: told, kept, and gone on from."""

from __future__ import annotations

import re

from whole_kit import campaign, people, results, serving, states
from whole_kit import here as run

SEVEN = {"invalid", "skipped", "waiting", "deferred", "failed", "sent", "uncertain"}
QUICK = '[retry]\nfirst = "1s"\nwait = "5s"\n'


def test_one_refused_address_fails_its_row_and_the_others_are_sent(tmp_path):
    refusal = "550 5.1.1 no such user"
    with serving(replies={"RCPT p0002@x.example": [refusal]}) as server:
        folder = campaign(tmp_path / "c", people(5), server=server)
        said = run("send", "--confirm", "5", cwd=folder)
        assert said.code == 3, said
        assert re.search(r"row 3 +p0002@x\.example +550 5\.1\.1 no such user +failed", said.err)
        assert "4 sent, 1 failed" in said.err
        assert "--retry-failed" in said.err.splitlines()[-1]
        assert states(folder) == {"sent": 4, "failed": 1}
        assert server.lines == 1
        again = run("send", cwd=folder)
        assert again.code == 3, "a failed row is not tried again unasked"
        assert len(server.mails) == 4
        server.replies.clear()
        mended = run("send", "--retry-failed", "--confirm", "1", cwd=folder)
        assert mended.code == 0, mended
        assert states(folder) == {"sent": 5}
        assert set(server.counts.values()) == {1}


def test_a_mended_row_is_sent_as_mended_and_only_that_one(tmp_path):
    with serving(replies={"RCPT p0002@x.example": ["550 5.1.1 no such user"]}) as server:
        folder = campaign(tmp_path / "c", people(3), server=server)
        assert run("send", "--confirm", "3", cwd=folder).code == 3
        list_file = folder / "people.csv"
        list_file.write_text(list_file.read_text("utf-8").replace("p0002@", "p2@"), "utf-8")
        said = run("send", "--confirm", "1", cwd=folder)
        assert said.code == 0, said
        assert server.counts == {"p0001@x.example": 1, "p2@x.example": 1, "p0003@x.example": 1}
        assert states(folder) == {"sent": 3}


def test_a_greylisted_row_gets_through_in_the_same_run(tmp_path):
    grey = ["451 4.7.1 greylisted, try again", "250 OK"]
    with serving(replies={"RCPT p0002@x.example": grey}) as server:
        folder = campaign(tmp_path / "c", server=server, account=QUICK)
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 0, said
        assert set(server.counts.values()) == {1}
        assert [row["attempts"] for row in results(folder)] == ["1", "2", "1"]


def test_a_deferred_row_is_told_and_tried_by_a_later_run(tmp_path):
    with serving(replies={"DATA p0002@x.example": ["452 4.2.2 mailbox full", "250 OK"]}) as server:
        folder = campaign(tmp_path / "c", server=server, account='[retry]\nfirst = "1h"\nwait = "0s"\n')
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 3
        assert re.search(r"row 3 .*452 4\.2\.2 mailbox full.*deferred: next try after", said.err)
        assert re.search(r"mergepost send after (?:\w+ \d+ \w+ )?\d\d:\d\d \(", said.err)
        assert states(folder) == {"sent": 2, "deferred": 1}
        assert run("send", "--confirm", "1", cwd=folder).code == 3, "an hour has not passed"
        assert server.counts["p0002@x.example"] == 0


def test_a_row_that_is_deferred_too_often_has_failed(tmp_path):
    with serving(replies={"RCPT p0002@x.example": ["451 4.7.1 later"]}) as server:
        retry = '[retry]\nfirst = "1s"\nwait = "9s"\nattempts = 2\n'
        folder = campaign(tmp_path / "c", server=server, account=retry)
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 3
        assert states(folder) == {"sent": 2, "failed": 1}
        assert results(folder)[1]["attempts"] == "2"
        for told in (said.err, run("status", cwd=folder).out):
            assert re.search(r"row 3 .*451 4\.7\.1 later +failed: given up after 2 attempts", told)


def test_status_json_counts_every_row_in_one_of_seven_states(tmp_path):
    rows = people(6)
    rows[3]["email"] = rows[0]["email"].upper()
    rows[4]["email"] = "nobody"
    replies = {"RCPT p0002@x.example": ["550 5.1.1 no"], "RCPT p0003@x.example": ["451 4.7.1 later"]}
    with serving(replies=replies) as server:
        folder = campaign(tmp_path / "c", rows, server=server, account='[retry]\nwait = "0s"\n')
        before = run("status", "--json", cwd=folder).json
        assert list(before) == ["campaign", "edition", "fingerprint", "total", "states", "next"]
        assert before["states"] == dict.fromkeys(SEVEN, 0) | {"waiting": 4, "invalid": 1, "skipped": 1}
        assert not (folder / "journal.db").exists(), "asking leaves no trace"
        said = run("send", "--skip-invalid", "--limit", "3", "--confirm", "3", cwd=folder)
        assert said.code == 3
        facts = run("status", "--json", cwd=folder).json
        assert list(facts) == list(before)
        assert facts["campaign"] == "c"
        assert facts["edition"] == "1"
        assert facts["total"] == 6
        counted = {"sent": 1, "failed": 1, "deferred": 1, "waiting": 1, "invalid": 1, "skipped": 1}
        assert facts["states"] == dict.fromkeys(SEVEN, 0) | counted
        assert facts["next"].startswith("mergepost send")
        assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{2}", facts["fingerprint"])
        text = run("status", cwd=folder).out
        assert "550 5.1.1 no" in text
        assert "1 sent" in text
        failed = run("status", "--failed", cwd=folder).out
        assert "p0002@x.example" in failed
        assert "p0001@x.example" not in failed


def test_results_csv_is_what_status_csv_says_and_no_formula_survives(tmp_path):
    rows = people(3)
    rows[1]["id"] = "=HYPERLINK(1)"
    rows[0]["id"], rows[2]["id"] = "A1", "+49"
    said_by_server = "550 =cmd|' /C calc'!A1"
    with serving(replies={"RCPT p0003@x.example": [said_by_server]}) as server:
        folder = campaign(tmp_path / "c", rows, server=server, account='[columns]\nid = "id"\n')
        assert run("send", "--confirm", "3", cwd=folder).code == 3
        kept = results(folder)
        columns = ["row", "key", "to", "state", "code", "reply", "attempts", "message_id", "time"]
        assert all(list(row) == columns for row in kept)
        assert [row["key"] for row in kept] == ["A1", "'=HYPERLINK(1)", "'+49"]
        assert kept[2]["reply"].startswith("'=cmd")
        assert (kept[0]["row"], kept[0]["to"], kept[0]["state"]) == ("2", "p0001@x.example", "sent")
        assert kept[0]["code"].startswith("250")
        assert kept[0]["message_id"] == server.mails[0].message["Message-ID"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", kept[0]["time"])
        text = (folder / "results.csv").read_text("utf-8-sig")
        assert run("status", "--csv", cwd=folder).out.splitlines() == text.splitlines()
        assert (folder / "results.csv").stat().st_mode & 0o077 == 0
        assert (folder / "journal.db").stat().st_mode & 0o077 == 0


def test_what_a_server_says_cannot_command_the_terminal(tmp_path):
    reply = "550 5.1.1 \x1b]52;c;ZXZpbA==\x07\x1b[2J \u202egone"
    with serving(replies={"RCPT p0002@x.example": [reply.encode("utf-8").decode("latin-1")]}) as server:
        folder = campaign(tmp_path / "c", server=server)
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 3
        assert "550 5.1.1" in said.err
        assert "\x1b" not in (folder / "results.csv").read_text("utf-8-sig")
        for words in (["status"], ["status", "--failed"], ["status", "--csv"], ["status", "--json"]):
            assert run(*words, cwd=folder).code == 0


def test_a_limit_of_the_whole_server_stops_the_run_and_the_rest_waits(tmp_path):
    stop = "550 5.4.5 Daily user sending limit exceeded"
    with serving(replies={"DATA p0002@x.example": [stop]}) as server:
        folder = campaign(tmp_path / "c", people(6), server=server)
        said = run("send", "--confirm", "6", cwd=folder)
        assert said.code == 4, said
        assert "limit exceeded" in said.err
        counts = states(folder)
        assert counts["sent"] == len(server.mails) == 1
        assert "failed" not in counts, "a limit is nobody's fault"


def test_results_that_cannot_be_written_are_told_and_so_is_what_was_sent(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        (folder / "results.csv").mkdir()
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 4
        assert "results.csv cannot be written" in said.err
        assert "3 sent" in said.err
        (folder / "results.csv").rmdir()
        assert run("send", cwd=folder).code == 0
        assert len(results(folder)) == 3
        assert set(server.counts.values()) == {1}


def test_a_journal_that_is_none_stops_before_anything_is_sent(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        (folder / "journal.db").write_text("no journal at all, but long enough to look like one")
        for words in (["send", "--confirm", "3"], ["status"], ["send", "--dry-run"]):
            said = run(*words, cwd=folder)
            assert said.code == 4, said
            assert "journal.db" in said.err
        assert not server.lines
