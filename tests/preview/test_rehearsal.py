"""A test reaches the tester, and can reach nobody else."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiosmtpd.controller import Controller
from preview_kit import COMMAND, LETTER, PEOPLE, campaign, many

from merge.assemble import passing_journal
from merge.campaign import Campaign
from merge.carrier import Memory
from merge.clock import TestClock, WallClock
from merge.errors import CarrierError, ContentError
from merge.journal import Journal, Ledger
from merge.model import Delivery, Envelope, Outcome, State
from merge.pace import Pace
from merge.rehearsal import InTurn, OnlyTo, for_tester, letters_for, rehearse
from merge.seal import seal
from merge.turn import Turns

ME = "me@tester.example"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def post(monkeypatch, tmp_path):
    """A mail server that keeps what it gets, and says no to a subject with REFUSE."""
    kept = []

    class Keeping:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the name is the library's
            kept.append(envelope)
            return "550 5.7.1 not today" if b"REFUSE" in envelope.content else "250 2.0.0 kept"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Keeping(), hostname="127.0.0.1", port=port)
    controller.start()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, value in (("HOST", "127.0.0.1"), ("PORT", str(port)), ("SECURITY", "none")):
        monkeypatch.setenv(f"MERGEPOST_{name}", value)
    yield kept
    controller.stop()


def run(folder, *arguments):
    return subprocess.run(
        [*COMMAND, "test", ME, str(folder), *arguments], capture_output=True, text=True, check=False
    )


def made(folder, address=ME):
    loaded = Campaign.load(folder)
    with passing_journal(loaded.settings, WallClock()) as journal, journal.enrolment() as enrolment:
        return letters_for(address, loaded.parts, enrolment, date=NOW)


def delivery(*recipients):
    return Delivery("k", 2, Envelope("a@b.example", recipients), b"x\r\n", "<1@b>", NOW, "d")


def test_one_of_each_kind_goes_to_the_tester(tmp_path, post):
    folder = campaign(tmp_path / "c")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert [envelope.rcpt_tos for envelope in post] == [[ME]] * 3
    assert "3 of 3 test letters sent to me@tester.example (3 kinds of letter)" in done.stderr
    assert "Nobody on the list got anything" in done.stderr
    subjects = [envelope.content.split(b"Subject: ")[1].split(b"\r\n")[0] for envelope in post]
    assert [subject[:14] for subject in subjects] == [b"[Test 1 of 3] ", b"[Test 2 of 3] ", b"[Test 3 of 3] "]


def told(folder, *arguments):
    """What `send` proposes for a folder, and what `status` says of it."""
    plan = subprocess.run(
        [*COMMAND, "send", "--dry-run", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    assert plan.returncode == 0, plan.stderr
    return next(line for line in plan.stderr.splitlines() if line.startswith("  letters  "))


def test_the_plan_names_the_kinds_of_letter_and_the_test_of_exactly_these_letters(tmp_path, post):
    folder = campaign(tmp_path / "c")
    assert told(folder).split(maxsplit=1)[1] == (
        f"3 kinds of letter, not tested yet (mergepost test ADDRESS {folder})"
    )
    run(folder)
    seen = r"3 kinds of letter, tested \d\d:\d\d at me@tester.example"
    assert re.fullmatch(seen, told(folder).split(maxsplit=1)[1])
    letter = (folder / "letter.md").read_text("utf-8")
    (folder / "letter.md").write_text(letter + "\nBye\n", "utf-8")
    assert "not tested yet" in told(folder)
    (folder / "letter.md").write_text(letter, "utf-8")
    assert re.search(seen, told(folder))
    (folder / "people.csv").write_text(PEOPLE.replace("Bob", "Rob"), "utf-8")
    assert "not tested yet" in told(folder)


def test_the_plan_says_how_many_of_the_kinds_were_tested(tmp_path, post):
    letter = LETTER + "".join(f"\n{{% if city == 'City {n}' %}}{n}{{% endif %}}" for n in range(9))
    folder = campaign(tmp_path / "c", letter, many(60))
    run(folder)
    assert re.search(r"\d+ kinds of letter, tested .* \(5 of them\)$", told(folder))


def test_a_test_that_was_refused_counts_for_nothing(tmp_path, post):
    folder = campaign(tmp_path / "c", LETTER.replace("Spring", "REFUSE"))
    run(folder)
    assert "not tested yet" in told(folder)


def test_a_test_touches_no_row(tmp_path, post):
    folder = campaign(tmp_path / "c")
    before = {path.name for path in folder.iterdir()}
    status = Campaign.load(folder).status()
    run(folder)
    assert {path.name for path in folder.iterdir()} - before == {"journal.db"}
    assert Campaign.load(folder).status() == status
    assert list(Campaign.load(folder).records()) == []
    assert Campaign.load(folder).send(sandbox=True).states[State.SENT] == 5


def test_a_test_while_a_run_sends_is_only_not_noted(tmp_path, post):
    folder = campaign(tmp_path / "c")
    with Journal.open(folder / "journal.db", edition="", clock=WallClock()):
        done = run(folder)
    assert done.returncode == 0, done.stderr
    assert "The plan will not know of this test" in done.stderr
    assert len(post) == 3
    assert "not tested yet" in told(folder)


def test_a_list_and_a_letter_do_as_well(tmp_path, post):
    folder = campaign(tmp_path / "c")
    done = run(folder / "people.csv", str(folder / "letter.md"))
    assert done.returncode == 0, done.stderr
    assert len(post) == 3


def test_no_one_of_the_list_stands_in_envelope_or_headers(tmp_path):
    letter = LETTER.replace(
        "Content-Language",
        "Cc: boss@example.net\nBcc: archive@example.net\nUnsubscribe: https://x.example/u\nX-No",
    )
    chosen = made(campaign(tmp_path / "c", letter))
    assert (len(chosen.letters), chosen.kinds) == (3, 3)
    for one in chosen.letters:
        assert one.envelope.recipients == (ME,)
        headers = dict(one.headers)
        assert headers["To"] == ME
        assert not {"Cc", "List-Unsubscribe", "List-Unsubscribe-Post"} & set(headers)
        assert one.mailboxes["to"][0].address == ME
        assert "example.net" not in repr(one.headers) + repr(one.mailboxes)


def test_message_ids_are_its_own(tmp_path):
    folder = campaign(tmp_path / "c")
    ids = [letter.message_id for _ in range(2) for letter in made(folder).letters]
    assert len(set(ids)) == 6
    sent = {letter.message_id for letter in Campaign.load(folder).letters()}
    assert not sent & set(ids)


def test_at_most_five_the_most_frequent_kinds(tmp_path):
    letter = LETTER + "".join(f"\n{{% if city == 'City {n}' %}}{n}{{% endif %}}" for n in range(9))
    chosen = made(campaign(tmp_path / "c", letter, many(60)))
    assert len(chosen.letters) == 5
    assert chosen.kinds > 5


def test_a_kind_whose_first_row_has_no_letter_is_shown_by_another(tmp_path):
    people = PEOPLE.replace("ada@example.org", "not an address")
    chosen = made(campaign(tmp_path / "c", people=people))
    assert sorted(letter.row for letter in chosen.letters) == [3, 5, 6]


@pytest.mark.parametrize(
    "recipients",
    [
        ("ada@example.org",),
        (ME, "ada@example.org"),
        ("ada@example.org", ME),
        (),
        (ME, ME),
        (f"{ME} ",),
        (ME.upper(),),
    ],
)
def test_the_way_out_refuses_every_other_envelope(recipients):
    inner = Memory()
    way = OnlyTo(ME, inner)
    with pytest.raises(CarrierError, match="alone"):
        way.offer(delivery(*recipients))
    way.collect(0)
    assert inner.accepted == []


def test_the_way_out_takes_what_goes_to_the_tester():
    inner = Memory()
    way = OnlyTo(ME, inner)
    way.offer(delivery(ME))
    assert way.collect(0)[0].state is State.SENT
    assert len(inner.accepted) == 1


def test_a_letter_that_was_not_made_for_the_tester_stops_the_rehearsal(tmp_path):
    loaded = Campaign.load(campaign(tmp_path / "c"))
    real = list(loaded.letters())
    inner = Memory()
    with pytest.raises(CarrierError):
        rehearse(map(seal, [for_tester(real[0], ME, 1, 2), real[1]]), OnlyTo(ME, inner), in_turn(tmp_path))
    assert [kept.envelope.recipients for kept in inner.accepted] in ([], [(ME,)])


def test_a_refusal_is_told_and_not_tried_again(tmp_path, post):
    done = run(campaign(tmp_path / "c", LETTER.replace("Spring", "REFUSE")))
    assert done.returncode == 3
    assert len(post) == 3
    assert "550 5.7.1" in done.stderr or "550 not today" in done.stderr
    assert "0 of 3" in done.stderr


OPENED = []


@pytest.fixture(autouse=True)
def _ledgers_are_closed():
    yield
    while OPENED:
        OPENED.pop().close()


def opened(folder, clock):
    """The ledger of an account, closed when the test ends."""
    OPENED.append(Ledger.open(folder / "ledger.db", account="a", clock=clock))
    return OPENED[-1]


def in_turn(folder, clock=None, told=None, **limits):
    """The turns of a test among all the runs of an account."""
    clock = clock or TestClock()
    ledger = opened(folder, clock)
    pace = Pace(**limits)
    turns = Turns(pace, clock, NoJournal(), ledger)
    turns.recollect()
    made = InTurn(pace, turns, clock, (told if told is not None else []).append)
    made.ledger = ledger
    return made


class NoJournal:
    """A journal in which nothing was ever sent."""

    def recent(self, since):
        return []


def three():
    return [replace(delivery(ME), key=f"{number}") for number in range(3)]


def test_test_letters_count_for_every_run_of_the_account(tmp_path):
    turns = in_turn(tmp_path)
    assert len(rehearse(three(), OnlyTo(ME, Memory()), turns)) == 3
    assert len(turns.ledger.recent(0)) == 3
    assert turns.ledger.news()[1] == (0, 0)


def test_test_letters_keep_the_pace_and_say_so(tmp_path):
    clock, told = TestClock(), []
    turns = in_turn(tmp_path, clock, told, per_minute=2)
    assert len(rehearse(three(), OnlyTo(ME, Memory()), turns)) == 3
    assert 60 <= sum(clock.slept) < 61
    assert len(told) == 1
    assert "Waiting for the pace until" in told[0]


def test_a_test_takes_its_turn_behind_what_other_runs_sent(tmp_path):
    clock = TestClock()
    other = opened(tmp_path, clock)
    for _ in range(2):
        other.land(other.claim(lambda *_: True))
    turns = in_turn(tmp_path, clock, per_day=4)
    assert len(rehearse(three(), OnlyTo(ME, Memory()), turns)) == 2
    assert turns.due == pytest.approx(clock.now() + 86400)
    assert sum(clock.slept) == 0
    assert len(other.recent(0)) == 4


def test_a_letter_that_never_left_counts_for_nothing(tmp_path):
    turns = in_turn(tmp_path, per_day=4)
    with pytest.raises(CarrierError):
        rehearse([delivery("ada@example.org")], OnlyTo(ME, Memory()), turns)
    assert turns.ledger.recent(0) == []
    assert turns.ledger.news()[1] == (0, 0)


class Lost(Memory):
    """A way out that closes after it took a letter, before or after the letter was on its way."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__()
        self.begun = begun

    def collect(self, patience):
        raise CarrierError("the line is gone")

    def recall(self):
        return () if self.begun else super().recall()


@pytest.mark.parametrize("begun", [True, False])
def test_a_letter_that_may_have_left_counts(tmp_path, begun):
    turns = in_turn(tmp_path, per_day=4)
    with pytest.raises(CarrierError, match="line is gone"):
        rehearse(three(), OnlyTo(ME, Lost(begun=begun)), turns)
    assert len(turns.ledger.recent(0)) == begun
    assert turns.ledger.news()[1] == (0, 0)


def test_the_plan_of_the_next_run_counts_the_test_letters(tmp_path, post):
    folder = campaign(tmp_path / "c")
    with (folder / "campaign.toml").open("a") as toml:
        toml.write("[pace]\nper_day = 4\n")
    assert run(folder).returncode == 0
    plan = subprocess.run(
        [*COMMAND, "send", "--dry-run", str(folder)], capture_output=True, text=True, check=True
    )
    assert "1 of 5 to send in this run" in plan.stderr
    again = run(folder)
    assert again.returncode == 3
    assert "1 of 3 test letters sent" in again.stderr
    assert "mergepost test again after" in again.stderr
    assert len(post) == 4


def test_deferred_letters_are_not_tried_again():
    asked = []

    def answer(given):
        asked.append(given)
        return Outcome(given.key, given.row, State.DEFERRED, "RCPT", 451, "4.7.1", "later")

    way = OnlyTo(ME, Memory(answer=answer))
    way.offer(delivery(ME))
    assert way.collect(0)[0].state is State.DEFERRED
    assert len(asked) == 1


def test_what_can_be_wrong_is_said(tmp_path, post, monkeypatch):
    folder = campaign(tmp_path / "c", LETTER + "{{ nothing }}")
    done = run(folder)
    assert done.returncode == 1
    assert "nothing" in done.stderr
    bad = subprocess.run(
        [*COMMAND, "test", "me at home", str(folder)], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 2
    monkeypatch.delenv("MERGEPOST_HOST")
    assert run(campaign(tmp_path / "d")).returncode == 2
    assert post == []


def test_an_empty_list_has_nothing_to_try(tmp_path):
    with pytest.raises(ContentError):
        made(campaign(tmp_path / "c", people="email,first_name,plan,city\nnot an address,A,pro,B\n"))
