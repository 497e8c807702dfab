"""No one is mailed twice within some days, whichever campaign of the account the first letter was for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from suppression_kit import Post, post_office

from merge import Campaign, State
from merge.clock import TestClock
from merge.config import read_settings
from merge.errors import ConfigError, JournalError
from merge.journal import Journal, Ledger
from merge.journal.mailed import KEPT

DAYS = 86400.0
Write = Callable[..., Campaign]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "mergepost"


@pytest.fixture
def post() -> Iterator[Post]:
    with post_office(Post()) as running:
        yield running


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def write(tmp_path: Path, post: Post, clock: TestClock) -> Write:
    def made(name: str, people: str, *lines: str, header: str = "email", user: str = "") -> Campaign:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        rows = "".join(f"{person}\n" for person in people.split())
        (folder / "people.csv").write_text(f"{header}\n{rows}")
        (folder / "letter.txt").write_text(f"Subject: {name}\n\nHello\n")
        text = ['list = "people.csv"', 'letter = "letter.txt"', 'from = "Ada <a@ada.example>"', *lines]
        text += ["[account]", f'host = "{user or "127.0.0.1"}"', f"port = {post.port}", 'security = "none"']
        (folder / "campaign.toml").write_text("\n".join(text))
        return Campaign(read_settings((folder,)), clock)

    return made


WEEK = 'not_twice_within = "7d"'


def test_who_had_mail_of_any_campaign_lately_is_skipped(write: Write, post: Post, clock: TestClock) -> None:
    write("news", "ann@x.example bob@x.example").send()
    clock.sleep(6 * DAYS)
    offer = write("offer", "ANN@X.example cy@x.example", WEEK)
    summary = offer.send(confirm=1)
    assert post.named == ["ann@x.example", "bob@x.example", "cy@x.example"]
    (skipped,) = [record for record in offer.records() if record.state is State.SKIPPED]
    assert (skipped.to, skipped.reason) == ("ANN@x.example", "mailed within 7 days: on 2027-01-15")
    assert summary.proposal.findings.skipped == (("mailed within 7 days", 1),)
    clock.sleep(1 * DAYS + 1)
    assert offer.send(confirm=1).states[State.SENT] == 2


def test_a_campaign_goes_on_although_it_mailed_them(write: Write, post: Post, clock: TestClock) -> None:
    campaign = write("news", "ann@x.example bob@x.example cy@x.example", WEEK)
    first = campaign.send(limit=1)
    clock.sleep(60)
    second = campaign.send()
    assert second.states[State.SENT] == 3
    assert first.proposal.findings.fingerprint == second.proposal.findings.fingerprint
    clock.sleep(60)
    third = campaign.send()
    assert third.proposal.record.changed_after == 0
    assert third.states[State.SENT] == 3


def test_the_next_edition_waits_for_its_week(write: Write, clock: TestClock) -> None:
    write("news", "ann@x.example", WEEK).send()
    clock.sleep(3 * DAYS)
    assert write("news", "ann@x.example", WEEK, 'edition = "2"').send().states[State.SKIPPED] == 1


def test_two_rows_of_one_person_are_mailed_once(write: Write, post: Post) -> None:
    rows = "1,ann@x.example 2,ann@x.example"
    summary = write("news", rows, WEEK, 'columns = {id = "id"}', header="id,email").send()
    assert post.named == ["ann@x.example"]
    assert (summary.states[State.SENT], summary.states[State.SKIPPED]) == (1, 1)
    assert summary.proposal.tries == 1


def test_what_was_sent_is_known_although_the_run_died_before_it_wrote_it_down(
    write: Write, monkeypatch: pytest.MonkeyPatch, clock: TestClock
) -> None:
    news, offer = write("news", "ann@x.example bob@x.example"), write("offer", "ann@x.example", WEEK)
    with monkeypatch.context() as patch:

        def dies(self: object) -> None:
            raise JournalError("as if it had been killed")

        patch.setattr("merge.journal.mailed.Mailed.keep", dies)
        news.send(limit=1)
    clock.sleep(3 * 3600)
    news.send()  # going on, it tells what the run before could not
    clock.sleep(3600)
    assert offer.send().states[State.SKIPPED] == 1


def test_failed_and_deferred_rows_were_not_mailed(write: Write, post: Post) -> None:
    post.happen = lambda event, number: event == "dot"  # the line is lost before every answer
    news = write("news", "ann@x.example")
    assert news.send().states[State.UNCERTAIN] == 1
    post.happen = lambda event, number: False
    assert write("offer", "ann@x.example", WEEK).send().states[State.SENT] == 1


def test_another_account_does_not_know(write: Write, post: Post) -> None:
    write("news", "ann@x.example").send()
    assert write("offer", "ann@x.example", WEEK, user="localhost").send().states[State.SENT] == 1


def test_it_is_not_promised_where_it_cannot_be_kept(write: Write, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "ledger.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(JournalError):
        write("offer", "ann@x.example", WEEK).send()
    assert write("news", "ann@x.example").send().states[State.SENT] == 1


@pytest.mark.parametrize("words", ['"7"', '"a week"', '"0d"', '"91d"', "7"])
def test_other_words_are_refused(write: Write, words: str) -> None:
    with pytest.raises(ConfigError, match="not_twice_within"):
        write("offer", "ann@x.example", f"not_twice_within = {words}")


def test_the_sandbox_neither_asks_nor_tells(write: Write) -> None:
    campaign = write("news", "ann@x.example", WEEK)
    campaign.send(sandbox=True)
    assert campaign.send().states[State.SENT] == 1
    assert campaign.send(sandbox=True).states[State.SENT] == 1


def test_no_address_is_on_disk(tmp_path: Path, clock: TestClock) -> None:
    with Ledger.open(tmp_path / "ledger.db", account="a", clock=clock) as ledger:
        ledger.mailed.note("ann@x.example", clock.now())
        ledger.mailed.keep()
    for file in tmp_path.iterdir():
        assert b"ann@" not in file.read_bytes()
    with Ledger.open(tmp_path / "ledger.db", account="a", clock=clock) as ledger:
        assert ledger.mailed.when("Ann@x.example") == clock.now()
    with Ledger.open(tmp_path / "ledger.db", account="b", clock=clock) as ledger:
        assert ledger.mailed.when("ann@x.example") is None


def test_it_is_forgotten_after_a_season(tmp_path: Path, clock: TestClock) -> None:
    with Ledger.open(tmp_path / "ledger.db", account="a", clock=clock) as ledger:
        ledger.mailed.note("ann@x.example", clock.now())
        ledger.mailed.keep()
    clock.sleep(KEPT + 1)
    with Ledger.open(tmp_path / "ledger.db", account="a", clock=clock) as ledger:
        assert ledger.mailed.when("ann@x.example") is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 2)), max_size=30))
def test_the_last_time_counts_whenever_it_was_written_down(notes: list[tuple[str, float]]) -> None:
    clock = TestClock()
    last: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(Path(folder) / "ledger.db", account="a", clock=clock) as ledger,
    ):
        for person, pause in notes:
            clock.sleep(pause)
            ledger.mailed.note(f"{person}@x.example", clock.now())
            last[person] = clock.now()
            for known, moment in last.items():
                assert ledger.mailed.when(f"{known}@x.example") == moment


def test_a_change_of_server_is_told(write: Write, post: Post, tmp_path: Path) -> None:
    campaign = write("news", "ann@x.example bob@x.example")
    first = campaign.send(limit=1)
    assert first.proposal.server_before == ""
    assert campaign.send(dry_run=True).proposal.server_before == ""
    other = write("news", "ann@x.example bob@x.example", user="localhost")
    assert other.send(dry_run=True).proposal.server_before == f"127.0.0.1:{post.port} (not encrypted)"
    assert (
        write("news", "ann@x.example", 'edition = "2"', user="localhost").send().proposal.server_before == ""
    )


def test_copies_count_for_the_day_in_plan_and_run(write: Write, post: Post, tmp_path: Path) -> None:
    campaign = write("news", "a@x.example b@x.example c@x.example d@x.example", "pace = {per_day = 5}")
    (tmp_path / "news" / "letter.txt").write_text("Subject: x\nCc: boss@x.example\n\nHello\n")
    summary = campaign.send(confirm=2)
    assert (summary.proposal.tries, summary.proposal.ready, summary.proposal.recipients) == (2, 4, 4)
    assert post.named == ["a@x.example", "boss@x.example", "b@x.example", "boss@x.example"]
    assert campaign.send().proposal.tries == 0
    with Journal.open(tmp_path / "news" / "journal.db", edition="1", clock=TestClock()) as journal:
        assert [recipients for _, recipients in journal.recent(0)] == [2, 2]
    other = write("other", "a@x.example b@x.example", "pace = {per_day = 5}")
    assert other.send(confirm=1).states[State.SENT] == 1
