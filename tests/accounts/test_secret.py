"""Where passwords come from, and where they never show: argv, output, log, traceback, journal, any file."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from accounts_kit import Manners, mail_server

from merge import assemble
from merge.account import AccountSettings
from merge.account.secret import NETRC, PROMPT, Password, SecretReference
from merge.errors import ConfigError

PLANTED = "Plant-3d s3cret; pä55wörd"
HOST, USER = "mail.club.example", "ada@club.example"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def keyring(monkeypatch) -> dict[tuple[str, str], str]:
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr("keyring.get_password", lambda service, user: kept.get((service, user)))
    monkeypatch.setattr(
        "keyring.set_password", lambda service, user, text: kept.update({(service, user): text})
    )
    return kept


def password(scheme: str = "", value: str = "", **more: object) -> Password:
    return Password(SecretReference(scheme, value), host=HOST, user=USER, **more)


def private(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


def printing(text: str, more: str = "") -> str:
    code = f"import sys; sys.stdout.buffer.write({(text + chr(10)).encode()!r}); {more}"
    return f'{sys.executable} -c "{code}"'


# Where from


def test_the_first_line_of_a_command_is_the_password():
    assert password("command", printing(PLANTED + "\nuser: ada"))() == PLANTED


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (printing(PLANTED, "sys.exit(3)"), "ended with 3"),
        (printing(""), "gave no password"),
        ("/no/such/program", "FileNotFoundError"),
        ('pass "unclosed', "ValueError"),
        ("", "IndexError"),
    ],
)
def test_a_command_that_does_not_work_is_told_without_its_output(command, words):
    with pytest.raises(ConfigError, match=words) as refused:
        password("command", command)()
    assert PLANTED not in str(refused.value) + refused.value.hint
    assert "run it by hand" in refused.value.hint
    inside = refused.value.__context__  # it may hold the output
    assert refused.value.__cause__ is None
    assert inside is None or refused.value.__suppress_context__


def test_no_shell_stands_between():
    with pytest.raises(ConfigError):
        password(
            "command",
            f"echo {PLANTED.split(maxsplit=1)[0]} > leaked; exit 3".replace("echo", "/no/such/echo"),
        )()
    assert not Path("leaked").exists()


@pytest.mark.parametrize("text", [PLANTED, PLANTED + "\n", PLANTED + "\r\n"])
def test_the_environment(monkeypatch, text):
    monkeypatch.setenv("MAIL_PASSWORD", text)
    assert password("env", "MAIL_PASSWORD")() == PLANTED


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_variable_is_none(monkeypatch, text):
    monkeypatch.setenv("MAIL_PASSWORD", text)
    with pytest.raises(ConfigError, match="MAIL_PASSWORD, which is not set"):
        password("env", "MAIL_PASSWORD")()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the environment is text")
def test_a_password_in_another_encoding_is_told_and_never_guessed_at(monkeypatch):
    monkeypatch.setitem(os.environb, b"MAIL_PASSWORD", PLANTED.encode("latin-1"))
    written = f"sys.stdout.buffer.write({PLANTED.encode('latin-1')!r})"
    command = shlex.join((sys.executable, "-c", f"import sys; {written}"))
    for secret, place in (
        (password("env", "MAIL_PASSWORD"), "the environment variable MAIL_PASSWORD"),
        (password("command", command), "password_command"),
    ):
        with pytest.raises(ConfigError, match=f"the password from {place} is not text in UTF-8") as refused:
            secret()
        assert "Plant" not in str(refused.value) + refused.value.hint


def test_a_file_and_a_home(home):
    private(home / ".mail-password", PLANTED + "\nsecond line\n")
    assert password("file", "~/.mail-password")() == PLANTED


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(home, mode):
    path = private(home / "password", PLANTED)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="others can read") as refused:
        password("file", str(path))()
    assert refused.value.hint == f"chmod 600 {path}"
    assert PLANTED not in str(refused.value)


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_missing_or_empty_file_is_told(home, text):
    path = home / "password"
    if text is not None:
        private(path, text)
    with pytest.raises(ConfigError, match="password file"):
        password("file", str(path))()


def test_the_keyring_by_name(keyring):
    keyring["mail", USER] = PLANTED
    assert password("keyring", "mail")() == PLANTED
    with pytest.raises(ConfigError, match="keyring has no password") as refused:
        password("keyring", "other")()
    assert refused.value.hint == f"keyring set 'other' {USER}"


def test_a_keyring_that_is_locked_is_told(monkeypatch):
    def locked(*_: object) -> str:
        raise RuntimeError(PLANTED)

    monkeypatch.setattr("keyring.get_password", locked)
    with pytest.raises(ConfigError, match="cannot be opened: RuntimeError") as refused:
        password("keyring", "mail")()
    assert PLANTED not in str(refused.value)
    assert password(ask=lambda _: "typed")() == "typed"  # without a reference its lack is no error


def test_a_missing_keyring_library_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError) as refused:
        password("keyring", "mail")()
    assert "mergepost[keyring]" in refused.value.hint
    assert password(ask=lambda _: "typed")() == "typed"


def test_without_a_reference_netrc_then_keyring_then_the_person(home, keyring):
    asked = password(ask=lambda words: f"typed at {words!r}")
    assert asked() == f"typed at 'Password of {USER} on {HOST}: '"
    assert asked.source == PROMPT
    keyring[f"mergepost {HOST}", USER] = "from the keyring"
    found = password(ask=lambda _: "typed")
    assert (found(), found.source) == ("from the keyring", "keyring")
    private(home / ".netrc", f"machine {HOST} login {USER} password from-netrc\n")
    found = password(ask=lambda _: "typed")
    assert (found(), found.source) == ("from-netrc", NETRC)
    anew = password(ask=lambda _: "typed", anew=True)
    assert (anew(), anew.source) == ("typed", PROMPT)


def test_netrc_of_another_user_or_host_is_not_ours(home):
    private(
        home / ".netrc",
        f"machine {HOST} login eve password a\nmachine other.example login {USER} password b\n",
    )
    assert password(ask=lambda _: "typed")() == "typed"


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_a_netrc_that_names_the_host_but_cannot_be_used_is_told(home):
    path = private(
        home / ".netrc", f"machine {HOST} login {USER} password {PLANTED.split(maxsplit=1)[0]} nonsense\n"
    )
    with pytest.raises(ConfigError, match="cannot be used") as refused:
        password(ask=lambda _: "typed")()
    assert PLANTED.split(maxsplit=1)[0] not in str(refused.value) + refused.value.hint
    private(path, "machine other.example nonsense\n")
    assert password(ask=lambda _: "typed")() == "typed"


def test_nobody_to_ask_is_told_with_the_other_ways():
    with pytest.raises(ConfigError, match="no one can be asked") as refused:
        password()()
    assert "MERGEPOST_PASSWORD" in refused.value.hint


def test_it_is_looked_up_late_and_once():
    asked: list[str] = []
    late = password(ask=lambda words: asked.append(words) or PLANTED)
    assert not asked
    assert late() == late() == PLANTED
    assert len(asked) == 1


# Where never


def test_it_is_not_shown_and_not_written_down(monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", PLANTED)
    secret = password("env", "MAIL_PASSWORD")
    secret()
    way = AccountSettings("work", HOST, 587, "starttls", user=USER, secret=SecretReference("env", "X"))
    for thing in (secret, way, assemble.target(way, secret)):
        assert PLANTED not in repr(thing) + str(thing)
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(secret)


LEAKS = [PLANTED, PLANTED.split(maxsplit=1)[0], *(
    base64.b64encode(text.encode()).decode().rstrip("=")
    for text in (PLANTED, f"\0{USER}\0{PLANTED}")
)]  # fmt: skip


def leaks(data: bytes) -> bool:
    return any(text.encode() in data for text in LEAKS)


def campaign(folder: Path, port: int) -> Path:
    folder.mkdir()
    (folder / "people.csv").write_text(
        "email,name\n" + "".join(f"p{n}@club.example,P{n}\n" for n in range(5))
    )
    (folder / "letter.md").write_text("Subject: Hi {{ name }}\n\nHi {{ name }}\n")
    (folder / "campaign.toml").write_text(
        f'list = "people.csv"\nletter = "letter.md"\nfrom = "{USER}"\n'
        f'[account]\nhost = "127.0.0.1"\nport = {port}\nuser = "{USER}"\n'
        'password = {env = "MAIL_PASSWORD"}\n'
    )
    return folder


FAULT = (
    "import merge.smtp.auth as auth\n"
    "def broken(self, challenge): raise RuntimeError('a fault of the program')\n"
    "auth.Plain.finish = lambda self: broken(self, b'')\n"
)

RUNS = [
    ("sent", Manners(auth="PLAIN", per_line=100), ["send", "--confirm", "5"], "", 0),
    ("refused", Manners(auth="PLAIN", login="535 5.7.8 no"), ["send", "--confirm", "5"], "", 4),
    ("echoed", Manners(auth="PLAIN", login="535 5.7.8 no: {heard}"), ["send", "--confirm", "5"], "", 4),
    ("echoed raw", Manners(auth="LOGIN", login=f"535 5.7.8 no: {PLANTED}"), ["doctor", "--no-dns"], "", 4),
    ("fault", Manners(auth="PLAIN"), ["send", "--confirm", "5"], FAULT, 70),
    ("traceback", Manners(auth="PLAIN"), ["send", "--confirm", "5"], FAULT, 1),
    ("doctor", Manners(auth="PLAIN"), ["doctor", "--no-dns"], "", 0),
    ("doctor refused", Manners(auth="LOGIN", login="535 no"), ["doctor", "--no-dns"], "", 4),
    ("doctor for programs", Manners(auth="PLAIN"), ["doctor", "--no-dns", "--json"], "", 0),
    ("rehearsal", Manners(auth="PLAIN", per_line=100), ["test", USER], "", 0),
    ("plan", Manners(), ["send", "--dry-run"], "", 0),
    ("page", Manners(), ["preview", "--out", "look.html"], "", 0),
]
_NO_LOGIN = ("plan", "page")


@pytest.mark.parametrize("run", RUNS, ids=[run[0] for run in RUNS])
def test_a_planted_password_shows_nowhere(home, run):
    name, manners, words, fault, code = run
    seen: list[bytes] = []

    def look() -> None:
        """Read the arguments of every process, as anybody on this computer can."""
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                seen.append(place.read_bytes())

    manners.on_login = look
    with mail_server(manners) as port:
        folder = campaign(home / "club", port)
        program = fault + "from merge.cli import main; main()"
        env = {**os.environ, "MAIL_PASSWORD": PLANTED} | (
            {"MERGEPOST_TRACEBACK": "1"} if name == "traceback" else {}
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, *words],
            cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    if name == "traceback":
        assert b"Traceback" in err
        assert b"a fault of the program" in err
    assert name in _NO_LOGIN or any(line.startswith("AUTH") for line in manners.heard)
    assert not Path("/proc/self").exists() or name in _NO_LOGIN or seen
    assert not leaks(out)
    assert not leaks(err)
    assert not any(map(leaks, seen))
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"campaign.toml", "people.csv", "letter.md"}
    if name == "page":
        assert "look.html" in {path.name for path in files}
    if name == "sent":
        assert "results.csv" in {path.name for path in files}
        assert "journal.db" in {path.name for path in files}
        assert len(manners.taken) == 5
    assert not [path for path in files if leaks(path.read_bytes())]


def test_the_search_would_find_it(home):
    assert leaks(f"password={PLANTED}".encode())
    assert leaks(b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{PLANTED}".encode()))
    assert not leaks(b"nothing here")
