"""An independent reader of messages (RFC 5322, 2045, 2046, 2047, 2231): the judge of what was written.

It shares no code with the project and none with the standard library's `email`, which misreads correct
messages. It is strict: what it cannot read is a failed test.
"""

from __future__ import annotations

import base64
import quopri
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes


@dataclass
class Part:
    headers: list[tuple[str, str]]
    media_type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    disposition: str = ""
    filename: str = ""
    content: bytes = b""
    parts: list[Part] = field(default_factory=list)

    def get(self, name: str) -> str:
        found = [value for header, value in self.headers if header.lower() == name.lower()]
        assert len(found) <= 1, f"{name} stands there {len(found)} times"
        return found[0] if found else ""

    def names(self) -> list[str]:
        return [name for name, _ in self.headers]

    def walk(self):
        yield self
        for part in self.parts:
            yield from part.walk()

    def text(self, media_type: str) -> str:
        found = [p for p in self.walk() if p.media_type == media_type and p.disposition != "attachment"]
        assert len(found) == 1, [p.media_type for p in self.walk()]
        charset = found[0].parameters.get("charset", "us-ascii")
        return found[0].content.decode("ascii" if charset == "us-ascii" else charset)

    def files(self) -> list[Part]:
        return [part for part in self.walk() if part.disposition]


def read(content: bytes) -> Part:
    """Read a whole message as it goes on the wire, dot-stuffing aside."""
    assert content.endswith(b"\r\n")
    for line in content[:-2].split(b"\r\n"):
        assert b"\r" not in line
        assert b"\n" not in line
        assert b"\0" not in line
        assert len(line) <= 998
    return _part(content)


def _part(content: bytes) -> Part:
    if content.startswith(b"\r\n"):
        block, body = b"", content[2:]
    else:
        block, separator, body = content.partition(b"\r\n\r\n")
        assert separator, "no blank line after the headers"
    part = Part(_headers(block))
    value, part.parameters = _with_parameters(part.get("Content-Type") or "text/plain")
    part.media_type = value.lower()
    disposition, parameters = _with_parameters(part.get("Content-Disposition"))
    part.disposition, part.filename = disposition.lower(), parameters.get("filename", "")
    if part.media_type.startswith("multipart/"):
        part.parts = _multipart(body, part.parameters["boundary"])
    else:
        part.content = _decoded(body, part.get("Content-Transfer-Encoding").lower() or "7bit")
    return part


def _headers(block: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in block.split(b"\r\n"):
        text = line.decode("utf-8")
        assert all(character.isprintable() or character == "\t" for character in text), text
        if text[0] in " \t":
            assert text.strip(), "a folded line of blanks"
            name, value = found.pop()
            found.append((name, value + text))
            continue
        name, colon, value = text.partition(":")
        assert colon
        assert re.fullmatch(r"[!-9;-~]+", name), name
        found.append((name, value.removeprefix(" ")))
        if "=?" in line.decode("utf-8"):
            assert len(text) <= 78, len(text)
    return found


def _multipart(body: bytes, boundary: str) -> list[Part]:
    mark = b"--" + boundary.encode()
    assert len(boundary) <= 70
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    assert pieces[0] == b"", "text before the first boundary"
    assert pieces[-1] in (b"--\r\n", b"--"), pieces[-1][:40]
    parts = []
    for piece in pieces[1:-1]:
        assert piece.startswith(b"\r\n"), "text on the line of a boundary"
        parts.append(_part(piece[2:]))
    return parts


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        assert all(len(line) <= 76 for line in body.split(b"\r\n"))
        return base64.b64decode(body.replace(b"\r\n", b""), validate=True)
    if encoding == "quoted-printable":
        for line in body.split(b"\r\n"):
            assert len(line) <= 76, line
            assert not line.endswith((b" ", b"\t")), line
            assert re.fullmatch(rb"(?:[ \t!-<>-~]|=[0-9A-F]{2})*=?", line), line
        return quopri.decodestring(body.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    assert encoding == "7bit", encoding
    assert body.isascii()
    return body


WORD = r"=\?([^?]+)\?([bBqQ])\?([^? ]*)\?="


def phrase(value: str) -> str:
    """Read unstructured text or a phrase with encoded words (RFC 2047, 6.2)."""
    for word in re.finditer(WORD, value):
        assert len(word[0]) <= 75, word[0]
        before, after = value[: word.start()], value[word.end() :]
        assert not before or before[-1] in " \t(", "an encoded word must stand alone"
        assert not after or after[0] in " \t)", "an encoded word must stand alone"
    value = re.sub(rf"({WORD})[ \t]+(?={WORD})", r"\1", value)
    pieces, last = [], 0
    for word in re.finditer(WORD, value):
        pieces.append(value[last : word.start()])
        assert word[1].lower() == "utf-8"
        if word[2] in "bB":
            data = base64.b64decode(word[3], validate=True)
        else:
            data = unquote_to_bytes(word[3].replace("_", " ").replace("%", "%25").replace("=", "%"))
        pieces.append(data.decode("utf-8"))
        last = word.end()
    return "".join([*pieces, value[last:]])


def mailboxes(value: str) -> list[tuple[str, str]]:
    """Read an address list, character by character (RFC 5322, 3.4)."""
    found: list[tuple[str, str]] = []
    position = 0

    def blanks() -> None:
        nonlocal position
        while position < len(value) and value[position] in " \t":
            position += 1

    while position < len(value):
        blanks()
        words: list[str] = []
        quoted = False
        start = position
        while position < len(value) and value[position] not in "<,":
            if value[position] == '"':
                position += 1
                text = ""
                while value[position] != '"':
                    if value[position] == "\\":
                        position += 1
                    text += value[position]
                    position += 1
                position += 1
                words.append(text)
                quoted = True
            else:
                position += 1
        raw = value[start:position].strip()
        if position < len(value) and value[position] == "<":
            end = value.index(">", position)
            address = value[position + 1 : end]
            position = end + 1
            if quoted:
                assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', raw), raw
            else:
                assert not re.search(r'[()<>@,;:\\".\[\]]', re.sub(WORD, "", raw)), raw
            found.append((words[0] if quoted else phrase(raw), address))
        else:
            assert not quoted
            found.append(("", raw))
        assert re.fullmatch(r"[^\s<>(),;:\"\\\[\]]+@[^\s<>(),;:\"\\\[\]@]+", found[-1][1]), found[-1]
        blanks()
        assert position == len(value) or value[position] == ","
        position += 1
    return found


def _with_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Read `value; name=value` with the continuations and character sets of RFC 2231."""
    first, *rest = _split_at_semicolons(value)
    raw: dict[str, str] = {}
    for piece in rest:
        name, equals, text = piece.strip().partition("=")
        assert equals, piece
        assert name.lower() not in raw, f"{name} twice"
        raw[name.lower()] = text
    found: dict[str, str] = {}
    for name, text in raw.items():
        base, star, number = name.partition("*")
        if not star:
            found[base] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
        elif number == "":
            found[base] = _extended(text)
        elif number in ("0", "0*"):
            pieces, index = [], 0
            while (piece := raw.get(f"{base}*{index}*")) is not None:
                pieces.append(piece)
                index += 1
            found[base] = _extended("".join(pieces))
    return first.strip(), found


def _extended(text: str) -> str:
    charset, _, encoded = text.split("'", 2)
    assert charset.lower() == "utf-8"
    return unquote_to_bytes(encoded).decode("utf-8")


def _split_at_semicolons(value: str) -> list[str]:
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^;"])+', value) or [""]
