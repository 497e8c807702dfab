"""What the tests from outside share: the real command, a mail server that does as it is told, campaigns."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import sysconfig
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from merge import cli

COMMAND = str(Path(sysconfig.get_path("scripts")) / "mergepost")
PASSWORD = "Plant-3d s3cret, never shown"
NAMES = (
    "Zoë Álvarez",
    "山田 太郎",
    "Ólafur Jónsson",
    "سارة حداد",
    "Ngũgĩ wa Kamau",
    "O'Brien & Søn",
    "Łucja Żak",
)
LETTER = "Subject: News for {{ name }}\n\nHi {{ name }},\n\nyour number is {{ number }}.\n"
BREAKS_OFF = "breaks off"
"""A scripted answer: the server takes the message and ends the line without a word."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command came to: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(home: Path, extra: Mapping[str, str] = {}) -> dict[str, str]:
    """An environment that knows nothing of the person who runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    home.mkdir(exist_ok=True)
    return kept | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        **extra,
    }


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that has the suite run in the background makes it, and all that it starts, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def begin(*words: str | Path, cwd: Path, env: Mapping[str, str] = {}) -> subprocess.Popen[str]:
    """Start the command, with nobody at the keyboard."""
    return subprocess.Popen(
        [COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(cwd.parent / "home", env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], patience: float = 30) -> Said:
    """Wait for a command, and see to what no command may ever do."""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {patience} s:\n{out}\n{err}") from None
    said = Said(process.returncode, out, err)
    decent(said.out + said.err)
    return said


def run(*words: str | Path, cwd: Path, env: Mapping[str, str] = {}, patience: float = 30) -> Said:
    """Run the command to its end."""
    return ended(begin(*words, cwd=cwd, env=env), patience)


def here(*words: str | Path, cwd: Path, env: Mapping[str, str] = {}) -> Said:
    """Run the command to its end within this process: quicker, where many small things are tried."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        mock.patch.dict(os.environ, environment(cwd.parent / "home", env), clear=True),
        mock.patch.object(sys, "argv", ["mergepost", *map(str, words)]),
        Path(os.devnull).open(encoding="utf-8") as nobody,
        mock.patch.object(sys, "stdin", nobody),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        cli.main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    said = Said(int(end.value.code or 0), out.getvalue(), err.getvalue())
    decent(said.out + said.err)
    return said


def decent(text: str) -> None:
    """Refuse what no screen may show: a traceback, a password, a character that a terminal obeys."""
    assert "Traceback" not in text, text
    assert "mergepost has a fault" not in text, text
    assert PASSWORD not in text
    obeyed = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert obeyed <= {"\n", "\u200c", "\u200d", "\ufeff"}, obeyed


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as a server accepted it."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")

    @property
    def html(self) -> str:
        part = self.message.get_body(("html",))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")


@dataclass
class Server:
    """A server on loopback.

    `replies` are what it says to "RCPT address" or "DATA address", one after the other, the last for ever.
    With `holds_from` it keeps the message after so many waiting for its answer until it is `released`.
    `mails` are those that it accepted, in that order; `lines` the number of connections; `written` each
    piece that came in.
    """

    replies: dict[str, list[str]] = field(default_factory=dict)
    pause: float = 0.0
    holds_from: int | None = None
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    logins: dict[str, str] = field(default_factory=dict)
    secure: ssl.SSLContext | None = None
    starttls: bool = False
    pipelining: bool = True
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    lines: int = 0
    users: list[str] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)
    transports: list[Any] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def counts(self) -> Counter[str]:
        """How many letters each address got."""
        return Counter(address for mail in self.mails for address in mail.recipients)

    def wait_for(self, number: int, patience: float = 20) -> None:
        """Wait until so many messages were accepted."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.mails) >= number, patience), len(self.mails)

    def next_reply(self, step: str) -> str:
        """Return what is to be said now; empty for the usual."""
        queue = self.replies.get(step, [])
        return (queue.pop(0) if len(queue) > 1 else queue[0]) if queue else ""

    # What follows are the hooks of aiosmtpd, by the names that it gives them.

    async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802 - aiosmtpd's name
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]] if self.pipelining else responses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        reply = self.next_reply(f"RCPT {address}")
        if reply and not reply.startswith("2"):
            return reply
        envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        reply = self.next_reply(f"DATA {envelope.rcpt_tos[0]}") or "250 2.0.0 kept"
        await asyncio.sleep(self.pause)
        while (
            self.holds_from is not None and len(self.mails) >= self.holds_from and not self.released.is_set()
        ):
            self.held.set()
            await asyncio.sleep(0.005)
        if reply.startswith("2") or reply == BREAKS_OFF:
            mail = Mail(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content)
            with self.arrived:
                self.mails.append(mail)
                self.arrived.notify_all()
        if reply == BREAKS_OFF:
            server.transport.abort()
        return reply

    def authenticate(self, server, session, envelope, mechanism, data):
        user, password = data.login.decode(), data.password.decode()
        self.users.append(user)
        return AuthResult(success=self.logins.get(user) == password, handled=False)


class _Protocol(SMTP):
    """aiosmtpd's server, which also notes what came in one piece."""

    def __init__(self, server: Server, **options: Any) -> None:
        self._told = server
        super().__init__(server, **options)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.session is None or not self.session.ssl or not self._told.starttls:
            self._told.lines += 1
        self._told.transports.append(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._told.written.append(data)
        super().data_received(data)


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    """Run a server on loopback; see Server for what it can be told."""
    told = Server(**settings)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Requiring AUTH", UserWarning)
            return _Protocol(
                told,
                hostname="test.example",
                ident="test",
                enable_SMTPUTF8=True,
                loop=loop,
                tls_context=told.secure if told.starttls else None,
                require_starttls=told.starttls,
                authenticator=told.authenticate if told.logins else None,
                auth_required=bool(told.logins),
                auth_require_tls=told.starttls,
            )

    async def live() -> None:
        around = None if told.starttls else told.secure
        server = await loop.create_server(protocol, "127.0.0.1", told.port, ssl=around)
        told.port = server.sockets[0].getsockname()[1]
        ready.set()
        try:
            await stop.wait()
        finally:
            server.close()
            for transport in told.transports:
                transport.abort()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            await asyncio.sleep(0.01)

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: (asyncio.set_event_loop(loop), loop.run_until_complete(live())))
    thread.start()
    assert ready.wait(10)
    try:
        yield told
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def people(number: int) -> list[dict[str, str]]:
    """So many rows, with names from many scripts, each with values of its own."""
    return [
        {"name": f"{NAMES[n % len(NAMES)]} {n}", "email": f"p{n:04d}@x.example", "number": f"{n * 7919:08d}"}
        for n in range(1, number + 1)
    ]


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def campaign(
    folder: Path,
    rows: Sequence[Mapping[str, str]] | str | None = None,
    letter: str = LETTER,
    *,
    server: Server | None = None,
    account: str = "",
    toml: str = "",
) -> Path:
    """Make a campaign of a list (rows, or the text of a CSV file) and a letter.

    `toml` goes before the tables of campaign.toml, `account` after what a server needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = people(3) if rows is None else rows
    (folder / "people.csv").write_text(rows if isinstance(rows, str) else as_csv(rows), "utf-8")
    (folder / "letter.txt").write_text(letter, "utf-8")
    if server:
        account = f'[account]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n{account}'
    head = 'list = "people.csv"\nletter = "letter.txt"\nfrom = "Ada Club <news@ada.example>"\n'
    (folder / "campaign.toml").write_text(f"{head}{toml}\n{account}", "utf-8")
    return folder


def states(folder: Path) -> dict[str, int]:
    """What `status --json` counts; its sum is checked on the way."""
    facts = here("status", "--json", cwd=folder).json
    assert sum(facts["states"].values()) == facts["total"]
    return {state: number for state, number in facts["states"].items() if number}


def results(folder: Path) -> list[dict[str, str]]:
    """The rows of results.csv."""
    text = (folder / "results.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))
