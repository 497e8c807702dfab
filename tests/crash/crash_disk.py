"""A disk that remembers every write, so that a test can have the power fail, or a write fail, anywhere.

SQLite lets a program put a layer (a VFS) between itself and the files. `Disk` puts one there, in this
process, beneath the very `sqlite3` module that the journal uses. It passes everything through and keeps
a log. From the log, `image` makes the files as they are after the process was killed, or after the power
failed, at any point.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self

SECTOR = 512
FULL, IOERR_WRITE, IOERR_FSYNC = 13, 778, 1034

_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OPEN = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_DELETE = ctypes.CFUNCTYPE(_I, _P, ctypes.c_char_p, _I)
_CLOSE = ctypes.CFUNCTYPE(_I, _P)
_WRITE = ctypes.CFUNCTYPE(_I, _P, _P, _I, _L)
_TRUNCATE = ctypes.CFUNCTYPE(_I, _P, _L)
_SYNC = ctypes.CFUNCTYPE(_I, _P, _I)


class _Vfs(ctypes.Structure):
    _fields_ = (
        [("version", _I), ("file_size", _I), ("path_size", _I), ("next", _P), ("name", ctypes.c_char_p)]
        + [("data", _P), ("open", _P), ("delete", _P)]
        + [(f"rest{n}", _P) for n in range(14)]
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        [("version", _I)]
        + [(name, _P) for name in ("close", "read", "write", "truncate", "sync")]
        + [(f"rest{n}", _P) for n in range(13)]
    )


class _File(ctypes.Structure):
    _fields_ = [("methods", ctypes.POINTER(_Methods))]


@dataclass(frozen=True)
class Op:
    """One thing that happened to a file, or a mark of the test's own (`kind` "mark", `data` its content)."""

    kind: str
    name: str = ""
    offset: int = 0
    data: Any = b""


def library() -> ctypes.CDLL | None:
    """Return the library that the `sqlite3` module itself is linked to, None where it is built in."""
    import _sqlite3  # noqa: PLC0415 - an implementation detail of CPython, looked at here alone

    try:
        own = ctypes.CDLL(_sqlite3.__file__)
        own.sqlite3_vfs_find.restype = _P
        own.sqlite3_vfs_register.argtypes = [_P, _I]
        own.sqlite3_vfs_unregister.argtypes = [_P]
        own.sqlite3_libversion.restype = ctypes.c_char_p
    except (AttributeError, OSError):
        return None
    return own if own.sqlite3_libversion().decode() == sqlite3.sqlite_version else None


class Disk:
    """Logs what SQLite does to the files of one folder. `fail` may make an operation fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[Op] = []
        self.fail: Any = None
        self._files: dict[int, tuple[str, Any]] = {}
        self._tables: dict[int, Any] = {}
        self._library = library()

    def __enter__(self) -> Self:
        self._found = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self._base = self._library.sqlite3_vfs_find(None)
        base = _Vfs.from_address(self._base)
        self._vfs = _Vfs()
        ctypes.pointer(self._vfs)[0] = base
        self._vfs.name = b"remembering"
        self._open_base = _OPEN(base.open)
        self._delete_base = _DELETE(base.delete)
        self._open_own = _OPEN(self._open)
        self._delete_own = _DELETE(self._delete)
        self._vfs.open = ctypes.cast(self._open_own, _P)
        self._vfs.delete = ctypes.cast(self._delete_own, _P)
        self._library.sqlite3_vfs_register(ctypes.addressof(self._vfs), 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._library.sqlite3_vfs_unregister(ctypes.addressof(self._vfs))
        self._library.sqlite3_vfs_register(self._base, 1)

    def mark(self, *content: Any) -> None:
        """Note something of the test's own between the operations."""
        self.log.append(Op("mark", data=content))

    def marks(self, end: int) -> list[tuple[Any, ...]]:
        """Return the marks among the first `end` operations."""
        return [op.data for op in self.log[:end] if op.kind == "mark"]

    def image(self, end: int, chance: Random | None = None) -> dict[str, bytes]:
        """Return the files after the first `end` operations and a sudden end.

        Without `chance` the process was killed: everything written is there. With it the power failed: what
        was synced is there, and of the rest a random part, in any order, torn at sectors.
        """
        safe = {name: bytearray(content) for name, content in self._found.items()}
        loose: dict[str, list[Op]] = {}
        for op in self.log[:end]:
            if op.kind in ("write", "truncate"):
                loose.setdefault(op.name, []).append(op)
            elif op.kind == "sync":
                _apply(safe.setdefault(op.name, bytearray()), loose.pop(op.name, []))
            elif op.kind == "delete":
                safe.pop(op.name, None)
                loose.pop(op.name, None)
            elif op.kind == "open":
                safe.setdefault(op.name, bytearray())
        for name, ops in loose.items():
            _apply(safe.setdefault(name, bytearray()), ops if chance is None else _survivors(ops, chance))
        return {name: bytes(content) for name, content in safe.items()}

    def _open(self, _vfs: int, path: int | None, file: int, flags: int, out: int | None) -> int:
        code = self._open_base(ctypes.addressof(self._vfs), path, file, flags, out)
        if code or not path:
            return code
        where = Path(ctypes.string_at(path).decode())
        if where.parent != self.folder:
            return code
        self.log.append(Op("open", where.name))
        handle = _File.from_address(file)
        original = ctypes.addressof(handle.methods.contents)
        if original not in self._tables:
            self._tables[original] = self._wrap(handle.methods.contents)
        self._files[file] = (where.name, original)
        handle.methods = ctypes.pointer(self._tables[original][0])
        return code

    def _wrap(self, methods: _Methods) -> Any:
        own = _Methods()
        ctypes.pointer(own)[0] = methods
        close, write = _CLOSE(methods.close), _WRITE(methods.write)
        truncate, sync = _TRUNCATE(methods.truncate), _SYNC(methods.sync)

        def on_close(file: int) -> int:
            _, original = self._files.pop(file)
            _File.from_address(file).methods = ctypes.pointer(_Methods.from_address(original))
            return close(file)

        def on_write(file: int, data: int, size: int, offset: int) -> int:
            op = Op("write", self._files[file][0], offset, ctypes.string_at(data, size))
            return self._do(op, lambda: write(file, data, size, offset))

        def on_truncate(file: int, size: int) -> int:
            return self._do(Op("truncate", self._files[file][0], size), lambda: truncate(file, size))

        def on_sync(file: int, flags: int) -> int:
            return self._do(Op("sync", self._files[file][0]), lambda: sync(file, flags))

        kept = (_CLOSE(on_close), _WRITE(on_write), _TRUNCATE(on_truncate), _SYNC(on_sync))
        for name, function in zip(("close", "write", "truncate", "sync"), kept, strict=True):
            setattr(own, name, ctypes.cast(function, _P))
        return own, kept

    def _do(self, op: Op, act: Any) -> int:
        code = self.fail(op) if self.fail else 0
        if code:
            return code
        code = act()
        if not code:
            self.log.append(op)
        return code

    def _delete(self, _vfs: int, path: bytes, sync: int) -> int:
        code = self._delete_base(ctypes.addressof(self._vfs), path, sync)
        where = Path(path.decode())
        if not code and where.parent == self.folder:
            self.log.append(Op("delete", where.name))
        return code


def restore(image: dict[str, bytes], folder: Path) -> None:
    """Put an image into an empty folder."""
    for old in folder.iterdir():
        old.unlink()
    for name, content in image.items():
        (folder / name).write_bytes(content)


def _apply(content: bytearray, ops: list[Op]) -> None:
    for op in ops:
        if op.kind == "truncate":
            del content[op.offset :]
            content.extend(bytes(op.offset - len(content)))
        else:
            if len(content) < op.offset:
                content.extend(bytes(op.offset - len(content)))
            content[op.offset : op.offset + len(op.data)] = op.data


def _survivors(ops: list[Op], chance: Random) -> list[Op]:
    how = chance.choice(("none", "prefix", "any"))
    if how == "none":
        return []
    kept = chance.randrange(len(ops) + 1)
    ops = ops[:kept] if how == "prefix" else [op for op in ops if chance.random() < 0.5]
    if ops and ops[-1].kind == "write":
        last = ops[-1]
        ops = [*ops[:-1], Op("write", last.name, last.offset, last.data[: SECTOR * chance.randrange(9)])]
    return ops
