"""The page to unsubscribe on, under a real server, with real requests."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import csv
import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from merge.suppression import Entry, Suppression, append, read
from merge.unsubscribe import SALT, STAND_IN, Tokens

EXAMPLE = Path(__file__).parents[2] / "examples" / "unsubscribe-handler" / "handler.py"
SECRET = "a-secret-of-the-club-long-enough"
ONE_CLICK = "List-Unsubscribe=One-Click"
FORM = {"content-type": "application/x-www-form-urlencoded"}
ADA = Tokens(SECRET).token("ada@x.example")


@dataclass
class Host:
    """A web host that runs the example."""

    url: str
    file: Path
    port: int

    def get(self, token: str = ADA) -> httpx.Response:
        return httpx.get(f"{self.url}?{token}")

    def post(self, token: str = ADA, body: str | bytes = ONE_CLICK, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}?{token}", content=body, headers={**FORM, **headers})

    def addresses(self) -> list[str]:
        return [entry.address for entry in read(self.file)]


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = folder / "data" / "suppressed.csv"
    environment = {"PATH": os.environ["PATH"], "UNSUBSCRIBE_SECRET": SECRET, "SUPPRESSED": str(path)}
    command = [sys.executable, "-m", "uvicorn", "handler:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(
        [*command, "--app-dir", str(EXAMPLE.parent)], env=environment, cwd=folder
    ) as server:
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield Host(f"http://127.0.0.1:{port}/unsubscribe", path, port)
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def host(running) -> Host:
    running.file.unlink(missing_ok=True)
    return running


def test_one_click_unsubscribes_without_cookie_login_or_redirect(host):
    said = host.post()
    assert said.status_code == 200
    assert "set-cookie" not in said.headers
    assert not said.history
    assert "You are unsubscribed" in said.text
    (entry,) = read(host.file)
    assert (entry.address, entry.reason) == ("ada@x.example", "unsubscribed")
    assert entry.day is not None
    assert Suppression(host.file).reason("Ada@X.example")
    assert host.file.stat().st_mode & 0o077 == 0


def test_the_form_of_a_mail_program_may_be_multipart(host):
    body = '--B\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--B--\r\n'
    said = host.post(body=body, **{"content-type": "multipart/form-data; boundary=B"})
    assert (said.status_code, host.addresses()) == (200, ["ada@x.example"])


def test_looking_changes_nothing_and_shows_a_button(host):
    for method in ("GET", "HEAD"):
        assert httpx.request(method, f"{host.url}?{ADA}").status_code == 200
    assert not host.file.exists()
    page = host.get().text
    assert "ada@x.example" in page
    assert re.search(r'<form method="post"><button name="List-Unsubscribe" value="One-Click">', page)


def test_the_button_of_the_page_does_what_one_click_does(host):
    name, value = re.search(r'<button name="([^"]+)" value="([^"]+)"', host.get().text).groups()
    assert httpx.post(f"{host.url}?{ADA}", data={name: value}).status_code == 200
    assert host.addresses() == ["ada@x.example"]


def test_the_page_can_be_read_by_everybody(host):
    for page in (host.get(), host.post(), host.get("nonsense")):
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert '<html lang="en">' in page.text
        assert page.text.count("<h1>") == 1
        assert re.search(r"<title>[^<]+</title>", page.text)
        assert 'name="viewport"' in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert "<script" not in page.text


def test_pressing_again_adds_nothing(host):
    for _ in range(3):
        assert host.post().status_code == 200
    assert host.addresses() == ["ada@x.example"]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "x" * 601,
        ADA[:-1],
        ADA[:-1] + "!",
        ADA.swapcase(),
        ADA + "A",
        "%00",
        "%F0%9F%92%A9",
        "..",
        Tokens("another-secret-altogether").token("ada@x.example"),
        f"{ADA}&other=1",
    ],
)
def test_a_token_that_we_did_not_sign_does_nothing(host, token):
    assert host.get(token).status_code == 404
    said = host.post(token)
    assert said.status_code == 404
    assert "answer the letter" in said.text
    assert not host.file.exists()


def test_a_token_behind_other_parameters_works(host):
    assert host.post(f"list=1&{ADA}").status_code == 200
    assert host.addresses() == ["ada@x.example"]


def test_the_link_of_a_test_letter_says_that_it_is_one(host):
    for said in (host.get(STAND_IN), host.post(STAND_IN)):
        assert said.status_code == 200
        assert "It unsubscribes nobody" in said.text
    assert not host.file.exists()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "List-Unsubscribe=",
        "list-unsubscribe=One-Click",
        "List-Unsubscribe=Two",
        b"\xff" * 20,
        "a=b&" * 200,
    ],
)
def test_a_form_that_is_not_the_one_does_nothing(host, body):
    assert host.post(body=body).status_code == 400
    assert not host.file.exists()


def test_other_methods_do_nothing(host):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert httpx.request(method, f"{host.url}?{ADA}").status_code == 405
    assert not host.file.exists()


def test_a_big_body_is_refused_and_not_kept(host):
    assert host.post(body=ONE_CLICK + "&x=" + "y" * 10_000_000).status_code == 413
    chunks = (b"x" * 10_000 for _ in range(100))
    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        assert httpx.post(f"{host.url}?{ADA}", content=chunks, headers=FORM).status_code == 413
    assert not host.file.exists()


def test_a_formula_or_a_comma_in_an_address_stays_an_address(host):
    for address in ("=cmd@x.example", "+1@x.example", "-a@x.example"):
        assert host.post(Tokens(SECRET).token(address)).status_code == 200
        assert host.post(Tokens(SECRET).token(address)).status_code == 200
    assert host.addresses() == ["=cmd@x.example", "+1@x.example", "-a@x.example"]
    with host.file.open(newline="", encoding="utf-8") as file:
        assert all(row[0][0] not in "=+-@" for row in csv.reader(file))


def test_many_at_once_lose_nobody(host):
    people = [f"p{n}@x.example" for n in range(40)]
    codes = []
    threads = [
        threading.Thread(
            target=lambda who=who: codes.append(host.post(Tokens(SECRET).token(who)).status_code)
        )
        for who in people * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {200}
    assert sorted(host.addresses()) == sorted(people)


def test_a_file_that_people_edit_is_added_to(host):
    host.file.parent.mkdir(exist_ok=True)
    host.file.write_text("address,reason,date\nbob@x.example,asked by phone,2026-01-31", "utf-8")
    assert host.post().status_code == 200
    assert host.addresses() == ["bob@x.example", "ada@x.example"]


def test_it_and_mergepost_write_to_one_file_by_turns(host):
    people = [f"h{n}@x.example" for n in range(15)]
    others = [f"m{n}@x.example" for n in range(15)]
    host.post()

    def by_mergepost():
        for address in others:
            append(host.file, [Entry(address, "bounced")])

    thread = threading.Thread(target=by_mergepost)
    thread.start()
    for address in people:
        assert host.post(Tokens(SECRET).token(address)).status_code == 200
    thread.join()
    assert sorted(host.addresses()) == sorted(["ada@x.example", *people, *others])


def load(monkeypatch, secret: str, path: Path):
    monkeypatch.setenv("UNSUBSCRIBE_SECRET", secret)
    monkeypatch.setenv("SUPPRESSED", str(path))
    spec = importlib.util.spec_from_file_location("unsubscribe_handler", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("secret", ["", "short", f"{SECRET} short"])
def test_without_a_good_secret_it_does_not_start(monkeypatch, tmp_path, secret):
    with pytest.raises(SystemExit, match="secret"):
        load(monkeypatch, secret, tmp_path / "s.csv")


def test_old_secrets_keep_old_links_alive(monkeypatch, tmp_path):
    module = load(monkeypatch, f"a-new-secret-of-this-year {SECRET}", tmp_path / "s.csv")
    assert module.app.address(ADA) == "ada@x.example"
    assert module.app.address(Tokens("a-new-secret-of-this-year").token("bob@x.example")) == "bob@x.example"


def test_it_says_the_same_words_as_the_package(monkeypatch, tmp_path):
    module = load(monkeypatch, SECRET, tmp_path / "s.csv")
    assert (module.SALT, module.TEST) == (SALT, STAND_IN)


def test_a_full_disk_is_our_fault_and_said_so(monkeypatch, tmp_path):
    module = load(monkeypatch, SECRET, tmp_path / "no" / "s.csv")
    (tmp_path / "no").write_text("a file where a folder should be")
    said = []

    async def receive():
        return {"type": "http.request", "body": ONE_CLICK.encode()}

    async def send(event):
        said.append(event)

    scope = {"type": "http", "method": "POST", "query_string": ADA.encode(), "headers": []}
    asyncio.run(module.app(scope, receive, send))
    assert said[0]["status"] == 500
    assert b"our fault" in said[1]["body"]


def test_a_body_that_never_ends_is_given_up(monkeypatch, tmp_path):
    module = load(monkeypatch, SECRET, tmp_path / "s.csv")
    monkeypatch.setattr(module, "SECONDS", 0.05)
    said = []

    async def receive():
        await asyncio.sleep(10)

    async def send(event):
        said.append(event)

    scope = {"type": "http", "method": "POST", "query_string": ADA.encode(), "headers": []}
    asyncio.run(module.app(scope, receive, send))
    assert said[0]["status"] == 413


def test_it_needs_nothing_but_itsdangerous_and_python():
    tree = ast.parse(EXAMPLE.read_text("utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"itsdangerous"}
