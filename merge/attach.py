"""Which files go with a letter? Found, judged and read once."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from merge.errors import AttachmentError

LARGEST = 100 * 2**20
"""Bytes of one file; no mail server takes more."""

_KEPT = 64 * 2**20
_TYPES = mimetypes.MimeTypes(filenames=())
_MORE_TYPES = {
    ".ics": "text/calendar",
    ".vcf": "text/vcard",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".7z": "application/x-7z-compressed",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".epub": "application/epub+zip",
    ".m4a": "audio/mp4",
}
OWN_FILES = re.compile(
    r"(?:campaign|accounts)\.toml|(?:journal|ledger)\.db.*|(?:results|suppressed)\.csv"
    r"|(?:people|mailmerge_database)\..*"
)
"""The campaign's own files: they tell of everybody, so no cell can choose one of them."""

_PRIVATE_KEY = b"PRIVATE KEY-----"
_KEY_WITHIN = 65_536
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_METHOD = re.compile(rb"^METHOD:([A-Za-z]+)\r?$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read: `digest` is a hash of its content (hexadecimal)."""

    name: str
    media_type: str
    content: bytes
    digest: str


class Shelf:
    """The files of one run. Each is read once while memory allows, and again when it has changed on disk.

    `own` are files of the campaign, such as its list, besides those of the usual names.
    """

    def __init__(self, folder: Path, own: Iterable[Path] = ()) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._own = frozenset(map(os.path.realpath, own))
        self._kept: OrderedDict[tuple[str, str], tuple[str, tuple[int, ...], File]] = OrderedDict()
        self._used = 0

    def file(self, path: str, literal: str) -> File:
        """Read the file at `path`, of which the letter itself wrote the beginning `literal`.

        A cell may choose a file below the directory that the letter names, never leave it. The letter may
        name a directory outside the campaign's folder, by an absolute path, "~" or "..".
        Raises AttachmentError.
        """
        known = self._kept.get((path, literal))
        if known and _identity(known[0]) == known[1]:
            self._kept.move_to_end((path, literal))
            return known[2]
        real = self._real(path, literal)
        identity, content = _read(path, real)
        if content.find(_PRIVATE_KEY, 0, _KEY_WITHIN) >= 0:
            raise AttachmentError(f"{path} holds a private key, which is for nobody else")
        file = File(Path(path).name, media_type(path, content), content, hashlib.sha256(content).hexdigest())
        if old := self._kept.pop((path, literal), None):
            self._used -= len(old[2].content)
        self._kept[path, literal] = (real, identity, file)
        self._used += len(content)
        while self._used > _KEPT and len(self._kept) > 1:
            _, (_, _, gone) = self._kept.popitem(last=False)
            self._used -= len(gone.content)
        return file

    def _real(self, path: str, literal: str) -> str:
        if not path:
            raise AttachmentError(
                "the path of the attachment is empty", hint="put {% if ... %} around the header"
            )
        if "\0" in path:
            raise AttachmentError("a path cannot hold a NUL")
        refuse_reordering(path)
        named = literal if literal == path else literal[: literal.rfind("/") + 1]
        beginning = Path(named)
        outside = named.startswith("~") or ".." in beginning.parts or beginning.is_absolute()
        try:
            base = os.path.realpath(self._folder / beginning.expanduser())
        except RuntimeError as error:
            raise AttachmentError(f"{path}: there is no such user") from error
        if named == path:
            real, limit = base, str(Path(base).parent)
        else:
            real = os.path.realpath(Path(base) / path[len(named) :])
            limit = base
        if not outside and not _within(base, str(self._folder)):
            raise AttachmentError(
                f"{path} leads out of the campaign's folder",
                hint="copy the file into the folder, or write its absolute path in the letter",
            )
        if not _within(real, limit):
            raise AttachmentError(
                f"{path} leads out of {named or 'the campaign folder'}",
                hint="a cell can only choose a file inside it",
            )
        own = Path(real).parent == self._folder and OWN_FILES.fullmatch(Path(real).name.lower())
        if named != path and (own or real in self._own):
            raise AttachmentError(
                f"{path} is a file of the campaign itself, which a cell cannot choose",
                hint="keep what people get in a folder of its own: Attach: attachments/{{ ... }}",
            )
        return real


def media_type(path: str, content: bytes) -> str:
    """Return the media type of a file by its name, with what text needs to be read rightly."""
    suffix = Path(path).suffix.lower()
    kind, coding = _TYPES.guess_type(f"x{suffix}")
    kind = _MORE_TYPES.get(suffix) or kind
    if not kind or coding or kind.startswith("message/"):  # a message cannot be in base64 (RFC 2046, 5.2.1)
        return "application/octet-stream"
    if not kind.startswith("text/"):
        return kind
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    method = _METHOD.search(content) if kind == "text/calendar" else None
    return f"{kind}; charset=utf-8" + (f"; method={method[1].decode().upper()}" if method else "")


def refuse_reordering(name: str) -> None:
    """Raise AttachmentError for a file name that is shown in another order than it is written."""
    if found := _REORDERING.search(name):
        raise AttachmentError(
            f"the file name holds U+{ord(found[0]):04X}, which shows its end in another place",
            hint="a name such as report-fdp.exe would read as report-exe.pdf",
        )


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _identity(real: str) -> tuple[int, ...] | None:
    try:
        return _marks(Path(real).stat())
    except OSError:
        return None


def _marks(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: str, real: str) -> tuple[tuple[int, ...], bytes]:
    """Open, judge and read one and the same file: no link at its end, no device, no pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(real, flags)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise AttachmentError(f"there is no file {path}") from error
        if isinstance(error, IsADirectoryError):
            raise AttachmentError(f"{path} is a folder") from error
        raise AttachmentError(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise AttachmentError(f"{path} is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise AttachmentError(f"{path} is no regular file")
        if status.st_size > LARGEST:
            raise AttachmentError(
                f"{path} has {status.st_size // 2**20} MB; {LARGEST // 2**20} MB is the most"
            )
        with open(descriptor, "rb", closefd=False) as stream:
            return _marks(status), stream.read(LARGEST + 1)
    finally:
        os.close(descriptor)
