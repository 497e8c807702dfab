"""What a run can be asked for: to pause, stay, correct, share a pace, and to forget."""

from __future__ import annotations

import csv
import time
from email import policy
from email.parser import BytesParser
from pathlib import Path

import openpyxl
import pytest

from merge import Campaign, State, journey
from merge.clock import TestClock, WallClock
from merge.errors import ConfigError, UsageError
from merge.journal import Journal
from merge.pace import DAY
from merge.sandbox import sandbox
from merge.sending import Consent


class Guarded(Consent):
    """Says yes to the plan, and what it is told to after the first few."""

    def __init__(self, *, follow: bool) -> None:
        super().__init__()
        self.follow = follow
        self.asked = []
        self.proposal = None

    def approve(self, proposal, way, settings):
        self.proposal = proposal
        return True

    def watch(self, proposal):
        watch = super().watch(proposal)
        watch.go_on = lambda tally: self.asked.append(dict(tally)) or self.follow
        return watch


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep accounts.toml and the ledger out of the person's own folders."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))


@pytest.fixture
def server(tmp_path):
    with sandbox(tmp_path / "arrived") as port:
        yield port


@pytest.fixture
def write(tmp_path, server):
    """Return what writes a campaign to the server: rows, and further lines of campaign.toml."""

    def made(name: str, rows: int, *lines: str, subject: str = "News") -> Campaign:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        people = "".join(f"p{number}@example.com,Name {number}\n" for number in range(1, rows + 1))
        (folder / "people.csv").write_text(f"email,name\n{people}", "utf-8")
        (folder / "letter.txt").write_text(f"Subject: {subject}\n\nDear {{{{ name }}}},\n", "utf-8")
        top = [line for line in lines if not line.startswith("[")]
        tables = [line for line in lines if line.startswith("[")]
        account = f'[account]\nhost = "127.0.0.1"\nport = {server}\nsecurity = "none"\n'
        head = 'list = "people.csv"\nletter = "letter.txt"\nfrom = "Ada <a@ada.example>"\n'
        text = head + "\n".join([*top, account, *tables])
        (folder / "campaign.toml").write_text(text + "\n", "utf-8")
        return Campaign.load(folder)

    return made


@pytest.fixture
def arrived(tmp_path):
    def read():
        files = sorted((tmp_path / "arrived").glob("*.eml"))
        return [BytesParser(policy=policy.default).parsebytes(path.read_bytes()) for path in files]

    return read


def test_after_the_first_few_a_no_leaves_the_others_waiting(write, arrived):
    campaign = write("club", 6)
    summary = campaign.send(first=2, talk=(talk := Guarded(follow=False)))
    assert len(arrived()) == 2
    assert talk.asked[0][State.SENT] == 2
    assert summary.states[State.WAITING] == 4
    assert summary.exit_code == 3
    assert campaign.send().states[State.SENT] == 6


def test_after_the_first_few_a_yes_sends_the_others(write, arrived):
    summary = write("club", 6).send(first=2, talk=Guarded(follow=True))
    assert summary.exit_code == 0
    assert len(arrived()) == 6


def test_a_daily_limit_bounds_the_plan_and_the_next_run(write, arrived):
    campaign = write("club", 5, "[pace]\nper_day = 3")
    summary = campaign.send(confirm=3)
    assert summary.exit_code == 3
    assert summary.states[State.WAITING] == 2
    assert len(arrived()) == 3
    assert campaign.send().tried == 0


def test_the_pace_counts_all_campaigns_of_an_account(write, arrived):
    write("one", 3, "[pace]\nper_day = 4").send()
    summary = write("two", 3, "[pace]\nper_day = 4").send(confirm=1)
    assert summary.states[State.SENT] == 1
    assert len(arrived()) == 4


def test_the_plan_tells_when_the_last_one_goes(write):
    talk = Guarded(follow=True)
    write("club", 3, "[pace]\nper_minute = 2").send(limit=3, dry_run=True, talk=talk)
    assert 59 < talk.proposal.seconds < 61


def test_staying_waits_for_the_pace(write, arrived):
    summary = write("club", 3, "[pace]\nper_second = 1").send(stay=True)
    assert summary.exit_code == 0
    assert summary.seconds >= 1.9


def test_staying_goes_on_beyond_the_day(write, arrived):
    campaign = write("club", 5, "[pace]\nper_day = 3")
    campaign._clock = TestClock(time.time() - DAY + 3)
    assert campaign.send().states[State.SENT] == 3
    campaign._clock = WallClock()
    talk = Guarded(follow=True)
    summary = campaign.send(stay=True, talk=talk)
    assert talk.proposal.tries == 2
    assert 0 < talk.proposal.seconds < 4
    assert summary.exit_code == 0
    assert len(arrived()) == 5


def test_the_plan_of_several_days_tells_when_the_very_last_one_goes(write):
    talk = Guarded(follow=True)
    write("club", 8, "[pace]\nper_day = 3").send(dry_run=True, talk=talk)
    assert (talk.proposal.tries, talk.proposal.wanted) == (3, 8)
    assert talk.proposal.takes_days
    assert talk.proposal.seconds < 1
    assert talk.proposal.finish == pytest.approx(2 * DAY, abs=5)


def test_the_plan_counts_what_the_run_will_count_when_the_ledger_was_lost(write, tmp_path):
    campaign = write("club", 5, "[pace]\nper_day = 3")
    campaign.send()
    for path in (tmp_path / "home").rglob("ledger.db*"):
        path.unlink()
    talk = Guarded(follow=True)
    campaign.send(dry_run=True, talk=talk)
    assert (talk.proposal.tries, talk.proposal.wanted) == (0, 2)


def test_what_a_limit_leaves_out_takes_no_days(write):
    talk = Guarded(follow=True)
    write("club", 8, "[pace]\nper_day = 3").send(limit=2, dry_run=True, talk=talk)
    assert (talk.proposal.tries, talk.proposal.wanted) == (2, 2)
    assert not talk.proposal.takes_days


def test_a_run_that_used_up_the_day_tells_when_the_next_one_can_go_on(write):
    campaign = write("club", 5, "[pace]\nper_day = 3")
    campaign._clock = clock = TestClock()
    ending = campaign.send().ending
    assert ending.out_of_allowance
    assert ending.next_due == pytest.approx(clock.now() + DAY, abs=5)


def test_a_correction_reaches_those_who_got_that_version_in_their_thread(write, arrived):
    campaign = write("club", 3)
    first = campaign.send(limit=2).proposal.findings.fingerprint
    correction = write("club", 3, 'edition = "correction"', subject="Correction")
    summary = correction.send(to_sent_with=first)
    assert summary.states[State.SENT] == 2
    assert summary.states[State.SKIPPED] == 1
    letters = arrived()
    by_person = {letter["To"]: letter["Message-ID"] for letter in letters if letter["Subject"] == "News"}
    answers = [letter for letter in letters if letter["Subject"] == "Correction"]
    assert {letter["To"] for letter in answers} == set(by_person)
    for letter in answers:
        assert letter["In-Reply-To"] == letter["References"] == by_person[letter["To"]]
        assert letter["Message-ID"] != by_person[letter["To"]]


def test_a_correction_goes_on_as_one(write, arrived):
    first = write("club", 3).send(limit=2).proposal.findings.fingerprint
    correction = write("club", 3, 'edition = "correction"')
    correction.send(to_sent_with=first, limit=1)
    summary = write("club", 3, 'edition = "correction"').send()
    assert summary.states[State.SENT] == 2
    assert summary.states[State.SKIPPED] == 1


def test_a_correction_of_a_version_that_nobody_got_is_refused(write):
    campaign = write("club", 3)
    campaign.send()
    with pytest.raises(UsageError, match="nobody was sent"):
        campaign.send(to_sent_with="0000-00")


def test_an_edition_that_was_begun_is_not_turned_into_a_correction(write, arrived):
    campaign = write("club", 3)
    first = campaign.send(limit=2).proposal.findings.fingerprint
    with pytest.raises(UsageError, match="not begun as a correction"):
        campaign.send(to_sent_with=first)
    assert campaign.send().states[State.SENT] == len(arrived()) == 3


def test_a_correction_that_reaches_nobody_leaves_the_edition_as_it_is(write, arrived):
    first = write("club", 1).send().proposal.findings.fingerprint
    correction = write("club", 3, 'edition = "correction"', "where = \"email != 'p1@example.com'\"")
    assert correction.send(to_sent_with=first).tried == 0
    assert correction.send().states[State.SENT] == 2
    assert len(arrived()) == 3


def test_the_version_on_record_is_one_that_somebody_got(write):
    sent = write("club", 2).send().proposal.findings.fingerprint
    changed = write("club", 2, subject="Other news")
    assert changed.send().tried == 0
    assert changed.status()["fingerprint"] == sent


def test_forgetting_keeps_the_counts_and_nothing_else(write, tmp_path):
    campaign = write("club", 3)
    campaign.send()
    assert campaign.forget() == 3
    assert campaign.status()["states"]["sent"] == 3
    for path in (tmp_path / "club").glob("journal.db*"):
        assert b"p1@example.com" not in path.read_bytes()
    with (tmp_path / "club" / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        assert all("example.com" not in row["to"] + row["key"] for row in csv.DictReader(file))


def test_forgetting_is_refused_while_rows_wait(write):
    campaign = write("club", 3)
    campaign.send(limit=1)
    with pytest.raises(UsageError):
        campaign.forget()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('stop_when_failed = "lots"', "no share"),
        ('stop_when_failed = "0%"', "no share"),
        ("[pace]\ngap = [8, 2]", "gap needs"),
        ("[pace]\ngap = [1]", "gap needs"),
        ("[pace]\nper_day = 0", "more than 0"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_line(write, line, words):
    with pytest.raises(ConfigError, match=words) as refused:
        write("club", 1, line)
    assert refused.value.problems[0].line


def test_a_gap_spreads_the_letters(write):
    summary = write("club", 3, "[pace]\ngap = [0.2, 0.3]").send()
    assert summary.seconds >= 0.4
    assert Path(summary.results).exists()


def test_the_persons_own_sheet_comes_back_with_what_happened(write, tmp_path):
    write("club", 2, 'results = "people-results.csv"').send(limit=1)
    with (tmp_path / "club" / "people-results.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["email"], first["name"], first["state"]) == ("p1@example.com", "Name 1", "sent")
    assert (second["state"], second["code"]) == ("waiting", "")
    assert (tmp_path / "club" / "results.csv").exists()


def test_a_workbook_comes_back_as_one(write, tmp_path):
    campaign = write("club", 1, 'results = "people-results.xlsx"')
    book = openpyxl.Workbook()
    book.active.title = "Members"
    for row in (["Our members"], [], ["E-mail", "Name", "State"], ["ann@example.com", "Ann", "Bavaria"]):
        book.active.append(row)
    book.save(tmp_path / "club" / "people.xlsx")
    text = (tmp_path / "club" / "campaign.toml").read_text("utf-8").replace("people.csv", "people.xlsx", 1)
    (tmp_path / "club" / "campaign.toml").write_text(text, "utf-8")
    assert Campaign.load(campaign.settings.folder).send().exit_code == 0
    page = openpyxl.load_workbook(tmp_path / "club" / "people-results.xlsx")["Members"]
    head = [cell.value for cell in page[3]]
    assert head[:4] == ["E-mail", "Name", "State", "state"]
    assert [page.cell(4, head.index("state") + 1).value, page["C4"].value] == ["sent", "Bavaria"]


def test_a_sheet_that_cannot_come_back_so_is_told_before_anything_is_sent(write, arrived):
    with pytest.raises(ConfigError, match="cannot come back"):
        write("club", 2, 'results = "people-results.xlsx"').send()
    assert arrived() == []


def doubtful(campaign: Campaign, *rows: int) -> None:
    """Leave rows of a campaign as a run does that dies between the record and the answer."""
    folder = campaign.settings.folder
    with Journal.open(folder / "journal.db", edition="1", clock=WallClock()) as journal:
        with journal.enrolment() as enrolment:
            journey.look_through(campaign.parts, enrolment)
            enrolment.commit()
        now = campaign._clock.now()
        for delivery in journey.deliveries(campaign.parts, journal, now=now):
            if delivery.row in rows:
                journal.committing(delivery)


def test_uncertain_rows_are_decided_about_one_by_one(write, arrived):
    campaign = write("club", 4)
    doubtful(campaign, 2, 4)
    summary = campaign.send(uncertain="again", rows=range(4, 5))
    assert [letter["To"] for letter in arrived()] == ["p3@example.com"]
    assert summary.states[State.UNCERTAIN] == 1
    assert campaign.send(uncertain="skip").states == {**summary.states, State.SENT: 3, State.WAITING: 0}


def test_an_uncertain_row_is_not_sent_unasked(write, arrived):
    campaign = write("club", 2)
    doubtful(campaign, 2)
    summary = campaign.send()
    assert [letter["To"] for letter in arrived()] == ["p2@example.com"]
    assert (summary.states[State.UNCERTAIN], summary.exit_code) == (1, 3)
    assert campaign.send(uncertain="skip").exit_code == 0


def test_rows_are_given_up_by_age(write):
    campaign = write("club", 1, '[retry]\nmax_age = "2d"')
    assert campaign.settings.retry.max_age == 2 * 86400


def test_the_plan_of_a_large_sending_says_what_is_missing(write):
    talk = Guarded(follow=True)
    campaign = write("club", 1000)
    campaign.send(dry_run=True, talk=talk)
    assert any("no way to unsubscribe" in words for words in talk.proposal.warnings)
    assert any("no DKIM key" in words for words in talk.proposal.warnings)
    write("club", 999).send(dry_run=True, talk=talk)
    assert talk.proposal.warnings == ()
