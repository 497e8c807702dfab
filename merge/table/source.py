"""Which bytes are the list, and what kind of file are they?"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import IO, BinaryIO, Literal

from merge.errors import ListError
from merge.table.archive import DAMAGE

Kind = Literal["text", "xlsx", "xls", "ods"]

MOST_BYTES = 256 * 1024 * 1024
"""How large a workbook may be; a text file may have any size."""

_CHUNK = 1 << 20
_EXPORT = "in Google Sheets: File, Download, Comma-separated values; then give that file"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FOREIGN = (
    (b"%PDF", "a PDF"),
    (b"{\\rtf", "a rich text document"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format 3", "a database"),
    (b"PAR1", "a Parquet file; read it with pandas and give the DataFrame"),
    (b"BEGIN:VCARD", "an address book (vCard); export it as CSV"),
)
_SAVE = "open it in your spreadsheet program and save it as .xlsx or CSV"


class Source:
    """A file that can be read again and again, always the same: `open` refuses it once it has changed."""

    def __init__(self, path: Path, name: str, folder: str = "") -> None:
        """`folder` is a temporary one, which is removed when this object goes, or the program ends."""
        self.name = name
        self._path = path
        self._state = _state(path.stat())
        if folder:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def open(self) -> BinaryIO:
        """Return a new stream of the bytes. Raises ListError when they are no longer the same."""
        try:
            stream = self._path.open("rb")
        except OSError as error:
            raise _unreadable(self.name, error) from None
        if _state(os.fstat(stream.fileno())) != self._state:
            stream.close()
            raise ListError(f"{self.name} has changed since it was checked", hint="run the command again")
        return stream

    def content(self) -> bytes:
        """Return all bytes of a workbook. Raises ListError when they are too many."""
        with self.open() as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ListError(
                f"{self.name} is larger than {MOST_BYTES // 1024 // 1024} MB", hint="save it as CSV"
            )
        return content


def open_source(path: str, name: str = "") -> Source:
    """Return the file at a path; "-" is standard input. A pipe is copied to a temporary file first.

    Raises ListError for what is no readable file.
    """
    if path == "-":
        return _spooled(sys.stdin.buffer, name or "standard input")
    if re.match(r"https?:/", path, re.IGNORECASE):
        google = "docs.google." in path
        raise ListError(
            "the list is a link, and lists are not fetched from the network",
            hint=_EXPORT if google else "download it, and give the file",
        )
    file = name or Path(path).name
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISFIFO(mode):
            with Path(path).open("rb") as pipe:
                return _spooled(pipe, file)
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise ListError(f"{file} is {what}", hint="give a CSV, .xlsx, .xls or .ods file")
        return Source(Path(path), file)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def sniff(source: Source) -> Kind:
    """Return what kind of file it is, by its content alone. Raises ListError for what is no list."""
    with source.open() as stream:
        start = stream.read(4096)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _zipped(stream, source.name)
        if start.startswith(_OLE):
            return _compound(start + stream.read(1 << 16), source.name)
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            raise ListError(f"{source.name} is {what}, not a list", hint=_SAVE)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<table", b"<head", b"<meta")):
        raise ListError(f"{source.name} is a web page, whatever its name says", hint=_SAVE)
    if text.startswith((b"<?xml", b"<workbook")):
        what = "an XML spreadsheet of 2003" if b"schemas-microsoft-com:office:spreadsheet" in text else "XML"
        raise ListError(f"{source.name} is {what}, not a list", hint=_SAVE)
    if text.startswith(b"{") and _is_json(text):
        raise ListError(f"{source.name} is a link to Google Sheets or other JSON, not a list", hint=_EXPORT)
    return "text"


def _zipped(stream: BinaryIO, name: str) -> Kind:
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            mimetype = (
                archive.read("mimetype")[:80] if "mimetype" in names and _small(archive, "mimetype") else b""
            )
    except (*DAMAGE, RuntimeError) as error:
        raise ListError(f"{name} is a damaged workbook or archive ({error})", hint=_SAVE) from None
    if "xl/workbook.xml" in names:
        return "xlsx"
    if mimetype.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
        return "ods"
    what = "a zip archive"
    for sign, meaning in (
        ("xl/workbook.bin", "a binary workbook (.xlsb)"),
        ("word/", "a Word document"),
        ("ppt/", "a presentation"),
        ("Index/", "a Numbers document"),
    ):
        if any(entry.startswith(sign) for entry in names):
            what = meaning
            break
    if mimetype.startswith(b"application/vnd.oasis.opendocument"):
        what = "an OpenDocument file, but no spreadsheet"
    raise ListError(f"{name} is {what}, not a list", hint=_SAVE)


def _small(archive: zipfile.ZipFile, name: str) -> bool:
    return archive.getinfo(name).file_size <= 1024  # noqa: PLR2004 - a media type


def _compound(start: bytes, name: str) -> Kind:
    """Tell the files apart that share the container of old Office files (names are UTF-16)."""
    if "EncryptedPackage".encode("utf-16-le") in start:
        raise ListError(f"{name} is protected by a password", hint="save a copy without it")
    if any(stream.encode("utf-16-le") in start for stream in ("Workbook", "Book")):
        return "xls"
    if "WordDocument".encode("utf-16-le") in start:
        raise ListError(f"{name} is a Word document, not a list", hint=_SAVE)
    return "xls"


def _is_json(text: bytes) -> bool:
    return b'"' in text[:64] and b":" in text


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _spooled(stream: IO[bytes], name: str) -> Source:
    """Copy what can be read only once to a file of our own, which nobody else may read."""
    folder = tempfile.mkdtemp(prefix="mergepost-")
    path = Path(folder) / "list"
    with path.open("wb") as copy:
        while chunk := stream.read(_CHUNK):
            copy.write(chunk)
    return Source(path, name, folder)


def _unreadable(name: str, error: Exception) -> ListError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ListError(f"{name} can't be read: {reason}", hint="look at the path and its permissions")
