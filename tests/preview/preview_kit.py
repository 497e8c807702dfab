"""Campaigns to look at, and a preview of them that runs as a person runs it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

COMMAND = [sys.executable, "-c", "from merge.cli import main; main()"]

LETTER = """\
Subject: Spring news for {{ first_name|default("you") }}
Preheader: Three dates for your diary
Content-Language: en

# Hi {{ first_name|default("there") }},

{% if plan == "pro" %}
Thank you for **going pro**.
{% else %}
Would you like [more](https://example.org/more)?
{% endif %}
"""

PEOPLE = """\
email,first_name,plan,city
ada@example.org,Ada,pro,London
bob@example.org,Bob,free,Paris
zoe@example.org,Zoë,free,Köln
noone@example.org,,free,
taro@example.org,太郎,pro,大阪
"""

CAMPAIGN = """\
list = "people.csv"
letter = "{letter}"
from = "Ada Club <news@ada.example>"
"""


def campaign(folder: Path, letter: str = LETTER, people: str = PEOPLE, name: str = "letter.md") -> Path:
    """Make a campaign in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "campaign.toml").write_text(CAMPAIGN.format(letter=name), "utf-8")
    (folder / name).write_text(letter, "utf-8")
    (folder / "people.csv").write_text(people, "utf-8")
    return folder


def many(rows: int) -> str:
    """Write a list of so many people."""
    lines = ["email,first_name,plan,city"]
    plans = ("free", "pro", "free", "team")
    lines += [f"p{n}@example.org,Person {n},{plans[n % 4]},City {n % 50}" for n in range(rows)]
    return "\n".join(lines) + "\n"


class Preview:
    """A running preview: its address, and what one may ask it."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address
        self.url = urlsplit(address)

    def ask(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, below=True):
        """Return the answer to a request, with its body in `body`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.url.port, timeout=20)
        try:
            target = self.url.path + path if below else path
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.url.netloc, **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer
        finally:
            connection.close()

    def json(self, path: str):
        """Return an answer that is JSON."""
        answer = self.ask(path)
        assert answer.status == 200, (path, answer.status)
        return json.loads(answer.body)

    def until(self, wanted, seconds: float = 20.0):
        """Return the state once it is as wanted, and how long that took."""
        began = time.perf_counter()
        while True:
            state = self.json("state")
            if wanted(state):
                return state, time.perf_counter() - began
            assert time.perf_counter() - began < seconds, state
            time.sleep(0.02)


@contextmanager
def previewing(folder: Path, *arguments: str):
    """Run `mergepost preview` on a campaign."""
    process = subprocess.Popen(
        [*COMMAND, "preview", "--no-open", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MERGEPOST_TRACEBACK": "1"},
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (address, process.stderr.read())
        yield Preview(process, address)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
