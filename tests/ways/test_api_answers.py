"""What an answer of a web API comes to, for the rows and for the run; and what comes of no answer at all."""

from __future__ import annotations

import json
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from ways_kit import KEY, VENDORS, Desk, carry, delivery, open_desk, session

from merge.api.call import Call, Calls, Deadlines, Stage
from merge.api.mailjet import Mailjet
from merge.api.meaning import Answer, Run, retry_after, whole
from merge.brake import Brake
from merge.clock import WallClock
from merge.errors import CarrierError, ConfigError
from merge.model import State

S, F, U = State.SENT, State.FAILED, State.UNCERTAIN
QUICK = Deadlines(connect=20.0, call=3.0)


class Told:
    """A way out driven to its end: what became of each row, what was recalled, and what stopped it."""

    def __init__(self, desk: Desk, rows: int = 6, **more: Any) -> None:
        self.said: list[str] = []
        self.states: dict[int, State] = {}
        self.replies: dict[int, str] = {}
        self.error: CarrierError | None = None
        more.setdefault("per_call", 1)
        way = session(desk, tell=self.said.append, **more)
        waiting = [delivery(row) for row in range(2, 2 + rows)]
        in_hand = 0
        try:
            while waiting or in_hand:
                while waiting and way.room:
                    way.offer(waiting.pop(0))
                    in_hand += 1
                outcomes = way.collect(0.05)
                in_hand -= len(outcomes)
                for outcome in outcomes:
                    assert outcome.row not in self.states
                    self.states[outcome.row] = outcome.state
                    self.replies[outcome.row] = outcome.reply
        except CarrierError as error:
            self.error = error
        self.recalled = sorted(back.row for back in way.recall())
        way.close()
        assert in_hand == len(self.recalled)

    @property
    def sent(self) -> list[int]:
        return sorted(row for row, state in self.states.items() if state is S)

    @property
    def uncertain(self) -> list[int]:
        return sorted(row for row, state in self.states.items() if state is U)


def only(number: int, fate: str) -> Any:
    """One call meets its fate; all others are accepted."""
    return lambda n, _: fate if n == number else "accept"


def test_all_is_well(desks, vendor):
    told = Told(desks(vendor), rows=20)
    assert told.sent == list(range(2, 22))
    assert told.error is None
    assert "accepted by" in told.replies[2]


@pytest.mark.parametrize(
    "fate", ["lost after", "lost before", "half", "500 after", "500 before", "502", "503", "504 after"]
)
def test_what_may_have_been_accepted_is_uncertain_and_never_tried_again(desks, vendor, fate):
    desk = desks(vendor, fates=only(3, fate))
    told = Told(desk, rows=8, window=1)
    assert told.uncertain == [5]
    assert len(told.sent) == 7
    asked = [desk.identity(message)[1][0] for body in desk.bodies for message in desk.messages(body)]
    assert len(asked) == len(set(asked)) == 8
    assert told.error is None


@pytest.mark.parametrize(
    "fate", ["garbage", "huge", "packed", "odd json", "drip", "silent", "success elsewhere"]
)
def test_an_answer_that_is_none_leaves_the_row_uncertain(desks, vendor, fate):
    desk = desks(vendor, fates=only(1, fate))
    began = time.monotonic()
    told = Told(desk, rows=4, window=1, **({"deadlines": QUICK} if fate in ("drip", "silent") else {}))
    assert told.uncertain == [3]
    assert time.monotonic() - began < 30
    if fate in ("success elsewhere", "odd json") and vendor == "sendgrid":  # 200 is not SendGrid's 202
        assert isinstance(told.error, CarrierError)
    else:
        assert len(told.sent) == 3


def test_a_server_that_errs_on_all_makes_few_rows_uncertain(desks, vendor):
    told = Told(desks(vendor, fates=lambda *_: "500 before"), rows=50, window=8)
    assert len(told.uncertain) == 3
    assert told.error is not None
    assert "3 times in a row" in told.error.message
    assert len(told.recalled) + len(told.uncertain) <= 50


def test_after_an_unclear_answer_one_letter_finds_out_not_fifty(desks):
    told = Told(desks("mailjet", fates=lambda *_: "500 before"), rows=120, per_call=50, window=1)
    assert len(told.uncertain) == 50 + 1 + 1
    assert told.error is not None


def test_a_line_that_breaks_right_behind_the_last_byte_but_one(desks, vendor, monkeypatch):
    """Ready and ended are heard together: nothing went, and the row is tried again."""
    desk = desks(vendor)
    real, commits, broken = Calls.news, [], []

    def news(self: Calls, patience: float) -> list[tuple[Call, Stage]]:
        found = real(self, patience)
        for call, stage in found:
            if stage is Stage.READY and not broken:
                broken.append(call)
                self.abandon(call)
                while (call, Stage.ENDED) not in found:
                    found += real(self, 1.0)
        return found

    monkeypatch.setattr(Calls, "news", news)
    outcomes = carry(session(desk, before_commits=commits.append), [delivery(2)])
    assert [outcome.state for outcome in outcomes] == [S]
    assert len(broken) == len(commits) == len(desk.accepted) == 1


def test_calls_in_the_air_together_are_one_loss(desks):
    """The line breaks under eight calls: eight rows are uncertain, and the run goes on."""
    desk = desks("sendgrid", fates=lambda n, _: "lost before" if 1 <= n <= 8 else "accept", delay=0.05)
    told = Told(desk, rows=30, window=8)
    assert 1 <= len(told.uncertain) <= 8
    assert len(told.sent) == 30 - len(told.uncertain)
    assert told.error is None


@pytest.mark.parametrize(
    ("fate", "words"),
    [("401", "answered 401: Maximum credits"), ("403", "answered 403"), ("404", "answered 404")],
)
def test_key_and_sender_stop_the_run_and_touch_no_row(desks, vendor, fate, words):
    told = Told(desks(vendor, fates=lambda *_: fate), rows=6)
    assert told.states == {}
    assert told.error is not None
    assert words in told.error.message
    assert told.error.hint
    assert told.recalled


def test_a_wrong_key_is_tried_once(desks, vendor):
    desk = desks(vendor)
    told = Told(desk, rows=9, window=8, key="SG.wrong")
    assert told.error is not None
    assert len(desk.heads) == 1
    assert "SG.wrong" not in f"{told.error.message} {told.error.hint}"


def test_a_letter_that_is_too_large_fails_alone(desks, vendor):
    told = Told(desks(vendor, fates=only(2, "413")), rows=5, window=1)
    assert told.states == {2: S, 3: S, 4: F, 5: S, 6: S}
    assert told.error is None


def test_a_refused_letter_fails_with_the_words_of_the_vendor_and_no_escapes(desks, vendor):
    told = Told(desks(vendor, fates=only(1, "400")), rows=3, window=1)
    assert told.states[3] is F
    assert "Does not contain a valid address" in told.replies[3]
    assert "\x1b" not in told.replies[3]


def test_too_many_calls_pause_the_run_and_no_row_pays_for_it(desks, vendor):
    desk = desks(vendor, fates=only(2, "429"))
    told = Told(desk, rows=5, window=1)
    assert told.sent == [2, 3, 4, 5, 6]
    assert any("too fast" in line for line in told.said)
    assert desk.calls == 6


def test_a_long_pause_is_left_to_the_person(desks, vendor):
    told = Told(desks(vendor, fates=only(1, "429 long")), rows=5, window=1)
    assert told.sent == [2]
    assert told.error is not None
    assert "takes no more before" in told.error.hint
    assert told.recalled == [3]


def test_endless_429_ends_the_run(desks, vendor):
    told = Told(desks(vendor, fates=lambda *_: "429"), rows=3)
    assert told.states == {}
    assert told.error is not None
    assert "the last time of several" in told.error.message


def test_a_redirect_is_not_followed(desks, vendor):
    desk = desks(vendor, fates=only(0, "redirect"))
    told = Told(desk, rows=3)
    assert told.uncertain == [2]
    assert told.error is not None
    assert desk.calls == 1


@pytest.mark.parametrize("fate", ["early 413", "early 202"])
def test_an_answer_before_the_letter_was_whole(desks, vendor, fate):
    big = "x" * 70 + "\n"
    with open_desk(Desk(vendor, fates=lambda *_: fate)) as desk:
        commits: list[Any] = []
        way = session(desk, window=1, per_call=1, before_commits=commits.append)
        way.offer(delivery(2, text=big * 60_000))
        outcomes = []
        try:
            while not outcomes:
                outcomes = list(way.collect(0.1))
        except CarrierError:
            pass
        way.close()
    # Where the line was gone before the answer could be read, nothing was accepted, and the row waits.
    assert [outcome.state for outcome in outcomes] in ([F if "413" in fate else U], [])
    assert not commits


def test_refused_recipients_of_an_old_list_do_not_stop_the_run(desks, vendor, tmp_path):
    """Six in a row: by SMTP each would be refused at RCPT, which speaks of one mailbox."""
    bad = "400" if vendor == "sendgrid" else "accept"
    desk = desks(vendor, fates=lambda _, people: bad if people else "accept")
    letters = [delivery(row, f"gone{row}@people.example") for row in range(2, 8)]
    outcomes = carry(session(desk, window=1, per_call=1), letters)
    assert {(outcome.state, outcome.stage) for outcome in outcomes} == {(F, "RCPT")}
    brake = Brake()
    assert not [why for outcome in outcomes if (why := brake.see(outcome))]


def test_letters_refused_alike_for_another_reason_do_stop_it(desks, vendor):
    desk = desks(vendor, fates=lambda *_: "413")
    brake = Brake()
    outcomes = carry(session(desk, window=1, per_call=1), [delivery(row) for row in range(2, 7)])
    assert "turned down alike" in [brake.see(outcome) for outcome in outcomes][-1]


# Mailjet's answers for several messages


def test_one_of_a_batch_is_refused_by_itself(desks):
    desk = desks("mailjet")
    letters = [delivery(2), delivery(3, "gone@people.example"), delivery(4)]
    outcomes = {outcome.row: outcome for outcome in carry(session(desk), letters)}
    assert [outcomes[row].state for row in (2, 3, 4)] == [S, F, S]
    assert "invalid email address" in outcomes[3].reply
    assert "mj-0013" in outcomes[3].reply
    assert desk.calls == 1


def test_an_internal_error_of_one_message_leaves_that_one_uncertain(desks):
    desk = desks("mailjet")
    letters = [delivery(2), delivery(3, "torn@people.example"), delivery(4)]
    outcomes = {outcome.row: outcome.state for outcome in carry(session(desk), letters)}
    assert outcomes == {2: S, 3: U, 4: S}


@pytest.mark.parametrize("fate", ["short", "shuffled", "same id", "no id shuffled", "odd json"])
def test_an_answer_about_other_messages_settles_none(desks, fate):
    desk = desks("mailjet", fates=only(0, fate))
    told = Told(desk, rows=5, per_call=50, window=1)
    assert told.uncertain == [2, 3, 4, 5, 6]
    assert desk.calls == 1


def test_an_answer_without_ids_is_known_by_its_recipients(desks):
    told = Told(desks("mailjet", fates=only(0, "no id")), rows=5, per_call=50)
    assert told.sent == [2, 3, 4, 5, 6]


def test_a_call_that_is_refused_as_a_whole_is_tried_letter_by_letter(desks):
    desk = desks("mailjet", fates=lambda *_: "too big together")
    told = Told(desk, rows=5, per_call=50)
    assert told.sent == [2, 3, 4, 5, 6]
    assert [len(body["Messages"]) for body in desk.bodies] == [5, 1, 1, 1, 1, 1]


def test_a_sender_that_is_refused_for_each_message_stops_the_run(desks):
    told = Told(desks("mailjet", fates=lambda *_: "sender refused"), rows=5, per_call=50)
    assert told.states == {}
    assert told.error is not None
    assert "send-0008" in told.error.message
    assert told.recalled == [2, 3, 4, 5, 6]


def test_letters_of_a_call_are_as_many_as_asked_for(desks):
    desk = desks("mailjet")
    Told(desk, rows=20, per_call=7, window=1)
    assert [len(body["Messages"]) for body in desk.bodies] == [7, 7, 6]


WORDS = st.sampled_from(["success", "error"])
KEYS = st.sampled_from(
    [
        "ErrorRelatedTo",
        "field",
        "Messages",
        "Status",
        "Errors",
        "CustomID",
        "To",
        "Email",
        "StatusCode",
        "errors",
    ]
)


@given(
    status=st.integers(200, 599),
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | WORDS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                KEYS,
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_answered_each_row_is_settled_once_and_nothing_is_sent_by_guess(status, body):
    rows = [delivery(2), delivery(3)]
    for name, make in VENDORS.items():
        asked = rows if name == "mailjet" else rows[:1]
        reading = make.read(Answer(status, {}, json.dumps(body).encode()), asked, 0.0)
        keys = [outcome.key for outcome in reading.outcomes] + [back.key for back in reading.back]
        assert sorted(keys) == sorted(one.key for one in asked)
        for outcome in reading.outcomes:
            if outcome.state is S:
                assert (name, status) == ("sendgrid", 202) or isinstance(body, dict)
            if status >= 500:
                assert outcome.state is U


def test_mailjet_success_names_us_or_our_recipient():
    row = delivery(2)
    for entry, state in (
        ({"Status": "success", "CustomID": "0002.token@ada.example"}, S),
        ({"Status": "success", "CustomID": "someone.else@ada.example"}, U),
        ({"Status": "success"}, U),
        ({"Status": "success", "To": [{"Email": "R2@people.example"}]}, S),
        ({"Status": "success", "To": [{"Email": "stranger@people.example"}]}, U),
        ({"Status": "success", "CustomID": "0002.token@ada.example", "Errors": [{"StatusCode": 400}]}, U),
        ({"Status": "maybe", "CustomID": "0002.token@ada.example"}, U),
        ({"Status": "error"}, F),
    ):
        answer = Answer(200, {}, json.dumps({"Messages": [entry]}).encode())
        assert [outcome.state for outcome in Mailjet.read(answer, [row], 0.0).outcomes] == [state], entry


def test_when_to_come_back():
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    in_two_minutes = format_datetime(now + timedelta(minutes=2), usegmt=True)
    for headers, seconds in (
        ({"retry-after": "120"}, 120),
        ({"retry-after": in_two_minutes}, 120),
        ({"retry-after": format_datetime(now - timedelta(hours=1), usegmt=True)}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "9" * 400}, 999_999_999),
        ({"retry-after": "١٢"}, 0),
        ({"x-ratelimit-reset": f"{now.timestamp() + 30:.0f}"}, 30),
        ({"x-ratelimit-reset": "never"}, 0),
        ({}, 0),
    ):
        assert retry_after(headers, now.timestamp()) == seconds, headers


def test_every_status_has_a_meaning_and_none_means_sent():
    row = delivery(2)
    for status in range(100, 600):
        reading = whole(Answer(status, {}, b""), [row], "", now=0.0, hints={})
        assert len(reading.outcomes) + len(reading.back) == 1
        assert all(outcome.state is not S for outcome in reading.outcomes)
        if not 400 <= status < 500:
            assert reading.outcomes[0].state is U
            assert reading.run in (Run.DOUBT, Run.STOP)


# The line


def test_nothing_listens(vendor):
    with open_desk(Desk(vendor)) as desk:
        pass
    told = Told(desk, rows=3, schedule=(0.01, 0.01))
    assert told.states == {}
    assert told.error is not None
    assert "cannot be reached" in told.error.message
    assert len(told.said) == 2
    assert told.recalled == [2]


def test_an_unknown_name_stops_at_once(vendor):
    told = Told(Desk(vendor), rows=3, base="https://api.invalid")
    assert told.states == {}
    assert told.error is not None
    assert "cannot be found by that name" in told.error.message
    assert not told.said


def test_it_comes_back(vendor):
    """Refused at first; then the server is up, at the same port."""
    desk = Desk(vendor)
    with open_desk(desk):
        pass
    commits: list[int] = []
    way = session(desk, schedule=(0.2, 0.2, 0.2), before_commits=lambda rows: commits.append(len(rows)))
    way.offer(delivery(2))
    up = threading.Event()

    def open_late() -> None:
        time.sleep(0.1)
        with open_desk(desk):
            up.wait(5)

    late = threading.Thread(target=open_late)
    late.start()
    outcomes: list[Any] = []
    while not outcomes:
        outcomes += way.collect(0.1)
    way.close()
    up.set()
    late.join()
    assert [outcome.state for outcome in outcomes] == [S]
    assert commits == [1]  # nothing was on record before there was a connection


def test_an_idle_line_that_was_closed_meanwhile_costs_no_row(desks, vendor):
    """With a slow pace the server may close the kept line between two letters; the next takes a new one."""
    desk = desks(vendor, fates=lambda *_: "accept and leave")
    way = session(desk)
    for row in range(2, 6):
        way.offer(delivery(row))
        outcomes: list[Any] = []
        while not outcomes:
            outcomes += way.collect(0.1)
        assert [outcome.state for outcome in outcomes] == [S]
        time.sleep(0.2)
    way.close()
    assert len(desk.accepted) == 4


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def served(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_over_tls_with_a_certificate_that_is_trusted(authority, tmp_path, vendor, monkeypatch):
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    # A proxy of the environment is never used for this computer's own addresses.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with open_desk(Desk(vendor), served(authority, "127.0.0.1")) as desk:
        told = Told(desk, rows=4, ca_file=str(bundle))
    assert told.sent == [2, 3, 4, 5]


@pytest.mark.parametrize("name", ["untrusted", "wrong name"])
def test_a_certificate_that_is_not_trusted_gets_no_key(authority, tmp_path, vendor, name):
    bundle = tmp_path / "ca.pem"
    (trustme.CA() if name == "untrusted" else authority).cert_pem.write_to_path(str(bundle))
    host = "127.0.0.1" if name == "untrusted" else "other.example"
    with open_desk(Desk(vendor), served(authority, host)) as desk:
        told = Told(desk, rows=2, ca_file=str(bundle))
    assert told.states == {}
    assert told.error is not None
    assert "ertificate" in told.error.message
    assert not desk.heads
    assert not told.said  # no second try


def test_http_to_this_computer_takes_no_proxy(desks, vendor, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Told(desks(vendor), rows=2).sent == [2, 3]


def test_a_proxy_that_cannot_be_used_is_told(vendor, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks9://127.0.0.1:9")
    way = session(Desk(vendor), base="https://api.example")
    way.offer(delivery(2))
    with pytest.raises(ConfigError, match="the proxy that the environment names cannot be used"):
        way.collect(0.1)
    assert [back.row for back in way.recall()] == [2]


@pytest.mark.parametrize("key", ["SG.ü", "SG.\r\nX-Evil: 1", "SG.\x00"])
def test_a_key_cannot_add_a_header(vendor, key):
    way = session(Desk(vendor), key=key)
    way.offer(delivery(2))
    with pytest.raises(ConfigError, match="characters that no key has") as caught:
        way.collect(0.1)
    assert key not in str(caught.value)
    assert [back.row for back in way.recall()] == [2]


def test_a_key_copied_with_its_line_end_is_taken(desks, vendor):
    assert Told(desks(vendor), rows=1, key=f"{KEY}\n").sent == [2]


def test_the_clock_is_the_only_one_who_sleeps(desks, vendor):
    """A way out with nothing to do waits for the patience that it was given, and no longer."""
    way = session(desks(vendor), WallClock())
    began = time.monotonic()
    assert way.collect(0.2) == ()
    assert 0.15 < time.monotonic() - began < 1
    way.close()
