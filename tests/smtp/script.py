"""Transcripts: what a server says, what it must hear, and what has to come of it.

== name of a scenario
level 2                        options: level, window, rows, limit, login, starttls, to N: ADDRESS ..., whole
+ hello PIPELINING             banner, EHLO, the extensions
+ envelope 1                   MAIL, RCPT, DATA of row 1
+ yes                          250, 250, 354
+ body 1                       its content, dots doubled, without the end
+ message 1                    RSET, MAIL, RCPT, BDAT of row 1
C: .                           the client must say this line
S: 250 2.0.0 queued            the server says this line
S| 25                          the server says these bytes (with Python's escapes)
X: close | reset | silence     the server ends, breaks, or says nothing more
---                            the next connection
= 1 sent 250 2.0.0             row, state, and what else has to be in the outcome
= reconnects | at once | pauses | stops WORDS | open    what comes of the last line
= level 1                      the level that remains
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from merge.model import Delivery, Envelope

FOLDER = Path(__file__).with_name("transcripts")
SENDER = "ada@ada.example"


@dataclass
class Script:
    name: str
    level: int = 2
    window: int = 0
    rows: int = 1
    limit: int = 0
    login: bool = False
    starttls: bool = False
    whole: bool = False
    to: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lines: list[list[tuple[str, bytes]]] = field(default_factory=lambda: [[]])
    verdicts: dict[int, list[str]] = field(default_factory=dict)
    fate: str = "open"
    remains: int | None = None

    def deliveries(self) -> list[Delivery]:
        return [delivery(row, *self.to.get(row, ())) for row in range(1, self.rows + 1)]

    def said(self, connection: int) -> list[tuple[str, bytes]]:
        """Return what is said on a connection, neighbours of one side joined."""
        joined: list[tuple[str, bytes]] = []
        for side, data in self.lines[connection]:
            if joined and joined[-1][0] == side != "X":
                joined[-1] = (side, joined[-1][1] + data)
            else:
                joined.append((side, data))
        return joined


def delivery(row: int, *to: str, content: bytes = b"") -> Delivery:
    return Delivery(
        key=str(row),
        row=row,
        envelope=Envelope(SENDER, to or (f"r{row}@b.example",)),
        content=content or b"Subject: letter %d\r\n\r\nHello %d\r\n.a line with a dot\r\n" % (row, row),
        message_id=f"<{row}@ada.example>",
        date=datetime(2026, 11, 23, tzinfo=UTC),
        digest="",
    )


def read(path: Path) -> list[Script]:
    scripts: list[Script] = []
    for number, line in enumerate(path.read_text("ascii").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("== "):
            scripts.append(Script(line[3:].strip()))
            continue
        try:
            _take(scripts[-1], line)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{path.name}:{number}: {line!r}") from error
    return scripts


def _take(script: Script, line: str) -> None:  # noqa: C901, PLR0912 - one branch a mark
    mark, _, rest = line.partition(" ")
    match mark:
        case "C:" | "S:":
            script.lines[-1].append((mark[0], rest.encode("ascii") + b"\r\n"))
        case "S|":
            script.lines[-1].append(("S", rest.encode("ascii").decode("unicode_escape").encode("latin-1")))
        case "X:":
            script.lines[-1].append(("X", rest.encode("ascii")))
        case "---":
            script.lines.append([])
        case "+":
            script.lines[-1] += _macro(script, *rest.split())
        case "=":
            word, _, more = rest.partition(" ")
            if word == "level":
                script.remains = int(more)
            elif word.isdigit():
                script.verdicts[int(word)] = more.split()
            else:
                script.fate = rest
        case "to":
            row, _, addresses = rest.partition(":")
            script.to[int(row)] = tuple(addresses.split())
        case "login" | "starttls" | "whole":
            setattr(script, mark, True)
        case "level" | "window" | "rows" | "limit":
            setattr(script, mark, int(rest))
        case _:
            raise ValueError(mark)


def _macro(script: Script, name: str, *words: str) -> list[tuple[str, bytes]]:
    match name:
        case "hello":
            extensions = [word.replace("~", " ") for word in words]
            text = ["me", *extensions]
            lines = [f"250{' ' if word is text[-1] else '-'}{word}\r\n" for word in text]
            reply = "".join(lines).encode("ascii")
            return [("S", b"220 b.example ESMTP\r\n"), ("C", b"EHLO ada.example\r\n"), ("S", reply)]
        case "yes":
            return [("S", b"250 ok\r\n250 ok\r\n354 go ahead\r\n")]
        case "envelope":
            return [("C", b"".join((_mail(), *_rcpts(script, int(words[0])), b"DATA\r\n")))]
        case "recipients":
            return [("C", b"".join((_mail(), *_rcpts(script, int(words[0])))))]
        case "body":
            content = delivery(int(words[0])).content
            return [("C", content.replace(b"\r\n.", b"\r\n.."))]
        case "message":
            row = int(words[0])
            content = delivery(row).content
            bdat = b"BDAT %d LAST\r\n" % len(content)
            return [("C", b"".join((b"RSET\r\n", _mail(), *_rcpts(script, row), bdat, content)))]
    raise ValueError(name)


def _mail() -> bytes:
    return b"MAIL FROM:<%s>\r\n" % SENDER.encode("ascii")


def _rcpts(script: Script, row: int) -> list[bytes]:
    return [b"RCPT TO:<%s>\r\n" % to.encode("ascii") for to in script.to.get(row, (f"r{row}@b.example",))]


def everything() -> list[Script]:
    """Return all scripts of the folder, by name."""
    scripts = [script for path in sorted(FOLDER.glob("*.txt")) for script in read(path)]
    names = [script.name for script in scripts]
    if len(set(names)) != len(names):
        raise ValueError("two transcripts have the same name")
    return scripts
