"""The letter as it arrives: through Postfix, at every level, past OpenDKIM as a receiver runs it."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from dkim_kit import PLACE, key_file, opendkim_there, passes_dkimpy, passes_opendkim
from sending import account, send
from servers import free_port, postfix, process, program

from merge.campaign import Campaign
from merge.dkim.key import read_key
from merge.model import Delivery, Envelope
from merge.smtp.steps import Deadlines

LETTERS = {
    "zoe@x.example": ("Zoë Álvarez", "a.bin"),
    "taro@x.example": ("山田 太郎", "b.txt"),
    "max@x.example": ("Max " + "Long " * 150 + "Name", "a.bin"),
    "dot@x.example": (".Dot", "b.txt"),
    "zoë@x.example": ("Zoë", "a.bin"),
}
LETTER = """\
Subject: News for {{ name }}
Cc: Büro <office@club.example>
Unsubscribe: https://club.example/u?{{ file }}&{{ "x" * 900 }}
Attach: {{ file }}

Hi {{ name }},

..two dots, then one
.
From here on a line for mailboxes, {{ "w" * 1200 }}

  indented  code \x20



"""
PATIENT = Deadlines(opening=20, replies=dict.fromkeys(("MAIL", "RCPT", "DATA", "end of data", "RSET"), 20))


class Sink:
    """Where Postfix takes everything in the end."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        self.kept.append(envelope.original_content)
        return "250 2.0.0 kept"

    def wait(self, count: int) -> list[bytes]:
        """Return what has arrived, once there is that much of it."""
        until = time.monotonic() + 30
        while len(self.kept) < count and time.monotonic() < until:
            time.sleep(0.05)
        kept, self.kept = self.kept, []
        return kept


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> tuple[list[Delivery], str]:
    """Return signed deliveries of a real campaign, and the record of its key."""
    folder: Path = tmp_path_factory.mktemp("club")
    rows = "".join(f"{address},{name},{file}\n" for address, (name, file) in LETTERS.items())
    (folder / "people.csv").write_text(f"email,name,file\n{rows}", "utf-8")
    (folder / "letter.md").write_text(LETTER, "utf-8")
    (folder / "a.bin").write_bytes(os.urandom(70_000))
    (folder / "b.txt").write_text("Grüße\n.\n" * 50, "utf-8")
    (folder / "campaign.toml").write_text(
        'from = "Ada Club <news@club.example>"\n'
        '[dkim]\ndomain = "club.example"\nselector = "news"\nkey_file = "dkim.pem"\n',
        "utf-8",
    )
    key_file(folder)
    campaign = Campaign.load(folder)
    made = [campaign.parts.seal(letter) for letter in campaign.letters()]
    # One envelope recipient each: Postfix makes a copy of the message for each destination.
    made = [replace(one, envelope=Envelope(one.envelope.sender, one.envelope.recipients[:1])) for one in made]
    return made, read_key(folder / "dkim.pem", "dkim.pem").record


@pytest.fixture(scope="module")
def receiver(letters, tmp_path_factory) -> Iterator[tuple[int, Sink]]:
    """Run Postfix with OpenDKIM as its milter; yield its port, and the sink behind it."""
    program("postfix")
    if not opendkim_there():
        pytest.skip("OpenDKIM is not installed here")
    folder: Path = tmp_path_factory.mktemp("milter")
    (folder / "keys").write_text(f"{PLACE} {letters[1]}\n", "ascii")
    (folder / "nobody").write_text("192.0.2.1\n", "ascii")
    milter = free_port()
    (folder / "conf").write_text(
        f"Mode v\nTestPublicKeys {folder}/keys\nInternalHosts {folder}/nobody\nAlwaysAddARHeader yes\n"
        f"AuthservID mx.b.example\nSocket inet:{milter}@127.0.0.1\nSyslog no\n",
        "ascii",
    )
    sink = Sink()

    class Utf8(Controller):
        def factory(self) -> SMTP:
            return SMTP(sink, enable_SMTPUTF8=True, hostname="sink.example")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Utf8(sink, hostname="127.0.0.1", port=port)
    controller.start()
    opendkim = shutil.which("opendkim", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    assert opendkim
    settings = (
        f"default_transport = smtp:[127.0.0.1]:{port}\nsmtpd_milters = inet:127.0.0.1:{milter}\n"
        "milter_default_action = tempfail\nsmtp_discard_ehlo_keywords = 8bitmime\n"
        "smtp_host_lookup = native\ndisable_dns_lookups = yes\nsmtpd_client_connection_rate_limit = 0\n"
    )
    try:
        with (
            process([opendkim, "-f", "-x", str(folder / "conf")], folder / "log", milter, speaks=False),
            postfix(settings, "smtp unix - - n - - smtp\n") as running,
        ):
            yield running.port, sink
    finally:
        controller.stop()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_what_arrives_is_still_believed(receiver, letters, level):
    port, sink = receiver
    deliveries, record = letters
    wishes = account(port, pipelining=min(level, 2), window=8 if level == 3 else 0, per_connection=0)
    sent = send(deliveries, wishes, deadlines=PATIENT)
    assert set(sent.states.values()) == {"sent"}, sent.states
    arrived = sink.wait(len(deliveries))
    assert len(arrived) == len(deliveries)
    for content in arrived:
        assert b"Received: " in content
        assert b"Authentication-Results: mx.b.example;\r\n\tdkim=pass (2048-bit key)" in content, content[
            :900
        ]
        assert passes_dkimpy(content, record)
    assert passes_opendkim(arrived, record) == [True] * len(arrived)


def test_a_letter_that_changed_after_it_was_signed_is_not(receiver, letters):
    port, sink = receiver
    deliveries, record = letters
    changed = replace(deliveries[0], content=deliveries[0].content.replace(b"two dots", b"ten dots"))
    assert changed != deliveries[0]
    assert set(send([changed], account(port), deadlines=PATIENT).states.values()) == {"sent"}
    (content,) = sink.wait(1)
    assert b"dkim=pass" not in content
    assert b"dkim=fail" in content
    assert not passes_dkimpy(content, record)


def test_a_letter_is_made_so_that_no_server_has_to_rewrite_it(letters):
    for one in letters[0]:
        assert one.envelope.needs_smtputf8 or one.content.isascii()
        assert one.content.partition(b"\r\n\r\n")[2].isascii()
        assert max(map(len, one.content.splitlines())) <= 998
