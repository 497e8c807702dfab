"""What characters do these bytes mean?"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from merge.errors import ListError, Problem

CHUNK = 1 << 18
_SAMPLE = 1 << 16
_HINT = 'say encoding = "..." in campaign.toml, or save the list as "CSV UTF-8"'

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPOTS = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"  # control characters
    rb"|\xc2[\x80-\xa0\xad]|\xe2\x80[\x8b\xa8-\xae]|\xe2\x81[\xa0-\xa9]|\xef\xbb\xbf|\xe1\x9a\x80|\xe3\x80\x80"
    rb"|\xe2\x80[\x80-\x8a\xaf]|\xe2\x81\x9f"  # blanks beyond ASCII
    rb"|(?:^|[\r\n,;\t|]\"?) |[ \t]\"?(?:$|[\r\n,;\t|])",  # blanks at the edge of a cell
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look at all bytes of a text file tells.

    `encoding` is a codec name that decodes every byte. `spotless` says that the text holds no control
    character, no invisible one and no blank at the edge of a cell, so that no row need be searched.
    """

    encoding: str
    content_hash: str
    spotless: bool
    problems: tuple[Problem, ...]


def survey(stream: BinaryIO, wanted: str, file: str) -> Survey:
    """Read a whole text file once, in constant memory, and find its encoding.

    A byte order mark decides; else UTF-8, if every byte agrees; else what chardet makes of the lines
    beyond ASCII, with a telling cell shown. `wanted` ends the search. Raises ListError.
    """
    start = stream.read(4)
    stream.seek(0)
    encoding = _known(wanted) if wanted else next((name for bom, name in _BOMS if start.startswith(bom)), "")
    if not encoding:
        encoding = _without_bom(stream.read(CHUNK)) or "utf-8"
        stream.seek(0)
    if encoding == "utf-8" and start.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    decode = codecs.getincrementaldecoder(encoding)().decode
    digest = hashlib.sha256()
    is_utf8 = encoding in {"utf-8", "utf-8-sig"}
    spotless, tail = is_utf8, b""
    broken = False
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        if not broken:
            try:
                decode(chunk)
            except UnicodeDecodeError:
                broken = True
        if spotless:
            spotless = not _SPOTS.search(
                chunk if digest.block_size and tail else chunk.removeprefix(codecs.BOM_UTF8)
            )
            tail = chunk[-4:]
    try:
        decode(b"", final=True)
    except UnicodeDecodeError:
        broken = True
    if not broken:
        return Survey(encoding, digest.hexdigest(), spotless, ())
    if wanted or encoding != "utf-8":
        raise _undecodable(stream, encoding, file)
    guess, problem = _guess(stream, file)
    return Survey(guess, digest.hexdigest(), False, (problem,))


def _known(wanted: str) -> str:
    try:
        codec = codecs.lookup(wanted)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not codec._is_text_encoding:  # noqa: SLF001 - Python has no other way to tell rot13 from a charset
        raise ListError(
            f"encoding {wanted} is not known", hint='for example "utf-8", "windows-1252", "shift_jis"'
        )
    return codec.name


def _without_bom(start: bytes) -> str:
    """Return the UTF-16 that a file without a byte order mark is in, judged by where its NULs stand."""
    half = len(start) // 2
    if half and start[1::2].count(0) > half * 0.4 and start[0::2].count(0) < half * 0.05:
        return "utf-16-le"
    if half and start[0::2].count(0) > half * 0.4 and start[1::2].count(0) < half * 0.05:
        return "utf-16-be"
    return ""


def _lines_beyond_ascii(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    stream.seek(0)
    for number, line in enumerate(stream, 1):
        if not line.isascii():
            yield number, line


def _undecodable(stream: BinaryIO, encoding: str, file: str) -> ListError:
    name = _shown_name(encoding)
    for number, line in _lines_beyond_ascii(stream):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            bad = line[error.start]
            problem = Problem(
                "error",
                "encoding",
                f"byte 0x{bad:02X} is no {name}",
                file=file,
                line=number,
                column=len(line[: error.start].decode(encoding, "replace")) + 1,
            )
            return ListError(
                f"{file} is not in {name}: line {number} is not", hint=_HINT, problems=(problem,)
            )
    return ListError(f"{file} is not in {name}", hint=_HINT)


def _guess(stream: BinaryIO, file: str) -> tuple[str, Problem]:
    """Return the encoding of a text that is no UTF-8, and the question whether it is right."""
    import chardet  # noqa: PLC0415 - only a list that is no UTF-8 needs it

    sample, valid, invalid, first_invalid = b"", 0, 0, 0
    for number, line in _lines_beyond_ascii(stream):
        if len(sample) < _SAMPLE:
            sample += line
        text = line.decode("utf-8", "surrogateescape")
        wrong = sum("\udc80" <= character <= "\udcff" for character in text)
        first_invalid = first_invalid or (number if wrong else 0)
        invalid += wrong
        valid += sum(character > "\x7f" for character in text) - wrong
        if valid + invalid > _SAMPLE:
            break
    if valid > 4 * invalid:
        raise ListError(
            f"{file} is UTF-8 but for line {first_invalid}",
            hint="mend that line, or " + _HINT,
            problems=(Problem("error", "encoding", "this line is no UTF-8", file=file, line=first_invalid),),
        )
    encoding = chardet.detect(sample, prefer_superset=True)["encoding"] or "cp1252"
    telling = ""
    try:
        codecs.lookup(encoding)
        for _, line in _lines_beyond_ascii(stream):
            text = line.decode(encoding)
            telling = telling or _telling(text)
    except (UnicodeDecodeError, LookupError):
        raise ListError(f"{file}: in which encoding this is can't be told", hint=_HINT) from None
    name = _shown_name(encoding)
    message = f'read as {name}: "{telling}", is that right?'
    return encoding, Problem("warning", "encoding", message, file=file, value=telling, hint=_HINT)


def _telling(line: str) -> str:
    """Return the cell of a line that shows best whether it was decoded rightly."""
    cells = [cell.strip(' "') for cell in re.split(r"[,;\t|\r\n]", line)]
    return max(cells, key=lambda cell: sum(c > "\x7f" for c in cell) / (len(cell) + 1))[:60]


def _shown_name(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return re.sub(r"^cp(125\d)$", r"Windows-\1", name) if name.startswith("cp125") else name.upper()
