"""A mailbox on a server: a real Dovecot over TLS, and servers that mean harm."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import trustme
from bounces_kit import NOW, dsn, maildir, sent
from dovecot import PASSWORD, USER, Running, dovecot
from whole_kit import here

from merge.account import ImapSettings
from merge.bounces.imap import Imap, folder_name
from merge.bounces.mail import LARGEST
from merge.clock import WallClock
from merge.errors import CarrierError, ConfigError
from merge.smtp.wire import trust

ADA, BOB = "ada@x.example", "bob@x.example"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with dovecot() as running:
        yield running


@pytest.fixture
def filled(server):
    """The server with two bounces and a letter from a person in its mailbox."""
    for path in server.mails.rglob("*"):
        if path.is_file():
            path.unlink()
    big = b"Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: big\n\n" + b"x" * 70 + b"\n" * LARGEST
    person = b"Return-Path: <ada@x.example>\nFrom: ada@x.example\nSubject: Re: News\n\nthanks\n"
    maildir(server.mails, dsn(ADA), dsn(BOB, "5.2.2", "smtp; 552 5.2.2 full"), person, big)
    if not os.geteuid():
        owner = server.mails.stat()
        for path in server.mails.rglob("*"):
            os.chown(path, owner.st_uid, owner.st_gid)
    return server


def settings(server: Running, **more) -> ImapSettings:
    about = {"host": "localhost", "port": server.secure, "security": "tls", "user": USER, "secret": None}
    return ImapSettings(**{**about, "ca_file": server.ca_file, **more})


def opened(server: Running, password: str = PASSWORD, **more) -> Imap:
    return Imap(settings(server, **more), lambda: password, WallClock())


def files(server: Running) -> set[str]:
    return {path.name for path in server.mails.rglob("*M1.host*")}


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_mails_are_read_over_tls_and_left_as_they_are(filled, security):
    port = filled.secure if security == "tls" else filled.port
    with contextlib.closing(opened(filled, security=security, port=port)) as box:
        mails = dict(box.mails())
    assert len(mails) == 4
    whole = [raw for raw in mails.values() if b"Final-Recipient" in raw]
    assert len(whole) == 2
    assert all(len(raw) <= LARGEST for raw in mails.values())
    assert not [raw for raw in mails.values() if b"thanks" in raw]  # a person's letter is not even fetched
    assert not [name for name in files(filled) if "S" in name.partition(":2,")[2]]


def test_the_command_reads_it_and_marks_nothing(filled, tmp_path):
    campaign = sent(tmp_path / "c", [ADA, BOB])
    toml = campaign / "campaign.toml"
    table = (
        f'imap = "localhost"\nport = {filled.secure}\nuser = "{USER}"\nca_file = "{filled.ca_file}"\n'
        'password = {env = "BOX"}\n'
    )
    toml.write_text(f"{toml.read_text()}[bounces]\n{table}")
    said = here("bounces", "--imap", "--confirm", "1", cwd=campaign, env={"BOX": PASSWORD})
    assert said.code == 0, said.err
    assert "2 other mails" in said.out
    assert ADA in (campaign / "suppressed.csv").read_text()
    assert not [name for name in files(filled) if "S" in name.partition(":2,")[2]]
    toml.write_text(f"{toml.read_text()}mark_seen = true\n")
    assert here("bounces", cwd=campaign, env={"BOX": PASSWORD}).code == 0
    seen = [name for name in files(filled) if "S" in name.partition(":2,")[2]]
    assert len(seen) == 2


def test_what_was_not_confirmed_is_not_put_away(filled, tmp_path):
    campaign = sent(tmp_path / "c", [ADA, BOB])
    (filled.mails / "cur" / "forged").write_bytes(dsn(BOB, returned=b"Subject: x\n\n"))
    toml = campaign / "campaign.toml"
    table = f'imap = "localhost"\nport = {filled.secure}\nuser = "{USER}"\nca_file = "{filled.ca_file}"\n'
    toml.write_text(f'{toml.read_text()}[bounces]\n{table}password = {{env = "BOX"}}\nmark_seen = true\n')
    said = here("bounces", "--confirm", "1", cwd=campaign, env={"BOX": PASSWORD})
    assert (said.code, "will be shown again" in said.err) == (0, True)
    assert len([name for name in files(filled) if "S" in name.partition(":2,")[2]]) == 2
    assert not [path for path in filled.mails.rglob("forged*") if "S" in path.name]


def test_what_was_understood_is_moved_when_asked(filled):
    with contextlib.closing(opened(filled)) as box:
        box._line.create("Done")  # the person makes the folder, once
    with contextlib.closing(opened(filled, move_to="Done")) as box:
        names = [uid for uid, raw in box.mails() if b"Final-Recipient" in raw]
        box.done(names)
    with contextlib.closing(opened(filled)) as box:
        assert len(dict(box.mails())) == 2
    with contextlib.closing(opened(filled, folder="Done")) as box:
        assert len(dict(box.mails())) == 2


def test_a_folder_that_is_not_there_is_said_so(filled):
    for more in ({"folder": "Nowhere"}, {"folder": "Grüße & mehr"}):
        with pytest.raises(CarrierError, match="cannot be opened"):
            opened(filled, **more)


def test_mails_from_before_the_sending_are_not_asked_for(filled):
    line = Imap(settings(filled), lambda: PASSWORD, WallClock(), since=time.time() + 3 * 86400)
    with contextlib.closing(line) as box:
        assert dict(box.mails()) == {}
    with contextlib.closing(Imap(settings(filled), lambda: PASSWORD, WallClock(), since=NOW)) as box:
        assert len(dict(box.mails())) in (0, 4)  # as the machine's own date is before or after that day


def test_a_wrong_password_is_tried_once_and_never_shown(filled):
    asked = []
    secret = "wrong-but-secret"

    def password():
        asked.append(1)
        return secret

    with pytest.raises(CarrierError) as refused:
        Imap(settings(filled), password, WallClock())
    assert len(asked) == 1
    assert secret not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2", "LOGIN"])
def test_a_server_that_says_a_password_aloud_is_not_quoted(mechanism):
    whole = {"PLAIN": "\0ada\0planted-1", "XOAUTH2": "user=ada\x01auth=Bearer planted-1\x01\x01"}
    spoken = base64.b64encode(whole.get(mechanism, "planted-1").encode())
    answer = b"TAG NO wrong: planted-1 " + spoken + b"\r\n"
    offers = b"* CAPABILITY IMAP4rev1 " + (b"AUTH=" + mechanism.encode() if mechanism != "LOGIN" else b"")
    with hostile({"CAPABILITY": offers + b"\r\nTAG OK done\r\n", mechanism: answer, "AUTH": answer}) as (
        port,
        _,
    ):
        about = ImapSettings("127.0.0.1", port, "none", "ada", None)
        with pytest.raises(CarrierError, match="wrong: \\(hidden\\) \\(hidden\\)") as refused:
            Imap(about, lambda: "planted-1", WallClock(), oauth=mechanism == "XOAUTH2")
    assert "planted" not in str(refused.value)


def test_an_unknown_certificate_or_another_name_is_refused(filled, tmp_path):
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    for more in ({"ca_file": str(other)}, {"host": "127.0.0.1"}):
        for port, security in ((filled.secure, "tls"), (filled.port, "starttls")):
            asked = []
            with pytest.raises(CarrierError, match=r"(?i)certificate"):
                Imap(
                    settings(filled, port=port, security=security, **more),
                    lambda asked=asked: asked.append(1) or PASSWORD,
                    WallClock(),
                )
            assert not asked


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", '"INBOX"'),
        ('a "b" \\c', '"a \\"b\\" \\\\c"'),
        ("A & B", '"A &- B"'),
        ("Entwürfe", '"Entw&APw-rfe"'),
        ("受信箱", '"&U9dP4Xux-"'),
    ],
)
def test_the_name_of_a_folder_is_written_as_the_standard_says(name, written):
    assert folder_name(name) == written


@pytest.mark.parametrize("name", ["a\r\nA1 DELETE INBOX", "", "a\0b"])
def test_the_name_of_a_folder_cannot_be_a_command(name):
    with pytest.raises(ValueError, match="control"):
        folder_name(name)


@contextlib.contextmanager
def hostile(script: dict[str, bytes], greeting: bytes = b"* OK hi\r\n") -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers each command with what the script says; TAG stands for the command's tag."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(line: socket.socket) -> None:
        with contextlib.suppress(OSError), line:
            line.sendall(greeting)
            tag = b""
            for raw in line.makefile("rb"):
                heard.append(raw)
                first, blank, command = raw.strip().partition(b" ")
                tag = first if blank else tag  # what answers a "+" has no tag of its own
                key = next((word for word in script if command.upper().startswith(word.encode())), "")
                answer = script.get(key, b"TAG OK done\r\n")
                line.sendall(answer.replace(b"TAG", tag))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=talk, args=(line,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.close()


CAPABLE = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK done\r\n", "AUTHENTICATE": b"+ \r\n"}
SELECT = {"EXAMINE": b"* 1 EXISTS\r\nTAG OK done\r\n", "SELECT": b"* 1 EXISTS\r\nTAG OK done\r\n"}
FOUND = {**CAPABLE, "LOGIN": b"TAG OK done\r\n", **SELECT, "UID SEARCH": b"* SEARCH 1\r\nTAG OK done\r\n"}


def look(port: int) -> list[tuple[str, bytes]]:
    about = ImapSettings("127.0.0.1", port, "none", "ada", None)
    with contextlib.closing(Imap(about, lambda: "secret", WallClock())) as box:
        return list(box.mails())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({**FOUND, "UID FETCH": b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\n"}, "announces"),
        ({**FOUND, "UID FETCH": b"* 1 FETCH (UID 1 BODY[] {100}\r\nshort"}, "mailbox on"),
        ({**FOUND, "UID FETCH": b"TAG NO \x1b[2Jdenied\r\n"}, "denied"),
        ({**FOUND, "UID SEARCH": b"TAG BAD what\r\n"}, "what"),
        ({**FOUND, "UID SEARCH": b"garbage\r\n" * 3}, "garbage"),
        ({**FOUND, "EXAMINE": b"TAG NO no such folder\r\n"}, "cannot be opened"),
        ({**FOUND, "EXAMINE": b"* BYE shutting down\r\n"}, "mailbox on"),
        ({"CAPABILITY": b"* CAPABILITY\r\nTAG OK done\r\n"}, "mailbox on"),
        ({**FOUND, "UID SEARCH": b"* SEARCH " + b"1 " * (9 * 2**20)}, "line without end"),
    ],
)
def test_a_server_that_means_harm_gets_a_clear_end(script, words, monkeypatch):
    monkeypatch.setattr("merge.bounces.imap.SECONDS", 2.0)
    began = time.monotonic()
    with hostile(script) as (port, _), pytest.raises(CarrierError, match=words) as ended:
        look(port)
    assert "\x1b" not in str(ended.value)
    assert time.monotonic() - began < 20


def test_a_flood_of_untagged_lines_ends(monkeypatch):
    monkeypatch.setattr("merge.bounces.imap._MOST_BYTES", 2**20)
    flood = b"* 1 EXISTS\r\n" * 400_000
    with hostile({**FOUND, "UID SEARCH": flood}) as (port, _), pytest.raises(CarrierError, match="says more"):
        look(port)


def test_a_server_that_drips_ends(monkeypatch):
    monkeypatch.setattr("merge.bounces.imap._COMMAND_SECONDS", 1.0)
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with contextlib.suppress(OSError):
            line, _ = listener.accept()
            with line:
                for _ in range(400):
                    line.sendall(b"*")
                    time.sleep(0.05)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(CarrierError, match="takes longer"):
            look(listener.getsockname()[1])
    finally:
        listener.close()
        thread.join(10)
    assert time.monotonic() - began < 20


def test_what_is_put_into_the_line_before_tls_ends_it():
    injected = b"TAG OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nA2 OK done\r\n"
    asked = []
    with hostile(
        {**CAPABLE, "STARTTLS": injected, "CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n"}
    ) as (
        port,
        _,
    ):
        about = ImapSettings("127.0.0.1", port, "starttls", "ada", None)
        with pytest.raises(CarrierError, match="before TLS began"):
            Imap(about, lambda: asked.append(1) or "secret", WallClock())
    assert not asked


def test_no_password_goes_out_where_starttls_is_not_offered():
    asked = []
    script = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK done\r\n"}
    with hostile(script) as (port, heard):
        about = ImapSettings("127.0.0.1", port, "starttls", "ada", None)
        with pytest.raises(CarrierError, match="TLS"):
            Imap(about, lambda: asked.append(1) or "secret", WallClock())
    assert not asked
    assert not [line for line in heard if b"LOGIN" in line or b"AUTH" in line]


def test_uids_that_were_not_asked_for_are_passed_over():
    answer = (
        b"* 1 FETCH (UID 7 BODY[] {3}\r\nabc)\r\n* 2 FETCH (BODY[] {5}\r\nhello UID 1)\r\nTAG OK done\r\n"
    )
    with hostile({**FOUND, "UID FETCH": answer}) as (port, _):
        assert look(port) == [("1", b"hello")]


def test_a_token_is_used_where_the_account_signs_in_with_one():
    script = {
        "CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 AUTH=PLAIN\r\nTAG OK done\r\n",
        "AUTHENTICATE XOAUTH2": b"+ \r\n",
        "EXAMINE": b"* 0 EXISTS\r\nTAG OK done\r\n",
        "UID SEARCH": b"* SEARCH\r\nTAG OK done\r\n",
    }
    with hostile(script) as (port, heard):
        about = ImapSettings("127.0.0.1", port, "none", "ada@x.example", None)
        Imap(about, lambda: "the-token", WallClock(), oauth=True).close()
    assert b"AUTHENTICATE XOAUTH2" in b"".join(heard)
    sent_words = [line for line in heard if line.strip() and b" " not in line.strip()]
    assert base64.b64decode(sent_words[0]) == b"user=ada@x.example\x01auth=Bearer the-token\x01\x01"


def test_a_certificate_file_that_is_none_is_a_matter_of_configuration(tmp_path):
    path = tmp_path / "none.pem"
    path.write_text("none")
    about = ImapSettings("127.0.0.1", 1, "tls", "ada", None, ca_file=str(path))
    with pytest.raises(ConfigError, match="certificates"):
        Imap(about, lambda: "", WallClock())


def test_nobody_there_is_said_so():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CarrierError, match="refused"):
        look(port)


def test_tls_is_never_below_1_2():
    assert trust().minimum_version >= ssl.TLSVersion.TLSv1_2
    assert trust().verify_mode == ssl.CERT_REQUIRED
