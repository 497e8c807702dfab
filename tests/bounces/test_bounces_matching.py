"""Which row a report is about: by what nobody else knows; a forged report suppresses nobody."""

from __future__ import annotations

import base64
from contextlib import contextmanager

import pytest
from bounces_kit import DOMAIN, NOW, dsn, letter, mark, sent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_bounces_corpus import Pile

from merge.bounces.finding import find
from merge.journal import Journal
from merge.model import State
from merge.unsubscribe import Tokens

TOKENS = Tokens("a secret of the club, long enough".replace(" ", "-"))


@contextmanager
def looking(folder):
    view = Journal.look(folder / "journal.db", edition="1")
    with view:
        yield view


def finding(folder, *mails, tokens=None):
    with looking(folder) as view:
        return find(Pile(*mails), view.bounces, tokens, NOW)


def told(matches):
    return [(m.sent.key, m.recipient, m.kind, m.proof, m.certain) for m in matches]


def test_the_message_id_in_the_returned_letter_proves_it(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example", "bob@x.example"])
    assert told(finding(folder, dsn("ada@x.example")).fresh) == [
        ("ada@x.example", "ada@x.example", "hard", "Message-ID", True)
    ]


def test_the_tag_of_the_return_path_proves_it_where_a_provider_changed_the_message_id(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    returned = b"From: a@b.example\nMessage-ID: <0102-of-the-provider@amazonses.com>\n\nhi\n"
    report = dsn(
        "ada@x.example",
        returned=returned,
        headers=f"Delivered-To: bounces+{mark('ada@x.example').upper()}@{DOMAIN}\n",
    )
    assert told(finding(folder, report).dead) == [
        ("ada@x.example", "ada@x.example", "hard", "return path", True)
    ]


def test_a_forwarded_address_leads_to_the_one_that_we_know(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    (match,) = finding(folder, dsn("ada.private@elsewhere.example", key="ada@x.example")).dead
    assert (match.recipient, match.also) == ("ada@x.example", "ada.private@elsewhere.example")


def test_a_copy_that_bounces_does_not_suppress_whom_the_letter_was_for(tmp_path):
    folder = sent(tmp_path / "c", [("ada@x.example", 2)])
    found = finding(folder, dsn("boss@x.example", key="ada@x.example"))
    assert not found.dead
    assert told(found.unproven) == [("ada@x.example", "boss@x.example", "hard", "Message-ID", False)]
    assert told(finding(folder, dsn("ada@x.example")).dead) == [
        ("ada@x.example", "ada@x.example", "hard", "Message-ID", True)
    ]


def test_a_returned_letter_with_a_copy_counts_as_several_whatever_the_journal_says(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    returned = letter("ada@x.example", "Cc: boss@x.example\r\n", key="ada@x.example")
    assert not finding(folder, dsn("boss@x.example", returned=returned)).dead


def test_by_the_address_alone_it_is_shown_and_not_believed(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    found = finding(folder, dsn("ada@x.example", returned=b"Subject: something\n\nhi\n"))
    assert not found.dead
    assert not found.at_once
    assert told(found.unproven) == [("ada@x.example", "ada@x.example", "hard", "address", False)]


def test_a_forged_report_with_the_forgers_own_mark_cannot_name_a_victim(tmp_path):
    folder = sent(tmp_path / "c", ["eve@x.example", "victim@x.example"])
    found = finding(folder, dsn("victim@x.example", key="eve@x.example", original="victim@x.example"))
    assert [match.recipient for match in found.dead] == ["eve@x.example"]
    assert not found.unproven


def test_a_forged_complaint_without_a_mark_suppresses_nobody(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    report = b"""From: feedback@isp.example
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
Version: 1
Original-Rcpt-To: <ada@x.example>

--b
Content-Type: message/rfc822

Subject: hi

--b--
"""
    found = finding(folder, report)
    assert not found.at_once
    assert told(found.unproven) == [("ada@x.example", "ada@x.example", "complaint", "address", False)]


def test_who_was_never_written_to_is_left_alone(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    found = finding(folder, dsn("stranger@x.example"), dsn("nobody@y.example", returned=b"\n"))
    assert not found.fresh
    assert found.strangers == 2


def test_a_row_that_only_waits_has_not_bounced(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"], state=State.DEFERRED)
    assert not finding(folder, dsn("ada@x.example")).fresh


def test_all_editions_are_looked_through_and_the_newest_wins_by_address(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    sent(tmp_path / "c", ["ada@x.example"], edition="2")
    by_mark = finding(folder, dsn("ada@x.example")).fresh[0]
    of_second = finding(folder, dsn("ada@x.example", key="2ada@x.example")).fresh[0]
    by_address = finding(folder, dsn("ada@x.example", returned=b"\n")).fresh[0]
    assert [m.sent.edition for m in (by_mark, of_second, by_address)] == ["1", "2", "2"]


def test_one_report_about_several_letters_of_one_line_counts_each_once(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    twice = dsn("ada@x.example").replace(
        b"\n--BB\nContent-Type: message/rfc822",
        b"\nFinal-Recipient: rfc822; ada@x.example\nAction: failed\nStatus: 5.1.1\n\n"
        b"--BB\nContent-Type: message/rfc822",
    )
    found = finding(folder, twice, twice)
    assert len(found.fresh) == 1
    assert found.known == 1


def test_a_goodbye_by_mail_is_believed_for_its_signature(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    mails = [
        f"From: x@y.example\nSubject: {before}unsubscribe {TOKENS.token(who)}\n\n\n".encode()
        for before, who in (("", "ada@x.example"), ("Re: ", "elsewhere@x.example"))
    ]
    forged = f"From: x@y.example\nSubject: unsubscribe {TOKENS.token('bob@x.example')[:-3]}abc\n\n\n".encode()
    found = finding(folder, *mails, forged, tokens=TOKENS)
    assert set(found.at_once) == {"ada@x.example", "elsewhere@x.example"}
    assert told(found.fresh) == [("ada@x.example", "ada@x.example", "unsubscribed", "Message-ID", True)]
    assert not finding(folder, *mails).at_once


def test_a_long_subject_in_encoded_words_still_holds_its_token(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    token = TOKENS.token("ada@x.example")
    words = base64.b64encode(f"Antw: unsubscribe {token}".encode()).decode()
    mail = f"Subject: =?utf-8?B?{words[:60]}?=\n =?utf-8?B?{words[60:]}?=\n\n".encode()
    folded = f"Subject: Re: unsubscribe\n {token}\n\n".encode()
    for one in (mail, folded):
        assert set(finding(folder, one, tokens=TOKENS).at_once) == {"ada@x.example"}


def test_without_a_journal_goodbyes_still_count(tmp_path):
    mail = f"Subject: unsubscribe {TOKENS.token('ada@x.example')}\n\n".encode()
    found = find(Pile(mail, dsn("ada@x.example")), None, TOKENS, NOW)
    assert set(found.at_once) == {"ada@x.example"}
    assert found.strangers == 1


def test_a_report_from_the_future_is_dated_now(tmp_path):
    folder = sent(tmp_path / "c", ["ada@x.example"])
    report = dsn("ada@x.example").replace(b"23 Nov 2026 15:30:00", b"23 Nov 2226 15:30:00")
    assert finding(folder, report).fresh[0].time == NOW


PEOPLE = [f"p{n}@x.example" for n in range(6)]
NAMES = st.sampled_from([*PEOPLE, "stranger@y.example", ""])


@st.composite
def reports(draw):
    """Any report: whom it names, whose mark it shows (or nobody's), what it says."""
    named = draw(NAMES)
    marked = draw(st.sampled_from([*PEOPLE, None]))
    status = draw(st.sampled_from(["5.1.1", "5.2.2", "5.7.1", "4.4.7", "5.0.0", "2.0.0", "9.9.9", ""]))
    action = draw(st.sampled_from(["failed", "delayed", "delivered", "expanded", "nonsense"]))
    words = draw(st.sampled_from(["smtp; 550 5.1.1 no such user", "smtp; 550 spam", "x; user unknown", ""]))
    place = draw(st.sampled_from(["letter", "path", "answer"]))
    returned = b"Subject: x\n\n"
    headers = ""
    if marked and place == "letter":
        returned = letter(named or "x@y.example", key=marked)
    elif marked:
        name = {"path": "Delivered-To: bounces+{}@club.example", "answer": "In-Reply-To: <{}@club.example>"}[
            place
        ]
        headers = name.format(mark(marked)) + "\n"
    made = dsn(named, status, words, action=action, returned=returned, headers=headers)
    return named, marked, made


@pytest.fixture(scope="module")
def everybody(tmp_path_factory):
    return sent(tmp_path_factory.mktemp("all") / "c", PEOPLE)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(reports(), max_size=6))
def test_nobody_is_suppressed_unasked_or_without_their_own_mark(everybody, made):
    found = finding(everybody, *(mail for _, _, mail in made))
    assert not found.at_once
    marked = {whose for _, whose, _ in made}
    for match in found.dead:
        assert match.recipient == match.sent.to
        assert match.recipient in marked
    for match in found.fresh:
        assert match.sent.to in PEOPLE
        assert match.certain == (match.proof != "address")
    assert found.read == len(made)
    about_nobody = sum(whose is None and name not in PEOPLE for name, whose, _ in made)
    assert found.strangers <= about_nobody + sum(mail.count(b"Action: ") for _, _, mail in made)
