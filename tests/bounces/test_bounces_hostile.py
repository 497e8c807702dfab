"""Mails that mean harm: they take a moment, suppress nobody, and end in no traceback."""

from __future__ import annotations

import os
import time

import pytest
from bounces_kit import dsn, maildir, mark, sent
from hypothesis import given
from hypothesis import strategies as st
from test_bounces_corpus import samples
from whole_kit import here

from merge.bounces.mail import LARGEST, open_mail, own_words
from merge.bounces.mailbox import Maildir, Mbox
from merge.bounces.sighting import sighting, worth_a_look
from merge.errors import ConfigError

DAEMON = b"Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: failure notice\n"
REPORT = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"


def nested(kind: bytes, depth: int) -> bytes:
    parts = b"".join(b"Content-Type: %s; boundary=b%d\n\n--b%d\n" % (kind, n, n) for n in range(depth))
    return DAEMON + parts


HOSTILE = {
    "a hundred thousand parts": DAEMON + REPORT + b"--b\n\nx\n" * 100_000,
    "a hundred thousand typed parts": DAEMON
    + REPORT
    + b"--b\nContent-Type: message/delivery-status\n\nx: y\n\n" * 100_000,
    "nested a thousand deep": nested(b"multipart/report", 1_000),
    "messages in messages": DAEMON + b"Content-Type: message/rfc822\n\n" * 5_000,
    "reports in reports": DAEMON + b"Content-Type: message/delivery-status\n\n" * 5_000,
    "a million headers": DAEMON + b"a:b\n" * 1_000_000,
    "a million To headers": DAEMON + b"To: a@b.example\n" * 1_000_000,
    "one endless header": DAEMON + b"To: " + b"a@b.example, " * 100_000 + b"\n\n",
    "one endless folded header": DAEMON + b"Subject: x\n" + b" y\n" * 200_000 + b"\n",
    "encoded words without end": DAEMON + b"Subject: " + b"=?utf-8?q?=41?= " * 50_000 + b"\n\n",
    "broken encoded words": DAEMON + b"Subject: =?utf-8?b?!!!?= =?nonsense?q?=FF?= =?utf-8?x?a?=\n\n",
    "blanks without end": DAEMON + b"Subject: " + b" \t" * 100_000 + b"x\n\n" + b" " * LARGEST,
    "line ends without end": DAEMON + b"\n" * LARGEST,
    "one endless line": DAEMON + b"\n" + b"a" * LARGEST,
    "endless at signs": DAEMON + b"\n" + b"@" * LARGEST,
    "endless codes": DAEMON + b"\n" + b"550 5.1.1 " * 20_000,
    "endless dots": DAEMON + b"\n" + b"5.1." * 60_000,
    "endless dashes": DAEMON + b"\n" + b"-" * LARGEST,
    "endless rules": DAEMON + b"\n" + b"------\n" * 30_000,
    "endless addresses": DAEMON
    + b"\n"
    + b"".join(b"<p%d@x.example>: 550 5.1.1 no\n" % n for n in range(9_000)),
    "endless angle brackets": DAEMON + b"\n" + b"<" * LARGEST,
    "an unknown charset": DAEMON + b"Content-Type: text/plain; charset=klingon\n\n550 5.1.1 <a@b.example>\n",
    "a charset of blanks": DAEMON + b'Content-Type: text/plain; charset=" "\n\n550 5.1.1\n',
    "a charset that is a codec": DAEMON + b"Content-Type: text/plain; charset=zlib_codec\n\n550 5.1.1\n",
    "a charset with a null": DAEMON + b'Content-Type: text/plain; charset="a\0b"\n\n550 5.1.1\n',
    "garbage": DAEMON + b"\n" + bytes(range(256)) * 500,
    "bad base64": DAEMON + b"Content-Transfer-Encoding: base64\n\n!!!!\n",
    "an empty boundary": DAEMON + b'Content-Type: multipart/report; boundary=""\n\n--\n\n--\n',
    "no boundary": DAEMON + b"Content-Type: multipart/report\n\n550 5.1.1\n",
    "a type that is none": DAEMON + b"Content-Type: /;;;=\n\n550\n",
    "parameters without end": DAEMON
    + b"Content-Type: text/plain"
    + b"; a*0*=utf-8''x" * 9_000
    + b"\n\n550\n",
    "a date that is none": DAEMON + b"Date: Mon, 99 Nov 99999 99:99:99 +9999\n\n550 5.1.1 <a@b.example>\n",
    "HTML without end": DAEMON
    + b"Content-Type: text/html\n\n"
    + b"<div>" * 50_000
    + b"550 5.1.1 <a@b.example>",
    "nothing": b"",
    "only line ends": b"\r\n\r\n",
    "only null": b"\0" * LARGEST,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mail_takes_a_moment_and_no_more(name):
    began = time.monotonic()
    seen = sighting(HOSTILE[name])
    worth_a_look(HOSTILE[name])
    took = time.monotonic() - began
    assert took < 3, f"{took:.1f} s"
    assert not seen.ids
    assert not seen.gone
    assert len(seen.failures) <= 1_000


def test_no_endless_line_reaches_the_patterns_that_look_for_addresses():
    mail = DAEMON + b"\ndid not reach the following recipient(s):\n\n" + b"a" * LARGEST
    assert max(map(len, own_words(open_mail(mail)).split("\n"))) == 500


def test_many_hostile_mails_end_in_words(tmp_path):
    campaign = sent(tmp_path / "c", ["ada@x.example"])
    box = maildir(tmp_path / "box", *HOSTILE.values(), dsn("ada@x.example"))
    said = here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign)
    assert said.code == 0, said.err
    assert "ada@x.example,bounced 5.1.1" in (campaign / "suppressed.csv").read_text()


@given(st.binary(max_size=400), st.integers(0, 60))
def test_a_mail_that_was_mangled_raises_nothing(noise, number):
    paths = samples("reports") + samples("unruly") + samples("other")
    raw = paths[number % len(paths)].read_bytes()
    at = len(raw) * (number % 7) // 7
    sighting(raw[:at] + noise + raw[at:])
    sighting(raw[:at] + noise)


@given(st.text(max_size=200))
def test_whatever_a_server_says_is_safe_to_show(words):
    report = dsn("ada@x.example", words=f"smtp; 550 {words}".replace("\n", " ").replace("\r", " "))
    for failure in sighting(report).failures:
        assert failure.reply.isprintable() or not set(failure.reply) & {chr(n) for n in (*range(32), 127)}


def test_an_mbox_is_cut_where_its_mails_begin(tmp_path):
    first = b"Subject: one\n\nbody\n>From here\n>>From there\nFrom inside a line\n"
    second = b"Subject: two\n\n" + b"x" * (3 * LARGEST) + b"\n"
    path = tmp_path / "m"
    path.write_bytes(
        b"From a@b Mon\n" + first + b"\nFrom c@d Tue\n" + second + b"\nFrom e@f Wed\nSubject: three\n"
    )
    mails = dict(Mbox(path).mails())
    assert list(mails) == ["1", "2", "3"]
    assert mails["1"] == b"Subject: one\n\nbody\nFrom here\n>From there\nFrom inside a line\n\n"
    assert len(mails["2"]) == LARGEST
    assert mails["3"] == b"Subject: three\n"


def test_an_empty_mbox_and_an_empty_maildir_hold_nothing(tmp_path):
    (tmp_path / "m").touch()
    assert list(Mbox(tmp_path / "m").mails()) == []
    assert list(Maildir(maildir(tmp_path / "d")).mails()) == []


def test_only_files_of_a_maildir_are_read(tmp_path):
    box = maildir(tmp_path / "d", b"one")
    (box / "cur" / "folder").mkdir()
    (box / "cur" / ".hidden").write_bytes(b"no")
    (box / "cur" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(box / "cur" / "pipe")
    (box / "cur" / "two:2,S").write_bytes(b"two" * LARGEST)
    mails = dict(Maildir(box).mails())
    assert sorted(mails) == ["000000.M1.host", "two:2,S"]
    assert len(mails["two:2,S"]) == LARGEST


def test_a_folder_of_anything_is_no_maildir(tmp_path):
    with pytest.raises(ConfigError, match="no Maildir"):
        Maildir(tmp_path)


def test_a_mark_inside_a_longer_word_is_none():
    report = dsn(
        "ada@x.example", returned=f"Message-ID: <x{mark('ada@x.example')}@club.example>\n\n".encode()
    )
    assert not sighting(report).ids
