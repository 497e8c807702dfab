"""Each service's login by transcript: greeting, EHLO, the right mechanism, each refusal with its hint.

A file of `dialogues/` is one profile. It says where its words were seen, then the account (TOML), then how
every line begins, and from `==` on what may follow:

S: ...            the server says this line
C: ...            the client must say this one; {plain}, {user}, {password}, {xoauth2} stand for secrets
TLS               both sides change to TLS
token             the account logs in with a token, not with a password
= logged in by X  what has to come of it; or: = refused CODE, or: = open
= hint ...        words that the person must read
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from merge import assemble
from merge.account import AccountSettings, account_from_table
from merge.account.oauth import Client, Token
from merge.account.providers import providers
from merge.account.secret import Password, SecretReference
from merge.clock import WallClock
from merge.errors import CarrierError
from merge.toml import TomlFile

FOLDER = Path(__file__).with_name("dialogues")
PASSWORD = "s3cret-pä55wörd"
TOKEN = "ya29.a0AfB-token"


@dataclass
class Scenario:
    profile: str
    name: str
    table: dict[str, Any]
    steps: list[tuple[str, str]]
    token: bool = False
    outcome: str = ""
    hints: list[str] = field(default_factory=list)


def read(path: Path) -> Iterator[Scenario]:
    head, *parts = path.read_text("utf-8").split("\n== ")
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    said = [line for line in lines if line.startswith(("S: ", "C: ", "TLS"))]
    table = tomllib.loads("\n".join(line for line in lines if line not in said))
    for part in parts:
        name, *rest = part.splitlines()
        scenario = Scenario(path.stem, name, table, [step(line) for line in said])
        for line in filter(None, rest):
            if line == "token":
                scenario.token = True
            elif line.startswith("= hint "):
                scenario.hints.append(line.removeprefix("= hint "))
            elif line.startswith("= "):
                scenario.outcome = line.removeprefix("= ")
            else:
                scenario.steps.append(step(line))
        yield scenario


def step(line: str) -> tuple[str, str]:
    side, _, text = line.partition(": ")
    assert side in ("S", "C", "TLS"), line
    return side, text


SCENARIOS = [scenario for path in sorted(FOLDER.glob("*.txt")) for scenario in read(path)]


class Server:
    """Plays the server's side of one dialogue, once; what the client said otherwise is in `faults`."""

    def __init__(self, scenario: Scenario, context: ssl.SSLContext, secrets: dict[str, str]) -> None:
        self.scenario, self.context, self.secrets = scenario, context, secrets
        self.faults: list[str] = []
        self.heard: list[str] = []
        self.left = len(scenario.steps)

    def play(self, listener: socket.socket) -> None:
        with suppress(OSError), ExitStack() as open_ones:
            line, _ = listener.accept()
            open_ones.enter_context(line).settimeout(10)
            reader = open_ones.enter_context(line.makefile("rb"))
            for side, text in self.scenario.steps:
                if side == "TLS":
                    line = open_ones.enter_context(self.context.wrap_socket(line, server_side=True))
                    reader = open_ones.enter_context(line.makefile("rb"))
                elif side == "S":
                    line.sendall(f"{text}\r\n".encode())
                elif not self._hears(reader.readline().decode(), text):
                    return
                self.left -= 1
            while said := reader.readline().decode().rstrip("\r\n"):
                self.heard.append(said)
                line.sendall(b"221 2.0.0 bye\r\n" if said == "QUIT" else b"250 2.0.0 ok\r\n")

    def _hears(self, said: str, wanted: str) -> bool:
        for name, secret in self.secrets.items():
            wanted = wanted.replace(f"{{{name}}}", secret)
        right = said.startswith("EHLO ") if wanted == "EHLO" else said == f"{wanted}\r\n"
        if not right:
            self.faults.append(f"{said!r} instead of {wanted!r}")
        return right


@contextmanager
def served(server: Server) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=server.play, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> tuple[ssl.SSLContext, str]:
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("localhost").configure_cert(context)
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    return context, str(path)


class Kept:
    """A place where a token that is good for an hour is kept."""

    def load(self) -> dict[str, Any]:
        return {"access_token": TOKEN, "expires_at": WallClock().now() + 3600}

    def save(self, token: object) -> None:
        raise AssertionError("nothing is to be kept")


def secret_of(scenario: Scenario, way: AccountSettings) -> Password | Token | None:
    if scenario.token:
        client = Client("id", "https://id.example/token", "mail", way.user)
        return Token(client, Kept(), WallClock())
    if not way.user:
        return None
    return Password(SecretReference(), host=way.host, user=way.user, ask=lambda _: PASSWORD, anew=True)


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[f"{one.profile}: {one.name}" for one in SCENARIOS])
def test_a_login_goes_as_the_service_tells_it(scenario, authority):
    way = account_from_table("work", scenario.table, TomlFile("accounts.toml"))
    context, ca_file = authority
    secrets = {
        "plain": coded(f"\0{way.user}\0{PASSWORD}"),
        "user": coded(way.user),
        "password": coded(PASSWORD),
        "xoauth2": coded(f"user={way.user}\x01auth=Bearer {TOKEN}\x01\x01"),
    }
    server = Server(scenario, context, secrets)
    with served(server) as port:
        bearer = f"n,a={way.user},\x01host=localhost\x01port={port}\x01auth=Bearer {TOKEN}\x01\x01"
        secrets["oauthbearer"] = coded(bearer)
        here = replace(way, host="localhost", port=port, ca_file=ca_file)
        come_of = error = None
        try:
            come_of = assemble.probe(here, secret_of(scenario, here), WallClock())
        except CarrierError as refused:
            error = refused
    assert not server.faults
    assert server.left == 0, f"{server.left} lines were not said: {error}"
    assert not any(said.startswith(("AUTH", "EHLO", "MAIL")) for said in server.heard)
    word, _, rest = scenario.outcome.partition(" ")
    if word == "refused":
        assert error is not None
        assert f"refused the login for {way.user} ({rest})" in error.message
        for words in scenario.hints:
            assert words in error.hint
        if not scenario.token:
            known = way.profile.hints
            assert error.hint.startswith(known.get(rest) or known.get(rest.split()[0]) or "")
        assert PASSWORD not in error.message + error.hint
        assert TOKEN not in error.message + error.hint
    else:
        assert error is None, f"{error} {error.hint}"
        assert come_of.mechanism == (rest.removeprefix("in by ") if word == "logged" else "")


def test_every_profile_has_its_dialogue_and_every_dialogue_its_profile():
    assert {path.stem for path in FOLDER.glob("*.txt")} == {
        name for name, known in providers().items() if not known.web
    }
    for scenario in SCENARIOS:
        way = account_from_table("work", scenario.table, TomlFile("accounts.toml"))
        assert way.provider == scenario.profile


def test_every_dialogue_says_where_its_words_are_from():
    for path in FOLDER.glob("*.txt"):
        assert path.read_text("utf-8").startswith("# ")


def test_the_line_begins_as_the_profile_says():
    for scenario in SCENARIOS:
        security = providers()[scenario.profile].security
        places = [number for number, (side, _) in enumerate(scenario.steps) if side == "TLS"]
        assert (places == [0]) is (security == "tls")
        assert bool(places and places[0]) is (security == "starttls")


@pytest.mark.parametrize("name", [name for name, known in providers().items() if not known.web])
def test_every_hint_of_a_profile_is_read_by_somebody(name):
    known, mine = providers()[name], [one for one in SCENARIOS if one.profile == name]
    assert any(not one.outcome.startswith("refused") for one in mine)
    codes = {one.outcome.removeprefix("refused ") for one in mine if one.outcome.startswith("refused")}
    assert bool(codes) is (known.login != "none")
    shown = {code if code in known.hints else code.split()[0] for code in codes}
    assert set(known.hints) <= shown
    if known.login == "token" or known.oauth:
        assert any(one.token for one in mine)
