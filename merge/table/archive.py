"""Is this workbook safe to open?"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from typing import BinaryIO

from merge.errors import ListError

MOST_BYTES = 256 * 1024 * 1024
"""How much one part of a workbook may hold once unpacked."""

HIGHEST_RATIO = 200
"""How many times its packed size a part may grow, if it is larger than a megabyte."""

MOST_CELLS = 20_000_000
"""How large the used area of a sheet may be, in cells, empty ones included."""

MOST_COPIES = 1_000_000
"""How many filled cells may be copies of others, of which a file says no more than their number."""

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError)
"""What a damaged archive makes its reader raise."""

_CHUNK = 1 << 20
_SMALL = 1 << 20
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class Archive:
    """The parts of a zipped workbook, read within limits whatever its directory claims."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._file = file
        try:
            self._zip = zipfile.ZipFile(stream)
        except (*DAMAGE, NotImplementedError) as error:
            raise self.broken(str(error)) from None
        self.names = frozenset(self._zip.namelist())
        if len(self.names) != len(self._zip.namelist()):
            raise self.broken("a part stands in it twice")

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a part. Raises ListError when it is too large, broken or encrypted."""
        try:
            info = copy(self._zip.getinfo(name))
        except KeyError:
            raise self.broken(f"{name} is missing") from None
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise self.broken(f"{name} is packed in an unusual way")
        limit = MOST_BYTES if info.compress_size > _SMALL / HIGHEST_RATIO else _SMALL
        limit = min(limit, max(_SMALL, info.compress_size * HIGHEST_RATIO))
        # The size that the directory claims must not end the reading early: other readers go on.
        info.file_size = limit + 2 * _CHUNK
        size = 0
        try:
            with self._zip.open(info) as part:
                while chunk := part.read(_CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise ListError(
                            f"{self._file} is refused: {name} unpacks to more than {limit >> 20} MB",
                            hint="save the list as CSV; if somebody sent you this file, don't trust it",
                        )
                    yield chunk
        except DAMAGE as error:
            raise self.broken(f"{name}: {error}") from None
        except RuntimeError:
            raise ListError(
                f"{self._file} is protected by a password", hint="save a copy without it"
            ) from None

    def read(self, name: str) -> bytes:
        """Return the content of a part whole."""
        return b"".join(self.chunks(name))

    def tree(self, name: str) -> ET.Element:
        """Return a small part as XML. Raises ListError for entities and for what is no XML."""
        content = self.read(name)
        if _DECLARATION.search(content) or not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise self.broken(f"{name} declares entities, or is no plain XML")
        try:
            return ET.fromstring(content)  # noqa: S314 - entities are refused above
        except (ET.ParseError, ValueError) as error:
            raise self.broken(f"{name}: {error}") from None

    def broken(self, reason: str) -> ListError:
        """Return the error for a workbook that is damaged."""
        return ListError(
            f"{self._file} is damaged or no real workbook ({reason})",
            hint="open it in your spreadsheet program and save it anew, or as CSV",
        )

    def refuse_area(self, rows: int, columns: int) -> None:
        """Raise ListError when the used area of a sheet is larger than a list can be."""
        if rows * columns > MOST_CELLS:
            raise ListError(
                f"{self._file} is refused: its sheet spans {rows:,} rows and {columns:,} columns",
                hint="delete what stands far outside the list, or save the list as CSV",
            )

    def refuse_copies(self, cells: int) -> None:
        """Raise ListError when so many filled cells are copies of others as no list of people has."""
        if cells > MOST_COPIES:
            raise ListError(
                f"{self._file} is refused: its sheet repeats the same cells {cells:,} times",
                hint="save the list as CSV; if somebody sent you this file, don't trust it",
            )
