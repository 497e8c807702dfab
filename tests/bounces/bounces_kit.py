"""What the tests of bounces share: letters with known marks, campaigns that sent them, reports about them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from merge.clock import TestClock
from merge.journal import Journal, Listed
from merge.model import Delivery, Envelope, Outcome, State

DOMAIN = "club.example"
NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC).timestamp()
HERE = Path(__file__).parent


def mark(key: str) -> str:
    """The mark of a letter, as a journal's secret would make it."""
    return base64.b32encode(hashlib.sha256(key.encode()).digest()[:20]).decode().lower()


MARK = mark("nobody@x.example")


def letter(
    to: str, headers: str = "", body: str = "Hi,\r\n\r\nnews.\r\n", key: str = "nobody@x.example"
) -> bytes:
    """A letter as it was sent."""
    head = (
        f"From: Club <news@{DOMAIN}>\r\nTo: {to}\r\n{headers}Subject: News of the club\r\n"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{mark(key)}@{DOMAIN}>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    )
    return (head + body).encode()


def sent(
    folder: Path, people: Iterable[str | tuple[str, int]], edition: str = "1", state: State = State.SENT
) -> Path:
    """Make a campaign whose journal has these people as sent; a number says how many got the letter."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = TestClock(NOW - 3600)
    rows = [(person, 1) if isinstance(person, str) else person for person in people]
    (folder / "people.csv").write_text("email\n" + "\n".join(to for to, _ in rows) + "\n", "utf-8")
    (folder / "letter.txt").write_text("Subject: News\n\nnews\n", "utf-8")
    toml = folder / "campaign.toml"
    if not toml.exists():
        toml.write_text(
            f'list = "people.csv"\nletter = "letter.txt"\nfrom = "news@{DOMAIN}"\nedition = "{edition}"\n',
            "utf-8",
        )
    with Journal.open(folder / "journal.db", edition=edition, clock=clock) as journal:
        with journal.enrolment() as enrolment:
            for row, (to, _) in enumerate(rows, 2):
                enrolment.add(Listed(row, to, to, "digest"))
            enrolment.commit()
        journal.begin("abcd-ef")
        for row, (to, number) in enumerate(rows, 2):
            everybody = (to, *(f"cc{n}@x.example" for n in range(number - 1)))
            message_id = f"<{mark(to if edition == '1' else edition + to)}@{DOMAIN}>"
            when = datetime.fromtimestamp(NOW - 3600, UTC)
            delivery = Delivery(
                to, row, Envelope(f"news@{DOMAIN}", everybody), b"", message_id, when, "digest"
            )
            journal.committing(delivery)
            journal.record(Outcome(to, row, state, "end of data", 250, "2.0.0", "kept"), attempts=1)
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as database, database:
        database.executemany("UPDATE rows SET recipients = ? WHERE key = ?", [(n, to) for to, n in rows])
    return folder


def dsn(  # one report, in the shape of RFC 3464
    to: str,
    status: str = "5.1.1",
    words: str = "smtp; 550 5.1.1 no such user",
    *,
    action: str = "failed",
    key: str | None = None,
    original: str = "",
    headers: str = "",
    sender: str = "MAILER-DAEMON@mail.b.example",
    returned: bytes | None = None,
) -> bytes:
    first = f"Original-Recipient: rfc822; {original}\n" if original else ""
    back = letter(to, key=key or to) if returned is None else returned
    own = hashlib.sha256(repr((to, status, words, action, key, headers, back)).encode()).hexdigest()[:16]
    text = f"""Return-Path: <>
From: Mail Delivery System <{sender}>
To: news@{DOMAIN}
Subject: Undelivered Mail Returned to Sender
Date: Mon, 23 Nov 2026 15:30:00 +0000
Message-ID: <{own}@mail.b.example>
Auto-Submitted: auto-replied
{headers}MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="BB"

--BB
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered.

--BB
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.b.example

{first}Final-Recipient: rfc822; {to}
Action: {action}
Status: {status}
Diagnostic-Code: {words}

--BB
Content-Type: message/rfc822

"""
    return text.encode() + back.replace(b"\r\n", b"\n") + b"\n--BB--\n"


def maildir(folder: Path, *mails: bytes) -> Path:
    """Make a Maildir with these mails in it."""
    for part in ("new", "cur", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(mails):
        (folder / "new" / f"{number:06d}.M1.host").write_bytes(mail)
    return folder
