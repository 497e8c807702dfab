"""Nobody sees the letters but the browser that was given the address."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import socket
import subprocess

import pytest
from preview_kit import COMMAND, campaign, previewing

from merge.preview.server import Gate


def test_the_address_holds_a_token_that_cannot_be_guessed(preview):
    assert re.fullmatch(r"/[A-Za-z0-9_-]{22}/", preview.url.path)
    assert preview.ask("").status == 200


@pytest.mark.parametrize("path", ["/", "/state", "/page.js", "/AAAAAAAAAAAAAAAAAAAAAA/state", "/open/x"])
def test_without_the_token_there_is_nothing(preview, path):
    answer = preview.ask(path, below=False)
    assert answer.status == 404
    assert not answer.body


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil.example", ""],
)
def test_a_foreign_host_is_refused(preview, host):
    answer = preview.ask("state", headers={"Host": host.format(port=preview.url.port)})
    assert answer.status == 421
    assert not answer.body


def test_two_hosts_are_refused(preview):
    with socket.create_connection(("127.0.0.1", preview.url.port), timeout=5) as line:
        hosts = f"Host: {preview.url.netloc}\r\nHost: evil.example\r\n"
        head = f"GET {preview.url.path}state HTTP/1.1\r\n{hosts}\r\n"
        line.sendall(head.encode())
        assert re.match(rb"HTTP/1.1 4(00|21)", line.recv(100))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_but_looking_is_possible(preview, method):
    assert preview.ask("state", method=method).status == 405
    assert preview.ask("/nothing", method=method, below=False).status == 405


def test_the_page_of_another_site_is_refused(preview):
    for site in ("cross-site", "same-site"):
        assert preview.ask("state", headers={"Sec-Fetch-Site": site}).status == 403
    assert preview.ask("state", headers={"Sec-Fetch-Site": "same-origin"}).status == 200


@pytest.mark.parametrize(
    "path", ["", "state", "rows", "marks", "letter/2", "frame/2", "eml/2", "page.js", "nothing"]
)
def test_every_answer_is_fenced_in(preview, path):
    answer = preview.ask(path, headers={"Origin": "https://evil.example"})
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_a_letter_in_its_frame_may_only_show_itself(preview):
    policy = preview.ask("frame/2").headers["Content-Security-Policy"]
    assert policy.endswith("; sandbox allow-same-origin")
    assert "script-src" not in policy
    assert "img-src data:;" in policy
    assert "img-src data: https: http:;" in preview.ask("frame/2?images=1").headers["Content-Security-Policy"]


def test_the_page_itself_runs_no_inline_code(preview):
    policy = preview.ask("").headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert not re.search(rb"<script(?! src)|\son\w+=|style=", preview.ask("").body)


def test_only_this_machine_is_listened_to(preview):
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.2", preview.url.port), timeout=2),
    ):
        pass


def test_rows_that_are_not_there(preview):
    for path in ("letter/1", "letter/99", "frame/99", "eml/99", "file/2/0/x", "letter/x"):
        assert preview.ask(path).status == 404


def test_one_line_on_stdout_and_a_quiet_end(tmp_path):
    with previewing(campaign(tmp_path / "c")) as running:
        events = http.client.HTTPConnection("127.0.0.1", running.url.port, timeout=10)
        events.request("GET", f"{running.url.path}events")
        assert events.getresponse().readline().startswith(b"data: ")
        running.process.send_signal(signal.SIGINT)
        rest, talk = running.process.communicate(timeout=10)
        events.close()
    assert rest == ""
    assert running.process.returncode == 0
    assert "Nothing was sent" in talk
    assert "Traceback" not in talk


def test_a_polite_end_from_outside_is_quiet_too(tmp_path):
    with previewing(campaign(tmp_path / "c")) as running:
        running.until(lambda state: state.get("finished"))
        running.process.send_signal(signal.SIGTERM)
        _, talk = running.process.communicate(timeout=10)
    assert running.process.returncode == 143
    assert "error" not in talk


def test_a_port_that_is_taken_is_said_so(tmp_path, preview):
    folder = campaign(tmp_path / "c")
    done = subprocess.run(
        [*COMMAND, "preview", "--no-open", "--port", str(preview.url.port), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"port {preview.url.port} is in use" in done.stderr
    assert done.stdout == ""


def test_the_address_for_a_command_line_works_once():
    gate = Gate(None, "token")
    gate.hosts = frozenset({"127.0.0.1:1"})
    door = gate.door
    assert "token" not in door
    assert _status(gate, door) == 307
    assert _status(gate, door) == 404
    assert gate.door != door


def _status(gate, path):
    answers = []

    async def send(message):
        answers.append(message)

    async def receive():
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"127.0.0.1:1")]}
    asyncio.run(gate(scope, receive, send))
    return answers[0]["status"]
