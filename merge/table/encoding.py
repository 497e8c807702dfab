"""What characters do these bytes mean?"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

from merge.errors import ListError, Problem

CHUNK = 1 << 18
_SAMPLE = 1 << 16
_READ_CLOSELY = 1 << 12
_LONGEST_LINE = 1 << 20

_NEVER_BESIDE = "\N{SINGLE LOW-9 QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}†‡"

_HINT = 'say encoding = "..." in campaign.toml, or save the list as "CSV UTF-8"'

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def find_encoding(stream: BinaryIO, wanted: str, file: str) -> tuple[str, tuple[Problem, ...]]:
    """Read a whole text file in constant memory; return a codec that decodes every byte, and any doubt.

    A byte order mark decides; else UTF-8, if every byte agrees; else what chardet makes of the lines
    beyond ASCII, with a telling cell shown. `wanted` ends the search. Raises ListError.
    """
    start = stream.read(CHUNK)
    marked = next((name for bom, name in _BOMS if start.startswith(bom)), "")
    encoding = _known(wanted) if wanted else marked or _without_bom(start) or "utf-8"
    if encoding == "utf-8" and marked:
        encoding = marked
    if _decodes_whole(stream, encoding):
        return encoding, ()
    if wanted or encoding != "utf-8":
        raise _undecodable(stream, encoding, file)
    guess, problem = _guess(stream, file)
    return guess, (problem,)


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
    for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE), b""), 1):
        if not line.isascii():
            yield number, line


def _undecodable(stream: BinaryIO, encoding: str, file: str) -> ListError:
    name = _shown_name(encoding)
    if name.startswith(("UTF-16", "UTF-32")):
        return ListError(
            f"{file} is not in {name}, or not all of it is there",
            hint="save the list once more, or " + _HINT,
        )
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
    encoding = _likeliest(sample)
    if not _decodes_whole(stream, encoding):
        raise ListError(f"{file}: in which encoding this is can't be told", hint=_HINT)
    lines = (line.decode(encoding, "replace") for _, line in _lines_beyond_ascii(stream))
    telling = next(filter(None, map(_telling, lines)), "")
    name = _shown_name(encoding)
    message = f'read as {name}: "{telling}", is that right?'
    return encoding, Problem("warning", "encoding", message, file=file, value=telling, hint=_HINT)


def _likeliest(sample: bytes) -> str:
    """Return the encoding in which some lines read least oddly; of several, chardet's first.

    chardet judges by how often letters follow each other. A few names are too little for that, and an old
    code page of another script then wins. Those of today's systems come before those of older ones.
    """
    from chardet import EncodingEra, detect_all  # noqa: PLC0415 - only a list that is no UTF-8 needs it

    lines = sample[: sample.find(b"\n", _READ_CLOSELY) + 1 or len(sample)]
    best, fewest = "cp1252", len(lines) + 1
    for era in (EncodingEra.MODERN_WEB, EncodingEra.ALL & ~EncodingEra.MAINFRAME):
        for found in detect_all(sample, encoding_era=era, prefer_superset=True, ignore_threshold=True):
            encoding = found["encoding"] or "cp1252"
            try:
                text = lines.decode(encoding)
            except (LookupError, UnicodeDecodeError):
                continue
            odd = _oddities(text)
            if odd < fewest:
                best, fewest = encoding, odd
    return best


def _oddities(text: str) -> int:
    """Count what hardly anybody writes, but what letters turn into when they are decoded wrongly."""
    odd = sum(unicodedata.category(character) == "Cc" and character not in "\t\r\n" for character in text)
    for before, after in pairwise(text):
        if before.isascii() and after.isascii():
            continue
        if _in_a_word(before) and _in_a_word(after):
            scripts = {_script(before), _script(after)}
            odd += (len(scripts) > 1 and "LATIN" in scripts) or (before.islower() and after.isupper())
        elif before.isalpha() or after.isalpha():
            odd += _is_misplaced(after if before.isalpha() else before)
    return odd


def _in_a_word(character: str) -> bool:
    """Whether it is a letter, or a mark upon one."""
    return unicodedata.category(character)[0] in "LM"


def _script(character: str) -> str:
    script = unicodedata.name(character, "").partition(" ")[0]
    return "LATIN" if script in {"COMBINING", "FEMININE", "MASCULINE", "MICRO"} else script


def _is_misplaced(sign: str) -> bool:
    """Whether a sign is one that does not stand beside a letter."""
    return not sign.isascii() and (sign in _NEVER_BESIDE or unicodedata.category(sign)[0] in "SN")


def _decodes_whole(stream: BinaryIO, encoding: str) -> bool:
    stream.seek(0)
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        while chunk := stream.read(CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except (LookupError, UnicodeDecodeError):
        return False
    return True


def _telling(line: str) -> str:
    """Return the cell of a line that shows best whether it was decoded rightly."""
    cells = [cell.strip(' "') for cell in re.split(r"[,;\t|\r\n]", line)]
    return max(cells, key=lambda cell: sum(c > "\x7f" for c in cell) / (len(cell) + 1))[:60]


def _shown_name(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return re.sub(r"^cp(125\d)$", r"Windows-\1", name) if name.startswith("cp125") else name.upper()
