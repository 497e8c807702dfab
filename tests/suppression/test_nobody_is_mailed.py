"""Nobody on the suppression list is ever named to a server, whenever they came onto it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from suppression_kit import Post, post_office

from merge import Campaign, State
from merge.account import accounts_path
from merge.clock import WallClock
from merge.courier import run
from merge.errors import ListError
from merge.journal import Journal, Listed
from merge.model import Delivery, Envelope
from merge.pace import Pace
from merge.retry import Retry
from merge.smtp.session import Account, Session
from merge.suppression import Entry, Suppression, append

HEAD = 'list = "people.csv"\nletter = "letter.txt"\nfrom = "Ada <a@ada.example>"\n'
PEOPLE = 7


def person(number: int) -> str:
    return f"p{number}@d{number % 3}.example"


@pytest.fixture(scope="module", autouse=True)
def home() -> Iterator[Path]:
    """Keep the person's own suppression list and ledger out of it."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", folder)
        patch.setenv("XDG_CONFIG_HOME", folder)
        yield Path(folder) / "mergepost"


def written(folder: Path, post: Post, *lines: str, account: str = "", people: int = PEOPLE) -> Campaign:
    accounts_path().with_name("suppressed.csv").unlink(missing_ok=True)
    rows = "".join(f"{person(number)},{number}\n" for number in range(people))
    (folder / "people.csv").write_text(f"email,number\n{rows}")
    (folder / "letter.txt").write_text("Subject: News\n\nDear {{ number }},\n")
    way = f'[account]\nhost = "127.0.0.1"\nport = {post.port}\nsecurity = "none"\n{account}\n'
    (folder / "campaign.toml").write_text(HEAD + "\n".join((*lines, way)))
    return Campaign.load(folder)


@dataclass(frozen=True)
class Change:
    """Somebody, or their domain, comes onto a list while the server does something."""

    event: str
    number: int
    who: int
    domain: bool
    own: bool

    @property
    def entry(self) -> Entry:
        address = person(self.who)
        return Entry(f"@{address.rpartition('@')[2]}" if self.domain else address)


CHANGES = st.builds(
    Change,
    st.sampled_from(["MAIL", "RCPT", "DATA", "dot"]),
    st.integers(0, PEOPLE - 1),
    st.integers(0, PEOPLE - 1),
    st.booleans(),
    st.booleans(),
)
LEVELS = {"0": "pipelining = 0", "1": "pipelining = 1", "2": "pipelining = 2", "3": "window = 3"}


@dataclass
class Happening:
    """Lets the changes happen; `since` says from which RCPT on an address must not be named."""

    changes: list[Change]
    level: str
    home: Path
    folder: Path
    post: Post = field(default_factory=Post)
    since: dict[str, int] = field(default_factory=dict)

    def __call__(self, event: str, number: int) -> None:
        for change in self.changes:
            if (change.event, change.number) != (event, number):
                continue
            append((self.home if change.own else self.folder) / "suppressed.csv", [change.entry])
            # Said before the change: the letter under way, and what rides with its end.
            riding = {"2": int(event == "dot"), "3": 3}.get(self.level, 0) + (event == "MAIL")
            for address in map(person, range(PEOPLE)):
                if address.endswith(change.entry.address):
                    self.since.setdefault(address, len(self.post.named) + riding)


@settings(max_examples=25, deadline=None)
@given(
    before=st.sets(st.integers(0, PEOPLE - 1), max_size=3),
    changes=st.lists(CHANGES, max_size=4),
    level=st.sampled_from(sorted(LEVELS)),
)
def test_nobody_on_the_list_is_named_whenever_they_came_onto_it(
    home: Path, before: set[int], changes: list[Change], level: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        happening = Happening(changes, level, home, folder)
        with post_office(Post(happening)) as post:
            happening.post = post
            campaign = written(folder, post, account=LEVELS[level])
            if before:
                append(folder / "suppressed.csv", [Entry(person(number)) for number in before])
            summary = campaign.send(confirm=PEOPLE - len(before))
        for address in map(person, before):
            assert address not in post.named
        for address, place in happening.since.items():
            assert address not in post.named[place:]
        states = {record.to: record for record in campaign.records()}
        for address in map(person, range(PEOPLE)):
            assert states[address].state is (State.SENT if address in post.taken else State.SKIPPED)
            if address not in post.taken:
                assert states[address].reason.startswith("on the suppression list")
        assert post.taken == post.named
        assert summary.exit_code == 0
        assert summary.tried == len(post.taken)
        again = campaign.send()
        assert again.states == summary.states
        assert again.proposal.tries == 0


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_who_says_no_while_the_server_is_away_is_not_mailed_when_it_is_back(
    tmp_path: Path, level: str
) -> None:
    listed = tmp_path / "suppressed.csv"

    def happen(event: str, number: int) -> bool:
        if event == "MAIL" and number == 0:
            append(listed, [Entry(person(0), "asked on the phone"), Entry(person(2))])
            return True
        return False

    suppression = Suppression(listed)
    clock = WallClock()
    with (
        post_office(Post(happen)) as post,
        Journal.open(tmp_path / "journal.db", edition="1", clock=clock) as journal,
    ):
        with journal.enrolment() as enrolment:
            for number in range(4):
                enrolment.add(Listed(number, person(number), person(number), "d"))
            enrolment.commit()
        account = Account(
            "127.0.0.1", post.port, "none", pipelining=min(int(level), 2), window=3 if level == "3" else 0
        )

        def veto(delivery: Delivery) -> str:
            return suppression.reason(delivery.envelope.recipients[0]) or ""

        session = Session(
            account, clock=clock, before_commit=journal.committing, veto=veto, schedule=(0.01,) * 5
        )
        deliveries = (
            Delivery(
                person(number),
                number,
                Envelope("a@ada.example", (person(number),)),
                b"Subject: x\r\n\r\nx\r\n",
                journal.message_id(person(number), "ada.example"),
                datetime(2027, 1, 1, tzinfo=UTC),
                "d",
            )
            for number in range(4)
        )
        # The courier looks when it offers a letter, before the line is lost; only the session looks after it.
        ending = run(deliveries, carrier=session, journal=journal, pace=Pace(), retry=Retry(), clock=clock)
        session.close()
        records = {record.key: record for record in journal.records()}
    assert post.named == post.taken == [person(1), person(3)]
    assert records[person(2)].state is State.SKIPPED
    if level == "3":  # there the whole message was written at once, before anything was heard
        assert records[person(0)].state is State.UNCERTAIN
        return
    assert records[person(0)].state is State.SKIPPED
    assert records[person(0)].reason == "on the suppression list: asked on the phone"
    assert ending.tally[State.SKIPPED] == 2
    assert ending.tried == 2


def test_a_list_that_goes_bad_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    listed = tmp_path / "suppressed.csv"

    def happen(event: str, number: int) -> None:
        if event == "DATA" and number == 1:
            listed.write_text("rubbish\n")

    with post_office(Post(happen)) as post:
        campaign = written(tmp_path, post, account="pipelining = 1")
        summary = campaign.send()
        assert summary.ending
        assert isinstance(summary.ending.stopped, ListError)
        assert summary.exit_code == 3
        assert (summary.states[State.SENT], summary.states[State.WAITING]) == (2, PEOPLE - 2)
        with pytest.raises(ListError):
            campaign.send()
        listed.unlink()
        assert Campaign.load(tmp_path).send().states[State.SENT] == PEOPLE
    assert sorted(post.taken) == sorted(map(person, range(PEOPLE)))


def test_a_deferred_row_that_says_no_is_not_tried_again(tmp_path: Path) -> None:
    with post_office(Post()) as post:
        campaign = written(tmp_path, post, people=2)
        with Journal.open(tmp_path / "journal.db", edition="1", clock=WallClock()) as journal:
            with journal.enrolment() as enrolment:
                findings = campaign.findings()
                assert findings.rows == 2
                enrolment.add(Listed(2, person(0), person(0), "d"))
                enrolment.commit()
            journal._database.run("UPDATE rows SET state = 'deferred', due = 1.0, attempts = 1")
        append(tmp_path / "suppressed.csv", [Entry(person(0))])
        summary = campaign.send()
    assert post.named == [person(1)]
    assert summary.states[State.SKIPPED] == summary.states[State.SENT] == 1


@pytest.mark.parametrize("header", ["Cc", "Bcc"])
def test_a_row_whose_copy_goes_to_somebody_on_the_list_is_not_mailed(tmp_path: Path, header: str) -> None:
    def happen(event: str, number: int) -> None:
        if event == "DATA" and number == 0:
            append(tmp_path / "suppressed.csv", [Entry("third@x.example", "left us")])

    with post_office(Post(happen)) as post:
        campaign = written(tmp_path, post, account="pipelining = 0", people=4)
        copy = "{{ 'first' if number == '1' else 'third' }}@x.example"
        (tmp_path / "letter.txt").write_text(f"Subject: News\n{header}: {copy}\n\nDear {{{{ number }}}}\n")
        append(tmp_path / "suppressed.csv", [Entry("first@x.example")])
        (about,) = [problem for problem in campaign.check() if problem.kind == "suppressed"]
        assert (about.severity, about.row) == ("warning", 3)
        summary = campaign.send()
        reasons = {record.to: record.reason for record in campaign.records() if record.state is State.SKIPPED}
    assert post.named == [person(0), "third@x.example"]
    assert summary.states[State.SKIPPED] == 3
    assert reasons == {
        person(1): "on the suppression list: it goes to first@x.example as well",
        person(2): "on the suppression list: it goes to third@x.example as well (left us)",
        person(3): "on the suppression list: it goes to third@x.example as well (left us)",
    }
    assert summary.proposal.findings.skipped == (("on the suppression list", 1),)
