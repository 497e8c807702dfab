"""What is wrong in this TOML file, and where? Known keys, their types, and the line to mend."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from merge.errors import ConfigError, Problem

Kinds = tuple[type, ...]
"""The types that a key's value may have."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


class TomlFile:
    """Says what is wrong in one TOML file, and where. Paths in it start at `folder`."""

    def __init__(self, file: str, text: str = "", folder: Path = Path()) -> None:
        self._file = file
        self.folder = folder
        self._lines = text.splitlines()

    @property
    def file(self) -> str:
        """What messages call it."""
        return self._file

    def keys(
        self, table: Mapping[str, Any], known: Mapping[str, Kinds], place: str = ""
    ) -> Mapping[str, Any]:
        """Refuse an unknown key, with the one that was meant, and a value of the wrong type."""
        if not isinstance(table, Mapping):
            self.refuse(place, f"{place} must be a table", hint=f"[{place}]")
        for key, value in table.items():
            where = f" in [{place}]" if place else ""
            if key not in known:
                found = get_close_matches(key, known, 1)
                self.refuse(
                    key,
                    f"unknown key {key}{where}",
                    hint=f"did you mean {found[0]}?" if found else f"known here: {', '.join(known)}",
                )
            if not isinstance(value, known[key]) or (isinstance(value, bool) and bool not in known[key]):
                words = " or ".join(dict.fromkeys(_TYPE_NAMES[kind] for kind in known[key]))
                self.refuse(key, f"{key}{where} must be {words}")
        return table

    def duration(self, key: str, value: str | float) -> float:
        """Read "5m", "90s", "2h" or a number of seconds."""
        match = _DURATION.fullmatch(str(value).strip())
        if not match:
            self.refuse(key, f"{key} = {value!r} is no duration", hint='write "30s", "5m" or "2h"')
        number, unit = match.groups()
        return float(number) * _SECONDS[unit]

    def refuse(self, key: str, message: str, *, hint: str = "", show_line: bool = True) -> NoReturn:
        """Raise ConfigError, with the line of the key where it can be found."""
        pattern = re.compile(rf"\s*(?:\[)?[\"']?{re.escape(key)}[\"']?\s*[\]=.]")
        for number, line in enumerate(self._lines, 1):
            if match := pattern.match(line):
                start = line.index(key, match.start())
                problem = Problem(
                    "error",
                    "config",
                    message,
                    file=self._file,
                    line=number,
                    column=start + 1,
                    width=len(key),
                    hint=hint,
                    source=line if show_line else "",
                )
                raise ConfigError(message, hint=hint, problems=(problem,))
        raise ConfigError(f"{self._file}: {message}", hint=hint)


_TYPE_NAMES = {
    bool: "true or false",
    str: "text in quotes",
    int: "a number",
    float: "a number",
    dict: "a table",
    list: "a list",
}


def load_toml(path: Path, name: str) -> tuple[dict[str, Any], TomlFile]:
    """Read a TOML file; `name` is what messages call it. Raises ConfigError with the place."""
    text = _text(path)
    try:
        return tomllib.loads(text), TomlFile(name, text, path.parent)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(where[1]) if where else max(1, len(text.splitlines()))
        words = re.sub(r"\s*\(at .*\)", "", str(error))
        problem = Problem(
            "error",
            "config",
            f"this is not TOML: {words}",
            file=name,
            line=line,
            column=int(where[2]) if where else 1,
            source="" if "password" in text else (text.splitlines() or [""])[line - 1],
            hint='texts stand in quotes: list = "people.csv"',
        )
        raise ConfigError(f"{name}: {problem.message}", hint=problem.hint, problems=(problem,)) from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8 text", hint="save it again as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from None
