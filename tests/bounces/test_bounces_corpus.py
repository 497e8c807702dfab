"""What is a bounce, and whose fault: the bars over reports of all shapes, and over ordinary mail.

`reports` follow RFC 3464 (those named postfix, exim and opensmtpd were written by these servers, see
bouncing.py), `unruly` follow no standard, `ordinary` and `other` are what else lies in a mailbox.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from unittest import mock

import pytest
from bounces_kit import HERE, NOW, mark, sent
from bouncing import EXPECTED

from merge.bounces.blame import closest, kind_of
from merge.bounces.finding import Finding, find
from merge.bounces.sighting import sighting, worth_a_look
from merge.journal import Journal

ADA = "ada@dead.example"
SOFT_UNRULY = {"soft-quota-qmail": "5.2.2", "soft-spam-exim": "5.7.1"}
CODES = {
    "exchange-german": "5.1.10",
    "exchange-online-dbeb": "5.4.1",
    "yahoo-dsn": "5.2.1",
    "list-footer-around": "5.1.2",
    "domain-gone": "5.4.4",
}


class Pile:
    """Mails as a letterbox."""

    place = "here"

    def __init__(self, *mails: bytes) -> None:
        self._mails = mails

    def mails(self):
        yield from ((str(number), mail) for number, mail in enumerate(self._mails))

    def done(self, names):
        pass

    def close(self):
        pass


def samples(folder: str) -> list[Path]:
    found = sorted((HERE / folder).glob("*.eml"))
    assert found
    return found


def by_name(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A journal that has everybody of the samples as sent."""
    people = [ADA, *(f"{local}@x.example" for local in EXPECTED), *(f"p{n}@x.example" for n in range(50))]
    folder = sent(tmp_path_factory.mktemp("corpus") / "campaign", people)
    view = Journal.look(folder / "journal.db", edition="1")
    assert view is not None
    with view:
        yield view


def found(journal, *mails: bytes) -> Finding:
    return find(Pile(*mails), journal.bounces, None, NOW)


def is_right(finding: Finding, kind: str, to: str) -> bool:
    """Whether one mail was understood as what it is: the row, the kind, and that nobody else is concerned."""
    matches = finding.dead if kind == "hard" else finding.noted
    return (
        [(m.recipient, m.kind, m.certain) for m in matches]
        == [(to, kind, True)]
        == [(m.recipient, m.kind, m.certain) for m in finding.fresh]
    )


def expectation(path: Path) -> tuple[str, str, str]:
    """Return kind, code and address that a sample is about."""
    server, _, local = path.stem.partition("-")
    if server in ("postfix", "exim", "opensmtpd") and path.parent.name == "reports":
        kind, code = EXPECTED[local]
        return kind, code or "5.0.0", f"{local}@x.example"
    if path.parent.name == "unruly":
        code = SOFT_UNRULY.get(path.stem, "")
        return ("soft" if code else "hard"), code, ADA
    return ("soft" if path.stem.startswith("soft-") else "hard"), CODES.get(path.stem, ""), ADA


def share(journal, folder: str) -> float:
    paths = samples(folder)
    right = [
        p for p in paths if is_right(found(journal, p.read_bytes()), expectation(p)[0], expectation(p)[2])
    ]
    wrong = sorted({p.stem for p in paths} - {p.stem for p in right})
    print(f"{folder}: {len(right)} of {len(paths)} understood; wrong: {', '.join(wrong) or 'none'}")  # noqa: T201 - the bar
    return len(right) / len(paths)


def test_every_report_of_the_standard_is_understood(journal):
    assert share(journal, "reports") == 1.0


def test_unruly_reports_are_understood_with_the_library(journal):
    assert share(journal, "unruly") >= 0.95


def test_most_unruly_reports_are_understood_without_the_library(journal):
    with mock.patch.dict(sys.modules, {"flufl.bounce": None}):
        assert share(journal, "unruly") >= 0.8


def test_ordinary_mail_suppresses_nobody(journal):
    paths = [*samples("ordinary"), *(p for p in samples("other") if not p.stem.startswith("complaint"))]
    finding = found(journal, *(path.read_bytes() for path in paths))
    wrong = [(m.recipient, m.kind) for m in (*finding.dead, *finding.unproven)] + list(finding.at_once)
    print(f"ordinary mail: {len(paths)} mails, {len(wrong)} false suppressions")  # noqa: T201 - the bar
    assert not wrong
    assert not finding.fresh


@by_name(samples("ordinary"))
def test_an_ordinary_mail_is_no_report(path):
    assert sighting(path.read_bytes()).sort in ("other", "auto-reply")


@by_name(samples("other"))
def test_machines_that_answer_warn_or_complain_are_told_apart(path):
    expected = {"auto": "auto-reply", "delayed": "delayed", "complaint": "complaint"}
    assert sighting(path.read_bytes()).sort == expected[path.stem.partition("-")[0]]


@by_name([path for path in samples("reports") if expectation(path)[1]])
def test_the_code_is_the_closest_one(path):
    (failure,) = sighting(path.read_bytes()).failures
    assert failure.code == expectation(path)[1]
    assert failure.reply
    assert not re.search(r"[\r\n]", failure.reply)


def test_complaints_suppress_at_once_whether_or_not_the_address_was_blacked_out(journal):
    mails = [path.read_bytes() for path in samples("other") if path.stem.startswith("complaint")]
    finding = found(journal, *mails)
    assert set(finding.at_once) == {ADA}
    assert not finding.unproven
    assert len(finding.noted) == len(mails) == 5


def test_a_delay_is_a_note_and_nothing_more(journal):
    finding = found(journal, *(p.read_bytes() for p in samples("other") if p.stem.startswith("delayed")))
    assert finding.sorts == {"delayed": 4}
    assert not finding.fresh
    assert finding.delayed_rows == 1


@by_name([p for folder in ("reports", "unruly") for p in samples(folder)])
def test_line_ends_of_the_wire_change_nothing(path):
    raw = path.read_bytes()
    plain, wire = sighting(raw), sighting(raw.replace(b"\n", b"\r\n"))
    assert (plain.sort, plain.failures, plain.ids, plain.digest) == (
        wire.sort,
        wire.failures,
        wire.ids,
        wire.digest,
    )


@by_name([p for folder in ("reports", "unruly", "other") for p in samples(folder)])
def test_the_head_alone_tells_that_a_mail_is_worth_fetching(path):
    head = path.read_bytes().partition(b"\n\n")[0] + b"\n\n"
    assert worth_a_look(head)


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        ("5.1.1", "", "hard"),
        ("5.1.1", "mailbox full, policy, spam", "hard"),
        ("5.1.2", "bad destination system", "hard"),
        ("5.1.3", "bad syntax", "hard"),
        ("5.1.6", "moved", "hard"),
        ("5.1.10", "null MX", "hard"),
        ("5.2.1", "disabled", "hard"),
        ("5.4.4", "unable to route", "hard"),
        ("5.1.0", "address rejected", "hard"),
        ("5.1.0", "sender address rejected", "soft"),
        ("5.1.7", "bad sender's syntax", "soft"),
        ("5.1.8", "bad sender's domain", "soft"),
        ("5.2.0", "other mailbox status", "soft"),
        ("5.2.2", "mailbox full", "soft"),
        ("5.2.3", "message too long", "soft"),
        ("5.3.4", "too big for system", "soft"),
        ("5.4.1", "no answer from host", "soft"),
        ("5.4.1", "Recipient address rejected: Access denied", "hard"),
        ("5.4.7", "delivery time expired", "soft"),
        ("5.5.0", "Requested action not taken: mailbox unavailable", "hard"),
        ("5.5.0", "protocol error", "soft"),
        ("5.7.1", "user unknown", "soft"),
        ("5.7.26", "dmarc", "soft"),
        ("4.1.1", "no such user", "soft"),
        ("4.2.2", "mailbox full", "soft"),
        ("2.0.0", "ok", "soft"),
        ("5.0.0", "user unknown", "hard"),
        ("5.0.0", "user unknown; blocked by policy", "soft"),
        ("5.0.0", "rejected", "soft"),
        ("", "550 no such user", "hard"),
        ("", "450 no such user", "soft"),
        ("", "550 go away", "soft"),
        ("", "", "soft"),
        ("5.999.999", "anything", "soft"),
        ("5.10.1", "anything", "soft"),
    ],
)
def test_whose_fault_it_is_stands_in_a_table(code, words, kind):
    assert kind_of(code, words) == kind


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        ("5.1.1", "550 5.7.1 no", "5.1.1"),
        ("5.0.0", "550 5.1.1 no", "5.1.1"),
        ("5.0.0", "550 no", "5.0.0"),
        ("5.0.0", "450 4.1.1 later", "5.0.0"),
        ("5.1.2 (bad destination)", "", "5.1.2"),
        ("", "550-5.1.1 no", "5.1.1"),
        ("", "host 192.5.1.1 said no", ""),
        ("", "version 5.1.1.2", ""),
        ("garbage", "", ""),
        ("5.0.0", "from 192.0.2.5.1.1", "5.0.0"),
    ],
)
def test_a_closer_code_in_the_words_wins_over_a_general_status(status, words, code):
    assert closest(status, words) == code


def test_the_marks_of_the_samples_are_those_of_the_journal():
    assert mark(ADA).encode() in (HERE / "reports" / "gmail.eml").read_bytes()
